package bank_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

// TestKilledWriterLeavesTheSnapshotBefore kills one after each of its values, before
// it has named what it wrote.
func TestKilledWriterLeavesTheSnapshotBefore(t *testing.T) {
	eachEngine(t, testKilledWriterLeavesTheSnapshotBefore)
}

func testKilledWriterLeavesTheSnapshotBefore(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	before := snapshotOf(t, s, shared, 1, 2, 3)
	for values := range len(before.Parts) + 2 {
		addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(byte(values))})
		_, w := newWriter(t, s, shared)
		if err := w.WriteAndDie(t.Context(), values); err != nil {
			t.Fatal(err)
		}
		x, live := cold(t, s, shared)
		wasLoaded(t, x, "snapshot", "")
		sameAsStore(t, s, load(t, live))
	}
	if after := written(t, s, shared); after.Epoch <= before.Epoch {
		t.Errorf("epoch %d after %d: nobody can write any more", after.Epoch, before.Epoch)
	}
}

// TestSnapshotThatCannotBeNamedIsRemoved: the store fails at the last step.
func TestSnapshotThatCannotBeNamedIsRemoved(t *testing.T) {
	eachEngine(t, testSnapshotThatCannotBeNamedIsRemoved)
}

func testSnapshotThatCannotBeNamedIsRemoved(t *testing.T, e engine) {
	server := redistest.Start(t)
	shared := newShared(t, server)
	s := e.newStore(t)
	snapshotOf(t, s, shared, 1, 2, 3)
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(4)})
	x, w := newWriter(t, s, shared)
	keys := len(server.Keys(t))
	if err := s.MakeTrouble(t.Context(), "BEFORE UPDATE ON snapshot"); err != nil {
		t.Fatal(err)
	}
	comes(t, 30*time.Second, "the writer's failure", func() bool { return w.Write(t.Context()) != nil })
	if err := s.EndTrouble(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(server.Keys(t)); got != keys {
		t.Errorf("%d values where there were %d", got, keys)
	}
	begun, live := cold(t, s, shared)
	wasLoaded(t, begun, "snapshot", "")
	sameAsStore(t, s, load(t, live))
	writtenBy(t, s, shared, x, w)
}

// TestOneOfManyWritersWrites lets many try at once.
func TestOneOfManyWritersWrites(t *testing.T) { eachEngine(t, testOneOfManyWritersWrites) }

func testOneOfManyWritersWrites(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	createBank(t, s, "A")
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	var writers sync.WaitGroup
	var mu sync.Mutex
	wrote := 0.0
	for range 5 {
		_, w := newWriter(t, s, shared)
		writers.Go(func() {
			if err := w.Write(t.Context()); err != nil && !errors.Is(err, bank.ErrLeaseHeld) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			wrote += counted(t, w)["mediagate_snapshot_writes_total ok"]
		})
	}
	writers.Wait()
	if wrote != 1 {
		t.Errorf("%v snapshots were written", wrote)
	}
}

// TestWriterWithoutTheLeaseIsFencedOff: another process has taken the lease of one
// that was stopped.
func TestWriterWithoutTheLeaseIsFencedOff(t *testing.T) {
	eachEngine(t, testWriterWithoutTheLeaseIsFencedOff)
}

func testWriterWithoutTheLeaseIsFencedOff(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	raw := snapshotOf(t, s, shared, 1, 2, 3)
	acquire := func() bank.Lease {
		l, err := s.Acquire(t.Context(), bank.SnapshotLease, bank.NewHolder(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	stopped := acquire()
	_, w := newWriter(t, s, shared)
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(4)})
	if err := w.Write(t.Context()); err != nil && !errors.Is(err, bank.ErrLeaseHeld) {
		t.Error(err)
	}
	if err := s.Exec(t.Context(), "UPDATE lease SET expires = 0"); err != nil {
		t.Fatal(err)
	}
	next := acquire()
	if err := s.NameWith(t.Context(), stopped, raw.Epoch); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("it names a snapshot: %v", err)
	}
	if got := rawSnapshot(t, s, shared); string(got.Head) != string(raw.Head) {
		t.Error("the snapshot is another one")
	}
	if err := s.NameWith(t.Context(), next, raw.Epoch+100); err == nil {
		t.Error("an epoch is named that the store has not come to")
	}
	if err := s.NameWith(t.Context(), next, raw.Epoch); err != nil {
		t.Error(err)
	}
}

