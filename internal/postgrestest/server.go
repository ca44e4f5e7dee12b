package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is when a test gives up on a server. It is a deadline and measures
// nothing.
const patience = 60 * time.Second

// Server is a PostgreSQL server in a folder of its own.
type Server struct {
	programs, dir, port string
	settings            []string
	owner               *syscall.Credential // nil for whoever runs the tests
	cmd                 *exec.Cmd
	ended               chan struct{} // closed when cmd has ended
}

// find returns the folder with PostgreSQL's programs. Debian keeps those of the
// server where only their wrappers look.
func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the others are beside it
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("initdb is not found"), err)
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// create makes the folder of a server. As root, which PostgreSQL refuses to be
// run by, it is the user postgres' or nobody's. It is in another folder, or the
// system's for temporary files if that is empty: those of tests have paths that are
// too long for a socket.
func create(programs, in string, settings []string) (s *Server, err error) {
	s = &Server{programs: programs, settings: settings}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			if u, err = user.Lookup("nobody"); err != nil {
				return nil, err
			}
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	if s.dir, err = os.MkdirTemp(in, "postgrestest"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password), 0o600); err != nil {
		return nil, err
	}
	if s.owner != nil {
		for _, path := range []string{s.dir, password} {
			if err := os.Chown(path, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
				return nil, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := s.command(ctx, "initdb", "--no-sync", "-D", s.data(), "-U", User, "-A", "scram-sha-256", "--pwfile", password,
		"-E", "UTF8", "--locale", "C.UTF-8").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	const access = "local all " + User + " trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
	return s, os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(access), 0o600)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// command is one of PostgreSQL's programs. It does not outlive the test binary.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, name), args...) //nolint:gosec // the machine's own
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// start starts the server and waits until it answers.
func (s *Server) start() error {
	if s.port == "" {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
	}
	args := []string{"-D", s.data(), "-k", s.dir, "-p", s.port, "-c", "listen_addresses=127.0.0.1"}
	for _, setting := range append([]string{"max_connections=200", "shared_buffers=16MB", "autovacuum=off"}, s.settings...) {
		args = append(args, "-c", setting)
	}
	out, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the server has its own
	s.cmd = s.command(context.Background(), "postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended, cmd := make(chan struct{}), s.cmd
	s.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		asked, err := s.psql(ctx, "postgres", "SELECT 1").CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			continue
		}
		said, unread := os.ReadFile(s.log())
		return errors.Join(fmt.Errorf("the PostgreSQL server does not start: %w\n%s%s", err, asked, said), unread)
	}
}

func freePort() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// remove ends the server and deletes all it held.
func (s *Server) remove() error {
	s.end(syscall.SIGQUIT)
	return os.RemoveAll(s.dir)
}

// end sends a signal to the server, and waits for it and its children.
func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	children := childrenOf(s.cmd.Process.Pid)
	_ = s.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill() // it does not do what it must
		<-s.ended
	}
	for _, pid := range children {
		if sig == syscall.SIGKILL {
			_ = syscall.Kill(pid, sig) // it may have ended
		}
		for deadline := time.Now().Add(patience); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// childrenOf lists the processes that a process has started.
func childrenOf(pid int) (children []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, path := range stats {
		raw, err := os.ReadFile(path) //nolint:gosec // of the system
		if err != nil {
			continue // it has ended
		}
		// The second field may hold anything, in parentheses.
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return slices.Clip(children)
}

// Kill ends the server and all its processes with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(syscall.SIGKILL)
}

// Pause stops the server and all its processes in whatever they do. Nobody is told:
// the system goes on to take connections, and what is sent on them.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	if err := s.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A server that is paused does not do what its end asks for.
	t.Cleanup(func() { _ = s.signal(syscall.SIGCONT) }) // it may have ended
}

// Resume lets a server that was paused go on.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	if err := s.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// signal reaches the server before its processes, so that it cannot start others
// meanwhile.
func (s *Server) signal(sig syscall.Signal) error {
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	for _, pid := range childrenOf(s.cmd.Process.Pid) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// Restart starts a server that was killed. Processes that it had begun just then, which
// nobody knows of, end by themselves; it does not start before.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := s.start()
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "pre-existing shared memory block") || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func (s *Server) psql(ctx context.Context, database, statement string) *exec.Cmd {
	return s.command(ctx, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-p", s.port, "-U", User, "-d", database, "-c", statement)
}

// Exec runs a statement and returns what it prints: rows in lines, columns
// between bars.
func (s *Server) Exec(t testing.TB, database, statement string) string {
	t.Helper()
	out, err := s.TryExec(t, database, statement)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryExec is Exec for a statement that may fail.
func (s *Server) TryExec(t testing.TB, database, statement string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := s.psql(ctx, database, statement)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", statement, err, stderr.String())
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}
