package main_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mediagate/internal/postgrestest"
	"mediagate/internal/redistest"
	"mediagate/internal/synapsetest"
)

// TestProcessesEnforceTogether runs three processes that share PostgreSQL and Redis
// and nothing else: one fetches, is told what to ban and is asked for lookups, one
// scans for clients, one is asked by nginx. What an administrator quarantines, and
// what a moderator adds through the first one, all three enforce, each by its own
// API, and leave again when it is taken back.
func TestProcessesEnforceTogether(t *testing.T) {
	t.Parallel()
	f := newFleet(t, synapsetest.Start(t, synapsetest.Options{Extra: fragment(t)}))
	t.Run("what is off is not there", f.haveRoles)
	t.Run("quarantine", f.enforceQuarantine)
	t.Run("content", f.enforceContent)
}

// fleet is a site with several processes. Its gate is the one that nginx asks.
type fleet struct {
	*site
	curator, scanner *instance
}

func newFleet(t *testing.T, hs *synapsetest.Server) *fleet {
	t.Helper()
	f := &fleet{site: &site{hs: hs}}
	f.admin, f.alice, f.bob = hs.Register(t, "admin", true), hs.Register(t, "alice", false), hs.Register(t, "bob", false)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("shared ", 8)), 0o600); err != nil {
		t.Fatal(err)
	}
	postgres := postgrestest.Start(t)
	env := f.environment(t, map[string]string{
		"MEDIAGATE_DATABASE_URL": postgres.NewDatabase(t), "MEDIAGATE_REDIS_URL": redistest.Start(t).URL(), "MEDIAGATE_REDIS_KEY_FILE": key,
		"MEDIAGATE_EXCHANGE_INTERVAL": "1s", "MEDIAGATE_MEDIA_WORKERS": "1",
	})
	var processes []*instance
	for _, roles := range []string{"CRON,CURATOR,MATCHER", "SCANNER,HASHER", "GATE"} {
		own := maps.Clone(env)
		own["MEDIAGATE_ROLES"] = roles
		processes = append(processes, launch(t, own)) // all at once: each may be the one that makes the tables
	}
	for _, p := range processes {
		t.Cleanup(func() { p.stop(t) })
		p.awaitReady(t)
	}
	f.curator, f.scanner, f.gate = processes[0], processes[1], processes[2]
	f.web, f.webMapped = synapsetest.FreeAddress(t), synapsetest.FreeAddress(t)
	f.nginx = synapsetest.StartNginx(t, f.nginxConfig(t, "mediagate.conf"))
	return f
}

// haveRoles: otherwise one process could do what is looked for in another.
func (f *fleet) haveRoles(t *testing.T) {
	for path, has := range map[string]*instance{
		"/c/banks": f.curator, "/m/raw_lookup?signal_type=pdq&signal=" + strings.Repeat("0", 64): f.curator,
		contentScanner + "scan/example.org/none": f.scanner, "/_mediagate/check": f.gate,
	} {
		for _, p := range []*instance{f.curator, f.scanner, f.gate} {
			a, err := p.send(t.Context(), request{path: path})
			if err != nil {
				t.Fatal(err)
			}
			missing := a.status == http.StatusNotFound && !strings.Contains(string(a.body), "File not found") // which the scanner says
			if missing == (p == has) {
				t.Errorf("%s by %s: %d %s", path, p.cmd.Env[len(p.cmd.Env)-1], a.status, a.body)
			}
		}
	}
}

// verdicts are what the three say of a picture: the lookup of its hash, the scan of an
// item, the item's download through nginx.
type verdicts struct{ looked, scanned, served string }

const (
	passes = "passes"
	banned = "is banned"
)

// ask asks all three.
func (f *fleet) ask(t *testing.T, hash, mxc string) verdicts {
	t.Helper()
	v := verdicts{passes, passes, passes}
	a := f.curator.ask(t, request{path: "/m/raw_lookup?signal_type=pdq&signal=" + hash}, http.StatusOK)
	if len(decode[struct{ Matches []int64 }](t, a.body).Matches) > 0 {
		v.looked = banned
	}
	a = f.scanner.ask(t, request{path: contentScanner + "scan/" + path(mxc), header: map[string]string{"Authorization": "Bearer " + f.bob.Token}}, http.StatusOK)
	if !decode[struct{ Clean bool }](t, a.body).Clean {
		v.scanned = banned
	}
	switch a := raw(t, f.web, call{target: clientRoutes[0].path(mxc), header: []string{as(f.bob)}}); a.status {
	case http.StatusOK:
	case http.StatusNotFound:
		v.served = banned
	default:
		t.Fatalf("download through nginx: %d %s", a.status, a.body)
	}
	return v
}

// become waits until all three say the same.
func (f *fleet) become(t *testing.T, want, hash, mxc string, deadline time.Duration) {
	t.Helper()
	all := verdicts{want, want, want}
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) {
		now := time.Now() // before they are asked: a slow answer is an old one
		got := f.ask(t, hash, mxc)
		if got == all {
			return
		}
		if now.After(end) {
			t.Fatalf("not within %s: %+v, want that it %s", deadline, got, want)
		}
	}
}

// hashOf is the hash that the process which hashes says a picture has.
func (f *fleet) hashOf(t *testing.T, content []byte) string {
	t.Helper()
	a := f.scanner.ask(t, upload(t, "/h/hash", "photo", "x.jpg", content, nil), http.StatusOK)
	return decode[map[string]string](t, a.body)["pdq"]
}

func (f *fleet) enforceQuarantine(t *testing.T) {
	bad := picture(t, realPicture)
	original := f.hs.Upload(t, f.alice.Token, "image/jpeg", "cat.jpg", bad)
	again := smallCopy(t, bad, 60)
	posted, hash := f.hs.Upload(t, f.bob.Token, "image/jpeg", "dog.jpg", again), f.hashOf(t, again)
	f.become(t, passes, hash, posted, patience)
	f.hs.Quarantine(t, f.admin.Token, original)
	f.become(t, banned, hash, posted, within)
	f.hs.Unquarantine(t, f.admin.Token, original)
	f.become(t, passes, hash, posted, within)
}

// everywhere is in what time a change of a bank, once it is acknowledged, is enforced by
// all processes.
const everywhere = 2 * time.Second

func (f *fleet) enforceContent(t *testing.T) {
	bad := picture(t, "misc/c.png")
	posted, hash := f.hs.Upload(t, f.bob.Token, "image/png", "coaster.png", bad), f.hashOf(t, bad)
	f.curator.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"MODERATORS"}`), http.StatusCreated)
	f.become(t, passes, hash, posted, patience)
	a := f.curator.ask(t, asJSON(http.MethodPost, "/c/bank/MODERATORS/signal", fmt.Sprintf(`{"pdq":%q}`, hash)), http.StatusOK)
	f.become(t, banned, hash, posted, everywhere)
	id := decode[struct{ ID int64 }](t, a.body).ID
	f.curator.ask(t, request{method: http.MethodDelete, path: fmt.Sprint("/c/bank/MODERATORS/content/", id)}, http.StatusOK)
	f.become(t, passes, hash, posted, everywhere)
}
