package publish

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"mediagate/bank"
)

// leaseOf names the lease that whoever publishes a bank must have: by its number, as
// others may have had its name, and what they published is still to be taken back.
func leaseOf(id int64) string { return "publish/" + strconv.FormatInt(id, 10) }

// runner publishes one bank.
type runner struct {
	*Publisher
	bank.Publication
	ctx   context.Context //nolint:containedctx // its own
	stop  context.CancelFunc
	after <-chan struct{} // the end of whom this one replaces, nil for nobody
	ended chan struct{}
}

// same tells whether a publication is the one that is run. It is when its bank goes: what
// is being sent is then known, and taken back.
func (r *runner) same(p bank.Publication) bool {
	return (r.Name == p.Name || p.Gone) && r.Room == p.Room && r.Enabled == p.Enabled && r.Since.Equal(p.Since)
}

// run publishes whenever this process has the lease, until its context ends.
func (r *runner) run() {
	defer close(r.ended)
	if r.after != nil {
		<-r.after
	}
	for told := ""; r.ctx.Err() == nil; {
		began := time.Now()
		l, err := r.acquire(bank.NewHolder())
		if err == nil {
			r.hold(l, began.Add(r.pauses.lease))
			told = ""
			continue
		}
		if !errors.Is(err, bank.ErrLeaseHeld) && err.Error() != told {
			r.log.ErrorContext(r.ctx, "bank cannot be published", "bank", r.Name, "err", err)
			told = err.Error()
		}
		r.sleep(r.ctx, r.pauses.standBy)
	}
}

// acquire tries once to take the lease. One that was taken is known to be, whenever the
// context ends: it could not be released else.
func (r *runner) acquire(holder string) (bank.Lease, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.pauses.renew)
	defer cancel()
	return r.store.Acquire(ctx, leaseOf(r.Bank), holder, r.pauses.lease)
}

// errExpired is why a lease is lost that nobody is known to have taken.
var errExpired = errors.New("the lease could not be renewed in time")

// hold publishes until the context ends or the lease may be another's.
func (r *runner) hold(l bank.Lease, until time.Time) {
	ctx, lose := context.WithCancelCause(r.ctx)
	defer lose(nil)
	r.log.InfoContext(ctx, "bank is published here", "bank", r.Name, "holder", l.Holder)
	var all sync.WaitGroup
	all.Go(func() { r.keep(ctx, l, until, lose) })
	all.Go(func() { r.follow(ctx, l, lose) })
	all.Wait() // they end with the context
	if r.ctx.Err() == nil {
		r.log.WarnContext(r.ctx, "bank is not published here any more", "bank", r.Name, "err", context.Cause(ctx))
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.pauses.renew)
	defer cancel()
	if err := r.store.Release(release, l); err != nil {
		r.log.WarnContext(r.ctx, "lease of a publication cannot be released", "bank", r.Name, "err", err)
	}
}

// keep renews the lease, and loses it when it may have ended by this process's clock.
func (r *runner) keep(ctx context.Context, l bank.Lease, until time.Time, lose context.CancelCauseFunc) {
	expiry := time.AfterFunc(time.Until(until), func() { lose(errExpired) })
	defer expiry.Stop()
	for pause := r.pauses.renew; r.sleep(ctx, pause); {
		began := time.Now()
		attempt, cancel := context.WithDeadline(ctx, began.Add(r.pauses.renew))
		err := r.store.Renew(attempt, l, r.pauses.lease)
		cancel()
		switch {
		case err == nil:
			expiry.Reset(time.Until(began.Add(r.pauses.lease)))
			pause = r.pauses.renew
		case errors.Is(err, bank.ErrLeaseLost):
			lose(err)
		default:
			pause = r.pauses.renew / 3
		}
	}
}

// sleep waits, and tells whether the context lasts.
func (r *runner) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// follow makes the room what the bank is, again and again.
func (r *runner) follow(ctx context.Context, l bank.Lease, lose context.CancelCauseFunc) {
	w := writer{runner: r, lease: l, status: r.Status}
	var told string
	for retry := r.pauses.firstRetry; ; {
		began := time.Now()
		epoch, err := r.store.Epoch(ctx)
		if err == nil {
			err = w.compare(ctx, epoch)
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errStale) {
			continue
		}
		if err := w.finish(ctx, err); errors.Is(err, bank.ErrLeaseLost) {
			lose(err)
			return
		}
		if err != nil && err.Error() != told {
			r.log.WarnContext(ctx, "bank cannot be published", "bank", r.Name, "err", err)
			told = err.Error()
		}
		if err == nil || errors.Is(err, ErrTooMany) { // the room was compared
			if err == nil {
				told = ""
			}
			retry = r.pauses.firstRetry
			if !r.await(ctx, epoch, began) {
				return
			}
			continue
		}
		w.read = time.Time{}                        // what was written last may have arrived
		if !r.sleep(ctx, retry/2+rand.N(retry/2)) { //nolint:gosec // no secret
			return
		}
		retry = min(2*retry, r.pauses.lastRetry)
	}
}

// await waits until there may be something to do, and tells whether the context lasts.
func (r *runner) await(ctx context.Context, epoch int64, since time.Time) bool {
	for r.sleep(ctx, r.pauses.scan) {
		now, err := r.store.Epoch(ctx)
		if err == nil && now != epoch || time.Since(since) >= r.pauses.again {
			return true
		}
	}
	return false
}
