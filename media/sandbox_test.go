package media_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mediagate/internal/bombtest"
	"mediagate/internal/workertest"
	"mediagate/media"
)

// TestWorkerIsConfined looks at a live worker as the kernel sees it.
func TestWorkerIsConfined(t *testing.T) {
	t.Setenv("MEDIAGATE_TEST_CANARY", "canary-in-environment")
	canary, err := os.Open("sandbox_test.go") // a descriptor that must not be inherited
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = canary.Close() }()
	// As a careless parent would have handed it to us: open across exec.
	if _, err := unix.FcntlInt(canary.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	p := workertest.Pool(t, func(c *media.Config) { c.Workers = 1 })
	if err := p.SelfTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d", p.WorkerPID())

	if environ, err := os.ReadFile(proc + "/environ"); err != nil || len(environ) != 0 {
		t.Errorf("environment of %d bytes, %v", len(environ), err)
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// Three pipes, what the runtime waits for timers with, and where it reads
		// how many processors it may use.
		if !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			t.Errorf("descriptor %s is %s", fd.Name(), to)
		}
	}
	want := map[string]string{
		"Max data size":      fmt.Sprint(640 << 20),
		"Max cpu time":       "120",
		"Max core file size": "0",
		"Max file size":      "0",
		"Max open files":     "0",
	}
	limits, err := os.Open(proc + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = limits.Close() }()
	lines := bufio.NewScanner(limits)
	for lines.Scan() {
		for name, most := range want {
			if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
				f := strings.Fields(rest)
				if f[0] != most || f[1] != most {
					t.Errorf("%s: soft %s, hard %s, want %s", name, f[0], f[1], most)
				}
				delete(want, name)
			}
		}
	}
	if len(want) != 0 {
		t.Errorf("not found among the limits: %v", want)
	}
}

// TestWorkerCannotExceedItsMemory takes the estimate away and lets a worker run
// into its limit.
func TestWorkerCannotExceedItsMemory(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) {
		c.Workers = 1
		c.WorkerMemory = 256 << 20
		c.MaxSide, c.MaxPixels, c.MaxPixelsPerByte = 1<<20, 1<<40, 1<<40
	})
	p.LieAboutMemory()
	before := mustSignals(t, p, readVector(t, "formats/rgb.png"))
	pid := p.WorkerPID()
	s := mustSignals(t, p, bombtest.WebP16384())
	// The runtime mostly says what it died of; at times it dies of saying it.
	if s.Refusal != media.RefusedMemory && s.Refusal != media.RefusedCrash {
		t.Errorf("refusal %q, want %q", s.Refusal, media.RefusedMemory)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the worker lives on")
	}
	if after := mustSignals(t, p, readVector(t, "formats/rgb.png")); after.Hashes[0] != before.Hashes[0] {
		t.Error("the next worker answers something else")
	}
}

// TestDeadWorkerIsReplaced kills a worker between two pictures: the second is
// not to blame.
func TestDeadWorkerIsReplaced(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) { c.Workers = 1 })
	content := readVector(t, "formats/rgb.png")
	for range 5 {
		before := mustSignals(t, p, content)
		if err := syscall.Kill(p.WorkerPID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if after := mustSignals(t, p, content); after.Refusal != "" || after.Hashes[0] != before.Hashes[0] {
			t.Fatalf("%+v", after)
		}
	}
}
