package bank_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
)

func TestPublications(t *testing.T) { eachEngine(t, testPublications) }

func testPublications(t *testing.T, e engine) {
	s, ctx := e.newStore(t), t.Context()
	a, b := createBank(t, s, "A"), createBank(t, s, "B")
	began, epoch := time.Now().Add(-time.Second), epochOf(t, s)
	if err := s.Publish(ctx, "A", "!a"); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		bank, room string
		want       error
	}{
		"again": {"A", "!x", bank.ErrPublished}, "into the same room": {"B", "!a", bank.ErrPublished},
		"no bank": {"C", "!c", bank.ErrBankNotFound}, "no text": {"B", "\x00", bank.ErrText},
	} {
		if err := s.Publish(ctx, tt.bank, tt.room); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Publish(ctx, "B", "!b"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Publications(ctx)
	if err != nil || len(list) != 2 || list[0].Bank != a.ID || list[1].Bank != b.ID {
		t.Fatalf("%+v, %v", list, err)
	}
	got := list[0]
	if got.Since.Before(began) || time.Since(got.Since) > time.Minute {
		t.Errorf("since %v", got.Since)
	}
	want := bank.Publication{Bank: a.ID, Name: "A", Room: "!a", Since: got.Since, Enabled: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// How it goes is kept by who has the lease.
	l, err := s.Acquire(ctx, "publish/A", bank.NewHolder(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want.Status = bank.PublicationStatus{Finished: time.Unix(1_800_000_000, 0), Problem: "x\uFFFDy", Published: 7}
	told := want.Status
	told.Problem = "x\x00y"
	if err := s.SetPublicationStatus(ctx, l, a.ID, told); err != nil {
		t.Fatal(err)
	}
	l.Fence++
	if err := s.SetPublicationStatus(ctx, l, a.ID, bank.PublicationStatus{}); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("with another lease: %v", err)
	}
	if got, err := s.Publication(ctx, "A"); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(want, got))
	}

	// It has the name of its bank, and outlives it.
	renamed := "C"
	if _, err := s.UpdateBank(ctx, "A", bank.Settings{Name: &renamed}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publication(ctx, "A"); !errors.Is(err, bank.ErrPublicationNotFound) {
		t.Errorf("by the old name: %v", err)
	}
	if err := s.DeleteBank(ctx, "C"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Publication(ctx, "A"); err != nil || got.Bank != a.ID || got.Status != want.Status {
		t.Errorf("without its bank %+v, %v", got, err)
	}

	// Withdrawn, it ends when nothing is left, and not before.
	if err := s.Withdraw(ctx, "A"); err != nil {
		t.Fatal(err)
	}
	for _, status := range []bank.PublicationStatus{{Published: 1}, {Problem: "x"}} {
		if err := s.SetPublicationStatus(ctx, bank.Lease{}, a.ID, status); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Publication(ctx, "A"); err != nil || got.Enabled {
			t.Errorf("with %+v it is %+v, %v", status, got, err)
		}
	}
	for range 2 { // the second time it is gone
		if err := s.SetPublicationStatus(ctx, bank.Lease{}, a.ID, bank.PublicationStatus{}); err != nil {
			t.Fatal(err)
		}
	}
	// One that is enabled stays, whatever it holds.
	if err := s.SetPublicationStatus(ctx, bank.Lease{}, b.ID, bank.PublicationStatus{}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Publications(ctx); err != nil || len(list) != 1 || list[0].Name != "B" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := s.Unpublish(ctx, "B"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"unpublish": s.Unpublish(ctx, "B"), "withdraw": s.Withdraw(ctx, "B"), "no text": s.Withdraw(ctx, "\xff"),
	} {
		if !errors.Is(err, bank.ErrPublicationNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := epochOf(t, s) - epoch; got != 2 { // the name and the end of the bank
		t.Errorf("it has made %d epochs", got)
	}
}

func TestOwnHashes(t *testing.T) { eachEngine(t, testOwnHashes) }

func testOwnHashes(t *testing.T, e engine) {
	s, ctx := e.newStore(t), t.Context()
	a := createBank(t, s, "A")
	createBank(t, s, "B")
	add := func(bankName string, n byte, quality int, here bool) int64 {
		signals := pictureSignals(n)
		for i := range signals {
			if signals[i].Type == bank.PDQ {
				signals[i].Quality = quality
			}
		}
		return addContent(t, s, bank.NewContent{Bank: bankName, Signals: signals, HashedHere: here})
	}
	first := add("A", 1, 50, true)
	add("A", 2, 49, true)
	add("A", 3, 100, false)
	add("B", 4, 100, true)
	add("A", 5, bank.NoQuality, true)
	for n, until := range map[byte]int64{6: bank.DisabledForever, 7: time.Now().Add(time.Hour).Unix()} {
		if _, err := s.UpdateContent(ctx, "A", add("A", n, 100, true), bank.ContentUpdate{DisableUntil: &until}); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-time.Hour).Unix()
	last := add("A", 8, 100, true)
	if _, err := s.UpdateContent(ctx, "A", last, bank.ContentUpdate{DisableUntil: &past}); err != nil {
		t.Fatal(err)
	}
	b, list, err := s.OwnHashes(ctx, a.ID, 50, 10)
	if err != nil || b != a || len(list) != 2 || list[0].Content != first || list[1].Content != last {
		t.Fatalf("%+v of %+v, %v", list, b, err)
	}
	for i, n := range []byte{1, 8} {
		for _, signal := range pictureSignals(n) {
			if signal.Type == bank.PDQ && signal.Variant == 0 && list[i].PDQ.Value != signal.Value ||
				signal.Type == bank.SHA256 && list[i].SHA256 != signal.Value {
				t.Errorf("content %d: not its %s", n, signal.Type)
			}
		}
	}
	if _, list, err := s.OwnHashes(ctx, a.ID, 50, 1); err != nil || len(list) != 1 {
		t.Errorf("at most one are %d, %v", len(list), err)
	}
	if _, _, err := s.OwnHashes(ctx, 99, 50, 1); !errors.Is(err, bank.ErrBankNotFound) || !strings.Contains(err.Error(), "read own hashes") {
		t.Errorf("of no bank: %v", err)
	}
}

// TestImportedHashesAreNotOwn: a version of a hasher tells what made a hash, and not where.
// A copy of the whole store is the same one.
func TestImportedHashesAreNotOwn(t *testing.T) { eachEngine(t, testImportedHashesAreNotOwn) }

func testImportedHashesAreNotOwn(t *testing.T, e engine) {
	location := e.location(t)
	theirs, s := onSQLite.newStore(t), openStore(t, location)
	createBank(t, theirs, "A")
	addContent(t, theirs, bank.NewContent{Bank: "A", Signals: pictureSignals(1), HashedHere: true})
	a := createBank(t, s, "A")
	own := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2), HashedHere: true})
	imports(t, s, exported(t, theirs, "A"), bank.Import{Bank: "A"}, bank.Imported{Added: 1})
	to := e.location(t)
	if _, err := bank.Copy(t.Context(), location, to, silent); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*bank.Store{"store": s, "copy": openStore(t, to)} {
		if _, list, err := s.OwnHashes(t.Context(), a.ID, 0, 10); err != nil || len(list) != 1 || list[0].Content != own {
			t.Errorf("%s: %d are its own, %v; want content %d", name, len(list), err, own)
		}
	}
	again := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1), HashedHere: true})
	if _, list, err := s.OwnHashes(t.Context(), a.ID, 0, 10); err != nil || len(list) != 2 || list[1].Content != again {
		t.Errorf("%d are its own, %v; want content %d, which was hashed here since", len(list), err, again)
	}
}
