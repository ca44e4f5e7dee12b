package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/exchange"
)

// once fetches with a new fetcher that does nothing else.
func (b *bench) once() (exchange.Round, error) {
	b.t.Helper()
	return b.newFetcher().FetchOnce(b.t.Context(), home)
}

// TestFetchOnceTakesAllThereIs: without a running fetcher, and the exchange has not
// been made.
func TestFetchOnceTakesAllThereIs(t *testing.T) {
	b := newBench(t)
	const items = 150 // more than are worked on, and listed, at once
	for n := range items {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
	}
	b.add(local("gone"), text(items))
	b.edit(local("gone"), func(i *item) { i.download = failing })
	b.quarantine(local("gone"))
	round, err := b.once()
	if err != nil || round.Removed != 0 || round.Pending != 1 || round.Banked < items || round.Banked > items+1 {
		t.Errorf("%+v, %v", round, err)
	}
	x := b.exchange(home)
	if !x.Completed || !x.Status.Succeeded || x.Status.Finished.IsZero() || !x.Status.Started.IsZero() {
		t.Errorf("%+v", x)
	}
	b.sync()
	for n := range items {
		b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
	}
	// What changes is counted, and what does not is not asked for again.
	for n := range 5 {
		b.unquarantine(local(fmt.Sprint(n)))
	}
	b.add(local("new"), text(items+1))
	b.quarantine(local("new"))
	b.unquarantine(local("never banked"))
	downloads := b.count("downloads")
	b.edit(local("gone"), func(i *item) { i.download = healthy })
	await(t, "what failed is due", func() bool {
		sum, err := b.once()
		round.Banked, round.Removed, round.Pending = round.Banked+sum.Banked, round.Removed+sum.Removed, sum.Pending
		return err == nil && sum.Pending == 0
	})
	if round.Banked != items+2 || round.Removed != 5 {
		t.Errorf("%+v", round)
	}
	if more := b.count("downloads") - downloads; more != 2 {
		t.Errorf("%d downloads more", more)
	}
	b.sync()
	b.check("what was released", text(3), "")
	b.check("what had failed", text(items), "sha256 md5")
	// Nobody has the lease now.
	if held, err := exchange.Holders(t.Context(), b.store); err != nil || len(held) != 0 {
		t.Errorf("%v, %v", held, err)
	}
}

func TestFetchOnceLeavesAnExchangeToItsFetcher(t *testing.T) {
	b := newBench(t)
	b.start()
	b.settle()
	held, err := exchange.Holders(t.Context(), b.store)
	if err != nil || held[home] == "" || len(held) != 1 {
		t.Fatalf("%v, %v", held, err)
	}
	status := b.exchange(home).Status
	if _, err := b.once(); !errors.Is(err, bank.ErrLeaseHeld) || !strings.Contains(err.Error(), held[home]) {
		t.Errorf("%v, want one that names %s", err, held[home])
	}
	if now := b.exchange(home).Status; now.Problem != status.Problem {
		t.Errorf("%+v", now)
	}
	b.stop()
	if _, err := b.once(); err != nil {
		t.Error(err)
	}
}

func TestFetchOnceTellsWhatIsWrong(t *testing.T) {
	b := newBench(t)
	b.add(local("a"), text(1))
	b.quarantine(local("a"))
	b.breakAll(forbidden)
	if _, err := b.once(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v", err)
	}
	if x := b.exchange(home); x.Status.Succeeded || !strings.Contains(x.Status.Problem, "403") || x.Completed {
		t.Errorf("%+v", x)
	}
	b.breakAll(healthy)
	if err := b.store.EnableExchange(t.Context(), home, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.once(); !errors.Is(err, exchange.ErrDisabled) {
		t.Errorf("%v", err)
	}
	if _, err := b.newFetcher().FetchOnce(t.Context(), "NONE"); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Errorf("%v", err)
	}
	if b.count("downloads") != 0 {
		t.Error("something was downloaded")
	}
}

// TestFetchOnceStopsWhenItsLeaseIsLost: to another process, and with its context,
// while a download waits.
func TestFetchOnceStopsWhenItsLeaseIsLost(t *testing.T) {
	for name, tt := range map[string]struct {
		stop func(b *bench, cancel func())
		want error
	}{
		"usurped":     {func(b *bench, _ func()) { b.usurp() }, bank.ErrLeaseLost},
		"interrupted": {func(_ *bench, cancel func()) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.lease = func(f *exchange.Fetcher) { f.SetLease(long, long/1000, long) }
			held := make(chan struct{})
			b.add(local("a"), text(1))
			b.edit(local("a"), func(i *item) { i.held = held })
			b.quarantine(local("a"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f, ended := b.newFetcher(), make(chan error, 1)
			go func() {
				_, err := f.FetchOnce(ctx, home)
				ended <- err
			}()
			await(t, "it downloads", func() bool { return b.count("held downloads") == 1 })
			tt.stop(b, cancel)
			close(held)
			if err := <-ended; !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if _, pending := b.counts(home); pending != 1 || b.exchange(home).Status.Succeeded {
				t.Errorf("%d pending, %+v", pending, b.exchange(home).Status)
			}
		})
	}
}
