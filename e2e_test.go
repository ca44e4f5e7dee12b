package main_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// The tests of this package run the program itself, as its users do: built, in
// a process of its own, with nothing in its environment but what a test says.

// patience is when a test gives up. It is a deadline and measures nothing.
const patience = 30 * time.Second

// programDir is made by TestMain and not written to by anyone else.
var programDir string

func TestMain(m *testing.M) {
	var err error
	if programDir, err = os.MkdirTemp("", "mediagate-e2e"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := os.RemoveAll(programDir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "mediagate")
	cmd := exec.Command("go", "build", "-o", path, "mediagate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

// program returns the path of the built program.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build mediagate: %v", err)
	}
	return path
}

// command returns a run of the program that has not begun.
func command(t *testing.T, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	cmd.WaitDelay = patience
	// Nothing outlives a test binary that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// instance is a running server.
type instance struct {
	cmd *exec.Cmd
	// api and ops are where it listens, as URLs without a path.
	api, ops string
	printed  *output // on both ways out
	client   *http.Client
	ended    chan struct{} // closed when the process is gone and err is set
	err      error
}

// start runs a server until the test ends, and then expects it to end well when
// asked to. It returns once the server is ready. env is all of its environment,
// but for its addresses, which may be in env too.
func start(t *testing.T, env map[string]string) *instance {
	t.Helper()
	s := launch(t, env)
	t.Cleanup(func() { s.stop(t) })
	s.awaitReady(t)
	return s
}

// launch is start without waiting for anything, and kills in the end.
func launch(t *testing.T, env map[string]string) *instance {
	t.Helper()
	return launchUnder(t, env)
}

// launchUnder is launch by another program, which must become the server.
func launchUnder(t *testing.T, env map[string]string, by ...string) *instance {
	t.Helper()
	all := map[string]string{"MEDIAGATE_LISTEN": "127.0.0.1:0", "MEDIAGATE_OPS_LISTEN": "127.0.0.1:0"}
	maps.Copy(all, env)
	s := &instance{
		cmd: command(t, all, "serve"), printed: &output{}, ended: make(chan struct{}),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 16, ExpectContinueTimeout: patience},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.cmd.Stdout, s.cmd.Stderr = s.printed, s.printed
	if len(by) > 0 {
		s.cmd.Args = slices.Concat(by, []string{s.cmd.Path}, s.cmd.Args[1:])
		s.cmd.Path = by[0]
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		s.err = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.kill()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.printed.String())
		}
	})
	return s
}

// await polls until a condition holds, and fails the test if the server ends
// before or it takes too long.
func (s *instance) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-s.ended:
			t.Fatalf("the server ended (%v) before %s:\n%s", s.err, what, s.printed)
		case <-deadline:
			t.Fatalf("gave up waiting until %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// awaitListening waits until the server has its addresses.
func (s *instance) awaitListening(t *testing.T) {
	t.Helper()
	s.await(t, "it listens", func() bool {
		for _, line := range s.printed.lines("listening") {
			address, _ := line["address"].(string)
			switch line["for"] {
			case "api":
				s.api = "http://" + address
			case "operations":
				s.ops = "http://" + address
			}
		}
		return s.api != "" && s.ops != ""
	})
}

// awaitReady waits until the server answers from an index.
func (s *instance) awaitReady(t *testing.T) {
	t.Helper()
	s.awaitListening(t)
	s.await(t, "it is ready", func() bool { return s.readiness(t) == http.StatusOK })
}

// readiness is the status of /readyz, 0 if nobody listens.
func (s *instance) readiness(t *testing.T) int {
	t.Helper()
	a, err := s.send(t.Context(), request{path: "/readyz"})
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	return a.status
}

// stop asks a server to end, if it has not ended, and expects that it does so
// without complaint.
func (s *instance) stop(t *testing.T) {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	if err := s.wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// kill ends a server in the middle of whatever it does.
func (s *instance) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}

// wait returns how a server that is about to end has ended.
func (s *instance) wait() error {
	select {
	case <-s.ended:
		return s.err
	case <-time.After(patience):
		s.kill()
		return errors.New("it did not end")
	}
}

// request is what a test asks; the method is GET, or POST if there is a body.
type request struct {
	method, path string
	header       map[string]string
	body         io.Reader
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// send makes one request and reads the whole answer. It is safe to be called by
// several goroutines.
func (s *instance) send(ctx context.Context, r request) (a answer, err error) {
	if r.method == "" {
		r.method = http.MethodGet
		if r.body != nil {
			r.method = http.MethodPost
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, s.api+r.path, r.body)
	if err != nil {
		return answer{}, err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

// ask is send for the goroutine of the test, which fails without an answer of
// that status.
func (s *instance) ask(t *testing.T, r request, status int) answer {
	t.Helper()
	a, err := s.send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != status {
		t.Fatalf("%s %s: status %d, want %d: %s", r.method, r.path, a.status, status, a.body)
	}
	return a
}

// metrics returns what monitoring sees.
func (s *instance) metrics(t *testing.T) string {
	t.Helper()
	ops := *s
	ops.api = s.ops
	return string(ops.ask(t, request{path: "/metrics"}, http.StatusOK).body)
}

// asJSON is a body of JSON and the header that goes with it.
func asJSON(method, path, body string) request {
	return request{method, path, map[string]string{"Content-Type": "application/json"}, strings.NewReader(body)}
}

// upload is a form with one file, and other fields before it.
func upload(t *testing.T, path, field, fileName string, content []byte, others map[string]string) request {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range others {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile(field, fileName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return request{path: path, header: map[string]string{"Content-Type": form.FormDataContentType()}, body: &body}
}

// decode reads JSON that a test needs.
func decode[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return v
}

// scanned is what tests look at of a scan.
type scanned struct {
	Outcome string `json:"outcome"`
	Matches []struct {
		ContentID int64 `json:"content_id"`
	} `json:"matches"`
	Signals struct {
		Refusal string           `json:"refusal"`
		Hashes  []map[string]any `json:"hashes"`
	} `json:"signals"`
}

// picture returns one of the reference's pictures.
func picture(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(picturePath(name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func picturePath(name string) string {
	return filepath.Join("pdq", "testdata", "images", filepath.FromSlash(name))
}

const realPicture = "bridge-mods/aaa-orig.jpg"

// output collects what a process writes while others read it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the lines of a log with that message.
func (o *output) lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(o.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// exitCode returns how a finished run ended: -1 if a signal ended it.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

// databaseIn returns the setting that puts the banks into a folder.
func databaseIn(dir string) map[string]string {
	return map[string]string{"MEDIAGATE_DATABASE_URL": "sqlite:" + databasePath(dir)}
}

func databasePath(dir string) string { return filepath.Join(dir, "data", "mediagate.db") }

// openStore opens the database behind the server's back.
func openStore(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+databasePath(dir)+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // nothing is left to be written
	return db
}

// breakStore takes tables away that a server relies on.
func breakStore(t *testing.T, dir string) {
	t.Helper()
	db := openStore(t, dir)
	for _, table := range []string{"meta", "signal"} {
		if _, err := db.ExecContext(t.Context(), "ALTER TABLE "+table+" RENAME TO lost_"+table); err != nil {
			t.Fatal(err)
		}
	}
}
