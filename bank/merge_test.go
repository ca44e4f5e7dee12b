package bank_test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/pdq"
)

// TestNoThirdIndexIsMade: while a snapshot is written of an index, it may be folded in
// once, but not again.
func TestNoThirdIndexIsMade(t *testing.T) {
	s := onSQLite.newStore(t)
	createBank(t, s, "A")
	x, live := cold(t, s, nil)
	// remove makes a merge due, and tells whether it was begun.
	remove := func(bankName string) bool {
		t.Helper()
		createBank(t, s, bankName)
		refresh(t, x)
		if err := s.DeleteBank(t.Context(), bankName); err != nil {
			t.Fatal(err)
		}
		refresh(t, x)
		merged, err := x.AwaitMerge(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return merged
	}
	written, err := live.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if !remove("B") || load(t, live).Unmerged() {
		t.Error("what is live cannot be folded in while it is written")
	}
	if remove("C") || !load(t, live).Unmerged() {
		t.Error("a third index is made")
	}
	runtime.KeepAlive(written)
	live.LetGo()
	refresh(t, x)
	if merged, err := x.AwaitMerge(t.Context()); err != nil || !merged || load(t, live).Unmerged() {
		t.Errorf("it is not made up for: %v, %v", merged, err)
	}
}

// TestWriterHoldsNothingWhenItRests, or nothing would ever be folded in.
func TestWriterHoldsNothingWhenItRests(t *testing.T) {
	s := onSQLite.newStore(t)
	createBank(t, s, "A")
	createBank(t, s, "B")
	x, w := newWriter(t, s, nil)
	_ = w.Write(t.Context()) // in vain: there is no Redis
	for range 2 {
		if err := x.Refresh(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteBank(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	refresh(t, x)
	if merged, err := x.AwaitMerge(t.Context()); err != nil || !merged {
		t.Errorf("nothing is folded in any more: %v, %v", merged, err)
	}
}

// TestRunWaitsForAMerge that it has begun.
func TestRunWaitsForAMerge(t *testing.T) {
	contents := make([]bank.HashContent, 200_000)
	for i := range contents {
		contents[i] = bank.HashContent{ID: int64(i + 1), Bank: 1, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: pdq.Hash{uint64(i) * 0x9e3779b97f4a7c15, uint64(i)}}}}
	}
	ix, err := bank.IndexOf([]bank.Bank{{ID: 1, Name: "A"}, {ID: 2, Name: "B"}}, contents...)
	if err != nil {
		t.Fatal(err)
	}
	x, _ := newIndexer(onSQLite.newStore(t))
	x.Merge(ix.With([]bank.Bank{{ID: 1, Name: "A"}}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Run(ctx); err != nil {
		t.Error(err)
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; strings.Contains(string(stacks), "(*Index).merged") {
		t.Error("it goes on without anybody waiting for it")
	}
}
