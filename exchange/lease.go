package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mediagate/bank"
)

// leaseOf names the lease that whoever fetches an exchange must have.
func leaseOf(exchange string) string { return "exchange/" + exchange }

// run runs the exchange whenever this process has its lease, and else stands by,
// until its context ends.
func (r *runner) run() {
	defer close(r.ended)
	if r.after != nil {
		<-r.after.ended
		r.after = nil
	}
	r.held.WithLabelValues(r.exchange.Name).Set(0)
	for {
		lease, until, ok := r.take()
		if !ok {
			return
		}
		r.hold(lease, until)
	}
}

// take waits for the lease, and tells until when this process has it by its own
// clock. Not ok is the end of the context.
func (r *runner) take() (l bank.Lease, until time.Time, ok bool) {
	// A new name each time: what an earlier holder of this process has not finished
	// is not taken for that of the next.
	holder := bank.NewHolder()
	for w := (wait{runner: r}); r.ctx.Err() == nil; {
		began := time.Now()
		l, until, late, err := r.acquire(holder)
		if err == nil {
			return l, until, true
		}
		w.explain(err, began, late)
		select {
		case <-r.ctx.Done():
		case <-time.After(jittered(r.pauses.standBy)):
		}
	}
	return bank.Lease{}, time.Time{}, false
}

// acquire tries once to take the lease, and tells until when this process has it by
// its own clock. A failure that is late says nothing of who has it.
func (r *runner) acquire(holder string) (l bank.Lease, until time.Time, late bool, err error) {
	began := time.Now()
	// A lease that was taken is known to be: it could not be released else.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.pauses.renew)
	defer cancel()
	l, err = r.store.Acquire(ctx, leaseOf(r.exchange.Name), holder, r.pauses.lease)
	late = err != nil && !errors.Is(err, bank.ErrLeaseHeld) && (ctx.Err() != nil || bank.IsLocked(err))
	return l, began.Add(r.pauses.lease), late, err
}

// unknownHolder is what a late failure means.
func unknownHolder(err error) error {
	return fmt.Errorf("whether it is fetched by another process is not known: %w", err)
}

// lateAttempts is how many attempts to take a lease may be late in a row before that
// is told. A commit of its holder keeps its row, and on a slow disk takes seconds.
const lateAttempts = 3

// wait is one for a lease.
type wait struct {
	*runner
	told  string    // what was logged last
	late  int       // attempts in a row
	since time.Time // when the first of them began
}

// explain tells why an attempt to take the lease has failed. One that was late says
// nothing of who has it, so what was known before is shown until that has lasted for
// longer than a lease.
func (w *wait) explain(err error, began time.Time, late bool) {
	if !late {
		w.late = 0
	} else {
		if w.late++; w.late == 1 {
			w.since = began
		}
		if w.late < lateAttempts || time.Since(w.since) <= w.pauses.lease {
			return
		}
		err = unknownHolder(err)
	}
	held := errors.Is(err, bank.ErrLeaseHeld)
	w.mu.Lock()
	w.refused = ""
	if !held {
		w.refused = err.Error()
	}
	w.mu.Unlock()
	switch {
	case err.Error() == w.told:
	case held:
		w.log.InfoContext(w.ctx, "exchange is left to another process", "exchange", w.exchange.Name, "err", err)
	case late:
		w.log.WarnContext(w.ctx, "lease of an exchange cannot be asked for", "exchange", w.exchange.Name, "err", err)
	default:
		w.log.ErrorContext(w.ctx, "exchange cannot be fetched", "exchange", w.exchange.Name, "err", err)
	}
	w.told = err.Error()
}

// hold fetches until the context ends or the lease is lost, and then releases it.
func (r *runner) hold(l bank.Lease, until time.Time) {
	ctx, lose := context.WithCancelCause(r.ctx)
	r.lease, r.lose = l, lose
	status := r.lastStatus(ctx, until)
	r.mu.Lock()
	r.holding, r.refused, r.status, r.kept = true, "", status, status
	r.status.Started = time.Time{}
	r.mu.Unlock()
	r.held.WithLabelValues(r.exchange.Name).Set(1)
	r.log.InfoContext(ctx, "exchange is fetched here", "exchange", r.exchange.Name, "holder", l.Holder)
	s := newSource(r)
	var all sync.WaitGroup
	all.Go(func() { r.poll(ctx, s) })
	all.Go(func() { s.beside(ctx) })
	all.Go(func() { r.keep(ctx, until, lose) })
	all.Wait() // they end with the context
	s.end()
	r.mu.Lock()
	r.holding = false
	r.mu.Unlock()
	r.held.WithLabelValues(r.exchange.Name).Set(0)
	if r.ctx.Err() == nil {
		r.log.WarnContext(ctx, "exchange is not fetched here any more", "exchange", r.exchange.Name, "err", context.Cause(ctx))
	}
	// The next one need not wait for the end of a lease that is not needed any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.pauses.renew)
	defer cancel()
	if err := r.store.Release(ctx, l); err != nil {
		r.log.WarnContext(ctx, "lease of an exchange cannot be released", "exchange", r.exchange.Name, "err", err)
	}
	lose(nil)
}

// lastStatus is how the last holder has left the exchange.
func (r *runner) lastStatus(ctx context.Context, until time.Time) bank.FetchStatus {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	x, err := r.store.Exchange(ctx, r.exchange.Name)
	if err != nil {
		return r.exchange.Status // what is wrong will show
	}
	return x.Status
}

// errExpired is why a lease is lost that nobody is known to have taken.
var errExpired = errors.New("the lease could not be renewed in time")

// keep renews the lease. Once it may be another's, by this process's clock, all that
// needs it is stopped, whatever the database is doing. lose is this holding's: the
// timer may go off when the next one has begun.
func (r *runner) keep(ctx context.Context, until time.Time, lose context.CancelCauseFunc) {
	expiry := time.AfterFunc(time.Until(until), func() { lose(errExpired) })
	defer expiry.Stop()
	for pause, failing := r.pauses.renew, false; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		attempt, cancel := context.WithDeadline(ctx, began.Add(r.pauses.renew))
		err := r.store.Renew(attempt, r.lease, r.pauses.lease)
		cancel()
		switch {
		case err == nil:
			expiry.Reset(time.Until(began.Add(r.pauses.lease)))
			pause, failing = r.pauses.renew, false
			continue
		case errors.Is(err, bank.ErrLeaseLost):
			lose(err)
		case ctx.Err() == nil && !failing:
			r.log.WarnContext(ctx, "lease of an exchange cannot be renewed", "exchange", r.exchange.Name, "err", err)
		}
		pause, failing = r.pauses.renew/3, true
	}
}

// checked returns the error of a commit. One that was refused because the lease is
// another's stops all that needs it.
func (r *runner) checked(err error) error {
	if errors.Is(err, bank.ErrLeaseLost) {
		if r.tally == nil { // else the caller is told
			r.log.WarnContext(r.ctx, "commit is refused: another process has the lease", "exchange", r.exchange.Name, "holder", r.lease.Holder)
		}
		r.lose(err)
	}
	return err
}
