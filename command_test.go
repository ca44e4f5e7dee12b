package main_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mediagate/internal/bombtest"
)

// TestCommands runs the scripts, which say what each command prints and how it
// ends.
func TestCommands(t *testing.T) {
	pictures, err := filepath.Abs(filepath.Join("pdq", "testdata", "images"))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(program(t))
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin)
			e.Setenv("PICTURES", pictures)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "bomb": bomb, "shorten": shorten},
	})
}

// exits runs a program that must end with that status: exits STATUS PROGRAM…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARGUMENT...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("it exits %d", status)
	}
}

// bomb writes a hostile file: bomb NAME FILE
func bomb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bomb NAME FILE")
	}
	for _, b := range bombtest.All() {
		if b.Name == args[0] {
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Data, 0o600))
			return
		}
	}
	ts.Fatalf("there is no bomb %s", args[0])
}

// shorten cuts a file off: shorten FILE BYTES
func shorten(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: shorten FILE BYTES")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// hashed is what tests look at of a line of the hash command.
type hashed struct{ PDQ, MD5, SHA256 string }

// hashOf hashes one of the reference's pictures.
func hashOf(t *testing.T, name string) hashed {
	t.Helper()
	path, err := filepath.Abs(picturePath(name))
	if err != nil {
		t.Fatal(err)
	}
	out, err := command(t, nil, "hash", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return decode[hashed](t, out)
}

func TestHealthcheckTellsWhetherTheServerIsReady(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	env := map[string]string{"MEDIAGATE_LISTEN": strings.TrimPrefix(s.api, "http://")}
	if out, err := command(t, env, "healthcheck").CombinedOutput(); err != nil {
		t.Errorf("of a running server: %v: %s", err, out)
	}
	s.stop(t)
	out, err := command(t, env, "healthcheck").CombinedOutput()
	if code := exitCode(t, err); code != 1 || !strings.Contains(string(out), "connection refused") {
		t.Errorf("of a stopped server: exit status %d: %s", code, out)
	}
}

func TestServeRefusesAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"MEDIAGATE_LISTEN", "MEDIAGATE_OPS_LISTEN"} {
		t.Run(variable, func(t *testing.T) {
			taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = taken.Close() }()
			s := launch(t, map[string]string{variable: taken.Addr().String()})
			if code := exitCode(t, s.wait()); code != 1 {
				t.Errorf("exit status %d", code)
			}
			if said := s.printed.String(); !strings.Contains(said, "mediagate: listen: listen tcp "+taken.Addr().String()+": bind: address already in use") {
				t.Errorf("it does not say what is wrong:\n%s", said)
			}
		})
	}
}

func TestEmptyAddressTurnsOperationsOff(t *testing.T) {
	t.Parallel()
	s := launch(t, map[string]string{"MEDIAGATE_OPS_LISTEN": ""})
	for _, message := range []string{"listening", "index loaded"} {
		s.await(t, "it logs "+message, func() bool { return len(s.printed.lines(message)) > 0 })
	}
	s.stop(t)
	if got := s.printed.lines("listening"); len(got) != 1 || got[0]["for"] != "api" {
		t.Errorf("it listens for %v", got)
	}
}

// slowUpload is a scan whose body comes in two halves.
type slowUpload struct {
	rest   []byte
	body   *io.PipeWriter
	answer chan uploadAnswer
}

type uploadAnswer struct {
	answer
	err error
}

// beginUpload sends the first half, and returns when the server reads it.
func (s *instance) beginUpload(t *testing.T) *slowUpload {
	t.Helper()
	content := picture(t, realPicture)
	reader, writer := io.Pipe()
	// The client sends nothing of the body before the server asks for it.
	header := map[string]string{"Expect": "100-continue"}
	u := &slowUpload{rest: content[len(content)/2:], body: writer, answer: make(chan uploadAnswer, 1)}
	go func() {
		a, err := s.send(t.Context(), request{path: "/v1/scan", header: header, body: reader})
		u.answer <- uploadAnswer{a, err}
	}()
	t.Cleanup(u.abandon)
	if _, err := writer.Write(content[:len(content)/2]); err != nil {
		t.Fatal(err)
	}
	return u
}

// abandon lets the client give up, who otherwise waits for the second half.
func (u *slowUpload) abandon() { _ = u.body.CloseWithError(io.ErrUnexpectedEOF) }

