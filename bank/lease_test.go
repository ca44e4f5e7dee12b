package bank_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// long is longer than any test takes.
const long = time.Hour

func acquire(t testing.TB, s *bank.Store, name, holder string) bank.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), name, holder, long)
	if err != nil {
		t.Fatal(err)
	}
	if l.Name != name || l.Holder != holder {
		t.Errorf("%+v is not what %s wants, %s", l, holder, name)
	}
	return l
}

// refuse checks that somebody else has a lease.
func refuse(t testing.TB, s *bank.Store, name, holder, has string) {
	t.Helper()
	if l, err := s.Acquire(t.Context(), name, holder, long); !errors.Is(err, bank.ErrLeaseHeld) || !strings.Contains(err.Error(), has) {
		t.Errorf("%+v, %v, want it held by %s", l, err, has)
	}
}

// exec does something behind the store's back.
func exec(t testing.TB, s *bank.Store, statement string) {
	t.Helper()
	if err := s.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func expire(t testing.TB, s *bank.Store) { t.Helper(); exec(t, s, "UPDATE lease SET expires = 1") }

func TestLeases(t *testing.T) { eachEngine(t, testLeases) }

func testLeases(t *testing.T, e engine) {
	location := e.location(t)
	s, other := openStore(t, location), openStore(t, location)
	a := acquire(t, s, "x", "a")
	refuse(t, other, "x", "b", "a")
	acquire(t, other, "y", "b")
	if again := acquire(t, s, "x", "a"); again != a {
		t.Errorf("renewed, it is %+v and was %+v", again, a)
	}
	if err := s.Renew(t.Context(), a, long); err != nil {
		t.Error(err)
	}
	if err := s.Release(t.Context(), a); err != nil {
		t.Error(err)
	}
	b := acquire(t, other, "x", "b")
	if b.Fence <= a.Fence {
		t.Errorf("fence %d after %d", b.Fence, a.Fence)
	}
	if err := s.Renew(t.Context(), a, long); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("renewed after another one has taken it: %v", err)
	}
	if err := s.Release(t.Context(), a); err != nil {
		t.Errorf("released after another one has taken it: %v", err)
	}
	refuse(t, s, "x", "a", "b")
	expire(t, s)
	if c := acquire(t, s, "x", "a"); c.Fence <= b.Fence {
		t.Errorf("fence %d after %d", c.Fence, b.Fence)
	}
}

// TestLeaseEndsByItself waits for that.
func TestLeaseEndsByItself(t *testing.T) { eachEngine(t, testLeaseEndsByItself) }

func testLeaseEndsByItself(t *testing.T, e engine) {
	s := e.newStore(t)
	const ttl = 300 * time.Millisecond
	take := func(holder string) (bank.Lease, error) { return s.Acquire(t.Context(), "x", holder, ttl) }
	first, err := take("a")
	if err != nil {
		t.Fatal(err)
	}
	var next bank.Lease
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if next, err = take("b"); err == nil || !errors.Is(err, bank.ErrLeaseHeld) || time.Now().After(deadline) {
			break
		}
	}
	if err != nil || next.Fence <= first.Fence {
		t.Errorf("%+v after %+v, %v", next, first, err)
	}
	if err := s.Renew(t.Context(), first, ttl); !errors.Is(err, bank.ErrLeaseLost) {
		t.Error(err)
	}
}

// TestExpiryIsByTheDatabasesClock: how long a lease lasts is what was asked for.
func TestExpiryIsByTheDatabasesClock(t *testing.T) {
	eachEngine(t, testExpiryIsByTheDatabasesClock)
}

