package bank_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
)

// writes lets a writer write if it wants to, and counts what it has written.
func writes(t testing.TB, w *bank.SnapshotWriter, shared *redis.Client) float64 {
	t.Helper()
	comes(t, 30*time.Second, "an answer of Redis", func() bool {
		_, err := shared.Has(t.Context(), redis.Key{Kind: redis.Snapshot}, time.Minute)
		return err == nil
	})
	if err := w.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	return counted(t, w)["mediagate_snapshot_writes_total ok"]
}

// writesAnother waits until a writer has written, in all, so many.
func writesAnother(t testing.TB, w *bank.SnapshotWriter, shared *redis.Client, want float64) {
	t.Helper()
	comes(t, 30*time.Second, fmt.Sprintf("snapshot %v of a writer", want), func() bool { return writes(t, w, shared) == want })
}

// TestSnapshotThatEverybodyRefusesIsReplaced, though Redis has all of it, and the writer
// has seen it there.
func TestSnapshotThatEverybodyRefusesIsReplaced(t *testing.T) {
	const sha256Size = 46
	for reason, change := range map[string]func(raw *bank.RawSnapshot){
		"count": func(raw *bank.RawSnapshot) {
			raw.Parts[1] = raw.Parts[1][sha256Size:]
			raw.Head = with(raw.Head, bank.EntriesAt+8, 6)
		},
		"malformed": func(raw *bank.RawSnapshot) {
			p := raw.Parts[1]
			raw.Parts[1] = slices.Concat(p[sha256Size:2*sha256Size], p[:sha256Size], p[2*sha256Size:])
		},
		"ahead": func(raw *bank.RawSnapshot) {
			raw.Epoch += 100
			raw.Head = with(raw.Head, bank.EpochAt, uint64(raw.Epoch))
		},
		"other": func(raw *bank.RawSnapshot) { raw.Head = with(raw.Head, bank.EntriesAt+8, 6) },
	} {
		t.Run(reason, func(t *testing.T) {
			shared := newShared(t, redistest.Start(t))
			s := onSQLite.newStore(t)
			raw := snapshotOf(t, s, shared, 0, 1, 2, 3, 4, 5, 6)
			change(&raw)
			if reason != "other" {
				raw.Head = bank.Redigest(raw.Head, raw.Parts)
			}
			var err error
			if raw.HeadKey, err = s.Name(t.Context(), raw.Epoch, raw.Head); err != nil {
				t.Fatal(err)
			}
			for i, key := range append(raw.Keys, raw.HeadKey) {
				keep(t, shared, key, append(raw.Parts, raw.Head)[i])
			}
			_, w := newWriter(t, s, shared)
			if writes(t, w, shared) != 0 {
				t.Fatal("it is written anew before anybody has refused it")
			}
			refuses(t, s, shared, reason)
			writesAnother(t, w, shared, 1)
			x, live := cold(t, s, shared)
			wasLoaded(t, x, "snapshot", "")
			sameAsStore(t, s, load(t, live))
		})
	}
}

// TestShortListHasNoSnapshot: one that has become short is not missed by those who begin.
func TestShortListHasNoSnapshot(t *testing.T) { eachEngine(t, testShortListHasNoSnapshot) }

func testShortListHasNoSnapshot(t *testing.T, e engine) {
	server := redistest.Start(t)
	shared := newShared(t, server)
	s := e.newStore(t)
	snapshotOf(t, s, shared, 1, 2, 3)
	x, w := newWriter(t, s, shared)
	held := int(counted(t, x)["mediagate_index_signals sha256"])
	if held != 3 {
		t.Fatalf("%d contents", held)
	}
	writes(t, w.Needing(1), shared)
	for range 2 { // the second time there is nothing to forget
		if writes(t, w.Needing(1000), shared) != 0 {
			t.Error("it is written")
		}
		if raw, err := s.RawSnapshot(t.Context(), shared); err == nil {
			t.Errorf("a snapshot of epoch %d is named", raw.Epoch)
		}
		if keys := server.Keys(t); len(keys) != 0 {
			t.Errorf("%v stay", keys)
		}
		begun, _ := cold(t, s, shared)
		if values := counted(t, begun); values["mediagate_snapshot_refusals_total missing"] != 0 || values["mediagate_index_loads_total ok store"] != 1 {
			t.Errorf("it is missed: %v", values)
		}
	}
	writesAnother(t, w.Needing(1), shared, 1)
}

// TestEveryLostPartIsFound by a writer that knows the snapshot.
func TestEveryLostPartIsFound(t *testing.T) {
	shared := newShared(t, redistest.Start(t))
	s := onSQLite.newStore(t)
	raw := snapshotOf(t, s, shared, 1, 2, 3)
	_, w := newWriter(t, s, shared)
	if writes(t, w, shared) != 0 {
		t.Fatal("nothing is lost")
	}
	for part := range raw.Keys {
		if err := shared.Delete(t.Context(), rawSnapshot(t, s, shared).Keys[part]); err != nil {
			t.Fatal(err)
		}
		writesAnother(t, w, shared, float64(part+1))
		x, _ := cold(t, s, shared)
		wasLoaded(t, x, "snapshot", "")
	}
}

