// Package synapsetest gives tests a real Synapse, the homeserver that mediagate
// is made for, and a real nginx in front of it.
//
// Call [Start] for one homeserver, or [StartPair] for two that federate with
// each other, and [StartNginx] for the proxy. All of them listen on 127.0.0.1
// only, keep what they have in a folder of the test, and are gone when the test
// ends. What they are asked through a [Server] must succeed, or the test fails;
// [Server.Do] is for what may not.
//
// Synapse is what make peers installs, or the module synapse of the Python
// interpreter whose absolute path is in MEDIAGATE_TEST_SYNAPSE. A test whose
// tool is missing is skipped, or fails if MEDIAGATE_TEST_REQUIRE names the tool.
package synapsetest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bootPatience is when a test gives up on a Synapse that boots, which takes some
// seconds of processor time, shared with all other tests that run.
const bootPatience = 90 * time.Second

// Options are what may differ between homeservers. The zero value is one whose
// media needs a token, as Synapse has it by default.
type Options struct {
	// UnauthenticatedMedia serves media on the old routes without a token.
	UnauthenticatedMedia bool
	// Extra is a YAML mapping read after the configuration of this package, and
	// replaces its sections of the same name whole.
	Extra string
}

// Server is one Synapse with its own database and media. Its methods need the
// server to run unless they say otherwise, and may be called by one goroutine,
// the test's: they end the test if something is wrong.
type Server struct {
	// Name is the server_name: localhost and the port that other homeservers
	// find it at, which speaks TLS with a certificate of its own making.
	Name string
	// URL has the client, federation, media and admin APIs without TLS. It has
	// no path.
	URL string

	dir     string
	python  string
	client  *http.Client
	process *process // the latest
	booted  int      // how long the log was when it started
}

// Start boots a homeserver that runs until the test ends. It returns once the
// server answers, which takes a few seconds.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := launch(t, o)
	s.await(t)
	return s
}

// StartPair boots two homeservers at once, in little more time than one. They
// reach each other by their names.
func StartPair(t testing.TB, a, b Options) (*Server, *Server) {
	t.Helper()
	first, second := launch(t, a), launch(t, b)
	first.await(t)
	second.await(t)
	return first, second
}

// launch is Start without waiting.
func launch(t testing.TB, o Options) *Server {
	t.Helper()
	federation := FreeAddress(t)
	s := &Server{
		Name: "localhost:" + port(federation), URL: "http://" + FreeAddress(t),
		python: findSynapse(t), dir: t.TempDir(), client: newClient(),
	}
	s.writeKeys(t)
	s.boot(t, o)
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.process.kill()
		if t.Failed() {
			t.Logf("log of %s ends with:\n%s", s.Name, tail(s.Log()))
		}
	})
	return s
}

// boot starts a process for the server, which must have none.
func (s *Server) boot(t testing.TB, o Options) {
	t.Helper()
	args := []string{"-m", "synapse.app.homeserver", "-c", s.write(t, "homeserver.yaml", s.config(o))}
	if o.Extra != "" {
		args = append(args, "-c", s.write(t, "extra.yaml", o.Extra))
	}
	cmd := exec.Command(s.python, args...) //nolint:gosec,noctx // the developer's interpreter; the process outlives a call
	cmd.Dir = s.dir
	// Nothing else: proxies of the environment would be used for federation, and
	// an empty SYNAPSE_ASYNC_IO_REACTOR ends Synapse at once. GIT_DIR keeps it from
	// looking for its version in the repository that it is installed below, which
	// refreshes the index there.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_DIR=" + s.dir}
	s.booted = len(s.Log())
	s.process = startProcess(t, cmd, s.logFile(), syscall.SIGKILL)
}

// await waits until the server answers and has done what it does to its database
// behind its users' backs: one of these things repeats, in the stream of
// quarantine changes, what is in quarantine by then.
func (s *Server) await(t testing.TB) {
	t.Helper()
	s.process.await(t, s.Name+" is ready", bootPatience, s.Log, func() bool {
		return strings.Contains(s.Log()[s.booted:], "No more background updates to do") && s.isHealthy(t)
	})
}

// Stop ends a server, if it runs, as a power cut would, and keeps its data. Its
// addresses refuse connections then.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.process.kill()
	s.client.CloseIdleConnections()
}

// Restart boots a server again, with its data, its addresses and options that
// may be others, and stops it before if it runs.
func (s *Server) Restart(t testing.TB, o Options) {
	t.Helper()
	s.Stop(t)
	s.boot(t, o)
	s.await(t)
}

// Pause keeps a server from doing anything until [Server.Resume]. The kernel
// still accepts connections for it, but nothing is answered.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.process.signal(t, syscall.SIGSTOP)
}

// Resume lets a paused server go on where it was.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	s.process.signal(t, syscall.SIGCONT)
}

// Log is what the server has logged so far, over all restarts, at the level
// INFO. It may be called at any time.
func (s *Server) Log() string { return read(s.logFile()) }

func (s *Server) logFile() string { return filepath.Join(s.dir, "homeserver.log") }

// write puts a file into the server's folder and returns its name there.
func (s *Server) write(t testing.TB, name, content string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
