package bank

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pollInterval is how often the epoch is looked at without a notice: another
// process may have written.
const pollInterval = time.Second

// Indexer keeps Live at the state of a Store. It is the only writer of Live.
type Indexer struct {
	store *Store
	live  *Live
	log   *slog.Logger
	// merging delivers the index with its overlay folded in; nil while none is
	// being made.
	merging chan *Index
	// gcPercent is what settle has set.
	gcPercent int
	swaps     *prometheus.CounterVec
}

// NewIndexer returns an Indexer that has not begun.
func NewIndexer(store *Store, live *Live, log *slog.Logger) *Indexer {
	return &Indexer{
		store: store, live: live, log: log, gcPercent: defaultGC,
		swaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_index_refreshes_total",
			Help: "Attempts to bring the index to the store's state, by outcome.",
		}, []string{"outcome"}),
	}
}

// Run follows the store until the context ends. A refresh that fails leaves the
// last index in place, whose age shows it, and is tried again.
func (x *Indexer) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for failing := false; ; {
		err := x.refresh(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			x.log.ErrorContext(ctx, "index cannot be refreshed", "err", err)
		} else if err == nil && failing {
			x.log.InfoContext(ctx, "index is refreshed again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-x.store.committed:
		case <-ticker.C:
		case merged := <-x.merging:
			x.merging = nil
			if err := x.refresh(ctx, merged); err != nil && ctx.Err() == nil {
				x.log.ErrorContext(ctx, "merged index cannot be used", "err", err)
			}
		}
	}
}

// refresh publishes the store's state if it is newer than what is live. It
// builds on base, or on what is live if base is nil.
func (x *Indexer) refresh(ctx context.Context, base *Index) error {
	err := x.publish(ctx, base)
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	x.swaps.WithLabelValues(outcome).Inc()
	return err
}

func (x *Indexer) publish(ctx context.Context, base *Index) error {
	start := time.Now()
	epoch, err := x.store.Epoch(ctx)
	if err != nil {
		return err
	}
	live := x.live.p.Load()
	switch {
	case live == nil, epoch < live.epoch: // the first, or a store restored from an older copy
		d, err := x.store.since(ctx, 0)
		if err != nil {
			return err
		}
		if base, err = newIndex(d); err != nil {
			return err
		}
		x.log.InfoContext(ctx, "index loaded", "epoch", base.epoch, "signals", base.base.len(), "seconds", time.Since(start).Seconds())
	default:
		if base == nil || base.epoch > live.epoch { // the latter was made before the store was restored
			base = live
		}
		if epoch == base.epoch {
			break
		}
		d, err := x.store.since(ctx, base.epoch)
		if err != nil {
			return err
		}
		base = base.with(d)
	}
	x.live.checked.Store(start.UnixNano())
	if base != live {
		x.live.swap(base)
	}
	if live == nil || base.base != live.base {
		x.settle(base)
	}
	x.merge(base) // also again if an earlier one came to nothing
	return nil
}

// merge folds the overlay in, beside everything else, if it has grown large.
func (x *Indexer) merge(ix *Index) {
	if x.merging != nil || !ix.unmerged() {
		return
	}
	done := make(chan *Index, 1) // with room, so that an ended Run leaves nobody waiting
	x.merging = done
	go func() { done <- ix.merged() }()
}

// Describe and Collect show the state of the index.
func (x *Indexer) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(x, ch) }

// Collect implements prometheus.Collector.
func (x *Indexer) Collect(ch chan<- prometheus.Metric) {
	x.swaps.Collect(ch)
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
