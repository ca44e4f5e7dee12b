package bank_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// TestManyOpenAnEmptyDatabaseAtOnce is what replicas do that are started together.
func TestManyOpenAnEmptyDatabaseAtOnce(t *testing.T) {
	eachEngine(t, testManyOpenAnEmptyDatabaseAtOnce)
}

func testManyOpenAnEmptyDatabaseAtOnce(t *testing.T, e engine) {
	for range 3 {
		location := e.location(t)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				s, err := bank.Open(t.Context(), location)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.CreateBank(t.Context(), bank.Bank{Name: fmt.Sprint("BANK_", i)}); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		s := openStore(t, location)
		if got, err := s.Query(t.Context(), "SELECT COUNT(*) - COUNT(DISTINCT version) FROM schema_version"); err != nil || got != "0" {
			t.Errorf("%s migrations were done twice, %v", got, err)
		}
		if banks, err := s.Banks(t.Context()); err != nil || len(banks) != 8 {
			t.Errorf("%d banks, %v", len(banks), err)
		}
	}
}

// TestWritersOfTwoStoresLoseNothing lets two stores write at once while a third
// one follows them: no update is lost, every commit has an epoch of its own, and
// whoever has seen an epoch has seen all before it.
func TestWritersOfTwoStoresLoseNothing(t *testing.T) {
	eachEngine(t, testWritersOfTwoStoresLoseNothing)
}

func testWritersOfTwoStoresLoseNothing(t *testing.T, e engine) {
	location := e.location(t)
	if e.name == onPostgres.name { // what the operator prefers must not matter
		name := postgrestest.DatabaseOf(t, location)
		postgrestest.Shared(t).Exec(t, name, "ALTER DATABASE "+name+" SET default_transaction_isolation = 'serializable'")
	}
	stores := []*bank.Store{openStore(t, location), openStore(t, location)}
	createExchange(t, stores[0], "X")
	createBank(t, stores[1], "A")
	before := epochOf(t, stores[0])
	const writers, rounds = 6, 12
	x, live := newIndexer(openStore(t, location))
	var all sync.WaitGroup
	written := make(chan struct{})
	var follower sync.WaitGroup
	follower.Go(func() {
		for end := false; !end; {
			select {
			case <-written:
				end = true
			default:
			}
			if err := x.Refresh(t.Context(), false); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var mu sync.Mutex
	var ids []int64
	for i := range writers {
		s := stores[i%2]
		all.Go(func() {
			for n := range rounds {
				id, err := s.AddContent(t.Context(), bank.NewContent{Bank: "A", Signals: pictureSignals(byte(i*rounds + n))})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
				// A counter in the checkpoint, by reading and writing.
				for {
					x, err := s.Exchange(t.Context(), "X")
					if err != nil {
						t.Error(err)
						return
					}
					at, _ := strconv.Atoi(x.Checkpoint) // it begins empty
					// Bookkeeping alone, which leaves the epoch as it is.
					err = s.Commit(t.Context(), "X", bank.Fetched{From: x.Checkpoint, To: fmt.Sprint(at + 1)})
					if err == nil {
						break
					}
					if !errors.Is(err, bank.ErrCheckpoint) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	close(written)
	follower.Wait()
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != writers*rounds || ids[len(ids)-1] != int64(len(ids)) {
		t.Errorf("%d contents are numbered %v", writers*rounds, ids)
	}
	if got := exchangeOf(t, stores[0], "X").Checkpoint; got != fmt.Sprint(writers*rounds) {
		t.Errorf("checkpoint %s, want %d: an update was lost", got, writers*rounds)
	}
	if got := epochOf(t, stores[1]); got != before+writers*rounds {
		t.Errorf("epoch %d, want %d", got, before+writers*rounds)
	}
	if got, err := stores[0].Query(t.Context(), "SELECT COUNT(DISTINCT epoch) FROM content"); err != nil || got != fmt.Sprint(writers*rounds) {
		t.Errorf("%s epochs of %d commits, %v", got, writers*rounds, err)
	}
	for n := range byte(writers * rounds) {
		if got := load(t, live).SHA256(digest(n)); len(got) != 1 {
			t.Errorf("the follower has missed content %d: %v", n, got)
		}
	}
}

// TestPendingIsResolvedOnce lets many end work on the same key.
func TestPendingIsResolvedOnce(t *testing.T) { eachEngine(t, testPendingIsResolvedOnce) }

func testPendingIsResolvedOnce(t *testing.T, e engine) {
	location := e.location(t)
	stores := []*bank.Store{openStore(t, location), openStore(t, location)}
	createExchange(t, stores[0], "X")
	for round := range 5 {
		p := pending(fmt.Sprint("key ", round), "hash")
		commit(t, stores[0], "X", bank.Fetched{Pending: []bank.Pending{p}})
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				// Each would have the key pending for something of its own.
				next := bank.Pending{Key: fmt.Sprint("key ", round, " of ", i), Task: "next", Since: time.UnixMilli(1), Due: time.UnixMilli(1)}
				if err := stores[i%2].Resolve(t.Context(), "X", p, bank.Fetched{Pending: []bank.Pending{next}}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		checkCounts(t, stores[0], "X", 0, round+1)
	}
}
