package exchange_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
)

// long is longer than any test takes.
const long = time.Hour

const heldMetric = "mediagate_exchange_held"

// second runs another fetcher over the same store, as another process would.
func (b *bench) second() *exchange.Fetcher {
	b.t.Helper()
	f := b.newFetcher()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("the second fetcher ends with %v", err)
		}
	})
	return f
}

func openDatabase(t testing.TB, at string) *sql.DB {
	t.Helper()
	driver, name := "pgx", at+"&search_path=mediagate"
	if path, ok := strings.CutPrefix(at, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// role is what a fetcher says of whether it fetches the homeserver's exchange.
type role struct {
	shown, woken bool
	held         float64
}

var fetches, standsBy = role{true, true, 1}, role{}

func roleOf(t testing.TB, f *exchange.Fetcher) role {
	t.Helper()
	held, _ := number(t, f, heldMetric, "exchange", home)
	_, shown := f.Status(home)
	return role{shown, f.FetchNow(home), held}
}

// perform does something behind the store's back.
func perform(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyPrepareAtOnce, as replicas do that are started together.
func TestManyPrepareAtOnce(t *testing.T) {
	b := newBench(t)
	for range 10 {
		var all sync.WaitGroup
		for range 6 {
			f := b.newFetcher()
			all.Go(func() {
				if err := f.Prepare(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if err := b.store.DeleteExchange(t.Context(), home); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOneOfTwoFetches: the other one stands by, says so, and takes over when the
// first one ends, although the lease would last for longer than the test.
func TestOneOfTwoFetches(t *testing.T) {
	b := newBench(t)
	b.times = heedless
	b.start()
	b.settle()
	first := b.fetcher
	second := b.second()
	await(t, "the second one knows the exchange", func() bool {
		_, known := number(t, second, heldMetric, "exchange", home)
		return known
	})
	for n := range 10 {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
		b.settle()
		if a, z := roleOf(t, first), roleOf(t, second); a != fetches || z != standsBy {
			t.Errorf("the first is %+v, the second %+v", a, z)
		}
	}
	if n, _ := number(t, second, fetchesMetric, "exchange", home); n != 0 {
		t.Errorf("%v fetches by the one that stands by", n)
	}
	if !strings.Contains(b.log.String(), "exchange is left to another process") {
		t.Errorf("the log does not tell: %s", b.log)
	}
	b.stop()
	await(t, "the second one takes over", func() bool { return roleOf(t, second) == fetches })
	b.unquarantine(local("3"))
	b.fetcher = second
	b.end = func() {}
	b.settle()
	b.check("what was released", text(3), "")
	b.check("what was not", text(4), "sha256 md5")
}

// TestStandByShowsWhatTheHolderKeeps: what is wrong with a fetch is told by those who
// do not fetch, too, through the store.
func TestStandByShowsWhatTheHolderKeeps(t *testing.T) {
	b := newBench(t)
	b.start()
	b.settle()
	second := b.second()
	b.breakAll(forbidden)
	await(t, "the store says so", func() bool { return strings.Contains(b.exchange(home).Status.Problem, "403") })
	if _, shown := second.Status(home); shown {
		t.Error("shown by the one that does not fetch")
	}
	b.breakAll(healthy)
	b.fetcher.FetchNow(home)
	await(t, "the store says that all is well", func() bool { return b.exchange(home).Status.UpToDate })
}

// usurp takes the lease of a fetcher, as if it had ended.
func (b *bench) usurp() bank.Lease {
	b.t.Helper()
	perform(b.t, openDatabase(b.t, b.at), "UPDATE lease SET expires = 1")
	l, err := b.store.Acquire(b.t.Context(), exchange.Lease(home), "usurper", long)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// heedless lets fetchers never look after their leases.
func heedless(f *exchange.Fetcher) { f.SetLease(long, long, 20*time.Millisecond) }

// TestLostLeaseIsNoticedAtTheCommit: somebody has taken over while a fetcher, which
// does not look after its lease, asked the homeserver for something. What it then
// commits is refused as a whole, and it stands by. Later it applies all of it, once.
func TestLostLeaseIsNoticedAtTheCommit(t *testing.T) {
	for name, tt := range map[string]struct {
		hold    func(b *bench) (release func())
		waiting string
		pending int // while it stands by
	}{
		"page": {func(b *bench) func() {
			release := b.hold()
			b.quarantine(local("a"))
			return release
		}, "held changes", 0},
		"question": {func(b *bench) func() {
			held := make(chan struct{})
			b.edit(local("a"), func(i *item) { i.infoHeld = held })
			b.quarantine(local("a"))
			return func() { close(held) }
		}, "held infos", 0},
		"download": {func(b *bench) func() {
			held := make(chan struct{})
			b.edit(local("a"), func(i *item) { i.held = held })
			b.quarantine(local("a"))
			return func() { close(held) }
		}, "held downloads", 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.times = heedless
			b.add(local("a"), text(1))
			b.start()
			b.settle()
			release := tt.hold(b)
			await(t, "the homeserver is asked", func() bool { return b.count(tt.waiting) > 0 })
			l := b.usurp()
			before, epoch := b.exchange(home), b.epoch()
			release()
			await(t, "the fetcher stands by", func() bool { return roleOf(t, b.fetcher) == standsBy })
			if x := b.exchange(home); x.Checkpoint != before.Checkpoint || b.epoch() != epoch {
				t.Errorf("it has committed: %s, was %s; epoch %d, was %d", x.Checkpoint, before.Checkpoint, b.epoch(), epoch)
			}
			if _, pending := b.counts(home); pending != tt.pending {
				t.Errorf("%d pending, want %d", pending, tt.pending)
			}
			if log := b.log.String(); !strings.Contains(log, "exchange is not fetched here any more") || !strings.Contains(log, "the lease was lost") {
				t.Errorf("the log does not tell: %s", log)
			}
			if err := b.store.Release(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			b.settle()
			b.check("the item", text(1), "sha256 md5")
			if sources, pending := b.counts(home); sources != 1 || pending != 0 {
				t.Errorf("%d sources, %d pending", sources, pending)
			}
		})
	}
}

// TestStatusOfALostLeaseIsNotKept: it would hide that of the one who fetches now.
func TestStatusOfALostLeaseIsNotKept(t *testing.T) {
	b := newBench(t)
	b.times = heedless
	b.start()
	b.settle()
	release := b.hold()
	defer release()
	b.fetcher.FetchNow(home)
	await(t, "the homeserver is asked", func() bool { return b.count("held changes") > 0 })
	l := b.usurp()
	now := bank.FetchStatus{Finished: time.Unix(1_000_000, 0), Succeeded: true, UpToDate: true}
	if err := b.store.SetFetchStatus(t.Context(), l, home, now); err != nil {
		t.Fatal(err)
	}
	b.down() // which is a problem, and worth keeping
	await(t, "the fetcher stands by", func() bool { return roleOf(t, b.fetcher) == standsBy })
	if x := b.exchange(home); x.Status != now {
		t.Errorf("%+v, want %+v", x.Status, now)
	}
}

// TestLeaseThatCannotBeRenewedIsGivenUp: nothing is fetched by who cannot know that
// nobody else does. The status says what is wrong, and it goes on by itself.
func TestLeaseThatCannotBeRenewedIsGivenUp(t *testing.T) {
	b := newBench(t)
	b.times = func(f *exchange.Fetcher) {
		f.SetLease(600*time.Millisecond, 100*time.Millisecond, 20*time.Millisecond)
	}
	held := make(chan struct{})
	b.add(local("a"), text(1))
	b.edit(local("a"), func(i *item) { i.held = held })
	b.quarantine(local("a"))
	b.start()
	await(t, "a download has begun", func() bool { return b.count("held downloads") == 1 })
	db := openDatabase(t, b.at)
	trouble, end := "CREATE TRIGGER trouble BEFORE UPDATE ON lease BEGIN SELECT RAISE(ABORT, 'trouble'); END", "DROP TRIGGER trouble"
	if strings.HasPrefix(b.at, "postgres:") {
		perform(t, db, "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trouble''; END'")
		trouble, end = "CREATE TRIGGER trouble BEFORE UPDATE ON lease FOR EACH ROW EXECUTE FUNCTION trouble()", "DROP TRIGGER trouble ON lease"
	}
	perform(t, db, trouble)
	await(t, "the status says what is wrong", func() bool {
		status, shown := b.fetcher.Status(home)
		return shown && !status.Succeeded && !status.UpToDate && strings.Contains(status.Problem, "take lease: ") && strings.Contains(status.Problem, "trouble")
	})
	if n, _ := number(t, b.fetcher, heldMetric, "exchange", home); n != 0 || b.fetcher.FetchNow(home) {
		t.Error("it says that it fetches")
	}
	asked := b.count("requests")
	time.Sleep(200 * time.Millisecond) // ten fetches would fit in
	if got := b.count("requests"); got != asked {
		t.Errorf("%d requests without the lease", got-asked)
	}
	if log := b.log.String(); !strings.Contains(log, "lease of an exchange cannot be renewed") || !strings.Contains(log, "could not be renewed in time") {
		t.Errorf("the log does not tell: %s", log)
	}
	perform(t, db, end)
	close(held)
	b.settle()
	b.check("the item", text(1), "sha256 md5")
	if got := b.count("held downloads"); got < 2 {
		t.Errorf("%d downloads: the first one went on", got)
	}
	await(t, "the status is good", func() bool { return b.problem(home) == "" })
}

// newServedBench is newBench over PostgreSQL: SQLite does not let itself be interrupted
// while it waits for a lock.
func newServedBench(t *testing.T) *bench {
	t.Helper()
	t.Setenv("MEDIAGATE_TEST_STORE", "postgres")
	return newBench(t)
}

// lockLeases keeps the rows of all leases until it is released, as a commit does on a
// disk that is slow.
func (b *bench) lockLeases() (release func()) {
	b.t.Helper()
	tx, err := openDatabase(b.t, b.at).BeginTx(b.t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(b.t.Context(), "UPDATE lease SET expires = expires")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return func() {
		b.t.Helper()
		if err := tx.Rollback(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestSlowCommitIsNoFailure: who stands by cannot ask for the lease meanwhile, and goes
// on to show what the store says.
func TestSlowCommitIsNoFailure(t *testing.T) {
	b := newServedBench(t)
	b.times = func(f *exchange.Fetcher) { f.SetLease(long, 50*time.Millisecond, 20*time.Millisecond) }
	b.start()
	b.settle()
	second := b.second()
	await(t, "the second one stands by", func() bool {
		return strings.Contains(b.log.String(), "exchange is left to another process")
	})
	release := b.lockLeases()
	for range 100 { // it tries more than ten times
		if status, shown := second.Status(home); shown {
			t.Fatalf("it says %+v", status)
		}
		time.Sleep(10 * time.Millisecond)
	}
	release()
	b.add(local("a"), text(1))
	b.quarantine(local("a"))
	b.settle()
	for _, message := range []string{"exchange cannot be fetched", "lease of an exchange cannot be asked for"} {
		if log := b.log.String(); strings.Contains(log, message) {
			t.Errorf("the log tells of a failure: %s", log)
		}
	}
}

// TestLeaseThatNobodyCanAskForIsTold: after the time of a lease nobody may fetch at
// all, and then that shows.
func TestLeaseThatNobodyCanAskForIsTold(t *testing.T) {
	b := newServedBench(t)
	b.times = func(f *exchange.Fetcher) {
		f.SetLease(600*time.Millisecond, 100*time.Millisecond, 20*time.Millisecond)
	}
	b.start()
	b.settle()
	second := b.second()
	release := b.lockLeases()
	for name, f := range map[string]*exchange.Fetcher{"who had it": b.fetcher, "who had it not": second} {
		await(t, name+" tells", func() bool {
			status, shown := f.Status(home)
			if strings.Contains(status.Problem, "\n") {
				t.Errorf("%s says %q", name, status.Problem)
			}
			return shown && !status.Succeeded && !status.UpToDate && strings.HasPrefix(status.Problem, "whether it is fetched by another process is not known: take lease: ")
		})
	}
	if log := b.log.String(); !strings.Contains(log, "lease of an exchange cannot be asked for") {
		t.Errorf("the log does not tell: %s", log)
	}
	release()
	await(t, "one of them fetches", func() bool { return roleOf(t, b.fetcher) == fetches || roleOf(t, second) == fetches })
	await(t, "the other one stands by", func() bool { return roleOf(t, b.fetcher) == standsBy || roleOf(t, second) == standsBy })
}

// TestLateExpiryEndsNoOtherHolding: the timer of one may go off when the next one has
// begun.
func TestLateExpiryEndsNoOtherHolding(t *testing.T) {
	if lost := newBench(t).newFetcher().EndAtExpiry(5000); lost > 0 {
		t.Errorf("%d holdings were ended by the expiry of the one before", lost)
	}
}

// TestCommitMayTakeLongerThanALease: nobody can take it meanwhile, and if it were
// stopped, it would never be done.
func TestCommitMayTakeLongerThanALease(t *testing.T) {
	b := newBench(t)
	const ttl = 300 * time.Millisecond
	b.times = func(f *exchange.Fetcher) { f.SetLease(ttl, ttl/3, 20*time.Millisecond) }
	b.add(local("a"), text(1))
	b.start()
	b.settle()
	infoHeld := make(chan struct{})
	b.edit(local("a"), func(i *item) { i.infoHeld = infoHeld })
	b.quarantine(local("a"))
	await(t, "the homeserver is asked", func() bool { return b.count("held infos") == 1 })
	tx, err := openDatabase(t, b.at).BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), "UPDATE exchange SET enabled = enabled")
	}
	if err != nil {
		t.Fatal(err)
	}
	b.edit(local("a"), func(i *item) { i.infoHeld = nil })
	close(infoHeld)
	time.Sleep(3 * ttl) // it takes so long
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.check("the item", text(1), "sha256 md5")
	if got := b.count("infos"); got > 2 { // one for the page, one for the download
		t.Errorf("asked %d times: what was learnt was not committed", got)
	}
}
