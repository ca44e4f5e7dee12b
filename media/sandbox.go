package media

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// WorkerCommand is the argument that makes the program a worker; see
// [DecodeWorker].
const WorkerCommand = "decode-worker"

// DecodeWorker is the whole life of a worker process: it reads pictures from
// standard input and writes signals to standard output until the input ends.
// The pool has limited its memory and time; before it reads anything it gives
// up the right to open files, sockets or pipes.
func DecodeWorker() error {
	runtime.GOMAXPROCS(1)
	// A service manager that ends the whole group must not end a picture in work:
	// the pool ends workers, by closing their input.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	// The runtime opens its descriptors for timers at the first timer, which
	// must be before no descriptor can be opened.
	time.Sleep(time.Microsecond)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("give up descriptors: %w", err)
	}
	// No core dump, no debugger: pictures stay in this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid dumps: %w", err)
	}
	if _, err := os.Stdout.Write([]byte{hello}); err != nil {
		return fmt.Errorf("report for work: %w", err)
	}
	return serve(bufio.NewReader(os.Stdin), os.Stdout)
}
