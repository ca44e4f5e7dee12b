package bank_test

import (
	"errors"
	"fmt"
	"slices"
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
	orphan := fmt.Sprintf("A#%d", a.ID)
	for _, name := range []string{"A", orphan} { // nobody else is called A
		if got, err := s.Publication(ctx, name); err != nil || got.Bank != a.ID || got.Name != orphan || got.Status != want.Status {
			t.Errorf("%s, without its bank: %+v, %v", name, got, err)
		}
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

// TestPublicationsOfOneNameAreToldApart: names are given anew, and what was published of
// a bank that is gone is not that of the next bank of its name.
func TestPublicationsOfOneNameAreToldApart(t *testing.T) {
	eachEngine(t, testPublicationsOfOneNameAreToldApart)
}

func testPublicationsOfOneNameAreToldApart(t *testing.T, e engine) {
	s, ctx := e.newStore(t), t.Context()
	publish := func(room string) bank.Bank {
		t.Helper()
		b := createBank(t, s, "A")
		if err := s.Publish(ctx, "A", room); err != nil {
			t.Fatal(err)
		}
		return b
	}
	list := func() map[string]int64 {
		t.Helper()
		list, err := s.Publications(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names := make(map[string]int64)
		for _, p := range list {
			names[p.Name] = p.Bank
		}
		return names
	}
	called := func(b bank.Bank) string { return fmt.Sprintf("A#%d", b.ID) }
	first := publish("!one")
	renamed := "B"
	if _, err := s.UpdateBank(ctx, "A", bank.Settings{Name: &renamed}); err != nil {
		t.Fatal(err)
	}
	second := publish("!two")
	if err := s.DeleteBank(ctx, "B"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{called(first): first.ID, "A": second.ID}, list()); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if got, err := s.Publication(ctx, "A"); err != nil || got.Bank != second.ID {
		t.Errorf("A is %+v, %v", got, err)
	}
	if err := s.Withdraw(ctx, "A"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Publication(ctx, called(first)); err != nil || !got.Enabled {
		t.Errorf("the one without a bank is %+v, %v", got, err)
	}
	if err := s.Unpublish(ctx, "A"); err != nil {
		t.Fatal(err)
	}
	// The name is a bank's, if that is published or not.
	if err := s.Unpublish(ctx, "A"); !errors.Is(err, bank.ErrPublicationNotFound) {
		t.Errorf("a bank that is not published: %v", err)
	}
	if err := s.Publish(ctx, "A", "!two"); err != nil {
		t.Errorf("published again: %v", err)
	}
	if err := s.DeleteBank(ctx, "A"); err != nil {
		t.Fatal(err)
	}
	// Of two that are gone it is neither's.
	if err := s.Unpublish(ctx, "A"); !errors.Is(err, bank.ErrPublicationNotFound) || !strings.Contains(err.Error(), "2 banks that are gone") {
		t.Errorf("the name of two: %v", err)
	}
	if err := s.Unpublish(ctx, called(first)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{called(second): second.ID}, list()); diff != "" {
		t.Errorf("the other one is left (-want +got):\n%s", diff)
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
	var list []bank.OwnHash
	b, err := s.OwnHashes(ctx, a.ID, 50, func(h bank.OwnHash) { list = append(list, h) })
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
	if _, err := s.OwnHashes(ctx, 99, 50, nil); !errors.Is(err, bank.ErrBankNotFound) || !strings.Contains(err.Error(), "read own hashes") {
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
		if list := ownContents(t, s, a.ID); !slices.Equal(list, []int64{own}) {
			t.Errorf("%s: %d are its own, want %d", name, list, own)
		}
	}
	again := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1), HashedHere: true})
	if list := ownContents(t, s, a.ID); !slices.Equal(list, []int64{own, again}) {
		t.Errorf("%d are its own, want %d, which was hashed here since, too", list, again)
	}
}

func ownContents(t *testing.T, s *bank.Store, of int64) (contents []int64) {
	t.Helper()
	if _, err := s.OwnHashes(t.Context(), of, 0, func(h bank.OwnHash) { contents = append(contents, h.Content) }); err != nil {
		t.Fatal(err)
	}
	return contents
}