func testExpiryIsByTheDatabasesClock(t *testing.T, e engine) {
	s := e.newStore(t)
	a := acquire(t, s, "x", "a")
	// The test and the database have the same clock here.
	check := func() {
		t.Helper()
		text, err := s.Query(t.Context(), "SELECT expires FROM lease")
		if err != nil {
			t.Fatal(err)
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		if until := time.Until(time.UnixMilli(ms)); err != nil || until > long+time.Second || until < long-time.Minute {
			t.Errorf("ends in %s, %v, want %s", until, err, long)
		}
	}
	check()
	expire(t, s)
	if err := s.Renew(t.Context(), a, long); err != nil {
		t.Error(err)
	}
	check()
	expire(t, s)
	acquire(t, s, "x", "b")
	check()
}

// TestClockSetBackDoesNotKeepADeadHolder: without a limit the lease would last for
// as long as the clock was wrong, and more.
func TestClockSetBackDoesNotKeepADeadHolder(t *testing.T) {
	eachEngine(t, testClockSetBackDoesNotKeepADeadHolder)
}

func testClockSetBackDoesNotKeepADeadHolder(t *testing.T, e engine) {
	s := e.newStore(t)
	a := acquire(t, s, "x", "a")
	exec(t, s, "UPDATE lease SET expires = expires + 900") // less than clocks are corrected by
	refuse(t, s, "x", "b", "a")
	exec(t, s, "UPDATE lease SET expires = expires + 100000")
	if b := acquire(t, s, "x", "b"); b.Fence <= a.Fence {
		t.Errorf("fence %d after %d", b.Fence, a.Fence)
	}
	refuse(t, s, "x", "a", "b") // and it ends when it should
}

func TestLeaseNeedsNames(t *testing.T) { eachEngine(t, testLeaseNeedsNames) }

func testLeaseNeedsNames(t *testing.T, e engine) {
	s := e.newStore(t)
	for name, tt := range map[string]struct{ lease, holder string }{
		"no name": {"", "a"}, "no holder": {"x", ""}, "zero in name": {"x\x00", "a"}, "holder not UTF-8": {"x", "\xff"},
	} {
		if l, err := s.Acquire(t.Context(), tt.lease, tt.holder, long); err == nil || errors.Is(err, bank.ErrLeaseHeld) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	if err := s.Renew(t.Context(), bank.Lease{}, long); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("nothing is renewed: %v", err)
	}
	if got, err := s.Query(t.Context(), "SELECT COUNT(*) FROM lease"); err != nil || got != "0" {
		t.Errorf("%s leases, %v", got, err)
	}
	// A released lease is nobody's, not that of whoever says no name.
	released := acquire(t, s, "x", "a")
	if err := s.Release(t.Context(), released); err != nil {
		t.Error(err)
	}
	released.Holder = ""
	if err := s.Renew(t.Context(), released, long); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("nobody renews: %v", err)
	}
	if err := s.Commit(t.Context(), "X", bank.Fetched{Lease: released}); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("nobody commits: %v", err)
	}
}

func TestHoldersAreUnique(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	a, b := bank.NewHolder(), bank.NewHolder()
	if a == b || !strings.HasPrefix(a, host+"/") || len(a) < len(host)+20 {
		t.Errorf("%s and %s on %s", a, b, host)
	}
}

// TestLostLeaseCommitsNothing tries everything that is done with a lease, after it
// has ended in each way there is.
func TestLostLeaseCommitsNothing(t *testing.T) { eachEngine(t, testLostLeaseCommitsNothing) }

func testLostLeaseCommitsNothing(t *testing.T, e engine) {
	for name, tt := range map[string]struct {
		end  func(t *testing.T, s *bank.Store, l bank.Lease)
		lost bool
	}{
		"held":    {func(*testing.T, *bank.Store, bank.Lease) {}, false},
		"renewed": {func(t *testing.T, s *bank.Store, _ bank.Lease) { acquire(t, s, "exchange/X", "a") }, false},
		"expired": {func(t *testing.T, s *bank.Store, _ bank.Lease) { expire(t, s) }, false},
		"expired and renewed": {func(t *testing.T, s *bank.Store, _ bank.Lease) {
			expire(t, s)
			acquire(t, s, "exchange/X", "a")
		}, false},
		"another one's": {func(t *testing.T, s *bank.Store, _ bank.Lease) { expire(t, s); acquire(t, s, "exchange/X", "b") }, true},
		"another one's, and expired": {func(t *testing.T, s *bank.Store, _ bank.Lease) {
			expire(t, s)
			acquire(t, s, "exchange/X", "b")
			expire(t, s)
		}, true},
		"its own again": {func(t *testing.T, s *bank.Store, _ bank.Lease) {
			expire(t, s)
			acquire(t, s, "exchange/X", "b")
			expire(t, s)
			acquire(t, s, "exchange/X", "a")
		}, true},
		"released": {func(t *testing.T, s *bank.Store, l bank.Lease) {
			if err := s.Release(t.Context(), l); err != nil {
				t.Error(err)
			}
		}, true},
		"forgotten": {func(t *testing.T, s *bank.Store, _ bank.Lease) { exec(t, s, "DELETE FROM lease") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			location := e.location(t)
			s := openStore(t, location)
			createExchange(t, s, "X")
			commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}, Pending: []bank.Pending{pending("p", "hash")}})
			l := acquire(t, s, "exchange/X", "a")
			tt.end(t, s, l)
			before, err := bank.Dump(t.Context(), location)
			if err != nil {
				t.Fatal(err)
			}
			for what, do := range map[string]func() error{
				"commit": func() error {
					return s.Commit(t.Context(), "X", bank.Fetched{Lease: l, From: "1", To: "2", Removed: []string{"a"}, Put: []bank.SourceContent{banked("b", 2)}})
				},
				"resolve": func() error {
					return s.Resolve(t.Context(), "X", pending("p", "hash"), bank.Fetched{Lease: l, Put: []bank.SourceContent{banked("p", 3)}})
				},
				"status": func() error {
					return s.SetFetchStatus(t.Context(), l, "X", bank.FetchStatus{Finished: time.Unix(5, 0), Problem: "p"})
				},
			} {
				if err := do(); errors.Is(err, bank.ErrLeaseLost) != tt.lost || (err != nil) != tt.lost {
					t.Errorf("%s: %v", what, err)
				}
			}
			after, err := bank.Dump(t.Context(), location)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); (diff == "") != tt.lost {
				t.Errorf("what was committed:\n%s", diff)
			}
			if !tt.lost && (exchangeOf(t, s, "X").Status.Problem != "p" || contentOf(t, s, "X", 3) == 0) {
				t.Errorf("not committed: %+v", exchangeOf(t, s, "X"))
			}
		})
	}
}

