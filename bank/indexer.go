package bank

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/internal/redis"
)

// pollInterval is how often the epoch is looked at without a notice: another
// process may have written.
const pollInterval = time.Second

// nudgeGap is the least time between two refreshes that nudges bring about: anybody
// who can write to Redis can send them.
const nudgeGap = 50 * time.Millisecond

// Indexer keeps Live at the state of a Store. It is the only writer of Live.
type Indexer struct {
	store  *Store
	live   *Live
	shared *redis.Client
	log    *slog.Logger
	// limits are those of loading from shared.
	limits limits
	// merging delivers an index with its overlay folded in; nil while none is being
	// made.
	merging chan merged
	// running is what Run has begun, and waits for.
	running sync.WaitGroup
	// gcPercent is what settle has set.
	gcPercent              int
	swaps, loads, refusals *prometheus.CounterVec
}

// merged is an index with its overlay folded in, and what it was folded into.
type merged struct {
	index *Index
	base  *part
}

// NewIndexer returns an Indexer that has not begun. It loads snapshots from shared and
// exchanges nudges by it; nil is no Redis.
func NewIndexer(store *Store, live *Live, shared *redis.Client, log *slog.Logger) *Indexer {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &Indexer{
		store: store, live: live, shared: shared, log: log, limits: loadLimits, gcPercent: defaultGC,
		swaps:    counter("mediagate_index_refreshes_total", "Attempts to bring the index to the store's state, by outcome.", "outcome"),
		loads:    counter("mediagate_index_loads_total", "Attempts to load a whole index, by source and outcome.", "source", "outcome"),
		refusals: counter("mediagate_snapshot_refusals_total", "Snapshots in Redis that were not used, by reason.", "reason"),
	}
}

// Run follows the store until the context ends. A refresh that fails leaves the
// last index in place, whose age shows it, and is tried again.
func (x *Indexer) Run(ctx context.Context) error {
	defer x.running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	committed := make(chan struct{}, 1)
	if x.shared != nil {
		x.running.Go(func() { x.sendNudges(ctx, committed) })
	}
	due := dues{ticker: time.NewTicker(pollInterval), nudges: x.shared.Nudges(ctx), committed: committed}
	defer due.ticker.Stop()
	for failing := false; ; {
		err := x.refresh(ctx, merged{})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			x.log.ErrorContext(ctx, "index cannot be refreshed", "err", err)
		} else if err == nil && failing {
			x.log.InfoContext(ctx, "index is refreshed again")
		}
		failing = err != nil
		if !x.await(ctx, &due) {
			return nil
		}
	}
}

// dues are what makes a refresh due.
type dues struct {
	ticker *time.Ticker
	nudges <-chan struct{}
	// rested delivers when nudges count again; nil while they do.
	rested <-chan time.Time
	// committed is told of commits of this process.
	committed chan<- struct{}
}

// await returns when a refresh is due; not if the context has ended.
func (x *Indexer) await(ctx context.Context, due *dues) bool {
	for {
		nudges := due.nudges
		if due.rested != nil {
			nudges = nil // one that comes now stays there
		}
		select {
		case <-ctx.Done():
			return false
		case <-due.ticker.C:
			return true
		case <-nudges:
			due.rested = time.After(nudgeGap)
			return true
		case <-due.rested:
			due.rested = nil
		case <-x.store.committed:
			select {
			case due.committed <- struct{}{}:
			default: // the last one is still there
			}
			return true
		case m := <-x.merging:
			x.merging = nil
			if err := x.refresh(ctx, m); err != nil && ctx.Err() == nil {
				x.log.ErrorContext(ctx, "merged index cannot be used", "err", err)
			}
			return true
		}
	}
}

// Announce tells other processes of this one's commits until the context ends. It is
// for a process that needs no index, instead of Run, which does so, too.
func (x *Indexer) Announce(ctx context.Context) error {
	if x.shared != nil {
		x.sendNudges(ctx, x.store.committed)
	}
	return nil
}

// sendNudges tells the other processes of commits, which they find out without it in
// a second. Redis may take its time: nobody waits for this.
func (x *Indexer) sendNudges(ctx context.Context, committed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-committed:
			_ = x.shared.Nudge(ctx) // counted there
		}
	}
}

