package bank_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

// snapshotOf banks pictures and writes a snapshot.
func snapshotOf(t testing.TB, s *bank.Store, shared *redis.Client, seeds ...byte) bank.RawSnapshot {
	t.Helper()
	createBank(t, s, "A")
	for _, seed := range seeds {
		id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(seed)})
		if forever := bank.DisabledForever; seed%2 == 1 {
			if _, err := s.UpdateContent(t.Context(), "A", id, bank.ContentUpdate{DisableUntil: &forever}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return written(t, s, shared)
}

// written writes a snapshot and returns it.
func written(t testing.TB, s *bank.Store, shared *redis.Client) bank.RawSnapshot {
	t.Helper()
	x, w := newWriter(t, s, shared)
	return writtenBy(t, s, shared, x, w)
}

// writtenBy lets a writer write a snapshot of the newest state. A machine that has much
// else to do may take longer to ask Redis than writers have patience.
func writtenBy(t testing.TB, s *bank.Store, shared *redis.Client, x *bank.Indexer, w *bank.SnapshotWriter) bank.RawSnapshot {
	t.Helper()
	epoch, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var raw bank.RawSnapshot
	comes(t, 30*time.Second, "a snapshot", func() bool {
		if err := errors.Join(x.Refresh(t.Context(), false), w.Write(t.Context())); err != nil {
			t.Fatal(err)
		}
		raw, err = s.RawSnapshot(t.Context(), shared)
		return err == nil && raw.Epoch == epoch
	})
	return raw
}

func rawSnapshot(t testing.TB, s *bank.Store, shared *redis.Client) bank.RawSnapshot {
	t.Helper()
	raw, err := s.RawSnapshot(t.Context(), shared)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func keep(t testing.TB, shared *redis.Client, key redis.Key, value []byte) {
	t.Helper()
	if err := shared.Keep(t.Context(), key, value, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// refuses begins a process, which must use the store and tell why.
func refuses(t testing.TB, s *bank.Store, shared *redis.Client, reason string) {
	t.Helper()
	x, live := cold(t, s, shared)
	wasLoaded(t, x, "store", reason)
	sameAsStore(t, s, load(t, live))
}

// with is a copy with a number of eight bytes at a place.
func with(raw []byte, at int, n uint64) []byte {
	raw = slices.Clone(raw)
	binary.BigEndian.PutUint64(raw[at:], n)
	return raw
}

// TestSnapshotIsRefused puts into Redis what is not the snapshot that the store names,
// and then what it names but nobody wrote who knows the form.
func TestSnapshotIsRefused(t *testing.T) {
	const banked, sha256Size, pdqSize, disabledSize = 7, 46, 46, 16
	tests := map[string]struct {
		reason string
		// change changes the snapshot; what it returns is also given the names of what
		// was changed, if trusted.
		change  func(raw bank.RawSnapshot) bank.RawSnapshot
		trusted bool
	}{
		"no head":        {"missing", func(raw bank.RawSnapshot) bank.RawSnapshot { raw.Head = nil; return raw }, false},
		"no part":        {"missing", func(raw bank.RawSnapshot) bank.RawSnapshot { raw.Parts[2] = nil; return raw }, false},
		"swapped parts":  {"other", func(raw bank.RawSnapshot) bank.RawSnapshot { p := raw.Parts; p[0], p[1] = p[1], p[0]; return raw }, false},
		"part of a part": {"other", func(raw bank.RawSnapshot) bank.RawSnapshot { raw.Parts[1] = raw.Parts[1][:sha256Size]; return raw }, false},
		"part and more": {"other", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Parts[1] = append(raw.Parts[1], raw.Parts[1][:sha256Size]...)
			return raw
		}, false},
		"part instead of head": {"other", func(raw bank.RawSnapshot) bank.RawSnapshot { raw.Head = raw.Parts[0]; return raw }, false},

		"no snapshot": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot { raw.Head = []byte("hash list"); return raw }, true},
		"version 0": {"version", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head[bank.VersionAt+3] = 0
			return raw
		}, true},
		"future version": {"version", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head[bank.VersionAt+3]++
			return raw
		}, true},
		"length 2^63": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EntriesAt, 1<<63)
			return raw
		}, true},
		"length 2^62": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EntriesAt+24, 1<<62)
			return raw
		}, true},
		"longest": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EntriesAt, 1<<28)
			return raw
		}, true},
		"count above parts": {"other", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EntriesAt+8, banked+1)
			return raw
		}, true},
		"count below parts": {"other", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EntriesAt+8, banked-1)
			return raw
		}, true},
		"count of another section": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EntriesAt+8, 0)
			return raw
		}, true},
		"another epoch": {"other", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EpochAt, uint64(raw.Epoch-1))
			return raw
		}, true},
		"epoch below 0": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Head = with(raw.Head, bank.EpochAt, 1<<63)
			return raw
		}, true},
		"epoch that is to come": {"ahead", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Epoch += 100
			raw.Head = with(raw.Head, bank.EpochAt, uint64(raw.Epoch))
			return raw
		}, true},
		"unsorted": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			p := raw.Parts[1]
			raw.Parts[1] = slices.Concat(p[sha256Size:2*sha256Size], p[:sha256Size], p[2*sha256Size:])
			return raw
		}, true},
		"one twice": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			copy(raw.Parts[1], raw.Parts[1][sha256Size:2*sha256Size])
			return raw
		}, true},
		"disabled unsorted": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			p := raw.Parts[3]
			raw.Parts[3] = slices.Concat(p[disabledSize:2*disabledSize], p[:disabledSize], p[2*disabledSize:])
			return raw
		}, true},
		"disabled and enabled": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Parts[3][disabledSize-1] = byte(bank.Enabled)
			return raw
		}, true},
		"signal of the wrong kind": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Parts[0][pdqSize-2] = 3
			return raw
		}, true},
		"signal of no kind": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Parts[0][pdqSize-2] = 4
			return raw
		}, true},
		"signal of no content": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Parts[0] = with(raw.Parts[0], pdqSize-14, 0)
			return raw
		}, true},
		"signal in bank 0": {"malformed", func(raw bank.RawSnapshot) bank.RawSnapshot {
			clear(raw.Parts[0][pdqSize-6 : pdqSize-2])
			return raw
		}, true},
		"fewer than the store": {"count", func(raw bank.RawSnapshot) bank.RawSnapshot {
			raw.Parts[1] = raw.Parts[1][sha256Size:]
			raw.Head = with(raw.Head, bank.EntriesAt+8, banked-1)
			return raw
		}, true},
	}
	server := redistest.Start(t)
	shared := newShared(t, server)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onSQLite.newStore(t)
			raw := tt.change(snapshotOf(t, s, shared, 0, 1, 2, 3, 4, 5, 6))
			if tt.trusted {
				if tt.reason == "malformed" || tt.reason == "count" {
					raw.Head = bank.Redigest(raw.Head, raw.Parts)
				}
				var err error
				if raw.HeadKey, err = s.Name(t.Context(), raw.Epoch, raw.Head); err != nil {
					t.Fatal(err)
				}
			}
			for i, key := range append(raw.Keys, raw.HeadKey) {
				if value := append(raw.Parts, raw.Head)[i]; value != nil {
					keep(t, shared, key, value)
				} else if err := shared.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			refuses(t, s, shared, tt.reason)
		})
	}
}