// TestFewChangesAreNotWorthASnapshot: one in a hundred, of contents or by a bank that is
// removed.
func TestFewChangesAreNotWorthASnapshot(t *testing.T) {
	eachEngine(t, testFewChangesAreNotWorthASnapshot)
}

func testFewChangesAreNotWorthASnapshot(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	s := e.newStore(t)
	e.fill(t, s, 380, bank.MD5)
	createBank(t, s, "B")
	value := func(n int) []bank.Signal {
		return []bank.Signal{{Type: bank.MD5, Value: fmt.Sprintf("%016d", n)}}
	}
	add := func(name string, n int) {
		addContent(t, s, bank.NewContent{Bank: name, Signals: value(n)})
	}
	for n := range 5 {
		add("B", n)
	}
	x, w := newWriter(t, s, shared)
	writesAnother(t, w, shared, 1)
	wrote := 1.0
	check := func(what string, want bool) {
		t.Helper()
		refresh(t, x)
		if want {
			wrote++
			writesAnother(t, w, shared, wrote)
		} else if writes(t, w, shared) != wrote {
			t.Errorf("%s: a snapshot is written", what)
		}
	}
	for n := range 3 {
		add("A", 10+n)
		check(fmt.Sprint(n+1, " changes"), false)
	}
	add("A", 13) // four in 389 are more than three
	check("4 changes", true)
	if err := s.DeleteBank(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	refresh(t, x)
	if err := x.Refresh(t.Context(), true); err != nil { // folds in
		t.Fatal(err)
	}
	check("a bank of 5", true)
}

// TestSnapshotStaysForAWhile whatever changes.
func TestSnapshotStaysForAWhile(t *testing.T) {
	shared := newShared(t, redistest.Start(t))
	s := onSQLite.newStore(t)
	snapshotOf(t, s, shared, 1)
	x, w := newWriter(t, s, shared)
	writes(t, w, shared) // has seen it
	bankPictures(t, s, 2, 3, 4)
	refresh(t, x)
	if writes(t, w.Resting(0, time.Hour), shared) != 0 {
		t.Error("it is replaced at once")
	}
	writesAnother(t, w.Resting(0, 0), shared, 1)
}

// TestWriterRestsAfterTheSnapshotOfAnother, which has taken as much to write.
func TestWriterRestsAfterTheSnapshotOfAnother(t *testing.T) {
	server := redistest.Start(t)
	shared := newShared(t, server)
	s := onSQLite.newStore(t)
	snapshotOf(t, s, shared, 1)
	_, w := newWriter(t, s, shared)
	writes(t, w.Resting(time.Hour, 0), shared)
	server.Flush(t)
	if writes(t, w, shared) != 0 {
		t.Error("it writes without a rest")
	}
	_, fresh := newWriter(t, s, shared)
	writesAnother(t, fresh, shared, 1)
}

// TestSnapshotOfAnotherVersion: that of a newer program is left to it until it ends, and
// that of an older one is replaced.
func TestSnapshotOfAnotherVersion(t *testing.T) {
	for name, version := range map[string]byte{"older": 0, "newer": 2} {
		t.Run(name, func(t *testing.T) {
			shared := newShared(t, redistest.Start(t))
			s := onSQLite.newStore(t)
			raw := snapshotOf(t, s, shared, 1, 2, 3)
			raw.Head[bank.VersionAt+3] = version
			var err error
			if raw.HeadKey, err = s.Name(t.Context(), raw.Epoch, raw.Head); err != nil {
				t.Fatal(err)
			}
			keep(t, shared, raw.HeadKey, raw.Head)
			var log bytes.Buffer
			_, live := cold(t, s, nil)
			w := bank.NewSnapshotWriter(s, live, shared, slog.New(slog.NewTextHandler(&log, nil))).Eager()
			refuses(t, s, shared, "version")
			if version > 1 {
				comes(t, 30*time.Second, "a word of it", func() bool { w.Tend(t.Context(), 0); return log.Len() > 0 })
				for range 3 {
					w.Tend(t.Context(), 0)
				}
				if values := counted(t, w); values["mediagate_snapshot_writes_total ok"]+values["mediagate_snapshot_writes_total failed"] != 0 {
					t.Errorf("it is replaced: %v", values)
				}
				if strings.Count(log.String(), "newer version") != 1 || strings.Count(log.String(), "\n") != 1 {
					t.Errorf("it is told of so: %s", log.String())
				}
				if err := shared.Delete(t.Context(), raw.HeadKey); err != nil { // it has ended
					t.Fatal(err)
				}
			}
			writesAnother(t, w, shared, 1)
			x, _ := cold(t, s, shared)
			wasLoaded(t, x, "snapshot", "")
		})
	}
}
