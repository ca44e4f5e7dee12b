package publish_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/publish"
)

// TestTooLargeBankIsTakenBackFrom: over the bound nothing more is sent, and what leaves
// the bank leaves the room, and nothing else.
func TestTooLargeBankIsTakenBackFrom(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	var stop func()
	start := func() {
		p := publish.New(b.store, b.home, slog.New(slog.NewTextHandler(t.Output(), nil)))
		p.SetMost(3)
		stop = run(t, p)
	}
	start()
	// Those that come first count last: what is in the room stands behind them.
	off, on := bank.DisabledForever, bank.Enabled
	var first, published []int64
	for n := range uint64(3) {
		first = append(first, b.add(n))
		if _, err := b.store.UpdateContent(ctx, "OWN", first[n], bank.ContentUpdate{DisableUntil: &off}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(3) {
		published = append(published, b.add(n+3))
	}
	b.want(3, 2*soon)
	before := b.owner.events(b.room)
	for _, id := range first {
		if _, err := b.store.UpdateContent(ctx, "OWN", id, bank.ContentUpdate{DisableUntil: &on}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the status tells", soon, func() bool {
		return b.status().Problem == publish.ErrTooMany.Error() && b.status().Published == 3
	})
	stop()
	if _, err := b.store.DeleteContent(ctx, "OWN", published[0]); err != nil {
		t.Fatal(err)
	}
	p, err := b.store.Publication(ctx, "OWN")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := publish.PreviewMost(ctx, b.store, b.home, p, 3)
	want := publish.Plan{Room: b.room, Redact: []string{before[keyOf(text(3*4, 64))].ID}, Kept: 2}
	if diff := cmp.Diff(want, plan); diff != "" || !errors.Is(err, publish.ErrTooMany) {
		t.Errorf("the preview: %v (-want +got):\n%s", err, diff)
	}
	start()
	b.want(2, 2*soon)
	after := b.owner.events(b.room)
	for n := uint64(4); n < 6; n++ {
		if key := keyOf(text(n*4, 64)); after[key].ID != before[key].ID || string(after[key].Content) == "{}" {
			t.Errorf("what is still banked was taken back: %+v", after[key])
		}
	}
	if len(after) != 3 {
		t.Errorf("%d events were sent", len(after))
	}
	for _, id := range first[:2] {
		if _, err := b.store.DeleteContent(ctx, "OWN", id); err != nil {
			t.Fatal(err)
		}
	}
	b.want(3, soon) // it is not too much any more
	await(t, "the status tells", soon, func() bool { return b.status().Problem == "" })
}