// TestDamagedSnapshotIsRefused cuts every value at many places and flips many bits.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	s := onSQLite.newStore(t)
	shared := newShared(t, redistest.Start(t))
	raw := snapshotOf(t, s, shared, 0, 1, 2, 3, 4, 5, 6)
	values, keys := append(raw.Parts, raw.Head), append(raw.Keys, raw.HeadKey)
	rng := rand.New(rand.NewPCG(17, 18))
	damaged := func(i int, value []byte) {
		keep(t, shared, keys[i], value)
		x := bank.NewIndexer(s, bank.NewLive(), shared, discard())
		if err := x.Refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if counts := counted(t, x); counts["mediagate_index_loads_total ok store"] != 1 || counts["mediagate_snapshot_refusals_total other"] < 1 {
			t.Fatalf("value %d, damaged, is not refused: %v", i, counts)
		}
		keep(t, shared, keys[i], values[i])
		keep(t, shared, raw.HeadKey, raw.Head) // which was deleted
	}
	for i, value := range values {
		for cut := range 20 {
			damaged(i, value[:max(1, cut*len(value)/20)])
		}
	}
	for range 1000 {
		i := rng.IntN(len(values))
		flipped := slices.Clone(values[i])
		flipped[rng.IntN(len(flipped))] ^= 1 << rng.IntN(8)
		damaged(i, flipped)
	}
	x, live := cold(t, s, shared)
	wasLoaded(t, x, "snapshot", "")
	sameAsStore(t, s, load(t, live))
}