// TestLostBookkeepingIsRefused: what changes no match takes another way.
func TestLostBookkeepingIsRefused(t *testing.T) { eachEngine(t, testLostBookkeepingIsRefused) }

func testLostBookkeepingIsRefused(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	p := pending("p", "hash")
	commit(t, s, "X", bank.Fetched{To: "1", Pending: []bank.Pending{p}})
	l := acquire(t, s, "exchange/X", "a")
	expire(t, s)
	acquire(t, s, "exchange/X", "b")
	if err := s.Commit(t.Context(), "X", bank.Fetched{Lease: l, From: "1", To: "2", Recheck: "verify"}); !errors.Is(err, bank.ErrLeaseLost) {
		t.Error(err)
	}
	if err := s.Resolve(t.Context(), "X", p, bank.Fetched{Lease: l}); !errors.Is(err, bank.ErrLeaseLost) {
		t.Error(err)
	}
	if got := tasks(t, s, "X"); !cmp.Equal(got, map[string]string{"p": "hash"}) || exchangeOf(t, s, "X").Checkpoint != "1" {
		t.Errorf("%v at %s", got, exchangeOf(t, s, "X").Checkpoint)
	}
}

// TestWaitingForALeaseEndsWithTheContext: and nothing else is said to be wrong. Only
// PostgreSQL lets itself be interrupted while it waits for a lock.
func TestWaitingForALeaseEndsWithTheContext(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	s, other := openStore(t, location), openStore(t, location)
	l := acquire(t, s, "x", "a")
	tx, err := other.Begin(t.Context())
	if err == nil {
		_, err = tx.ExecContext(t.Context(), "UPDATE lease SET expires = expires")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for name, do := range map[string]func(ctx context.Context) error{
		"take":    func(ctx context.Context) error { return errorOf(s.Acquire(ctx, "x", "b", long)) },
		"renew":   func(ctx context.Context) error { return s.Renew(ctx, l, long) },
		"release": func(ctx context.Context) error { return s.Release(ctx, l) },
		"commit":  func(ctx context.Context) error { return s.SetFetchStatus(ctx, l, "NONE", bank.FetchStatus{}) },
	} {
		for range 10 { // what else fails depends on who is first
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			err := do(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
	}
}

// TestLeaseIsLocked for longer than locks are waited for.
func TestLeaseIsLocked(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	s, hasty := openStore(t, location), openStore(t, location+"&lock_timeout=50ms")
	acquire(t, s, "x", "a")
	tx, err := s.Begin(t.Context())
	if err == nil {
		_, err = tx.ExecContext(t.Context(), "UPDATE lease SET expires = expires")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hasty.Acquire(t.Context(), "x", "b", long); !bank.IsLocked(err) {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := hasty.Acquire(t.Context(), "x", "b", long); !errors.Is(err, bank.ErrLeaseHeld) || bank.IsLocked(err) {
		t.Error(err)
	}
}
