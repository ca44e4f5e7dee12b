package exchange

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mediagate/bank"
)

// ErrDisabled is an exchange that is turned off.
var ErrDisabled = errors.New("the exchange is off")

// Round is what one complete fetch has done.
type Round struct {
	// Banked and Removed count the items that were not banked before, and that are
	// not any more; Pending what is not finished with, -1 if that is not known.
	Banked, Removed, Pending int
}

// tally counts a round.
type tally struct {
	mu sync.Mutex
	Round
}

// Holders tells which process fetches each exchange that one does.
func Holders(ctx context.Context, store *bank.Store) (map[string]string, error) {
	held, err := store.LeaseHolders(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for lease, holder := range held {
		if name, ok := strings.CutPrefix(lease, leaseOf("")); ok {
			out[name] = holder
		}
	}
	return out, nil
}

// FetchOnce fetches an exchange that there is to the end of what there is, and tries
// each item once that is pending and due. With an error, what was done stays; the log
// does not tell it, too. It fails with [bank.ErrLeaseHeld] if another process fetches
// the exchange, whose name the message tells, with [bank.ErrExchangeNotFound] and with
// [ErrDisabled]. It must not be called while Run runs.
func (f *Fetcher) FetchOnce(ctx context.Context, name string) (Round, error) {
	x, err := f.store.Exchange(ctx, name)
	if err != nil {
		return Round{}, err
	}
	if !x.Enabled {
		return Round{}, ErrDisabled
	}
	r := f.newRunner(ctx, x, nil)
	defer r.stop()
	r.tally = new(tally)
	l, until, late, err := r.acquire(bank.NewHolder())
	if late {
		err = unknownHolder(err)
	}
	if err != nil {
		return Round{}, err
	}
	err = r.once(l, until)
	// Whoever was interrupted wants to know it more than others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.pauses.renew)
	defer cancel()
	var uncounted error
	if _, r.tally.Pending, _, uncounted = f.store.CountSources(ctx, name); uncounted != nil {
		r.tally.Pending = -1
	}
	return r.tally.Round, err
}

// once fetches while the lease is held, keeps how that went, and releases it.
func (r *runner) once(l bank.Lease, until time.Time) error {
	ctx, lose := context.WithCancelCause(r.ctx)
	r.lease, r.lose = l, lose
	var keeping sync.WaitGroup
	keeping.Go(func() { r.keep(ctx, until, lose) })
	r.begin()
	s := newSource(r)
	err := r.round(ctx, s)
	s.end()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else {
		r.note(ctx, err)
	}
	lose(nil)
	keeping.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.pauses.renew)
	defer cancel()
	return errors.Join(err, r.store.Release(ctx, l))
}

// round reads the stream, works on what is due, and reads on: what is complete shows
// at the end.
func (r *runner) round(ctx context.Context, s source) error {
	if _, err := s.fetch(ctx); err != nil {
		return err
	}
	if err := s.attemptDue(ctx, time.Now()); err != nil {
		return fmt.Errorf("work on pending items: %w", err)
	}
	_, err := s.fetch(ctx)
	return err
}

// attemptDue works once on each item that is due at a time.
func (q *quarantine) attemptDue(ctx context.Context, at time.Time) error {
	tried := make(map[string]bool)
	step := 16 * q.config.Downloads
	for most := step; ; {
		list, err := q.store.Pending(ctx, q.exchange.Name, at, most)
		if err != nil {
			return err
		}
		g, working := errgroup.WithContext(ctx)
		g.SetLimit(q.config.Downloads)
		news := false
		for _, p := range list {
			if tried[p.Key] {
				continue // it has changed meanwhile, and is due still
			}
			tried[p.Key], news = true, true
			g.Go(func() error {
				_, err := q.work(working, p)
				return err
			})
		}
		err = g.Wait()
		switch {
		case err != nil || !news && len(list) < most:
			return err
		case !news:
			most += step // there may be others behind those
		}
	}
}

// tallied counts what do commits of a batch, if somebody wants to know. Nobody else
// commits for the exchange meanwhile.
func (r *runner) tallied(f bank.Fetched, do func() error) error {
	if r.tally == nil {
		return do()
	}
	var keys []string
	for _, c := range f.Put {
		keys = append(keys, c.Key)
	}
	known, err := r.store.Sources(r.ctx, r.exchange.Name, append(keys, f.Removed...))
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	for _, key := range keys {
		if !known[key] {
			r.tally.Banked++
		}
	}
	for _, key := range f.Removed {
		if known[key] {
			r.tally.Removed++
		}
	}
	return nil
}