// TestSnapshotOfAnotherKeyOrStoreIsRefused shares one Redis with those who have
// another key, and with another store under the same.
func TestSnapshotOfAnotherKeyOrStoreIsRefused(t *testing.T) {
	server := redistest.Start(t)
	shared, stranger := newShared(t, server), newSharedWith(t, server, "another key, of more than 32 bytes")
	s, other := onSQLite.newStore(t), onSQLite.newStore(t)
	mine, theirs := snapshotOf(t, s, shared, 1, 2, 3), snapshotOf(t, other, shared, 4, 5, 6)
	refuses(t, s, stranger, "missing")
	keep(t, shared, mine.HeadKey, theirs.Head)
	refuses(t, s, shared, "other")
	// Of the other store all is at the place of ours.
	keep(t, shared, mine.HeadKey, mine.Head)
	for i, key := range mine.Keys {
		keep(t, shared, key, theirs.Parts[i])
	}
	refuses(t, s, shared, "other")
	x, _ := cold(t, other, shared)
	wasLoaded(t, x, "snapshot", "")
}

// TestRestoredStoreLoadsItsOwnSnapshotOnly goes back to a backup, and on from there in
// another way. The snapshot of the time of the backup is good; one that was written
// after it is of a past that has never been.
func TestRestoredStoreLoadsItsOwnSnapshotOnly(t *testing.T) {
	shared := newShared(t, redistest.Start(t))
	s := onSQLite.newStore(t)
	before := snapshotOf(t, s, shared, 1, 2)
	backup := t.TempDir() + "/backup.db"
	if err := s.Exec(t.Context(), "VACUUM INTO '"+backup+"'"); err != nil {
		t.Fatal(err)
	}
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(3)})
	after := written(t, s, shared)

	restored := openStore(t, "sqlite:"+backup)
	refuses(t, restored, shared, "missing") // whoever wrote the later one has deleted it
	addContent(t, restored, bank.NewContent{Bank: "A", Signals: pictureSignals(4)})
	keep(t, shared, before.HeadKey, after.Head)
	refuses(t, restored, shared, "other")
	keep(t, shared, before.HeadKey, before.Head)
	for i, key := range before.Keys {
		keep(t, shared, key, before.Parts[i])
	}
	x, live := cold(t, restored, shared)
	wasLoaded(t, x, "snapshot", "")
	sameAsStore(t, restored, load(t, live))
	if got := load(t, live).SHA256([]byte(pictureSignals(3)[0].Value)); len(got) != 0 {
		t.Errorf("it matches what was never banked: %v", got)
	}
}

// TestSnapshotThatIsReplacedIsFollowed: a newer one has taken the place of that
// which was being loaded, which is gone.
func TestSnapshotThatIsReplacedIsFollowed(t *testing.T) {
	eachEngine(t, testSnapshotThatIsReplacedIsFollowed)
}

