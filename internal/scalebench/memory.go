package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errMissing is a hash that is not found as it must be.
var errMissing = errors.New("the index is wrong")

// memory measures what a server needs when it has loaded a list, meanwhile, and when
// it builds the index anew because the list has changed much.
func (b *bench) memory(ctx context.Context) error {
	for _, hashes := range []int{b.hashes, b.large} {
		l, err := b.changeable(ctx, hashes)
		if err != nil {
			return err
		}
		if err := b.memoryOf(ctx, l, hashes); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) memoryOf(ctx context.Context, l *list, hashes int) error {
	g, err := startGate(b.program, b.dir, "MEDIAGATE_DATABASE_URL="+l.url(), "MEDIAGATE_MEDIA_WORKERS=1")
	if err != nil {
		return err
	}
	defer b.end(g)
	took, err := g.ready(ctx)
	if err != nil {
		return err
	}
	b.say("%d hashes are loaded after %s", hashes, took)
	name := func(state string) string { return fmt.Sprintf("Memory/hashes=%d/state=%s", hashes, state) }
	settled, most, err := g.settled(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(b.holds(ctx, g, hashes), b.report.run(name("loading"), mebibytes(most)), b.report.run(name("settled"), mebibytes(settled)), g.resetPeak()); err != nil {
		return err
	}
	last, err := l.grow(ctx)
	if err != nil {
		return err
	}
	if _, err := g.enforces(ctx, last); err != nil {
		return err
	}
	settled, most, err = g.settled(ctx)
	if err != nil {
		return err
	}
	return errors.Join(b.holds(ctx, g, l.last), b.report.run(name("swapping"), mebibytes(most)), b.report.run(name("swapped"), mebibytes(settled)))
}

func mebibytes(n int64) metric { return metric{float64(n) / (1 << 20), "MiB"} }

// Memory has settled when for so long it has been the same but for a hundredth.
const (
	settledFor = 12 * time.Second
	settlesIn  = 5 * time.Minute
)

// settled waits until a process's memory stays as it is, and returns how much is
// resident and how much was at most.
func (g *gate) settled(ctx context.Context) (now, most int64, err error) {
	start := time.Now()
	since, as := start, int64(0)
	for time.Since(since) < settledFor {
		if now, most, err = g.memory(); err != nil {
			return 0, 0, err
		}
		if d := now - as; d > as/100 || -d > as/100 {
			since, as = time.Now(), now
		}
		if time.Since(start) > settlesIn {
			return 0, 0, errors.New("memory does not settle")
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	return now, most, nil
}

// enforcedIn is when a change that is not seen is given up.
const enforcedIn = time.Minute

// enforces waits until a number is found, and returns how long that was.
func (g *gate) enforces(ctx context.Context, n int64) (time.Duration, error) {
	start := time.Now()
	err := g.await(ctx, "a change is enforced", enforcedIn, func() (bool, error) {
		err := g.finds(ctx, n, 0)
		if errors.Is(err, errMissing) {
			return false, nil
		}
		return err == nil, err
	})
	return time.Since(start), err
}
