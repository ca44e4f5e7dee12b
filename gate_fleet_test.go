package main_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/internal/postgrestest"
	"mediagate/internal/synapsetest"
)

// gates is a site with two processes that nginx asks, at addresses that stay.
type gates struct {
	*site
	between *faulty
	// env is what they have in common, addresses where they listen.
	env       map[string]string
	addresses []string
	// failOpen is a second nginx, with the file that fails open.
	failOpen *site
}

func newGates(t *testing.T) *gates {
	t.Helper()
	hs := synapsetest.Start(t, synapsetest.Options{Extra: fragment(t)})
	g := &gates{site: &site{hs: hs}, between: newFaulty(t, hs.URL)}
	g.admin, g.alice, g.bob = hs.Register(t, "admin", true), hs.Register(t, "alice", false), hs.Register(t, "bob", false)
	g.env = g.environment(t, map[string]string{
		"MEDIAGATE_DATABASE_URL": postgrestest.Start(t).NewDatabase(t), "MEDIAGATE_HOMESERVER_URL": g.between.URL,
		"MEDIAGATE_MEDIA_WORKERS": "1", "MEDIAGATE_SHUTDOWN_DELAY": "1s", "MEDIAGATE_HOOK_TIMEOUT": "3s",
	})
	for range 2 {
		g.addresses = append(g.addresses, strings.TrimPrefix(synapsetest.FreeAddress(t), "http://"))
	}
	g.gate, g.others = g.launch(t, 0, nil), g.addresses[1:]
	g.web, g.webMapped = synapsetest.FreeAddress(t), synapsetest.FreeAddress(t)
	g.nginx = synapsetest.StartNginx(t, g.nginxConfig(t, "mediagate.conf"))
	g.failOpen = &site{hs: hs, gate: g.gate, others: g.others, web: synapsetest.FreeAddress(t), webMapped: synapsetest.FreeAddress(t)}
	g.failOpen.nginx = synapsetest.StartNginx(t, g.failOpen.nginxConfig(t, "mediagate-fail-open.conf"))
	return g
}

// launch starts a process at one of the addresses. It returns once it listens.
func (g *gates) launch(t *testing.T, i int, more map[string]string) *instance {
	t.Helper()
	env := maps.Clone(g.env)
	maps.Copy(env, more)
	env["MEDIAGATE_LISTEN"] = g.addresses[i]
	s := launch(t, env)
	s.awaitListening(t)
	return s
}

// ask sends nginx, either one, everything that it passes to mediagate about an item.
func (g *gates) ask(t *testing.T, mxc string) error {
	t.Helper()
	for what, c := range map[string]call{
		"download": {target: v1Media + "download/" + path(mxc), header: []string{as(g.bob)}},
		"scan":     {target: contentScanner + "scan/" + path(mxc), header: []string{as(g.bob)}},
		// What a POST of the content scanner is answered, if it comes to a process that is ready.
		"another method": {method: http.MethodPost, target: contentScanner + "scan/" + path(mxc), header: []string{as(g.bob), "Content-Length: 0"}},
	} {
		want := http.StatusOK
		if c.method == http.MethodPost {
			want = http.StatusMethodNotAllowed
		}
		for _, web := range []string{g.web, g.failOpen.web} {
			if a, err := sendRaw(t, web, c); err != nil || a.status != want {
				return fmt.Errorf("%s: %d %.200s: %w", what, a.status, a.body, err)
			}
		}
	}
	return nil
}

// unknown is how many questions the two could not answer.
func unknown(t *testing.T, all ...*instance) (n float64) {
	t.Helper()
	for _, s := range all {
		const name = `mediagate_hook_answers_total{reason="unavailable",status="503"}`
		if strings.Contains(s.metrics(t), name) {
			n += s.metric(t, name)
		}
	}
	return n
}