func testSnapshotThatIsReplacedIsFollowed(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	snapshotOf(t, s, shared, 1, 2, 3)
	x, w := newWriter(t, s, shared)
	ctx, cancel := context.WithCancel(t.Context())
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for seed := byte(4); ctx.Err() == nil; seed = 4 + seed%4 {
			id, err := s.AddContent(ctx, bank.NewContent{Bank: "A", Signals: pictureSignals(seed)})
			if err == nil && id%3 == 0 {
				_, err = s.DeleteContent(ctx, "A", id-1)
			}
			if err == nil {
				err = x.Refresh(ctx, id%5 == 0)
			}
			if err == nil {
				err = w.Write(ctx)
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, redis.ErrBypassed) {
				t.Error(err)
				return
			}
		}
	}()
	loaded := 0.0
	for range 30 {
		begun, _ := cold(t, s, shared)
		loaded += counted(t, begun)["mediagate_index_loads_total ok snapshot"]
	}
	cancel()
	<-writing
	begun, live := cold(t, s, shared)
	sameAsStore(t, s, load(t, live))
	if loaded == 0 {
		t.Errorf("a snapshot was never loaded: %v", counted(t, begun))
	}
}

// TestSnapshotThatIsReplacedMeanwhileIsRefused: when all of it is there the store names
// another one, or none.
func TestSnapshotThatIsReplacedMeanwhileIsRefused(t *testing.T) {
	eachEngine(t, testSnapshotThatIsReplacedMeanwhileIsRefused)
}

func testSnapshotThatIsReplacedMeanwhileIsRefused(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	refusedFor := func(raw bank.RawSnapshot, want string) {
		t.Helper()
		if got, err := s.CatchUp(t.Context(), raw); err != nil || got != want {
			t.Errorf("refused for %q, %v, want %q", got, err, want)
		}
	}
	createBank(t, s, "A")
	restore := backUp(t, s)
	bankPictures(t, s, 1)
	first := written(t, s, shared)
	refusedFor(first, "")
	bankPictures(t, s, 2)
	second := written(t, s, shared)
	refusedFor(first, "replaced")
	refusedFor(second, "")
	restore()
	bankPictures(t, s, 3, 4) // as many, at the same epoch
	refusedFor(second, "replaced")
}

// TestOutdatedSnapshotIsRefused before its parts are read: so much has changed that
// everything is read as soon.
func TestOutdatedSnapshotIsRefused(t *testing.T) { eachEngine(t, testOutdatedSnapshotIsRefused) }

func testOutdatedSnapshotIsRefused(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	raw := snapshotOf(t, s, shared, 1, 2, 3)
	remove := func(from, to int) {
		t.Helper()
		if err := s.Exec(t.Context(), fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO removed (content, epoch) SELECT 1000000 + i, %d FROM n`, from, to, raw.Epoch+1)); err != nil {
			t.Fatal(err)
		}
	}
	remove(1, 99_999)
	bankPictures(t, s, 4)
	x, _ := cold(t, s, shared)
	wasLoaded(t, x, "snapshot", "")
	remove(100_000, 100_000)
	refuses(t, s, shared, "outdated")
}

// TestWriterStopsWhenItsLeaseIsLost in the middle of writing, and deletes what it has
// written.
func TestWriterStopsWhenItsLeaseIsLost(t *testing.T) {
	eachEngine(t, testWriterStopsWhenItsLeaseIsLost)
}

func testWriterStopsWhenItsLeaseIsLost(t *testing.T, e engine) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	s := e.newStore(t)
	createBank(t, s, "A")
	bankPictures(t, s, 1, 2, 3)
	var values atomic.Int64
	proxy.Set(func() redistest.Tamper {
		return redistest.Tamper{Request: func(request []byte) ([]byte, []byte) {
			if bytes.Contains(request, []byte("mediagate:part:")) && bytes.Contains(request, []byte("\r\nset\r\n")) {
				values.Add(1)
				if err := s.Exec(t.Context(), "UPDATE lease SET holder = 'another', fence = fence + 1"); err != nil {
					t.Error(err)
				}
			}
			return request, nil
		}}
	})
	shared, err := redis.New(redis.Config{URL: secret.New(proxy.URL()), Key: secret.New(strings.Repeat("k", 32))}, discard())
	if err != nil {
		t.Fatal(err)
	}
	_, w := newWriter(t, s, shared)
	if err := w.Write(t.Context()); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("it goes on without the lease: %v", err)
	}
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
	if keys := server.Keys(t); len(keys) != 0 || values.Load() != 1 {
		t.Errorf("%d parts were written, and %v stay", values.Load(), keys)
	}
}