// finish sends the second half and returns the answer.
func (u *slowUpload) finish(t *testing.T) uploadAnswer {
	t.Helper()
	if _, err := u.body.Write(u.rest); err != nil {
		t.Fatal(err)
	}
	if err := u.body.Close(); err != nil {
		t.Fatal(err)
	}
	return <-u.answer
}

func (s *instance) signal(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestSIGTERMLetsRunningRequestsFinish(t *testing.T) {
	t.Parallel()
	s := start(t, map[string]string{"MEDIAGATE_SHUTDOWN_DELAY": "2s"})
	u := s.beginUpload(t)
	s.signal(t)
	s.await(t, "it is not ready", func() bool { return s.readiness(t) == http.StatusServiceUnavailable })
	// Connections made just before are closed without an answer.
	s.await(t, "it refuses connections", func() bool {
		_, err := s.send(t.Context(), request{path: "/readyz"})
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	a := u.finish(t)
	if a.err != nil || a.status != http.StatusOK {
		t.Fatalf("status %d, %v", a.status, a.err)
	}
	if got := decode[scanned](t, a.body); got.Outcome != "clean" {
		t.Errorf("outcome %q", got.Outcome)
	}
	if err := s.wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestRequestsAreCutOffAfterTheGrace(t *testing.T) {
	t.Parallel()
	s := start(t, map[string]string{"MEDIAGATE_SHUTDOWN_GRACE": "100ms"})
	u := s.beginUpload(t)
	s.signal(t)
	if err := s.wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	u.abandon()
	if a := <-u.answer; a.err == nil {
		t.Errorf("half an upload was answered with status %d: %s", a.status, a.body)
	}
	if len(s.printed.lines("requests were cut off")) != 1 {
		t.Error("nothing is logged")
	}
}

func TestSecondSIGTERMKills(t *testing.T) {
	t.Parallel()
	s := launch(t, map[string]string{"MEDIAGATE_SHUTDOWN_DELAY": "1h"})
	s.awaitReady(t)
	s.signal(t)
	s.await(t, "it is not ready", func() bool { return s.readiness(t) == http.StatusServiceUnavailable })
	go func() { // again and again: one that comes at once may be taken for the first
		for {
			select {
			case <-s.ended:
				return
			case <-time.After(10 * time.Millisecond):
				_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			}
		}
	}()
	var exit *exec.ExitError
	if err := s.wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", err)
	}
}

func TestServerThatCannotReadItsBanksIsNotReady(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := databaseIn(dir)
	env["MEDIAGATE_INDEX_MAX_AGE"] = "3s"
	s := start(t, env)
	breakStore(t, dir)
	s.await(t, "it is not ready", func() bool { return s.readiness(t) == http.StatusServiceUnavailable })
	a := s.ask(t, request{path: "/readyz"}, http.StatusServiceUnavailable)
	if !bytes.HasPrefix(a.body, []byte("index stale")) {
		t.Errorf("it says %q", a.body)
	}
	// What it knows is still true enough to answer from.
	s.ask(t, request{path: "/v1/scan", body: bytes.NewReader(picture(t, realPicture))}, http.StatusOK)
}

func TestChangesAreMatchedWhileTheServerDrains(t *testing.T) {
	t.Parallel()
	s := launch(t, map[string]string{"MEDIAGATE_SHUTDOWN_DELAY": "3s"})
	s.awaitReady(t)
	s.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"LATE"}`), http.StatusCreated)
	s.signal(t)
	s.await(t, "it is not ready", func() bool { return s.readiness(t) == http.StatusServiceUnavailable })
	const late = "0123456789abcdef0123456789abcdef"
	s.ask(t, asJSON(http.MethodPost, "/c/bank/LATE/signal", `{"video_md5":"`+late+`"}`), http.StatusOK)
	a := s.ask(t, request{path: "/m/raw_lookup?signal_type=video_md5&signal=" + late}, http.StatusOK)
	if found := decode[struct{ Matches []int64 }](t, a.body); len(found.Matches) != 1 {
		t.Errorf("what was banked last is found as %v", found)
	}
	if err := s.wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestRequestHeadsHaveALimit(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	head := func(n int) request {
		return request{path: "/healthz", header: map[string]string{"X-Padding": strings.Repeat("x", n)}}
	}
	s.ask(t, head(15<<10), http.StatusOK)
	// Past the limit and what net/http allows beside it. The connection may be cut
	// before the answer is read.
	if a, err := s.send(t.Context(), head(24<<10)); err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", a.status)
	}
}
