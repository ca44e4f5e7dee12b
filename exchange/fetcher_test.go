package exchange_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/internal/secret"
)

func TestConfigRefuses(t *testing.T) {
	good := exchange.Config{Interval: 100 * time.Millisecond, Downloads: 2}
	for name, tt := range map[string]struct {
		change func(*exchange.Config)
		want   []string
	}{
		"least":           {func(*exchange.Config) {}, nil},
		"most":            {func(c *exchange.Config) { c.Downloads = 64 }, nil},
		"too often":       {func(c *exchange.Config) { c.Interval-- }, []string{"MEDIAGATE_EXCHANGE_INTERVAL"}},
		"one at a time":   {func(c *exchange.Config) { c.Downloads = 1 }, []string{"MEDIAGATE_EXCHANGE_DOWNLOADS"}},
		"too many":        {func(c *exchange.Config) { c.Downloads = 65 }, []string{"MEDIAGATE_EXCHANGE_DOWNLOADS"}},
		"all is reported": {func(c *exchange.Config) { *c = exchange.Config{} }, []string{"INTERVAL", "DOWNLOADS"}},
	} {
		c := good
		tt.change(&c)
		err := c.Validate()
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tt.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %s", name, err, want)
			}
		}
	}
}

// TestHomeserverExchangeIsMadeOnce starts again and again.
func TestHomeserverExchangeIsMadeOnce(t *testing.T) {
	b := newBench(t)
	var first bank.Exchange
	for n := range 3 {
		b.start()
		b.settle()
		x := b.exchange(home)
		if n == 0 {
			first = x
		}
		if x.Bank != first.Bank || x.API != exchange.SynapseQuarantined || x.Config != "{}" || !x.Credential.Empty() || !x.Enabled {
			t.Errorf("%+v, was %+v", x, first)
		}
	}
	if list, err := b.store.Exchanges(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	// What the operator has changed stays so.
	name := "RENAMED"
	if _, err := b.store.UpdateBank(t.Context(), home, bank.Settings{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if err := b.store.EnableExchange(t.Context(), home, false); err != nil {
		t.Fatal(err)
	}
	b.start()
	await(t, "the fetcher runs nothing", func() bool { return !b.fetcher.FetchNow(home) })
	if x := b.exchange(home); x.Enabled || x.Bank.Name != name {
		t.Errorf("%+v", x)
	}
}

// TestPrepareIsEnoughToAwaitTheHomeserver: from then on nothing is judged before
// the exchange has been through once.
func TestPrepareIsEnoughToAwaitTheHomeserver(t *testing.T) {
	b := newBench(t)
	for range 2 {
		if err := b.newFetcher().Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.sync()
		if got := b.index().Awaiting(); !slices.Equal(got, []string{home}) {
			t.Errorf("awaiting %v", got)
		}
	}
	if got := b.count("requests"); got != 0 {
		t.Errorf("%d requests", got)
	}
	b.start()
	b.settle()
	if got := b.index().Awaiting(); len(got) != 0 {
		t.Errorf("awaiting %v", got)
	}
}

func TestHomeserverExchangeNeedsAHomeserverWithAToken(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"no homeserver": func(b *bench) { b.servers.URL, b.servers.Token = "", secret.String{} },
		"no token":      func(b *bench) { b.servers.Token = secret.String{} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			change(b)
			b.start()
			b.servers.RedirectNetworks = loopback
			b.create(bank.Exchange{Name: "OTHER", API: exchange.SynapseQuarantined, Config: "{}", Enabled: true})
			b.fetcher.Reconsider()
			await(t, "the other exchange says what is missing", func() bool {
				status, ok := b.fetcher.Status("OTHER")
				return ok && strings.Contains(status.Problem, map[string]string{"no homeserver": "MEDIAGATE_HOMESERVER_URL", "no token": "MEDIAGATE_HOMESERVER_TOKEN_FILE"}[name])
			})
			if list, err := b.store.Exchanges(t.Context()); err != nil || len(list) != 1 {
				t.Errorf("%v, %v", list, err)
			}
			if b.count("requests") != 0 {
				t.Errorf("%d requests", b.count("requests"))
			}
		})
	}
}

// TestNameOfTheHomeserverExchangeIsTaken starts with something else of that name.
func TestNameOfTheHomeserverExchangeIsTaken(t *testing.T) {
	for name, take := range map[string]func(*bench){
		"by a bank": func(b *bench) {
			if _, err := b.store.CreateBank(b.t.Context(), bank.Bank{Name: home, Ratio: 1}); err != nil {
				b.t.Fatal(err)
			}
		},
		"by another kind": func(b *bench) { b.create(bank.Exchange{Name: home, API: "ncmec", Config: "{}"}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			take(b)
			err := b.newFetcher().Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), home) {
				t.Errorf("%v, want an error that names %s", err, home)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	b := newBench(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.newFetcher().Run(ended); err != nil {
		t.Errorf("ended before it began: %v", err)
	}
}

// TestRestartFetchesNothingAgain runs new fetchers over the same store.
func TestRestartFetchesNothingAgain(t *testing.T) {
	b := newBench(t)
	const items = 12
	for n := range items {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
	}
	b.start()
	b.settle()
	downloads, infos := b.count("downloads"), b.count("infos")
	for range 2 {
		b.stop()
		// What happens meanwhile is not missed.
		b.unquarantine(local("3"))
		b.quarantine(local("3"))
		b.unquarantine(local("4"))
		b.start()
		b.settle()
	}
	if b.count("downloads") != downloads || b.count("infos") != infos {
		t.Errorf("%d downloads and %d questions more", b.count("downloads")-downloads, b.count("infos")-infos)
	}
	b.check("what was released meanwhile", text(4), "")
	b.check("what was quarantined anew", text(3), "sha256 md5")
	if x := b.exchange(home); !x.Status.Succeeded || !x.Status.UpToDate || x.Status.Finished.IsZero() {
		t.Errorf("the status is not kept: %+v", x.Status)
	}
}

// TestRefusedFetchChangesNothing lets all answers be refusals, or nonsense, for a
// while. The status says so, what is banked stays, and it goes on by itself.
func TestRefusedFetchChangesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		fault fault
		want  string
	}{
		"not authorised": {unauthorized, "401"},
		"no admin":       {forbidden, "403"},
		"limited":        {limited, "429"},
		"failing":        {failing, "500"},
		"bad gateway":    {badGateway, "502"},
		"page":           {page, ""},
		"page as 404":    {unfound, "404"},
		"cut":            {cut, ""},
		"no answer":      {hanging, "cannot be reached"},
		"no connection":  {healthy, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.servers.FirstByteTimeout = time.Second
			b.add(local("a"), text(1))
			b.add(local("b"), text(2))
			b.quarantine(local("a"))
			b.start()
			b.settle()
			before, epoch := b.exchange(home), b.epoch()
			b.breakAll(tt.fault)
			if tt.fault == healthy {
				b.down()
			}
			b.unquarantine(local("a"))
			b.quarantine(local("b"))
			var status bank.FetchStatus
			defer func() {
				if t.Failed() {
					t.Logf("%+v", status)
				}
			}()
			await(t, "the status says so", func() (ok bool) {
				status, ok = b.fetcher.Status(home)
				return ok && !status.Succeeded && !status.UpToDate && strings.Contains(status.Problem, tt.want) && b.exchange(home).Status.Problem != ""
			})
			if b.problem(home) == "" || b.metric(fetchesMetric, "failed") == 0 {
				t.Error("no failure is counted")
			}
			x := b.exchange(home)
			if x.Checkpoint != before.Checkpoint || !x.Completed || b.epoch() != epoch || x.Status.Succeeded {
				t.Errorf("%+v, was %+v; epoch %d, was %d", x, before, b.epoch(), epoch)
			}
			b.check("what is banked", text(1), "sha256 md5")
			if tt.fault == healthy {
				b.up()
			}
			b.breakAll(healthy)
			b.settle()
			await(t, "the status says that all is well", func() bool {
				return b.problem(home) == "" && b.exchange(home).Status.Succeeded
			})
			b.check("what was released", text(1), "")
			b.check("what was quarantined", text(2), "sha256 md5")
			if !strings.Contains(b.log.String(), "exchange cannot be fetched") || !strings.Contains(b.log.String(), "exchange is fetched again") {
				t.Errorf("the log does not tell: %s", b.log)
			}
		})
	}
}

// TestHomeserverWithoutAStreamIsAProblem asks a Synapse that has no such stream.
func TestHomeserverWithoutAStreamIsAProblem(t *testing.T) {
	b := newBench(t)
	b.servers.URL += "/elsewhere" // answers as Synapse does to paths that it does not know
	b.start()
	await(t, "the status says so", func() bool {
		status, ok := b.fetcher.Status(home)
		return ok && strings.Contains(status.Problem, "404 M_UNRECOGNIZED")
	})
	if b.exchange(home).Completed {
		t.Error("it has not been through")
	}
}

// TestStoreDecidesWhatRuns disables, enables and deletes.
func TestStoreDecidesWhatRuns(t *testing.T) {
	b := newBench(t)
	b.servers.RedirectNetworks = loopback
	b.add(local("a"), text(1))
	b.add(local("b"), text(2))
	b.add(local("c"), text(3))
	b.quarantine(local("a"))
	b.start()
	b.settle()

	if err := b.store.EnableExchange(t.Context(), home, false); err != nil {
		t.Fatal(err)
	}
	await(t, "it has stopped", func() bool { _, runs := b.fetcher.Status(home); return !runs && !b.fetcher.FetchNow(home) })
	await(t, "its numbers are gone", func() bool { return b.metric(fetchesMetric, "ok") == 0 })
	asked := b.count("requests")
	b.quarantine(local("b"))
	b.check("what was banked", text(1), "sha256 md5")
	if got := b.count("requests"); got != asked {
		t.Errorf("%d requests of a disabled exchange", got-asked)
	}

	if err := b.store.EnableExchange(t.Context(), home, true); err != nil {
		t.Fatal(err)
	}
	await(t, "it runs again", func() bool { return b.fetcher.FetchNow(home) })
	b.settle()
	b.check("what was quarantined meanwhile", text(2), "sha256 md5")

	other := startSynapse(t)
	other.add(local("d"), text(4))
	other.quarantine(local("d"))
	b.create(own("OTHER", other, adminToken))
	b.fetcher.Reconsider()
	b.settleAs("OTHER", other)
	b.check("what the other homeserver has", text(4), "sha256 md5")
	if err := b.store.DeleteExchange(t.Context(), "OTHER"); err != nil {
		t.Fatal(err)
	}
	await(t, "it has stopped", func() bool { _, runs := b.fetcher.Status("OTHER"); return !runs && !b.fetcher.FetchNow("OTHER") })
	b.sync()
	b.check("what the other homeserver had", text(4), "")
	if b.fetcher.FetchNow("NONE") {
		t.Error("what does not exist is fetched")
	}

	// A homeserver with a token has its exchange: one that is deleted is made anew,
	// and fetches everything again.
	before := b.exchange(home)
	if err := b.store.DeleteExchange(t.Context(), home); err != nil {
		t.Fatal(err)
	}
	b.quarantine(local("c"))
	await(t, "it is made anew", func() bool {
		x, err := b.store.Exchange(t.Context(), home)
		return err == nil && x.Bank.ID != before.Bank.ID
	})
	b.settle()
	for n := 1; n <= 3; n++ {
		b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
	}
}

// TestDisabledExchangeStopsInTheMiddle disables while a download hangs, and
// enables at once.
func TestDisabledExchangeStopsInTheMiddle(t *testing.T) {
	b := newBench(t)
	held := make(chan struct{})
	b.add(local("a"), text(1))
	b.edit(local("a"), func(i *item) { i.held = held })
	b.quarantine(local("a"))
	b.start()
	await(t, "the download has begun", func() bool { return b.count("downloads") == 1 })
	for range 3 {
		for _, enabled := range []bool{false, true} {
			if err := b.store.EnableExchange(t.Context(), home, enabled); err != nil {
				t.Fatal(err)
			}
			b.fetcher.Reconsider()
		}
	}
	if err := b.store.EnableExchange(t.Context(), home, false); err != nil {
		t.Fatal(err)
	}
	await(t, "it has stopped", func() bool { _, runs := b.fetcher.Status(home); return !runs })
	if err := b.store.EnableExchange(t.Context(), home, true); err != nil {
		t.Fatal(err)
	}
	close(held)
	b.settle()
	b.check("the item", text(1), "sha256 md5")
}

// TestSuccessorOfTheSameNameStartsAnew deletes an exchange and makes another one
// of its name, with another address, before the fetcher looks.
func TestSuccessorOfTheSameNameStartsAnew(t *testing.T) {
	b := newBench(t)
	b.servers.RedirectNetworks = loopback
	b.config.Interval = 10 * time.Millisecond
	b.unhurried = true
	second := startSynapse(t)
	second.postgres = true
	contents := map[*synapse][]byte{b.synapse: text(1), second: text(2)}
	for n := range 5 { // the second one's stream is longer
		second.add(remote(fmt.Sprint(n)), text(100+n))
		second.quarantine(remote(fmt.Sprint(n)))
		second.unquarantine(remote(fmt.Sprint(n)))
	}
	for s, content := range contents {
		for n := range 5 {
			s.add(local(fmt.Sprintf("%s_%d", content, n)), content)
			s.quarantine(local(fmt.Sprintf("%s_%d", content, n)))
		}
	}
	b.create(own("X", b.synapse, adminToken))
	b.start()
	b.settleAs("X", b.synapse)
	for _, now := range []*synapse{second, b.synapse, second} {
		if err := b.store.DeleteExchange(t.Context(), "X"); err != nil {
			t.Fatal(err)
		}
		b.create(own("X", now, adminToken))
		await(t, "it is fetched, by whomever", func() bool { return b.exchange("X").Checkpoint != "" })
		b.settleAs("X", now)
		if sources, pending := b.counts("X"); sources != 5 || pending != 0 {
			t.Errorf("%d sources, %d pending", sources, pending)
		}
		for s, content := range contents {
			exact := sha(content)
			found := 0
			for _, m := range b.index().SHA256(exact[:]) {
				if m.Bank.Name == "X" {
					found++
				}
			}
			if found != map[bool]int{true: 1}[s == now] {
				t.Errorf("what %s has is banked %d times, that of %s is wanted", s.url(), found, now.url())
			}
		}
	}
}

// TestExchangesRunBesideEachOther has one whose server hangs, and one that works.
func TestExchangesRunBesideEachOther(t *testing.T) {
	b := newBench(t)
	b.servers.RedirectNetworks = loopback
	dead, other := startSynapse(t), startSynapse(t)
	dead.breakAll(hanging)
	b.create(own("DEAD", dead, adminToken))
	b.create(own("OTHER", other, "own-token"))
	other.accept("own-token")
	for _, s := range []*synapse{b.synapse, other} {
		s.add(local("shared"), text(1))
		s.quarantine(local("shared"))
	}
	other.add(local("more"), text(2))
	other.quarantine(local("more"))
	b.start()
	b.settle()
	b.settleAs("OTHER", other)
	var banks []string
	exact := sha(text(1))
	for _, m := range b.index().SHA256(exact[:]) {
		banks = append(banks, m.Bank.Name)
	}
	slices.Sort(banks)
	if !slices.Equal(banks, []string{"OTHER", home}) {
		t.Errorf("banked by %v, want both, each for itself", banks)
	}
	if got := b.index().Awaiting(); !slices.Equal(got, []string{"DEAD"}) {
		t.Errorf("awaiting %v", got)
	}
	b.unquarantine(local("shared"))
	b.settle()
	if got := b.index().SHA256(exact[:]); len(got) != 1 || got[0].Bank.Name != "OTHER" {
		t.Errorf("%v, want that of the other exchange", got)
	}
}

// TestTwoFetchersOnOneStore is what two processes would do. Nothing gets lost.
func TestTwoFetchersOnOneStore(t *testing.T) {
	b := newBench(t)
	b.config.Interval = 10 * time.Millisecond
	second := b.newFetcher()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	b.start()
	b.settle() // the exchange exists
	go func() { ended <- second.Run(ctx) }()
	for n := range 30 {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
		if n%3 == 0 {
			b.unquarantine(local(fmt.Sprint(n / 2)))
		}
	}
	b.settle()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.settle()
	for n := range 30 {
		row, _ := b.row(local(fmt.Sprint(n)))
		b.check(fmt.Sprint("item ", n), text(n), map[bool]string{true: "sha256 md5"}[row.quarantined])
	}
}
