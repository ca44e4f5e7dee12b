package exchange

import (
	"context"
	"errors"
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
	for told := ""; r.ctx.Err() == nil; {
		began := time.Now()
		// A lease that was taken is known to be: it could not be released else.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.pauses.renew)
		l, err := r.store.Acquire(ctx, leaseOf(r.exchange.Name), holder, r.pauses.lease)
		cancel()
		if err == nil {
			return l, began.Add(r.pauses.lease), true
		}
		free := !errors.Is(err, bank.ErrLeaseHeld)
		r.mu.Lock()
		r.refused = ""
		if free {
			r.refused = err.Error()
		}
		r.mu.Unlock()
		switch {
		case err.Error() == told:
		case free:
			r.log.ErrorContext(r.ctx, "exchange cannot be fetched", "exchange", r.exchange.Name, "err", err)
		default:
			r.log.InfoContext(r.ctx, "exchange is left to another process", "exchange", r.exchange.Name, "err", err)
		}
		told = err.Error()
		select {
		case <-r.ctx.Done():
		case <-time.After(jittered(r.pauses.standBy)):
		}
	}
	return bank.Lease{}, time.Time{}, false
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
	q := newQuarantine(r)
	var all sync.WaitGroup
	all.Go(func() { r.poll(ctx, q) })
	all.Go(func() { q.drain(ctx) })
	all.Go(func() { r.keep(ctx, until) })
	all.Wait() // they end with the context
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
// needs it is stopped, whatever the database is doing.
func (r *runner) keep(ctx context.Context, until time.Time) {
	expiry := time.AfterFunc(time.Until(until), func() { r.lose(errExpired) })
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
			r.lose(err)
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
		r.log.WarnContext(r.ctx, "commit is refused: another process has the lease", "exchange", r.exchange.Name, "holder", r.lease.Holder)
		r.lose(err)
	}
	return err
}
