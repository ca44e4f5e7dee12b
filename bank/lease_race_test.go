package bank_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// TestOneOfManyTakesALease lets all of them try at once, when there is no such lease
// and when it has expired.
func TestOneOfManyTakesALease(t *testing.T) { eachEngine(t, testOneOfManyTakesALease) }

func testOneOfManyTakesALease(t *testing.T, e engine) {
	location := e.location(t)
	strictest(t, e, location)
	stores := []*bank.Store{openStore(t, location), openStore(t, location)}
	for round := range 20 {
		var taken []bank.Lease
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				l, err := stores[i%2].Acquire(t.Context(), "x", fmt.Sprint(round, "/", i), long)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					taken = append(taken, l)
				} else if !errors.Is(err, bank.ErrLeaseHeld) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(taken) != 1 || taken[0].Fence != int64(round)+1 {
			t.Errorf("round %d: taken by %+v", round, taken)
		}
		expire(t, stores[0])
	}
}

// strictest makes the database prefer what fails where others wait.
func strictest(t *testing.T, e engine, location string) {
	t.Helper()
	if e.name == onPostgres.name {
		name := postgrestest.DatabaseOf(t, location)
		postgrestest.Shared(t).Exec(t, name, "ALTER DATABASE "+name+" SET default_transaction_isolation = 'serializable'")
	}
}

// TestCommitsComeInTheOrderOfTheirLeases lets some count, each with a lease that the
// others may take at any moment, and who does not notice. Whoever had the lease later
// commits later, each number is committed once, and nobody waits for ever.
func TestCommitsComeInTheOrderOfTheirLeases(t *testing.T) {
	eachEngine(t, testCommitsComeInTheOrderOfTheirLeases)
}

