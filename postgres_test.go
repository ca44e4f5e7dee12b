package main_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/internal/postgrestest"
)

// TestServeOnPostgres runs the program in the environment of an hma-matrix, moves
// its banks into a file and back to another server's database.
func TestServeOnPostgres(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	name := postgrestest.DatabaseOf(t, server.NewDatabase(t))
	env := map[string]string{"HMA_DB_HOST": server.Address(), "HMA_DB_NAME": name, "HMA_DB_USER": postgrestest.User, "HMA_DB_PASS": postgrestest.Password}
	s := start(t, env)
	s.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"KNOWN"}`), http.StatusCreated)
	const banked = "0123456789abcdef0123456789abcdef"
	s.ask(t, asJSON(http.MethodPost, "/c/bank/KNOWN/signal", `{"video_md5":"`+banked+`","note":"n"}`), http.StatusOK)
	found := func(s *instance) {
		t.Helper()
		a := s.ask(t, request{path: "/m/raw_lookup?signal_type=video_md5&signal=" + banked}, http.StatusOK)
		if got := decode[struct{ Matches []int64 }](t, a.body); len(got.Matches) != 1 {
			t.Errorf("found as %v", got)
		}
	}
	found(s)
	// The server goes and comes back. What is known is answered from all the time.
	server.Kill(t)
	found(s)
	if a, err := s.send(t.Context(), asJSON(http.MethodPost, "/c/banks", `{"name":"LOST"}`)); err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !bytes.HasPrefix(a.body, []byte(`{"message":"the banks cannot be`)) {
		t.Errorf("status %d %s, %v", a.status, a.body, err)
	}
	if a, err := s.send(t.Context(), request{method: http.MethodPost, path: "/v1/exchanges/X/fetch"}); err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !bytes.HasPrefix(a.body, []byte(`{"error":"unavailable",`)) {
		t.Errorf("status %d %s, %v", a.status, a.body, err)
	}
	server.Restart(t)
	s.await(t, "it writes again", func() bool {
		a, err := s.send(t.Context(), asJSON(http.MethodPost, "/c/banks", `{"name":"AGAIN"}`))
		return err == nil && a.status == http.StatusCreated
	})
	if a := s.ask(t, request{path: "/c/banks"}, http.StatusOK); bytes.Contains(a.body, []byte("LOST")) {
		t.Errorf("what failed took place: %s", a.body)
	}
	s.stop(t)
	if said := s.printed.String(); strings.Contains(said, postgrestest.Password) {
		t.Errorf("the password is logged:\n%s", said)
	}

	dir := t.TempDir()
	hma := fmt.Sprintf("postgres://%s:%s@%s/%s", postgrestest.User, postgrestest.Password, server.Address(), name)
	file := databaseIn(dir)["MEDIAGATE_DATABASE_URL"]
	other := server.NewDatabase(t)
	for _, urls := range [][2]string{{hma, file}, {file, other}} {
		out, err := command(t, nil, "store", "copy", "--from", urls[0], "--to", urls[1]).CombinedOutput()
		if err != nil || string(out) != "copied 10 rows\n" { // three counters, two banks, a content, a signal, and the marks of three commits
			t.Fatalf("%v: %s", err, out)
		}
	}
	out, err := command(t, nil, "store", "copy", "--from", file, "--to", hma).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the store is not empty") || bytes.Contains(out, []byte(postgrestest.Password)) {
		t.Errorf("over what is there: %v: %s", err, out)
	}
	found(start(t, databaseIn(dir)))
	found(start(t, map[string]string{"MEDIAGATE_DATABASE_URL": other}))
}

func TestServeWithAWrongPassword(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	name := postgrestest.DatabaseOf(t, server.NewDatabase(t))
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("wr0ng-c4nary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"MEDIAGATE_DATABASE_URL": "postgres://" + postgrestest.User + "@" + server.Address() + "/" + name, "MEDIAGATE_DATABASE_PASSWORD_FILE": file,
	}
	s := launch(t, env)
	if code := exitCode(t, s.wait()); code != 1 {
		t.Errorf("exit status %d", code)
	}
	if said := s.printed.String(); !strings.Contains(said, "password authentication failed") || strings.Contains(said, "c4nary") {
		t.Errorf("it says:\n%s", said)
	}
	if err := os.WriteFile(file, []byte(postgrestest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, env)
}