// running runs an Indexer and a writer as a process does.
func running(t *testing.T, s *bank.Store, shared *redis.Client) *bank.Live {
	t.Helper()
	live := bank.NewLive()
	x := bank.NewIndexer(s, live, shared, discard())
	w := bank.NewSnapshotWriter(s, live, shared, discard()).Eager()
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	t.Cleanup(run.Wait)
	t.Cleanup(cancel)
	for _, r := range []func(context.Context) error{x.Run, w.Run} {
		run.Go(func() {
			if err := r(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return live
}

// comes waits until something is so.
func comes(t testing.TB, within time.Duration, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// TestSnapshotComesBack takes Redis away in many ways, while a process runs that
// writes and others begin: each begins, matches everything, and the snapshot is there
// again soon after Redis is.
func TestSnapshotComesBack(t *testing.T) {
	const soon, patience = 10 * time.Second, 60 * time.Second
	tests := map[string]struct {
		begin, end func(r *redistest.Server, t testing.TB)
	}{
		"flushed": {(*redistest.Server).Flush, func(*redistest.Server, testing.TB) {}},
		"killed":  {(*redistest.Server).Kill, (*redistest.Server).Restart},
		"paused":  {(*redistest.Server).Pause, (*redistest.Server).Resume},
		"full": {
			func(r *redistest.Server, t testing.TB) { r.Flush(t); r.Set(t, "maxmemory", "1") },
			func(r *redistest.Server, t testing.TB) { r.Set(t, "maxmemory", "0") },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			s := onSQLite.newStore(t)
			createBank(t, s, "A")
			live := running(t, s, newShared(t, server))
			follow := func(seed byte) {
				addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(seed)})
				epoch, err := s.Epoch(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				wait, stop := context.WithTimeout(t.Context(), patience)
				defer stop()
				if err := live.Wait(wait, epoch); err != nil {
					t.Fatalf("the index does not follow: %v", err)
				}
			}
			begins := func(source string) bool {
				x, live := cold(t, s, newShared(t, server))
				sameAsStore(t, s, load(t, live))
				return counted(t, x)["mediagate_index_loads_total ok "+source] == 1
			}
			follow(1)
			comes(t, patience, "the first snapshot", func() bool { return begins("snapshot") })
			tt.begin(server, t)
			if name != "flushed" {
				follow(2)
				if !begins("store") {
					t.Error("a process has begun with a Redis that is not there")
				}
				follow(3)
			}
			tt.end(server, t)
			comes(t, soon, "the snapshot", func() bool { return begins("snapshot") })
		})
	}
}

// TestHangingRedisDelaysNobodyForLong begins beside a Redis that takes connections and
// answers nothing.
func TestHangingRedisDelaysNobodyForLong(t *testing.T) {
	s := onSQLite.newStore(t)
	server := redistest.Start(t)
	snapshotOf(t, s, newShared(t, server), 1, 2, 3)
	server.Pause(t)
	defer server.Resume(t)
	shared := newShared(t, server)
	began := time.Now()
	refuses(t, s, shared, "unreachable")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("ready after %v", took)
	}
}

// slowly lets each connection take so long for each part that it is asked for.
func slowly(pause time.Duration) func() redistest.Tamper {
	return func() redistest.Tamper {
		var asked atomic.Bool
		return redistest.Tamper{
			Request: func(request []byte) ([]byte, []byte) {
				asked.Store(bytes.Contains(request, []byte("mediagate:part:")))
				return request, nil
			},
			Reply: func(reply []byte) ([]byte, bool) {
				if asked.Load() {
					time.Sleep(pause)
				}
				return reply, false
			},
		}
	}
}

// TestSlowRedisIsWaitedFor as long as parts arrive, and not for ever.
func TestSlowRedisIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := onSQLite.newStore(t)
	server := redistest.Start(t)
	if raw := snapshotOf(t, s, newShared(t, server), 1, 2, 3); len(raw.Parts) != 4 { // two at a time
		t.Fatalf("%d parts", len(raw.Parts))
	}
	proxy := redistest.NewProxy(t, server)
	shared, err := redis.New(redis.Config{URL: secret.New(proxy.URL()), Key: secret.New(strings.Repeat("k", 32))}, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	}()
	proxy.Set(slowly(800 * time.Millisecond))
	x, live := cold(t, s, shared)
	wasLoaded(t, x, "snapshot", "")
	sameAsStore(t, s, load(t, live))

	proxy.Set(slowly(300 * time.Millisecond))
	for name, tt := range map[string]struct{ part, each time.Duration }{
		"all": {400 * time.Millisecond, 10 * time.Millisecond}, "one": {100 * time.Millisecond, time.Minute},
	} {
		x := bank.NewIndexer(s, bank.NewLive(), shared, discard())
		x.Impatient(tt.part, tt.each)
		refresh(t, x)
		if counted(t, x)["mediagate_snapshot_refusals_total unreachable"] != 1 {
			t.Errorf("%s: there is no end to its patience", name)
		}
	}
	// A million hashes are 16 parts. The store is to give them within 5 seconds.
	if most := bank.PartsPatience(16); most > 10*time.Second {
		t.Errorf("up to %v before the store is asked", most)
	}
}

// TestRedisIsTakenAwayWhileLoading: however it ends, the process begins with what the
// store holds.
func TestRedisIsTakenAwayWhileLoading(t *testing.T) {
	s := onSQLite.newStore(t)
	server := redistest.Start(t)
	shared := newShared(t, server)
	snapshotOf(t, s, shared, 1, 2, 3, 4, 5, 6)
	for _, away := range []func(*redistest.Server, testing.TB){
		func(r *redistest.Server, t testing.TB) { r.Pause(t); time.Sleep(3 * time.Second); r.Resume(t) },
		func(r *redistest.Server, t testing.TB) { r.Flush(t) },
		func(r *redistest.Server, t testing.TB) { r.Kill(t); r.Restart(t) },
	} {
		written(t, s, shared)
		stop := make(chan struct{})
		var begun sync.WaitGroup
		var loaded atomic.Int64
		for range 2 {
			begun.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					x, live := cold(t, s, shared)
					sameAsStore(t, s, load(t, live))
					loaded.Add(int64(counted(t, x)["mediagate_index_loads_total ok snapshot"]))
				}
			})
		}
		comes(t, 30*time.Second, "a process that begins with a snapshot", func() bool { return loaded.Load() > 0 })
		away(server, t)
		close(stop)
		begun.Wait()
		addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(7)})
	}
}
