package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A minute has two swaps, at these times. Beside it is half a minute that has none.
const (
	busyTime  = time.Minute
	quietTime = 30 * time.Second
)

var swapTimes = []time.Duration{8 * time.Second, 38 * time.Second}

// swaps measures what those who ask notice of the index being built anew.
func (b *bench) swaps(ctx context.Context) error {
	l, err := b.changeable(ctx, b.hashes)
	if err != nil {
		return err
	}
	h, err := b.startHook(ctx, l)
	if err != nil {
		return err
	}
	defer b.endHook(h)
	for range b.rounds {
		quiet, err := h.busy(quietTime).run(ctx)
		if err != nil {
			return err
		}
		swapping := make(chan error, 1)
		swapsCtx, cancel := context.WithCancel(ctx)
		go func() { swapping <- b.swapTwice(swapsCtx, h.gate, l) }()
		busy, err := h.busy(busyTime).run(ctx)
		cancel()
		if err := errors.Join(err, <-swapping); err != nil {
			return err
		}
		if err := b.reportBeside(fmt.Sprintf("Hook/hashes=%d", b.hashes), "swapping", quiet, busy); err != nil {
			return err
		}
	}
	return nil
}

// swapTwice changes the list and waits until the changes are enforced.
func (b *bench) swapTwice(ctx context.Context, g *gate, l *list) error {
	start := time.Now()
	for _, at := range swapTimes {
		select {
		case <-time.After(time.Until(start.Add(at))):
		case <-ctx.Done():
			return ctx.Err()
		}
		last, err := l.grow(ctx)
		if err != nil {
			return err
		}
		took, err := g.enforces(ctx, last)
		if err != nil {
			return err
		}
		if err := b.report.run(fmt.Sprintf("Enforced/hashes=%d/changes=%d", b.hashes, swapSize), metric{took.Seconds(), "sec/op"}); err != nil {
			return err
		}
	}
	return nil
}

// reportBeside reports a load in a state beside the same load in the usual one.
func (b *bench) reportBeside(name, state string, usual, other result) error {
	for _, r := range []struct {
		state  string
		result result
	}{{"quiet", usual}, {state, other}} {
		if r.result.wrong > 0 {
			b.say("%s: %d of %d answers are wrong: %s", r.state, r.result.wrong, r.result.asked, r.result.first)
		}
		metrics := []metric{{r.result.perSecond(), "req/s"}, {float64(r.result.wrong), "errors"}, {r.result.quantile(.5).Seconds(), "p50-sec"}, {r.result.quantile(.99).Seconds(), "p99-sec"}}
		if r.state != "quiet" {
			metrics = append(metrics, metric{r.result.quantile(.99).Seconds() / usual.quantile(.99).Seconds(), "p99/quiet"})
		}
		if err := b.report.run(name+"/state="+r.state, metrics...); err != nil {
			return err
		}
	}
	return nil
}
