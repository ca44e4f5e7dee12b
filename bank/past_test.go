package bank_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redistest"
)

// backUp keeps a copy of all that a store holds, and returns what lets the store go
// back to it, under whatever process uses it.
func backUp(t *testing.T, s *bank.Store) (restore func()) {
	t.Helper()
	exec := func(statement string) {
		t.Helper()
		if err := s.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	tables, _, err := s.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tables = append(slices.Clone(tables), "lease", "snapshot") // those that others refer to come first
	for _, table := range tables {
		exec("CREATE TABLE backup_" + table + " AS SELECT * FROM " + table)
	}
	return func() {
		t.Helper()
		var statements []string
		for _, table := range slices.Backward(tables) {
			statements = append(statements, "DELETE FROM "+table)
		}
		for _, table := range tables {
			statements = append(statements, "INSERT INTO "+table+" SELECT * FROM backup_"+table)
		}
		exec("BEGIN; " + strings.Join(statements, "; ") + "; COMMIT")
	}
}

func bankPictures(t testing.TB, s *bank.Store, seeds ...byte) {
	t.Helper()
	for _, seed := range seeds {
		addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(seed)})
	}
}

func refresh(t testing.TB, x *bank.Indexer) {
	t.Helper()
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

// TestIndexOfALostPastIsMadeAnew lets a store go back and on in another way, while an
// index is live: until its epoch is below that of the index, the same, or above.
func TestIndexOfALostPastIsMadeAnew(t *testing.T) { eachEngine(t, testIndexOfALostPastIsMadeAnew) }

func testIndexOfALostPastIsMadeAnew(t *testing.T, e engine) {
	for name, since := range map[string][]byte{"below": nil, "same": {4}, "above": {4, 5}, "far above": {4, 5, 6, 7}} {
		t.Run(name, func(t *testing.T) {
			s := e.newStore(t)
			createBank(t, s, "A")
			bankPictures(t, s, 1, 2)
			restore := backUp(t, s)
			bankPictures(t, s, 3)
			x, live := cold(t, s, nil)
			restore()
			bankPictures(t, s, since...)
			refresh(t, x)
			sameAsStore(t, s, load(t, live))
			// And that is that.
			bankPictures(t, s, 0)
			refresh(t, x)
			refresh(t, x)
			sameAsStore(t, s, load(t, live))
			if got := counted(t, x)["mediagate_index_loads_total ok store"]; got != 2 {
				t.Errorf("%v loads, want 2", got)
			}
		})
	}
}

// TestMergeOfALostPastIsMadeAnew: what is folded in is an index that the store has gone
// back behind meanwhile.
func TestMergeOfALostPastIsMadeAnew(t *testing.T) { eachEngine(t, testMergeOfALostPastIsMadeAnew) }

func testMergeOfALostPastIsMadeAnew(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	restore := backUp(t, s)
	bankPictures(t, s, 3)
	x, live := cold(t, s, nil)
	restore()
	bankPictures(t, s, 4, 5)
	if err := x.Refresh(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	sameAsStore(t, s, load(t, live))
}

// TestSnapshotOfALostPastIsNotNamed: the writer has an index that the store has gone
// back behind, and it has come past that epoch again.
func TestSnapshotOfALostPastIsNotNamed(t *testing.T) {
	eachEngine(t, testSnapshotOfALostPastIsNotNamed)
}

func testSnapshotOfALostPastIsNotNamed(t *testing.T, e engine) {
	for name, since := range map[string][]byte{"same": {4}, "above": {4, 5}} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			shared := newShared(t, server)
			s := e.newStore(t)
			createBank(t, s, "A")
			bankPictures(t, s, 1, 2)
			restore := backUp(t, s)
			bankPictures(t, s, 3)
			x, w := newWriter(t, s, shared)
			restore()
			bankPictures(t, s, since...)
			// It takes several attempts if Redis does not answer in time.
			comes(t, 30*time.Second, "the refusal", func() bool {
				err := w.Write(t.Context())
				return err != nil && strings.Contains(err.Error(), "another past")
			})
			if keys := server.Keys(t); len(keys) != 0 {
				t.Errorf("it leaves %v", keys)
			}
			begun, live := cold(t, s, shared)
			wasLoaded(t, begun, "store", "")
			sameAsStore(t, s, load(t, live))
			writtenBy(t, s, shared, x, w)
			begun, live = cold(t, s, shared)
			wasLoaded(t, begun, "snapshot", "")
			sameAsStore(t, s, load(t, live))
		})
	}
}