func testCommitsComeInTheOrderOfTheirLeases(t *testing.T, e engine) {
	location := e.location(t)
	strictest(t, e, location)
	stores := []*bank.Store{openStore(t, location), openStore(t, location)}
	createExchange(t, stores[0], "X")
	type commit struct {
		at    int
		fence int64
	}
	var commits []commit
	refused, taken := 0, 0
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 4 {
		rng, s := rand.New(rand.NewPCG(7, uint64(i))), stores[i%2]
		all.Go(func() {
			for range 60 {
				l, err := s.Acquire(t.Context(), "exchange/X", fmt.Sprint(i), 2*time.Millisecond)
				if err != nil {
					if !errors.Is(err, bank.ErrLeaseHeld) {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				taken++
				mu.Unlock()
				for range 3 {
					x, err := s.Exchange(t.Context(), "X")
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond) // so that it may expire
					at, _ := strconv.Atoi(x.Checkpoint)                       // it begins empty
					err = s.Commit(t.Context(), "X", bank.Fetched{Lease: l, From: x.Checkpoint, To: fmt.Sprint(at + 1), Put: []bank.SourceContent{exactly("a", byte(at))}})
					mu.Lock()
					switch {
					case err == nil:
						commits = append(commits, commit{at, l.Fence})
					case errors.Is(err, bank.ErrLeaseLost):
						refused++
					case !errors.Is(err, bank.ErrCheckpoint): // of its own name's other lease
						t.Error(err)
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	slices.SortFunc(commits, func(a, b commit) int { return cmp.Compare(a.at, b.at) })
	for n, c := range commits {
		if c.at != n || n > 0 && c.fence < commits[n-1].fence {
			t.Fatalf("commit %d is of %+v, after %+v", n, c, commits[max(n-1, 0)])
		}
	}
	if got := exchangeOf(t, stores[0], "X").Checkpoint; got != fmt.Sprint(len(commits)) {
		t.Errorf("checkpoint %s after %d commits", got, len(commits))
	}
	if len(commits) == 0 || refused == 0 {
		t.Errorf("%d commits and %d refused: nothing was tested", len(commits), refused)
	}
	t.Logf("%d taken, %d commits, %d refused", taken, len(commits), refused)
}

// The rest needs a database in which several write at once.

// lockWaits waits until so many wait for a lock.
func lockWaits(t *testing.T, s *bank.Store, want int) {
	t.Helper()
	for deadline := time.Now().Add(8 * time.Second); ; time.Sleep(time.Millisecond) {
		got, err := s.Query(t.Context(), "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
		if err != nil {
			t.Fatal(err)
		}
		if got == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s wait for a lock, want %d", got, want)
		}
	}
}

func begin(t *testing.T, s *bank.Store, statement string) *sql.Tx {
	t.Helper()
	tx, err := s.Begin(t.Context())
	if err == nil {
		_, err = tx.ExecContext(t.Context(), statement)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func background(do func() error) chan error {
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	return ended
}

// TestTakeOverWaitsForACommit begins to take an expired lease between its last check
// and the commit.
func TestTakeOverWaitsForACommit(t *testing.T) {
	for name, how := range map[string]string{"commit": "commit", "resolve": "resolve", "status": "status"} {
		t.Run(name, func(t *testing.T) {
			location := postgrestest.NewDatabase(t)
			s, other := openStore(t, location), openStore(t, location)
			createExchange(t, s, "X")
			commit(t, s, "X", bank.Fetched{To: "1", Pending: []bank.Pending{pending("p", "hash")}})
			l := acquire(t, s, "exchange/X", "a")
			expire(t, s)
			// All three end with a change of one of these rows.
			blocker := begin(t, openStore(t, location), "SELECT 1 FROM exchange, pending FOR UPDATE")
			committing := background(func() error { return doWith(t.Context(), s, l, how) })
			lockWaits(t, other, 1)
			var b bank.Lease
			taking := background(func() (err error) {
				b, err = other.Acquire(t.Context(), "exchange/X", "b", long)
				return err
			})
			lockWaits(t, s, 2)
			if err := blocker.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := <-committing; err != nil {
				t.Errorf("the commit that was first: %v", err)
			}
			if err := <-taking; err != nil || b.Fence <= l.Fence {
				t.Errorf("%+v after %+v, %v", b, l, err)
			}
			if err := doWith(t.Context(), s, l, "commit"); !errors.Is(err, bank.ErrLeaseLost) {
				t.Errorf("the commit that is second: %v", err)
			}
		})
	}
}

// doWith does what only the holder of a lease may.
func doWith(ctx context.Context, s *bank.Store, l bank.Lease, what string) error {
	switch what {
	case "commit":
		return s.Commit(ctx, "X", bank.Fetched{Lease: l, From: "1", To: "2", Put: []bank.SourceContent{banked("a", 1)}})
	case "resolve":
		return s.Resolve(ctx, "X", pending("p", "hash"), bank.Fetched{Lease: l, Put: []bank.SourceContent{banked("p", 1)}})
	default:
		return s.SetFetchStatus(ctx, l, "X", bank.FetchStatus{Finished: time.Unix(5, 0), Problem: "p"})
	}
}

// TestCommitWaitsForATakeOver begins to commit while somebody takes the lease, who
// then does, or does not.
func TestCommitWaitsForATakeOver(t *testing.T) {
	for _, how := range []string{"commit", "resolve", "status"} {
		for name, taken := range map[string]bool{"taken": true, "not taken": false} {
			t.Run(how+"/"+name, func(t *testing.T) {
				location := postgrestest.NewDatabase(t)
				s := openStore(t, location)
				createExchange(t, s, "X")
				commit(t, s, "X", bank.Fetched{To: "1", Pending: []bank.Pending{pending("p", "hash")}})
				l := acquire(t, s, "exchange/X", "a")
				taking := begin(t, openStore(t, location), "UPDATE lease SET holder = 'b', fence = fence + 1")
				epoch := epochOf(t, s)
				committing := background(func() error { return doWith(t.Context(), s, l, how) })
				lockWaits(t, s, 1)
				end := map[bool]func() error{true: taking.Commit, false: taking.Rollback}[taken]
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if err := <-committing; errors.Is(err, bank.ErrLeaseLost) != taken || (err != nil) != taken {
					t.Errorf("%v", err)
				}
				x := exchangeOf(t, s, "X")
				if changed := x.Checkpoint != "1" || x.Status.Problem != "" || contentOf(t, s, "X", 1) != 0 || epochOf(t, s) != epoch; changed == taken {
					t.Errorf("changed: %v: %+v", changed, x)
				}
			})
		}
	}
}

// TestRenewalDoesNotWaitForWriters renews in the middle of what its process writes,
// which may take longer than a lease. Others try to take it meanwhile.
func TestRenewalDoesNotWaitForWriters(t *testing.T) {
	s := onPostgres.newStore(t)
	createExchange(t, s, "X")
	l := acquire(t, s, "exchange/X", "a")
	err := s.ChangeSlowly(t.Context(), "X", banked("a", 1), func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := s.Renew(ctx, l, long); err != nil {
			t.Errorf("renewed: %v", err)
		}
		if _, err := s.Acquire(ctx, "exchange/X", "b", long); !errors.Is(err, bank.ErrLeaseHeld) {
			t.Errorf("taken: %v", err)
		}
		if err := s.Release(ctx, l); err != nil {
			t.Errorf("released: %v", err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
