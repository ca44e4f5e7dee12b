package bank_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/internal/secret"
)

// eachCopy runs a test from every engine to every engine.
func eachCopy(t *testing.T, test func(t *testing.T, from, to engine)) {
	for _, from := range []engine{onSQLite, onPostgres} {
		for _, to := range []engine{onSQLite, onPostgres} {
			t.Run(from.name+" to "+to.name, func(t *testing.T) { test(t, from, to) })
		}
	}
}

// filled is a store that has something of everything.
func filled(t *testing.T, location string) *bank.Store {
	t.Helper()
	s := openStore(t, location)
	ctx := t.Context()
	createBank(t, s, "GONE")
	createBank(t, s, "A")
	half, on, forever := 1.0/3, true, bank.DisabledForever
	if _, err := s.UpdateBank(ctx, "A", bank.Settings{Ratio: &half, MD5Enforce: &on}); err != nil {
		t.Fatal(err)
	}
	addContent(t, s, bank.NewContent{Bank: "GONE", Signals: pictureSignals(9)})
	off := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1), Note: "na\u00efve\n\U0001F9FF'\"\\", Metadata: `{"json":{"k":"\u0000"}}`, HashedHere: true})
	if _, err := s.UpdateContent(ctx, "A", off, bank.ContentUpdate{DisableUntil: &forever}); err != nil {
		t.Fatal(err)
	}
	createExchange(t, s, "X")
	f := bank.Fetched{To: "{}", Put: []bank.SourceContent{banked("k1", 2), exactly("k2", 3), banked("k3", 4)}, Completed: true}
	for n := range 1234 { // more than is written at once
		f.Pending = append(f.Pending, bank.Pending{Key: fmt.Sprint("p", n), Task: "hash", Since: time.UnixMilli(int64(n)), Due: time.UnixMilli(1 << 50), Attempts: n % 3, Problem: "p\n"})
	}
	commit(t, s, "X", f)
	commit(t, s, "X", bank.Fetched{From: "{}", To: "{}", Removed: []string{"k3"}})
	for _, err := range []error{
		s.SetFetchStatus(ctx, bank.Lease{}, "X", bank.FetchStatus{Finished: time.Unix(5, 0), Problem: "p", Report: "{}"}),
		s.Hold(ctx, []int64{contentOf(t, s, "X", 2)}, "r"), s.SetCredential(ctx, "api", secret.New("tok")), s.DeleteBank(ctx, "GONE"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func dump(t *testing.T, location string) []string {
	t.Helper()
	if path, ok := strings.CutPrefix(location, "sqlite:"); ok {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil // and stays so
		}
	}
	lines, err := bank.Dump(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func silent(_, _ int64) {}

func TestCopyTakesEverything(t *testing.T) { eachCopy(t, testCopyTakesEverything) }

func testCopyTakesEverything(t *testing.T, from, to engine) {
	source, target := from.location(t), to.location(t)
	s := filled(t, source)
	want := dump(t, source)
	if !slices.ContainsFunc(want, func(line string) bool { return strings.HasPrefix(line, "credential []interface") }) {
		t.Fatal("the dump is not what it should be")
	}
	var done, all int64
	rows, err := bank.Copy(t.Context(), source, target, func(d, a int64) {
		if d <= done || d > a || all != 0 && a != all {
			t.Errorf("progress: %d of %d after %d of %d", d, a, done, all)
		}
		if done == 0 { // what is written now comes too late
			addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(50)})
		}
		done, all = d, a
	})
	// The names of the tables, and the version, are in the dump, too.
	if err != nil || rows != done || rows != all || rows < 1234 {
		t.Fatalf("%d rows of %d, %v", rows, all, err)
	}
	if diff := cmp.Diff(want, dump(t, target)); diff != "" {
		t.Errorf("(-source +target):\n%s", diff)
	}
	// It is a store like any other.
	c := openStore(t, target)
	if got := fresh(t, c).SHA256(digest(2)); len(got) != 1 || got[0].Bank.Name != "X" {
		t.Errorf("%v", got)
	}
	if id := addContent(t, c, bank.NewContent{Bank: "A", Signals: pictureSignals(7)}); id != 6 {
		t.Errorf("the next content is %d: numbers are never given twice", id)
	}
	for _, again := range []string{source, target} {
		if _, err := bank.Copy(t.Context(), again, target, silent); !errors.Is(err, bank.ErrNotEmpty) {
			t.Errorf("over what is there: %v", err)
		}
	}
}

func TestCopyKnowsAllTables(t *testing.T) { eachEngine(t, testCopyKnowsAllTables) }

func testCopyKnowsAllTables(t *testing.T, e engine) {
	copied, there, err := e.newStore(t).Tables(t.Context())
	copied = append(slices.Clone(copied), "schema_version", "lease", "snapshot")
	slices.Sort(copied)
	if slices.Sort(there); err != nil || !slices.Equal(copied, there) {
		t.Errorf("%v are copied, of %v, %v", copied, there, err)
	}
}

// TestCopyThatFailsLeavesTheTarget breaks copies off in the middle.
func TestCopyThatFailsLeavesTheTarget(t *testing.T) { eachCopy(t, testCopyThatFailsLeavesTheTarget) }

func testCopyThatFailsLeavesTheTarget(t *testing.T, from, to engine) {
	source, target := from.location(t), to.location(t)
	filled(t, source)
	unchanged := func(what string, err, want error) {
		t.Helper()
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if left := dump(t, target); len(left) != 0 {
			t.Errorf("%s leaves %v", what, left)
		}
		if path, ok := strings.CutPrefix(target, "sqlite:"); ok {
			if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 0 {
				t.Errorf("%s leaves %v, %v", what, left, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := bank.Copy(ctx, source, target, func(done, all int64) {
		if done > all/2 {
			cancel()
		}
	})
	unchanged("interrupted", err, context.Canceled)

	s := openStore(t, target) // somebody has opened it, and done nothing
	empty := dump(t, target)
	if err := s.MakeTrouble(t.Context(), "BEFORE INSERT ON pending"); err != nil {
		t.Fatal(err)
	}
	if _, err := bank.Copy(t.Context(), source, target, silent); err == nil || !strings.Contains(err.Error(), "pending") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(empty, dump(t, target)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if err := s.EndTrouble(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := bank.Copy(t.Context(), source, target, silent); err != nil {
		t.Errorf("after the trouble: %v", err)
	}
	if diff := cmp.Diff(dump(t, source), dump(t, target)); diff != "" {
		t.Errorf("(-source +target):\n%s", diff)
	}
}

func TestCopyRefuses(t *testing.T) { eachCopy(t, testCopyRefuses) }

func testCopyRefuses(t *testing.T, from, to engine) {
	refused := func(what, source, target string, want error, text string) {
		t.Helper()
		before := dump(t, target)
		_, err := bank.Copy(t.Context(), source, target, silent)
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %v %s", what, err, want, text)
		}
		if diff := cmp.Diff(before, dump(t, target)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", what, diff)
		}
	}
	missing := from.location(t)
	refused("no source", missing, to.location(t), bank.ErrNoStore, "")
	if path, ok := strings.CutPrefix(missing, "sqlite:"); ok {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the missing source was made: %v", err)
		}
	}
	older, newer := from.location(t), from.location(t)
	if err := bank.CreateVersion(t.Context(), older, 1, "UPDATE meta SET value = 7 WHERE key = 'epoch'"); err != nil {
		t.Fatal(err)
	}
	refused("older source", older, to.location(t), nil, "version 1")
	if err := openStore(t, newer).SetSchemaVersion(t.Context(), 99); err != nil {
		t.Fatal(err)
	}
	source := from.location(t)
	filled(t, source)
	refused("newer source", newer, to.location(t), nil, "version 99")
	checkPrivate(t, errorOf(bank.Copy(t.Context(), source, "mysql://u:c4nary@h", silent)), "c4nary")
	checkPrivate(t, errorOf(bank.Copy(t.Context(), "mysql://u:c4nary@h", source, silent)), "c4nary")

	used := to.location(t)
	s := openStore(t, used)
	createBank(t, s, "A")
	if err := s.DeleteBank(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	refused("used and emptied", source, used, bank.ErrNotEmpty, "")
	named := to.location(t)
	if err := openStore(t, named).SetCredential(t.Context(), "a", secret.New("b")); err != nil {
		t.Fatal(err)
	}
	refused("a credential", source, named, bank.ErrNotEmpty, "")

	if from.name == onSQLite.name { // as it was taken before it was refused
		old := from.location(t)
		s := filled(t, old)
		if err := s.Exec(t.Context(), "UPDATE pending SET problem = CAST(x'610062FF' AS TEXT) WHERE key = 'p7'"); err != nil {
			t.Fatal(err)
		}
		if _, err := bank.Copy(t.Context(), old, to.location(t), silent); err != nil {
			t.Errorf("a problem that is no text: %v", err)
		}
		if err := s.Exec(t.Context(), "UPDATE content SET note = CAST(x'610062' AS TEXT)"); err != nil {
			t.Fatal(err)
		}
		refused("no text", old, to.location(t), bank.ErrText, "copy table content: column note")
	}
}