// TestProcessesFollowAStoreThatGoesBack runs two as they are, with a Redis. The snapshot
// that they have written is of the lost past; who begins then, and they, must be right.
func TestProcessesFollowAStoreThatGoesBack(t *testing.T) {
	eachEngine(t, testProcessesFollowAStoreThatGoesBack)
}

func testProcessesFollowAStoreThatGoesBack(t *testing.T, e engine) {
	server := redistest.Start(t)
	s := e.newStore(t)
	createBank(t, s, "A")
	bankPictures(t, s, 1, 2)
	restore := backUp(t, s)
	bankPictures(t, s, 3)
	lost := written(t, s, newShared(t, server))
	lives := []*bank.Live{running(t, s, newShared(t, server)), running(t, s, newShared(t, server))}
	follow := func() {
		t.Helper()
		for n, live := range lives {
			wait, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			if err := live.Wait(wait, lost.Epoch); err != nil {
				t.Fatalf("process %d: %v", n, err)
			}
		}
	}
	follow()
	restore()
	bankPictures(t, s, 4, 5)
	epoch := epochOf(t, s)
	shared := newShared(t, server)
	for n, live := range lives {
		comes(t, 30*time.Second, fmt.Sprintf("the new past in process %d", n), func() bool { return load(t, live).Epoch() == epoch })
		sameAsStore(t, s, load(t, live))
	}
	comes(t, 30*time.Second, "its snapshot", func() bool {
		begun, live := cold(t, s, shared)
		sameAsStore(t, s, load(t, live))
		return counted(t, begun)["mediagate_index_loads_total ok snapshot"] == 1
	})
}

// TestEveryCommitLeavesAMark, whatever it commits, and a copy has the same.
func TestEveryCommitLeavesAMark(t *testing.T) { eachCopy(t, testEveryCommitLeavesAMark) }

func testEveryCommitLeavesAMark(t *testing.T, from, to engine) {
	location, target := from.location(t), to.location(t)
	s := filled(t, location)
	imports(t, s, list(0, 3), bank.Import{Bank: "LIST", Create: true}, bank.Imported{Added: 3})
	marks := func(s *bank.Store) string {
		t.Helper()
		got, err := s.Query(t.Context(), "SELECT COUNT(*) FROM past WHERE mark <> 0 AND epoch BETWEEN 1 AND (SELECT value FROM meta WHERE key = 'epoch')")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got, want := marks(s), fmt.Sprint(epochOf(t, s)); got != want {
		t.Errorf("%s marks of %s commits", got, want)
	}
	if _, err := bank.Copy(t.Context(), location, target, silent); err != nil {
		t.Fatal(err)
	}
	c := openStore(t, target)
	if got, want := marks(c), fmt.Sprint(epochOf(t, s)); got != want {
		t.Errorf("the copy has %s marks of %s commits", got, want)
	}
	// What follows the copy goes on from an index of the source, and is told when the
	// two have parted.
	x, live := cold(t, s, nil)
	addContent(t, c, bank.NewContent{Bank: "A", Signals: pictureSignals(7)})
	if err := x.Follow(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	sameAsStore(t, c, load(t, live))
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(6)})
	if err := x.Follow(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	sameAsStore(t, s, load(t, live))
	if got := counted(t, x)["mediagate_index_loads_total ok store"]; got != 2 {
		t.Errorf("%v loads, want 2", got)
	}
}

// TestOldMarksAreDeleted, and an index whose mark was is made anew.
func TestOldMarksAreDeleted(t *testing.T) { eachEngine(t, testOldMarksAreDeleted) }

func testOldMarksAreDeleted(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	bankPictures(t, s, 1)
	x, live := cold(t, s, nil)
	before := bank.MarksKept + bank.MarksTrimmed - 2
	if err := s.Exec(t.Context(), fmt.Sprintf("UPDATE meta SET value = %d WHERE key = 'epoch'", before)); err != nil {
		t.Fatal(err)
	}
	for commit, want := range []string{"3", "2", "3"} { // the second deletes the first two
		bankPictures(t, s, byte(commit))
		if got, err := s.Query(t.Context(), "SELECT COUNT(*) FROM past"); err != nil || got != want {
			t.Errorf("%s marks at epoch %d, want %s: %v", got, epochOf(t, s), want, err)
		}
	}
	refresh(t, x)
	sameAsStore(t, s, load(t, live))
	if got := counted(t, x)["mediagate_index_loads_total ok store"]; got != 2 {
		t.Errorf("%v loads, want 2", got)
	}
}
