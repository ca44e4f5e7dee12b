package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/internal/postgrestest"
)

// TestStartWaitsForTheStore: machines start their parts in any order.
func TestStartWaitsForTheStore(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	env := map[string]string{"MEDIAGATE_DATABASE_URL": server.NewDatabase(t), "MEDIAGATE_DATABASE_WAIT": "1h"}
	server.Kill(t)
	waiting := launch(t, env)
	waiting.await(t, "it waits", func() bool { return len(waiting.printed.lines("the store does not answer yet")) == 1 })
	env["MEDIAGATE_DATABASE_WAIT"] = "0s"
	if hasty := launch(t, env); exitCode(t, hasty.wait()) != 1 || !strings.Contains(hasty.printed.String(), "mediagate: open store: ") {
		t.Errorf("without patience: %s", hasty.printed)
	}
	env["MEDIAGATE_DATABASE_WAIT"] = "1h"
	ending := launch(t, env)
	ending.await(t, "it waits", func() bool { return len(ending.printed.lines("the store does not answer yet")) == 1 })
	ending.stop(t)
	server.Restart(t)
	waiting.awaitReady(t)
	if n := len(waiting.printed.lines("the store does not answer yet")); n != 1 {
		t.Errorf("it complains %d times", n)
	}
	waiting.stop(t)
}

// TestKilledServerFetchesAtOnceAgain: it knows its own lease, as it cannot know those
// of a server that another one shares PostgreSQL with.
func TestKilledServerFetchesAtOnceAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := databaseIn(dir)
	env["MEDIAGATE_HOMESERVER_URL"], env["MEDIAGATE_HOMESERVER_TOKEN_FILE"] = "http://127.0.0.1:1", filepath.Join(dir, "token")
	if err := os.WriteFile(env["MEDIAGATE_HOMESERVER_TOKEN_FILE"], []byte("syt_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s := launch(t, env)
		s.await(t, "it fetches", func() bool { return len(s.printed.lines("exchange is fetched here")) == 1 })
		if out, err := command(t, env, "exchange", "run", "SYNAPSE_QUARANTINE").CombinedOutput(); err == nil || !strings.Contains(string(out), "the lease is held by another process") {
			t.Errorf("beside it: %s, %v", out, err)
		}
		s.kill()
		if waits := s.printed.lines("exchange is left to another process"); len(waits) > 0 {
			t.Errorf("it waited for a process that was killed: %v", waits)
		}
	}
	if out, err := command(t, env, "exchange", "run", "SYNAPSE_QUARANTINE").CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot be reached") {
		t.Errorf("after it: %s, %v", out, err)
	}
}

// tellsItsName to processes that fetch nothing, with a token and without one. Else
// they would take its media for that of others.
func (s *site) tellsItsName(t *testing.T) {
	_, want, _ := strings.Cut(s.admin.ID, ":")
	for _, variable := range []string{"", "MEDIAGATE_HOMESERVER_TOKEN_FILE"} {
		env := s.environment(t, map[string]string{"MEDIAGATE_ROLES": "GATE"})
		delete(env, variable)
		p := launch(t, env)
		p.await(t, "it knows the name", func() bool { return len(p.printed.lines("the homeserver has told its name")) == 1 })
		if got := p.printed.lines("the homeserver has told its name")[0]["name"]; got != want {
			t.Errorf("without %q: %v, want %s", variable, got, want)
		}
	}
}

// TestHasherAndMatcherAreBothThere, in the order in which hma-matrix loses one.
func TestHasherAndMatcherAreBothThere(t *testing.T) {
	t.Parallel()
	content := picture(t, realPicture)
	for _, env := range []map[string]string{{"MEDIAGATE_ROLES": "HASHER,MATCHER"}, {"HMA_WORKER_ROLE": "HASHER,MATCHER"}} {
		s := start(t, env)
		for path, want := range map[string]string{"/h/hash": `{"pdq":"`, "/m/lookup": `{"pdq":{}}`} {
			a, err := s.send(t.Context(), upload(t, path, "photo", "x", content, nil))
			if err != nil || a.status != http.StatusOK || !strings.HasPrefix(string(a.body), want) {
				t.Errorf("%v: %s: %d %s, %v", env, path, a.status, a.body, err)
			}
		}
		for _, path := range []string{"/c/banks", "/v1/scan", "/_mediagate/check", contentScanner + "scan/a/b"} {
			s.ask(t, request{path: path}, http.StatusNotFound)
		}
	}
}

