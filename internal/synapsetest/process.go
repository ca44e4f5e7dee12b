package synapsetest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is when a test gives up on an answer or an end. It is a deadline and
// measures nothing.
const patience = 30 * time.Second

// process is a child of the test binary, which does not outlive it.
type process struct {
	cmd   *exec.Cmd
	last  syscall.Signal
	ended chan struct{} // closed when the process is gone and err is set
	err   error
}

// startProcess starts cmd. It appends what it prints to the file output. last is
// the signal that ends it, and that it gets if the test binary dies.
func startProcess(t testing.TB, cmd *exec.Cmd, output string, last syscall.Signal) *process {
	t.Helper()
	out, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // in the test's folder
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: last}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, last: last, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p
}

// kill ends the process, if it has not ended, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(p.last) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill() // it does not do what it must
		<-p.ended
	}
}

// signal sends a signal to a process that must still be there.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("send %v: %v", s, err)
	}
}

// await polls until a condition holds, and fails the test if the process ends
// before or it takes too long. output is what there is to say about it then.
func (p *process) await(t testing.TB, what string, within time.Duration, output func() string, holds func() bool) {
	t.Helper()
	deadline := time.After(within)
	for !holds() {
		select {
		case <-p.ended:
			t.Fatalf("the process ended (%v) before %s:\n%s", p.err, what, tail(output()))
		case <-deadline:
			t.Fatalf("gave up waiting until %s:\n%s", what, tail(output()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// tail is the last lines of a log.
func tail(log string) string {
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "")
}

// read is what a file holds so far; nothing if it is not there yet.
func read(path string) string {
	content, err := os.ReadFile(path) //nolint:gosec // in the test's folder
	if err != nil && !os.IsNotExist(err) {
		return err.Error()
	}
	return string(content)
}