// TestNoRequestFailsWhileOneOfTwoGatesIsNotReady: nginx asks the other one, while one
// has not started, starts, ends or is away, and only then.
func TestNoRequestFailsWhileOneOfTwoGatesIsNotReady(t *testing.T) {
	t.Parallel()
	g := newGates(t)
	g.gate.awaitReady(t)
	item := g.hs.Upload(t, g.alice.Token, "image/png", "x.png", picture(t, "misc/c.png"))
	fresh := func(n int) string {
		return g.hs.Upload(t, g.alice.Token, "image/jpeg", "x.jpg", smallCopy(t, picture(t, "misc/c.png"), n))
	}
	serves := func(t *testing.T, when string) {
		t.Helper()
		for range 10 {
			if err := g.ask(t, item); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
	}
	serves(t, "one is away")
	// What nobody can ever make ready: nothing fetches for it.
	starting := g.launch(t, 1, map[string]string{"MEDIAGATE_DATABASE_URL": databaseIn(t.TempDir())["MEDIAGATE_DATABASE_URL"], "MEDIAGATE_ROLES": "GATE,SCANNER"})
	serves(t, "one starts")
	if starting.readiness(t) != http.StatusServiceUnavailable || unknown(t, starting) == 0 {
		t.Error("it is ready, or was never asked: then this test shows nothing")
	}
	starting.stop(t)

	other := g.launch(t, 1, nil)
	other.awaitReady(t)
	both := []*instance{g.gate, other}
	g.restart(t, both, item)
	if log := g.failOpen.unchecked(t); log != "" {
		t.Errorf("served unchecked: %s", log)
	}
	download := func(mxc string) int {
		return raw(t, g.web, call{target: v1Media + "download/" + path(mxc), header: []string{as(g.bob)}}).status
	}
	t.Run("what none can get keeps nobody from the rest", func(t *testing.T) {
		before, missing := unknown(t, both...), fresh(60)
		g.between.set(broken)
		defer g.between.set(noFault)
		for range 3 {
			if status := download(missing); status != http.StatusServiceUnavailable {
				t.Errorf("status %d", status)
			}
		}
		if n := unknown(t, both...) - before; n < 3 || n > 6 {
			t.Errorf("%v questions, want each of the two asked once a request at most", n)
		}
		for range 4 {
			if status := download(item); status != http.StatusOK {
				t.Errorf("what is known is answered with %d", status)
			}
		}
	})
	t.Run("nobody else is asked for what took its time", func(t *testing.T) {
		before, late := unknown(t, both...), fresh(70)
		g.between.set(hanging)
		defer g.between.set(noFault)
		if status := download(late); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		if n := unknown(t, both...) - before; n != 1 {
			t.Errorf("%v were asked, want one", n)
		}
	})
	t.Run("the only one is asked once", func(t *testing.T) {
		alone := &site{hs: g.hs, gate: both[0], web: synapsetest.FreeAddress(t), webMapped: synapsetest.FreeAddress(t)}
		synapsetest.StartNginx(t, alone.nginxConfig(t, "mediagate.conf"))
		before, missing := unknown(t, both...), fresh(80)
		g.between.set(broken)
		defer g.between.set(noFault)
		a := raw(t, alone.web, call{target: v1Media + "download/" + path(missing), header: []string{as(g.bob)}})
		if n := unknown(t, both...) - before; a.status != http.StatusServiceUnavailable || n != 1 {
			t.Errorf("status %d, asked %v times", a.status, n)
		}
	})
}

// restart restarts them one after the other, while an item is asked for.
func (g *gates) restart(t *testing.T, both []*instance, item string) {
	t.Helper()
	var asked atomic.Int64
	var asking sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := g.ask(t, item); err != nil {
					t.Errorf("one restarts: %v", err)
					return
				}
				asked.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for i := range both {
		both[i].stop(t)
		both[i] = g.launch(t, i, nil)
		both[i].awaitReady(t)
	}
	close(stop)
	asking.Wait()
	if asked.Load() < 10 {
		t.Errorf("only %d rounds of requests", asked.Load())
	}
}
