package bank_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
)

// TestEveryReplicaFollows commits through one process what three must match within two
// seconds each: additions, what is disabled and deleted, and whole banks.
func TestEveryReplicaFollows(t *testing.T) {
	for name, withRedis := range map[string]bool{"redis": true, "poll": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			location := onPostgres.location(t)
			var server *redistest.Server
			if withRedis {
				server = redistest.Start(t)
			}
			var stores []*bank.Store
			var lives []*bank.Live
			for range 3 {
				var shared *redis.Client
				if withRedis {
					shared = newShared(t, server)
				}
				s := openStore(t, location)
				stores = append(stores, s)
				lives = append(lives, running(t, s, shared))
			}
			s := stores[0]
			followed := func(what string, seed byte, want ...string) {
				t.Helper()
				slices.Sort(want)
				for n, live := range lives {
					comes(t, 2*time.Second, fmt.Sprintf("%s in replica %d", what, n), func() bool {
						ix, err := live.Load()
						return err == nil && slices.Equal(texts(ix.SHA256([]byte(pictureSignals(seed)[0].Value))), want)
					})
				}
				epoch, err := s.Epoch(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, live := range lives {
					comes(t, 2*time.Second, what, func() bool { return load(t, live).Epoch() == epoch })
					sameAsStore(t, s, load(t, live))
				}
			}
			createBank(t, s, "A")
			createBank(t, s, "B")
			followed("nothing", 1)
			for range 2 {
				id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
				other := addContent(t, s, bank.NewContent{Bank: "B", Signals: pictureSignals(1)})
				followed("an addition", 1, fmt.Sprint(id, " A true"), fmt.Sprint(other, " B true"))
				forever := bank.DisabledForever
				if _, err := stores[1].UpdateContent(t.Context(), "A", id, bank.ContentUpdate{DisableUntil: &forever}); err != nil {
					t.Fatal(err)
				}
				followed("disabling", 1, fmt.Sprint(id, " A false"), fmt.Sprint(other, " B true"))
				if _, err := stores[2].DeleteContent(t.Context(), "A", id); err != nil {
					t.Fatal(err)
				}
				followed("deleting", 1, fmt.Sprint(other, " B true"))
				if err := s.DeleteBank(t.Context(), "B"); err != nil {
					t.Fatal(err)
				}
				followed("deleting a bank", 1)
				createBank(t, s, "B")
			}
		})
	}
}

// TestNudgesReachOtherProcesses needs no poll to see what another has committed. The
// nudge may be lost; ten are not.
func TestNudgesReachOtherProcesses(t *testing.T) {
	location := onSQLite.location(t)
	server := redistest.Start(t)
	writer, reader := openStore(t, location), openStore(t, location)
	createBank(t, writer, "A")
	running(t, writer, newShared(t, server))
	nudges := newShared(t, server).Nudges(t.Context())
	live := running(t, reader, newShared(t, server))
	<-nudges // that of the connection
	for seed := range byte(10) {
		addContent(t, writer, bank.NewContent{Bank: "A", Signals: pictureSignals(seed)})
		select {
		case <-nudges:
			comes(t, 2*time.Second, "the content", func() bool {
				ix, err := live.Load()
				return err == nil && ix.Len(bank.SHA256) == int(seed)+1
			})
			return
		case <-time.After(2 * time.Second):
		}
	}
	t.Error("nobody is told of commits")
}

// TestProcessWithoutAnIndexNudges: what only fetches, or only curates, is heard of as
// soon.
func TestProcessWithoutAnIndexNudges(t *testing.T) {
	server := redistest.Start(t)
	s := onSQLite.newStore(t)
	x := bank.NewIndexer(s, bank.NewLive(), newShared(t, server), discard())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Announce(ctx) }()
	nudges := newShared(t, server).Nudges(t.Context())
	<-nudges // that of the connection
	createBank(t, s, "A")
	select {
	case <-nudges:
	case <-time.After(10 * time.Second):
		t.Error("nobody is told of the commit")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestReplicaFarBehindLoadsAnew changes more than is worth following up.
func TestReplicaFarBehindLoadsAnew(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.newStore(t)
		x, live := cold(t, s, nil)
		e.fill(t, s, 100_001, bank.MD5)
		if err := x.Refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := counted(t, x)["mediagate_index_loads_total ok store"]; got != 2 {
			t.Errorf("%v loads", got)
		}
		if ix := load(t, live); ix.Len(bank.MD5) != 100_001 || ix.Unmerged() {
			t.Errorf("%d signals, to be merged: %v", ix.Len(bank.MD5), ix.Unmerged())
		}
		createBank(t, s, "B")
		addContent(t, s, bank.NewContent{Bank: "B", Signals: pictureSignals(1)})
		if err := x.Refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := counted(t, x)["mediagate_index_loads_total ok store"]; got != 2 {
			t.Errorf("one change is not followed up: %v loads", got)
		}
	})
}

// TestNudgesCannotKeepAnIndexerBusy floods one with nudges, which anybody can send who
// reaches Redis. They bring it to look at the store, but no more than twenty times a
// second.
func TestNudgesCannotKeepAnIndexerBusy(t *testing.T) {
	server := redistest.Start(t)
	s := onSQLite.newStore(t)
	x := bank.NewIndexer(s, bank.NewLive(), newShared(t, server), discard())
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	flood := newShared(t, server)
	run.Go(func() {
		for ctx.Err() == nil {
			_ = flood.Nudge(ctx)
		}
	})
	began := time.Now()
	run.Go(func() { _ = x.Run(ctx) })
	refreshes := func() float64 { return counted(t, x)["mediagate_index_refreshes_total ok"] }
	comes(t, 30*time.Second, "a refresh for nudges", func() bool { return refreshes() >= 20 })
	got, took := refreshes(), time.Since(began)
	if most := took.Seconds()*(20+1) + 3; got > most {
		t.Errorf("%v refreshes in %v", got, took)
	}
}