// refresh publishes the store's state if it is newer than what is live. It builds on
// what is merged, if there is something, or on what is live.
func (x *Indexer) refresh(ctx context.Context, m merged) error {
	err := x.publish(ctx, m)
	x.swaps.WithLabelValues(outcome(err)).Inc()
	return err
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

func (x *Indexer) publish(ctx context.Context, m merged) error {
	start := time.Now()
	live := x.live.p.Load()
	next := live
	if live != nil && m.index != nil && m.base == live.base { // or another has been loaded meanwhile
		next = m.index
	}
	next, err := x.follow(ctx, next)
	if err != nil {
		return err
	}
	x.live.checked.Store(start.UnixNano())
	if next != live {
		x.live.swap(next)
	}
	if live == nil || next.base != live.base {
		x.settle(next)
	}
	x.merge(next) // also again if an earlier one came to nothing
	return nil
}

// follow brings an index to the state of the store, and makes one if there is none, or
// if the store has gone back since.
func (x *Indexer) follow(ctx context.Context, ix *Index) (*Index, error) {
	var at moment
	if ix != nil {
		at = ix.moment
	}
	epoch, is, err := x.store.isPast(ctx, at)
	if err != nil {
		return nil, err
	}
	if ix == nil {
		return x.load(ctx)
	}
	if is && epoch == ix.epoch {
		return ix, nil
	}
	behind, err := x.store.isFarBehind(ctx, ix.epoch, int64(ix.base.len()))
	if err != nil {
		return nil, err
	}
	if behind {
		return x.load(ctx)
	}
	d, err := x.store.changes(ctx, ix.epoch, func(tx *sql.Tx) error {
		// It may have gone back at any time until now.
		if _, is, err := isPast(ctx, tx, ix.moment); err != nil || is {
			return err
		}
		return errOtherPast
	})
	if errors.Is(err, errOtherPast) {
		x.log.WarnContext(ctx, "index is made anew: it is not of the store's past, as far as that is known", "epoch", ix.epoch)
		return x.load(ctx)
	}
	if err != nil {
		return nil, err
	}
	return ix.with(d), nil
}

// load makes an index from nothing: of a snapshot, if there is one that can be used,
// or of the store.
func (x *Indexer) load(ctx context.Context) (*Index, error) {
	start := time.Now()
	source := "snapshot"
	ix, err := loadSnapshot(ctx, x.store, x.shared, x.limits)
	if ix != nil || err != nil {
		x.loads.WithLabelValues(source, outcome(err)).Inc()
	}
	var r *refusal
	if errors.As(err, &r) && ctx.Err() == nil {
		x.refusals.WithLabelValues(string(r.reason)).Inc()
		x.log.WarnContext(ctx, "snapshot is not used", "reason", string(r.reason), "err", r.err)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if ix == nil {
		source = "store"
		ix, err = x.loadStore(ctx)
		x.loads.WithLabelValues(source, outcome(err)).Inc()
		if err != nil {
			return nil, err
		}
	}
	x.log.InfoContext(ctx, "index loaded", "source", source, "epoch", ix.epoch, "signals", ix.base.len()+ix.overlay.len(), "seconds", time.Since(start).Seconds())
	return ix, nil
}

func (x *Indexer) loadStore(ctx context.Context) (*Index, error) {
	d, err := x.store.changes(ctx, 0, func(*sql.Tx) error { return nil })
	if err != nil {
		return nil, err
	}
	return newIndex(d)
}

// merge folds the overlay in, beside everything else, if it has grown large: not while a
// snapshot is written of what was before it was folded in last, which is in memory, too.
// That ends within writePatience, and what is in the overlay counts already.
func (x *Indexer) merge(ix *Index) {
	if x.merging != nil || !ix.unmerged() || x.live.holdsOlder(ix.base) {
		return
	}
	done := make(chan merged, 1) // with room: nobody may take it
	x.merging = done
	x.running.Go(func() { done <- merged{ix.merged(), ix.base} })
}

// Describe and Collect show the state of the index.
func (x *Indexer) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(x, ch) }

// Collect implements prometheus.Collector.
func (x *Indexer) Collect(ch chan<- prometheus.Metric) {
	x.swaps.Collect(ch)
	x.loads.Collect(ch)
	x.refusals.Collect(ch)
	ix, err := x.live.Load()
	if err != nil {
		return
	}
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v)
	}
	gauge("mediagate_index_epoch", "Number of the last commit that lookups see.", float64(ix.Epoch()))
	gauge("mediagate_index_age_seconds", "Time since the index was known to be the store's state.", x.live.Age().Seconds())
	signals := prometheus.NewDesc("mediagate_index_signals", "Signals indexed, by type.", []string{"type"}, nil)
	for _, t := range kinds {
		ch <- prometheus.MustNewConstMetric(signals, prometheus.GaugeValue, float64(ix.Len(t)), string(t))
	}
}
