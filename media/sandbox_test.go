package media_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
		c.WorkerMemory, c.TotalMemory = 256<<20, 1<<40
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

// TestPicturesDoNotSpoilEachOther gives one worker a picture cut short and then
// a whole one: together they would not fit into its memory.
func TestPicturesDoNotSpoilEachOther(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) { c.Workers, c.WorkerMemory, c.Deadline = 1, 256<<20, time.Minute })
	whole := bombtest.PNGZeros(3700, 3700, 16, bombtest.PNGRGBA)
	mustSignals(t, p, readVector(t, "formats/rgb.png"))
	pid := p.WorkerPID()
	for range 3 {
		if s := mustSignals(t, p, whole[:len(whole)/2]); s.Refusal != media.RefusedUnreadable {
			t.Errorf("the half: %q", s.Refusal)
		}
		if s := mustSignals(t, p, whole); s.Refusal != "" {
			t.Errorf("the whole: %q", s.Refusal)
		}
	}
	if p.WorkerPID() != pid {
		t.Error("the worker was used up")
	}
}

// slowPicture keeps a worker busy for a second or more.
func slowPicture() []byte { return bombtest.JPEGScans(3000, 150) }

func slowPool(t *testing.T) *media.Pool {
	return workertest.Pool(t, func(c *media.Config) { c.Workers, c.MaxScans, c.Deadline = 1, 1<<20, time.Minute })
}

// TestWorkersEndedFromOutsideTellNothing kills every worker that looks at a
// picture: that is a fault of this machine, and no property of the picture.
func TestWorkersEndedFromOutsideTellNothing(t *testing.T) {
	p := slowPool(t)
	mustSignals(t, p, readVector(t, "formats/rgb.png"))
	ctx, cancel := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	killer.Go(func() {
		for ctx.Err() == nil {
			signalWorkers(t, syscall.SIGKILL)
			time.Sleep(100 * time.Millisecond)
		}
	})
	s, err := p.Signals(t.Context(), slowPicture())
	cancel()
	killer.Wait()
	if err == nil {
		t.Errorf("%+v, want an error", s)
	}
	if s := mustSignals(t, p, readVector(t, "formats/rgb.png")); s.Refusal != "" {
		t.Errorf("afterwards: %q", s.Refusal)
	}
}

// TestWorkersFinishWhenTheGroupIsToldToEnd is what a service manager does.
func TestWorkersFinishWhenTheGroupIsToldToEnd(t *testing.T) {
	p := slowPool(t)
	before := mustSignals(t, p, slowPicture())
	ctx, cancel := context.WithCancel(t.Context())
	var manager sync.WaitGroup
	manager.Go(func() {
		for ctx.Err() == nil {
			signalWorkers(t, syscall.SIGTERM)
			signalWorkers(t, syscall.SIGINT)
			time.Sleep(20 * time.Millisecond)
		}
	})
	after := mustSignals(t, p, slowPicture())
	cancel()
	manager.Wait()
	if after.Refusal != "" || before.Refusal != "" || after.Hashes[0] != before.Hashes[0] {
		t.Errorf("%q and %q", before.Refusal, after.Refusal)
	}
}

// signalWorkers signals every child of this process.
func signalWorkers(t *testing.T, signal syscall.Signal) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Error(err)
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(child); err == nil {
				_ = syscall.Kill(pid, signal) // it may have ended
			}
		}
	}
}
