package exchange

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"mediagate/bank"
)

// runner runs one exchange.
type runner struct {
	*Fetcher
	exchange bank.Exchange // as it was when the runner began
	ctx      context.Context
	stop     context.CancelFunc
	after    *runner       // whom this one replaces
	ended    chan struct{} // closed when nothing of it runs any more
	wake     chan struct{}
	// lease is what is fetched with, and lose gives it up. They change only while
	// nothing is fetched.
	lease bank.Lease
	lose  context.CancelCauseFunc
	tally *tally // nil unless FetchOnce counts, and tells its caller what goes wrong

	mu      sync.Mutex
	holding bool   // has this process the lease?
	refused string // why it cannot have it, unless another process has, or may have
	status  bank.FetchStatus
	kept    bank.FetchStatus // what the store has
	report  string           // FetchStatus.Report of the next status
}

func (f *Fetcher) newRunner(ctx context.Context, x bank.Exchange, after *runner) *runner {
	r := &runner{Fetcher: f, exchange: x, after: after, ended: make(chan struct{}), wake: make(chan struct{}, 1), status: x.Status}
	r.ctx, r.stop = context.WithCancel(ctx)
	return r
}

// same tells whether an exchange is still what the runner was made for.
func (r *runner) same(x bank.Exchange) bool {
	o := r.exchange
	return x.Bank.ID == o.Bank.ID && x.API == o.API && x.Config == o.Config && x.Credential.Equal(o.Credential.Reveal())
}

const (
	maxFailureInterval = 15 * time.Second
	idleAfter          = 10 * time.Minute
	idleFactor         = 3
	keepStatusEvery    = 10 * time.Second
)

// poll fetches again and again.
func (r *runner) poll(ctx context.Context, s source) {
	failures := &backoff.ExponentialBackOff{
		InitialInterval: r.config.Interval, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: max(maxFailureInterval, r.config.Interval),
	}
	news := time.Now()
	for {
		r.begin()
		changed, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bank.ErrExchangeNotFound) {
			notify(r.changed) // this runner is to be stopped
		} else {
			r.finish(ctx, err)
		}
		if changed {
			news = time.Now()
		}
		interval := r.config.Interval
		switch {
		case err != nil:
			interval = failures.NextBackOff()
		case time.Since(news) > idleAfter:
			interval *= idleFactor
			failures.Reset()
		default:
			failures.Reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(interval)):
		case <-r.wake:
		}
	}
}

// jittered is a time within a tenth of d.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1) //nolint:gosec // spreads load, hides nothing
}

func (r *runner) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Started = time.Now()
}

// finish tells how a fetch ended, if that is news, and notes it.
func (r *runner) finish(ctx context.Context, err error) {
	r.mu.Lock()
	was := r.status.Problem
	r.mu.Unlock()
	switch {
	case err != nil && err.Error() != was:
		r.log.ErrorContext(ctx, "exchange cannot be fetched", "exchange", r.exchange.Name, "err", err)
	case err == nil && was != "":
		r.log.InfoContext(ctx, "exchange is fetched again", "exchange", r.exchange.Name)
	}
	r.note(ctx, err)
}

// note is how a fetch ended. It is kept, for other processes to show, if it is news or
// the store's notice is old: not every second.
func (r *runner) note(ctx context.Context, err error) {
	outcome := "ok"
	r.mu.Lock()
	r.status = bank.FetchStatus{Finished: time.Now(), Succeeded: err == nil, UpToDate: err == nil, Report: r.report}
	if err != nil {
		outcome, r.status.Problem = "failed", err.Error()
	}
	status, kept := r.status, r.kept
	r.mu.Unlock()
	r.fetches.WithLabelValues(r.exchange.Name, outcome).Inc()
	if status.Succeeded == kept.Succeeded && status.Problem == kept.Problem && status.Finished.Sub(kept.Finished) < keepStatusEvery {
		return
	}
	if err := r.checked(r.store.SetFetchStatus(ctx, r.lease, r.exchange.Name, status)); err != nil {
		if ctx.Err() == nil || r.tally != nil {
			r.log.WarnContext(ctx, "status of an exchange cannot be kept", "exchange", r.exchange.Name, "err", err)
		}
		return
	}
	r.mu.Lock()
	r.kept = status
	r.mu.Unlock()
}
