package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is when a server is given up.
const patience = 10 * time.Minute

// gate is a mediagate that runs.
type gate struct {
	cmd     *exec.Cmd
	started time.Time
	ended   chan struct{} // closed when the process is gone

	mu       sync.Mutex
	api, ops string // addresses
	said     []string
	lines    map[string]map[string]any // the last of each message
}

// startGate starts the program with nothing in its environment but what is given
// and its addresses.
func startGate(program, dir string, env ...string) (*gate, error) {
	g := &gate{cmd: exec.Command(program, "serve"), ended: make(chan struct{}), lines: make(map[string]map[string]any)}
	g.cmd.Dir = dir
	g.cmd.Env = append([]string{"MEDIAGATE_LISTEN=127.0.0.1:0", "MEDIAGATE_OPS_LISTEN=127.0.0.1:0", "MEDIAGATE_PPROF=true"}, env...)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := g.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	g.started = time.Now()
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start mediagate: %w", err)
	}
	go func() {
		defer close(g.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			g.heard(lines.Text())
		}
		_ = g.cmd.Wait() // what it said is what matters
	}()
	return g, nil
}

// kept is how many lines of the log are kept.
const kept = 50

func (g *gate) heard(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var l map[string]any
	if json.Unmarshal([]byte(line), &l) == nil {
		message, _ := l["msg"].(string)
		g.lines[message] = l
		address, _ := l["address"].(string)
		switch {
		case message == "listening" && l["for"] == "api":
			g.api = address
		case message == "listening":
			g.ops = address
		}
	}
	g.said = append(g.said, line)
	g.said = g.said[max(0, len(g.said)-kept):]
}

func (g *gate) addresses() (api, ops string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.api, g.ops
}

// logged returns the last line of the log with that message, or nil.
func (g *gate) logged(message string) map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lines[message]
}

// metric returns the sum of all metrics that a pattern names.
func (g *gate) metric(ctx context.Context, pattern *regexp.Regexp) (sum float64, err error) {
	_, ops := g.addresses()
	status, body, err := ask(ctx, "http://"+ops+"/metrics")
	if err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("read metrics: status %d: %w", status, err)
	}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !pattern.MatchString(name) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read metric %s: %w", name, err)
		}
		sum += v
	}
	return sum, nil
}

// await polls until a condition holds.
func (g *gate) await(ctx context.Context, what string, within time.Duration, holds func() (bool, error)) error {
	for start := time.Now(); ; {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-g.ended:
			return fmt.Errorf("%w before %s: %s", errEnded, what, g.log())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(start) > within {
			return fmt.Errorf("gave up waiting until %s: %s", what, g.log())
		}
	}
}

// errEnded is a server that is gone.
var errEnded = errors.New("mediagate has ended")

func (g *gate) log() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.said, "\n")
}

// ready waits until the server answers from an index, and returns how long that
// was since it was started.
func (g *gate) ready(ctx context.Context) (took time.Duration, err error) {
	err = g.await(ctx, "it was ready", patience, func() (bool, error) {
		api, _ := g.addresses()
		if api == "" {
			return false, nil
		}
		status, _, err := ask(ctx, "http://"+api+"/readyz")
		took = time.Since(g.started)
		return err == nil && status == http.StatusOK, nil // it may not listen yet
	})
	return took, err
}

// stop ends the server as an operator does.
func (g *gate) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%w: %s", errEnded, g.log())
	}
	select {
	case <-g.ended:
	case <-time.After(time.Minute):
		_ = g.cmd.Process.Kill() // it does not do what it must
		<-g.ended
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%w with status %d: %s", errEnded, code, g.log())
	}
	return nil
}

// memory returns how much of a process is resident, and was at most, in bytes.
func (g *gate) memory() (now, most int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read memory: %w", err)
	}
	return kilobytes(string(raw), "VmRSS"), kilobytes(string(raw), "VmHWM"), nil
}

// kilobytes reads a line like "VmRSS:  1024 kB", in bytes.
func kilobytes(status, name string) int64 {
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name+":" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// processorTime returns how much of it a process has had.
func processorTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// The second field may hold anything, in parentheses.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks, err
}

// ticks are what the kernel counts processor time in, a second.
const ticks = 100

// resetPeak makes the most that was resident begin anew.
func (g *gate) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.cmd.Process.Pid), []byte("5"), 0)
}

// ask makes one request.
func ask(ctx context.Context, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}
