package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
)

// prepared is a new fetcher that does nothing, of an exchange that there is.
func (b *bench) prepared() *exchange.Fetcher {
	b.t.Helper()
	f := b.newFetcher()
	if err := f.Prepare(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return f
}

// once fetches with a new fetcher that does nothing else.
func (b *bench) once() (exchange.Round, error) {
	b.t.Helper()
	return b.prepared().FetchOnce(b.t.Context(), home)
}

// TestFetchOnceTakesAllThereIs: without a running fetcher.
func TestFetchOnceTakesAllThereIs(t *testing.T) {
	b := newBench(t)
	const items = 150 // more than are worked on, and listed, at once
	for n := range items {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
	}
	b.add(local("gone"), text(items))
	b.edit(local("gone"), func(i *item) { i.download = failing })
	b.quarantine(local("gone"))
	round, err := b.once()
	if err != nil || round.Removed != 0 || round.Pending != 1 || round.Banked < items || round.Banked > items+1 {
		t.Errorf("%+v, %v", round, err)
	}
	x := b.exchange(home)
	if !x.Completed || !x.Status.Succeeded || x.Status.Finished.IsZero() || !x.Status.Started.IsZero() {
		t.Errorf("%+v", x)
	}
	b.sync()
	for n := range items {
		b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
	}
	// What changes is counted, and what does not is not asked for again.
	for n := range 5 {
		b.unquarantine(local(fmt.Sprint(n)))
	}
	b.add(local("new"), text(items+1))
	b.quarantine(local("new"))
	b.unquarantine(local("never banked"))
	downloads := b.count("downloads")
	b.edit(local("gone"), func(i *item) { i.download = healthy })
	await(t, "what failed is due", func() bool {
		sum, err := b.once()
		round.Banked, round.Removed, round.Pending = round.Banked+sum.Banked, round.Removed+sum.Removed, sum.Pending
		return err == nil && sum.Pending == 0
	})
	if round.Banked != items+2 || round.Removed != 5 {
		t.Errorf("%+v", round)
	}
	if more := b.count("downloads") - downloads; more != 2 {
		t.Errorf("%d downloads more", more)
	}
	b.sync()
	b.check("what was released", text(3), "")
	b.check("what had failed", text(items), "sha256 md5")
	// Nobody has the lease now.
	if held, err := exchange.Holders(t.Context(), b.store); err != nil || len(held) != 0 {
		t.Errorf("%v, %v", held, err)
	}
}

func TestFetchOnceLeavesAnExchangeToItsFetcher(t *testing.T) {
	b := newBench(t)
	b.start()
	b.settle()
	held, err := exchange.Holders(t.Context(), b.store)
	if err != nil || held[home] == "" || len(held) != 1 {
		t.Fatalf("%v, %v", held, err)
	}
	status := b.exchange(home).Status
	if _, err := b.once(); !errors.Is(err, bank.ErrLeaseHeld) || !strings.Contains(err.Error(), held[home]) {
		t.Errorf("%v, want one that names %s", err, held[home])
	}
	if now := b.exchange(home).Status; now.Problem != status.Problem {
		t.Errorf("%+v", now)
	}
	b.stop()
	if _, err := b.once(); err != nil {
		t.Error(err)
	}
}

func TestFetchOnceTellsWhatIsWrong(t *testing.T) {
	b := newBench(t)
	b.add(local("a"), text(1))
	b.quarantine(local("a"))
	b.breakAll(forbidden)
	if _, err := b.once(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v", err)
	}
	if x := b.exchange(home); x.Status.Succeeded || !strings.Contains(x.Status.Problem, "403") || x.Completed {
		t.Errorf("%+v", x)
	}
	b.breakAll(healthy)
	if err := b.store.EnableExchange(t.Context(), home, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.once(); !errors.Is(err, exchange.ErrDisabled) {
		t.Errorf("%v", err)
	}
	if _, err := b.newFetcher().FetchOnce(t.Context(), "NONE"); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Errorf("%v", err)
	}
	if b.count("downloads") != 0 {
		t.Error("something was downloaded")
	}
	if b.log.String() != "" {
		t.Errorf("what is returned is logged, too: %s", b.log)
	}
}

// TestFetchOnceMakesNoExchange: not that of the homeserver, either.
func TestFetchOnceMakesNoExchange(t *testing.T) {
	b := newBench(t)
	if _, err := b.newFetcher().FetchOnce(t.Context(), home); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Errorf("%v", err)
	}
	if list, err := b.store.Exchanges(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if n := b.count("requests"); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestFetchOnceLooksBehindWhatStaysDue: items whose homeserver changes its mind while
// they are worked on are due still, and may not keep others from their turn.
func TestFetchOnceLooksBehindWhatStaysDue(t *testing.T) {
	b := newBench(t)
	f, now := b.prepared(), time.Now().Add(-time.Hour)
	var pending []bank.Pending
	for n := range 33 * b.config.Downloads { // two lists of them, and some more
		uri := local(fmt.Sprintf("wavering%d", n))
		b.add(uri, text(1000+n))
		b.edit(uri, func(i *item) { i.wavering = true })
		pending = append(pending, bank.Pending{Key: uri.String(), Task: "hash", Since: now, Due: now.Add(time.Duration(n) * time.Second / 10)})
	}
	b.add(local("last"), text(1))
	b.edit(local("last"), func(i *item) { i.quarantined = true })
	pending = append(pending, bank.Pending{Key: local("last").String(), Task: "hash", Since: now, Due: now.Add(time.Minute)})
	if err := b.store.Commit(t.Context(), home, bank.Fetched{Pending: pending}); err != nil {
		t.Fatal(err)
	}
	round, err := f.FetchOnce(t.Context(), home)
	if want := (exchange.Round{Banked: 1, Pending: len(pending) - 1}); err != nil || round != want {
		t.Errorf("%+v, %v, want %+v", round, err, want)
	}
	if n := b.count("infos"); n != 2*len(pending)-1 {
		t.Errorf("%d infos: not each was tried once", n)
	}
	b.sync()
	b.check("what was due last", text(1), "sha256 md5")
}

// TestFetchOnceDoesNotGuess how much is pending where the store does not say.
func TestFetchOnceDoesNotGuess(t *testing.T) {
	b := newBench(t)
	f := b.prepared()
	held := b.hold()
	ended := make(chan error, 1)
	var round exchange.Round
	go func() {
		var err error
		round, err = f.FetchOnce(t.Context(), home)
		ended <- err
	}()
	await(t, "it fetches", func() bool { return b.count("held changes") == 1 })
	perform(t, openDatabase(t, b.at), "ALTER TABLE pending RENAME TO lost_pending")
	held()
	if err := <-ended; err == nil || round.Pending != -1 {
		t.Errorf("%+v, %v", round, err)
	}
}

// TestFetchOnceStopsWhenItsLeaseIsLost: to another process, and with its context,
// while a download waits.
func TestFetchOnceStopsWhenItsLeaseIsLost(t *testing.T) {
	for name, tt := range map[string]struct {
		stop func(b *bench, cancel func())
		want error
	}{
		"usurped":     {func(b *bench, _ func()) { b.usurp() }, bank.ErrLeaseLost},
		"interrupted": {func(_ *bench, cancel func()) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.times = func(f *exchange.Fetcher) { f.SetLease(long, long/1000, long) }
			held := make(chan struct{})
			b.add(local("a"), text(1))
			b.edit(local("a"), func(i *item) { i.held = held })
			b.quarantine(local("a"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f, ended := b.prepared(), make(chan error, 1)
			var round exchange.Round
			go func() {
				var err error
				round, err = f.FetchOnce(ctx, home)
				ended <- err
			}()
			await(t, "it downloads", func() bool { return b.count("held downloads") == 1 })
			tt.stop(b, cancel)
			close(held)
			if err := <-ended; !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if _, pending := b.counts(home); pending != 1 || b.exchange(home).Status.Succeeded {
				t.Errorf("%d pending, %+v", pending, b.exchange(home).Status)
			}
			if round.Pending != 1 {
				t.Errorf("it says %+v", round)
			}
			if b.log.String() != "" {
				t.Errorf("what is returned is logged, too: %s", b.log)
			}
		})
	}
}

// TestFetchOnceWaitsNotLongForItsLease: who cannot even ask for it does not fetch, and
// says so.
func TestFetchOnceWaitsNotLongForItsLease(t *testing.T) {
	b := newServedBench(t)
	b.times = func(f *exchange.Fetcher) { f.SetLease(long, 50*time.Millisecond, long) }
	if _, err := b.once(); err != nil { // there is a row to be locked
		t.Fatal(err)
	}
	asked, release := b.count("requests"), b.lockLeases()
	if _, err := b.once(); err == nil || !strings.HasPrefix(err.Error(), "whether it is fetched by another process is not known: take lease: ") {
		t.Errorf("%v", err)
	}
	release()
	if n := b.count("requests") - asked; n != 0 {
		t.Errorf("%d requests without the lease", n)
	}
}

// TestFetchOnceReleasesALeaseThatItTookLate: it is interrupted while the lease is
// committed, and that cannot be stopped any more.
func TestFetchOnceReleasesALeaseThatItTookLate(t *testing.T) {
	b := newServedBench(t)
	b.times = func(f *exchange.Fetcher) { f.SetLease(long, patience, long) }
	f, db := b.prepared(), openDatabase(t, b.at)
	perform(t, db, `CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_advisory_xact_lock(1);
			RETURN NULL;
		EXCEPTION WHEN query_canceled THEN RETURN NULL; END $$`,
		"CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON lease DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()")
	gate, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = gate.ExecContext(t.Context(), "SELECT pg_advisory_xact_lock(1)")
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := f.FetchOnce(ctx, home)
		ended <- err
	}()
	committing := func() bool {
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	await(t, "the lease is committed", committing)
	cancel()
	time.Sleep(100 * time.Millisecond) // for who would end at once
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	await(t, "nothing is committed any more", func() bool { return !committing() })
	var holder string
	if err := db.QueryRowContext(t.Context(), "SELECT holder FROM lease").Scan(&holder); err != nil || holder != "" {
		t.Errorf("%q has the lease, %v", holder, err)
	}
}
