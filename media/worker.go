package media

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lifetime bounds of one worker process. The limit of CPU time cannot be reset
// for a process that runs, so a worker is replaced long before it.
const (
	workerCPU      = 120 * time.Second
	workerBusy     = 45 * time.Second
	workerPictures = 500

	// startDeadline is for a machine that hardly moves; setting up takes 20 ms.
	startDeadline = 10 * time.Second
)

// worker is one child process that decodes pictures, from the pool's side. It
// is used by one goroutine at a time.
type worker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr firstLine
	late   atomic.Bool // killed by the deadline
	spent  int
	busy   time.Duration
}

// startWorker runs command with no environment and no descriptors but its three
// pipes, and limits it before it gets a byte to read.
func startWorker(command []string, memory int64) (*worker, error) {
	w := &worker{cmd: exec.Command(command[0], command[1:]...)} //nolint:gosec,noctx // our own binary; it outlives requests
	w.cmd.Env = []string{}
	w.cmd.WaitDelay = time.Second // for pipes that something else still holds
	w.cmd.Dir = "/"
	w.cmd.Stderr = &w.stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	w.in, w.out = in, bufio.NewReader(out)
	// Go closes its own descriptors in children, but not what this process was
	// itself given by its parent.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("start worker: keep descriptors back: %w", err)
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	for _, limit := range []struct {
		resource int
		most     uint64
	}{
		{unix.RLIMIT_DATA, uint64(memory)}, {unix.RLIMIT_CPU, uint64(workerCPU / time.Second)},
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0},
	} {
		if err := unix.Prlimit(w.cmd.Process.Pid, limit.resource, &unix.Rlimit{Cur: limit.most, Max: limit.most}, nil); err != nil {
			w.stop()
			return nil, fmt.Errorf("limit worker: %w", err)
		}
	}
	if err := w.awaitHello(); err != nil {
		return nil, err
	}
	return w, nil
}

// awaitHello waits until the worker has set itself up. One that cannot is not
// fit to say anything about a picture.
func (w *worker) awaitHello() error {
	timer := time.AfterFunc(startDeadline, w.kill)
	defer timer.Stop()
	said, err := w.out.ReadByte()
	if err == nil && said == hello {
		return nil
	}
	w.stop()
	if line := w.stderr.String(); line != "" {
		return fmt.Errorf("start worker: it ended with %q", line)
	}
	return fmt.Errorf("start worker: it did not report for work: %w", cmp.Or(err, errProtocol))
}

// errLate is an answer that came when the process was already being killed.
var errLate = errors.New("answered after the deadline")

// failure is a worker that ended, or was ended, before it answered.
type failure struct {
	refusal Refusal
	cause   error
	// innocent means that the picture need not be the reason: the process had
	// worked on others before, or something outside ended it.
	innocent bool
	// outside means that something outside ended it.
	outside bool
}

func (f *failure) Error() string { return fmt.Sprintf("worker failed (%s): %v", f.refusal, f.cause) }

func (f *failure) Unwrap() error { return f.cause }

// header sends a picture and returns what its header says. The worker is then
// waiting for decode, unless the result holds a refusal.
func (w *worker) header(content []byte, asked request, deadline time.Duration) (result, error) {
	return w.timed(deadline, asked, func() error {
		if err := binary.Write(w.in, binary.LittleEndian, asked); err != nil {
			return err
		}
		_, err := w.in.Write(content)
		return err
	})
}

// decode admits the picture whose header was read and returns its hashes.
func (w *worker) decode(asked request, deadline time.Duration) (result, error) {
	r, err := w.timed(deadline, asked, func() error {
		_, err := w.in.Write([]byte{proceed})
		return err
	})
	if err == nil && r.refusal == "" && len(r.hashes) == 0 {
		w.stop()
		return result{}, w.explain(fmt.Errorf("%w: neither hashes nor a refusal", errProtocol))
	}
	return r, err
}

// timed sends something and reads the reply, killing the process if that takes
// longer than deadline.
func (w *worker) timed(deadline time.Duration, asked request, send func() error) (result, error) {
	start := time.Now()
	timer := time.AfterFunc(deadline, func() {
		w.late.Store(true)
		w.kill()
	})
	err := send()
	var r result
	if err == nil {
		r, err = readReply(w.out, asked)
	}
	w.busy += time.Since(start)
	if !timer.Stop() && err == nil {
		err = errLate // killed in the moment of answering: no use for the next picture
	}
	if err == nil {
		return r, nil
	}
	w.stop()
	return result{}, w.explain(err)
}

// explain says why a worker that is gone did not answer.
func (w *worker) explain(err error) error {
	f := &failure{refusal: RefusedCrash, cause: err, innocent: w.spent > 0}
	said := w.stderr.String()
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case w.late.Load(), errors.Is(err, errLate):
		f.refusal, f.innocent = RefusedTime, false
	case errors.Is(err, errProtocol): // ended by stop
	case status.Signaled() && slices.Contains([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}, status.Signal()):
		f.innocent, f.outside = true, true
	case strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"),
		strings.Contains(said, "Resource temporarily unavailable"): // no memory for a thread's stack
		f.refusal = RefusedMemory
	}
	return f
}

// worn tells that the process has done its share. Its memory is never returned
// as reliably as by ending it.
func (w *worker) worn() bool { return w.spent >= workerPictures || w.busy >= workerBusy }

// stop ends the process, if it has not ended, and waits for that.
func (w *worker) stop() {
	if w.cmd.ProcessState != nil {
		return // it has been waited for
	}
	_ = w.in.Close() // it may be closed
	w.kill()
	_ = w.cmd.Wait() // explain reads the state
}

// kill ends the process with whatever it may have started.
func (w *worker) kill() {
	_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL) // it is dead already, or dies of this
}

// firstLine keeps the first line written to it, shortened: a Go process says
// there what ended it. The rest, stack traces, is dropped.
type firstLine struct {
	line []byte
	full bool
}

const firstLineMax = 200

func (f *firstLine) Write(p []byte) (int, error) {
	for _, b := range p {
		if f.full = f.full || b == '\n' || len(f.line) == firstLineMax; f.full {
			break
		}
		f.line = append(f.line, b)
	}
	return len(p), nil
}

// String may be called once the process has been waited for.
func (f *firstLine) String() string { return string(f.line) }
