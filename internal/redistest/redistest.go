// Package redistest starts a real Redis for tests.
//
// Without redis-server a test is skipped, or fails if MEDIAGATE_TEST_REQUIRE has
// redis.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mediagate/internal/synapsetest"
)

// patience is when a test gives up on a server. It is a deadline and measures
// nothing.
const patience = 60 * time.Second

// Server is a Redis server in a folder of its own, without a password for the user
// default.
type Server struct {
	program, dir, port, password string
	settings                     []string
	sentinel                     bool
	cmd                          *exec.Cmd
	ended                        chan struct{} // closed when cmd has ended
}

// Start returns a server of the test's own. settings are those of redis.conf, as
// "name value". Nothing is written to disk unless they or the test say so.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return start(t, &Server{settings: settings})
}

// StartSentinel returns a Redis Sentinel of the test's own, with a password.
func StartSentinel(t testing.TB, password string, settings ...string) *Server {
	t.Helper()
	return start(t, &Server{settings: append(settings, "requirepass "+password), sentinel: true, password: password})
}

func start(t testing.TB, s *Server) *Server {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err == nil {
		_, err = exec.LookPath("redis-cli")
	}
	if err != nil {
		synapsetest.RequireOrSkip(t, "redis", err)
	}
	// Not the test's, whose path is too long for a socket.
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		t.Fatal(err)
	}
	s.program, s.dir = program, dir
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if s.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	return s
}

func freePort() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// URL names the server.
func (s *Server) URL() string { return "redis://" + s.Address() + "/0" }

// Address is where the server listens.
func (s *Server) Address() string { return "127.0.0.1:" + s.port }

// Socket is the path of the socket at which it listens, too.
func (s *Server) Socket() string { return filepath.Join(s.dir, "socket") }

// Dump is the path of the file that the server saves to, and loads from when it
// starts.
func (s *Server) Dump() string { return filepath.Join(s.dir, "dump.rdb") }

// Restart starts a server that has ended, at the same address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	conf, args := []string{"bind 127.0.0.1", "port " + s.port, "unixsocket " + s.Socket(), "dir " + s.dir, "daemonize no"}, []string(nil)
	if s.sentinel {
		args = append(args, "--sentinel")
	} else {
		conf = append(conf, `save ""`, "appendonly no")
	}
	path := filepath.Join(s.dir, "redis.conf")
	if err := os.WriteFile(path, []byte(strings.Join(append(conf, s.settings...), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()                                                              // the server has its own
	cmd := exec.CommandContext(context.Background(), s.program, append([]string{path}, args...)...) //nolint:gosec // the machine's own
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	s.cmd, s.ended = cmd, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		said, err := s.cli(t.Context(), "PING")
		if err == nil && said == "PONG" || strings.HasPrefix(said, "NOAUTH") { // settings may say so
			return
		}
		select {
		case <-ended:
		default:
			if time.Now().Before(deadline) {
				continue
			}
		}
		logged, _ := os.ReadFile(log.Name())
		t.Fatalf("redis-server does not start: %v: %s\n%s", err, said, logged)
	}
}

// end sends a signal to the server and waits for its end.
func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill() // it does not do what it must
		<-s.ended
	}
}

// Kill ends the server with SIGKILL. What it has not saved is lost.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(syscall.SIGKILL)
}

// Stop ends the server as its operator does.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(syscall.SIGTERM)
}

// Pause stops the server's process, which goes on with Resume.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
}

// Resume lets a server go on that was paused.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGCONT)
}

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Flush deletes everything.
func (s *Server) Flush(t testing.TB) {
	t.Helper()
	s.Do(t, "FLUSHALL")
}

// Set changes a setting of the running server.
func (s *Server) Set(t testing.TB, name, value string) {
	t.Helper()
	s.Do(t, "CONFIG", "SET", name, value)
}

// Do runs a command and returns its answer, of which each element has a line. An
// answer that is an error ends the test.
func (s *Server) Do(t testing.TB, command ...string) string {
	t.Helper()
	said, err := s.Try(t, command...)
	if err != nil {
		t.Fatalf("%q: %v: %s", command, err, said)
	}
	return said
}

// Try does as Do, and returns what it fails with.
func (s *Server) Try(t testing.TB, command ...string) (string, error) {
	t.Helper()
	return s.cli(t.Context(), command...)
}

func (s *Server) cli(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cli := exec.CommandContext(ctx, "redis-cli", append([]string{"-e", "-s", s.Socket()}, command...)...) //nolint:gosec // the machine's own
	if s.password != "" {
		cli.Env = append(os.Environ(), "REDISCLI_AUTH="+s.password)
	}
	out, err := cli.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("redis-cli: %w", err)
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

// Keys lists the names that the server has values for.
func (s *Server) Keys(t testing.TB) []string {
	t.Helper()
	return strings.Fields(s.Do(t, "KEYS", "*"))
}
