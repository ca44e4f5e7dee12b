// Package postgrestest starts a real PostgreSQL for tests.
//
// Most tests want a database of their own, [NewDatabase], on the one server that
// their test binary has, which TestMain ends with [Tests.Run]. Tests that kill it or
// change its settings [Start] another.
//
// Without PostgreSQL's programs a test is skipped, or fails if
// MEDIAGATE_TEST_REQUIRE has postgres.
package postgrestest

import (
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"mediagate/internal/synapsetest"
)

// User is the superuser of every server.
const User = "mediagate"

// Password is what User needs over TCP. By the socket it needs none.
const Password = "test-password"

// hasty are settings of a server whose data nobody will miss.
var hasty = []string{"fsync=off", "synchronous_commit=off", "full_page_writes=off"}

// shared is the server of the test binary.
var shared struct {
	once sync.Once
	s    *Server
	err  error
}

// Tests are the tests of a package that use databases.
type Tests struct{ M *testing.M }

// Run runs them and ends the server that they have used.
func (tests Tests) Run() int {
	code := tests.M.Run()
	if shared.s != nil {
		if err := shared.s.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// NewDatabase returns the URL of an empty database.
func NewDatabase(t testing.TB) string {
	t.Helper()
	return Shared(t).NewDatabase(t)
}

// Shared returns the server of the test binary. Nobody may stop it.
func Shared(t testing.TB) *Server {
	t.Helper()
	programs, err := find()
	if err != nil {
		synapsetest.RequireOrSkip(t, "postgres", err)
	}
	shared.once.Do(func() {
		shared.s, shared.err = create(programs, "", hasty)
		if shared.err == nil {
			shared.err = shared.s.start()
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.s
}

// Start returns a server of the test's own, which is as careful as PostgreSQL is
// by default, with further settings as name=value.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return StartIn(t, "", settings...)
}

// StartIn is Start in a folder of the caller's, which has a short path.
func StartIn(t testing.TB, dir string, settings ...string) *Server {
	t.Helper()
	programs, err := find()
	if err != nil {
		synapsetest.RequireOrSkip(t, "postgres", err)
	}
	s, err := create(programs, dir, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// databases numbers them.
var databases atomic.Int64

// NewDatabase returns the URL of an empty database. options are those of CREATE
// DATABASE.
func (s *Server) NewDatabase(t testing.TB, options ...string) string {
	t.Helper()
	name := fmt.Sprint("test", databases.Add(1))
	statement := "CREATE DATABASE " + name
	for _, option := range options {
		statement += " " + option
	}
	s.Exec(t, "postgres", statement)
	return s.URL(name)
}

// URL names a database, by the server's socket.
func (s *Server) URL(database string) string {
	return "postgres://" + User + "@/" + database + "?" + url.Values{"host": {s.dir}, "port": {s.port}}.Encode()
}

// Address is where the server listens for TCP.
func (s *Server) Address() string { return "127.0.0.1:" + s.port }

// DatabaseOf returns the name of the database that a URL of this package names.
func DatabaseOf(t testing.TB, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path[1:]
}