// TestProcessesOfAllRolesStartAtOnce on one empty database, each of which creates
// what must be there before anything is judged.
func TestProcessesOfAllRolesStartAtOnce(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("syt_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"MEDIAGATE_DATABASE_URL": postgrestest.Start(t).NewDatabase(t), "MEDIAGATE_HOMESERVER_URL": "http://127.0.0.1:1", "MEDIAGATE_HOMESERVER_TOKEN_FILE": token,
	}
	replicas := map[string]*instance{}
	for _, roles := range []string{"HASHER", "MATCHER", "curator,ui", "CRON", "SCANNER", "GATE"} {
		env["MEDIAGATE_ROLES"] = roles
		replicas[roles] = launch(t, env)
	}
	// Who lets media pass knows nothing about it before it was fetched once.
	const unknown = "an exchange has not been fetched once\n"
	for roles, want := range map[string]string{"HASHER": "ready\n", "MATCHER": "ready\n", "curator,ui": "ready\n", "CRON": "ready\n", "SCANNER": unknown, "GATE": unknown} {
		s := replicas[roles]
		s.awaitListening(t)
		s.await(t, "it says of "+roles+": "+want, func() bool {
			a, err := s.send(t.Context(), request{path: "/readyz"})
			return err == nil && string(a.body) == want
		})
	}
	a := replicas["curator,ui"].ask(t, request{path: "/c/exchanges"}, http.StatusOK)
	if got := strings.TrimSpace(string(a.body)); got != `["SYNAPSE_QUARANTINE"]` {
		t.Errorf("exchanges %s", got)
	}
	// One process fetches, and the others show what it kept.
	curator := replicas["curator,ui"]
	curator.await(t, "the failure is known", func() bool {
		a, err := curator.send(t.Context(), request{path: "/c/exchange/SYNAPSE_QUARANTINE/status"})
		return err == nil && strings.Contains(string(a.body), `"last_fetch_succeeded":false`)
	})
	for roles, s := range replicas {
		if fetched := strings.Contains(s.metrics(t), "mediagate_exchange_fetches_total{"); fetched != (roles == "CRON") {
			t.Errorf("%s fetches: %v", roles, fetched)
		}
		if loaded := strings.Contains(s.metrics(t), "mediagate_index_epoch"); loaded != strings.Contains("MATCHER SCANNER GATE", roles) {
			t.Errorf("%s has an index: %v", roles, loaded)
		}
		if named := s.printed.lines("starting"); len(named) != 1 || fmt.Sprint(named[0]["roles"]) != strings.ToUpper(roles) {
			t.Errorf("%s starts as %v", roles, named)
		}
	}
	// Nobody makes the exchange again without a process that fetches, and as long
	// nothing is known.
	replicas["CRON"].stop(t)
	delete(replicas, "CRON")
	delete(env, "MEDIAGATE_HOMESERVER_TOKEN_FILE")
	delete(env, "MEDIAGATE_HOMESERVER_URL")
	env["MEDIAGATE_ROLES"] = "SCANNER"
	apart := launch(t, env) // it knows of no homeserver, and its store does
	apart.awaitListening(t)
	apart.await(t, "it says: "+unknown, func() bool {
		a, err := apart.send(t.Context(), request{path: "/readyz"})
		return err == nil && string(a.body) == unknown
	})
	apart.stop(t)
	epochs := func(s *instance) string {
		_, rest, _ := strings.Cut(s.metrics(t), "\nmediagate_index_epoch ")
		epoch, _, _ := strings.Cut(rest, "\n")
		return epoch
	}
	before := map[string]string{"SCANNER": epochs(replicas["SCANNER"]), "GATE": epochs(replicas["GATE"])}
	curator.ask(t, request{method: http.MethodDelete, path: "/c/exchange/SYNAPSE_QUARANTINE"}, http.StatusOK)
	for roles, epoch := range before {
		s := replicas[roles]
		s.await(t, roles+" knows of the change", func() bool { return epochs(s) != epoch })
		if a, err := s.send(t.Context(), request{path: "/readyz"}); err != nil || string(a.body) != unknown {
			t.Errorf("%s says %q, %v", roles, a.body, err)
		}
	}
	replicas["SCANNER"].ask(t, request{method: http.MethodPost, path: "/v1/scan", body: strings.NewReader("x")}, http.StatusServiceUnavailable)
	for _, s := range replicas {
		s.stop(t)
	}
}
