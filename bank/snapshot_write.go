package bank

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/internal/redis"
)

const (
	// snapshotMin is how many signals an index has at least that is worth a snapshot.
	// Fewer are read from the store in a few hundredths of a second.
	snapshotMin = 10_000
	// snapshotLease is what the one process holds that writes a snapshot.
	snapshotLease = "snapshot"
	leaseTTL      = 10 * time.Second
	leaseRenewal  = 3 * time.Second
	// snapshotTTL is how long values stay that nobody looks after.
	snapshotTTL = time.Hour
	// fewChanges, or one in a hundred, are not worth another snapshot.
	fewChanges = 10_000
	// checkInterval is how often it is checked whether Redis has the snapshot, and
	// checkedParts how many of its parts are looked for each time.
	checkInterval = 2 * time.Second
	checkedParts  = 16
	// namePatience is what the store may take to name a snapshot, and writePatience
	// what all may take: an index that is being written stays in memory.
	namePatience, writePatience = 10 * time.Second, time.Minute
	// restValue is for how long nothing is written for each value that was, and restMin
	// how long a snapshot stays at least, whatever changes. With each attempt in a row
	// that is in vain the rest doubles, up to restMost.
	restValue, restMin, restMost = 250 * time.Millisecond, 10 * time.Second, 10 * time.Minute
)

// SnapshotWriter keeps a snapshot of Live's index in Redis, for processes that begin.
// Any number of processes may run one; they take turns.
type SnapshotWriter struct {
	store  *Store
	live   *Live
	shared *redis.Client
	log    *slog.Logger
	// These are snapshotMin, restValue and restMin.
	least              int
	restValue, restMin time.Duration
	// renewal is leaseRenewal.
	renewal time.Duration
	// named is the snapshot that was there last, and head what its values are; nil
	// if that is not known.
	named namedSnapshot
	head  *snapshotHead
	// next is the part to look for next.
	next int
	// seen is when that snapshot was seen first, and rested until when nothing is
	// written.
	seen, rested time.Time
	// failures are the attempts in a row that were in vain.
	failures int
	// failing is what was told to keep the snapshot from being written, or "".
	failing string
	writes  *prometheus.CounterVec
	epoch   prometheus.Gauge
}

// NewSnapshotWriter returns a writer that has not begun.
func NewSnapshotWriter(store *Store, live *Live, shared *redis.Client, log *slog.Logger) *SnapshotWriter {
	return &SnapshotWriter{
		store: store, live: live, shared: shared, log: log, least: snapshotMin, restValue: restValue, restMin: restMin, renewal: leaseRenewal,
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_snapshot_writes_total",
			Help: "Attempts to write a snapshot of the index to Redis, by outcome.",
		}, []string{"outcome"}),
		epoch: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mediagate_snapshot_epoch",
			Help: "Number of the last commit in the snapshot that processes begin with, 0 if there is none.",
		}),
	}
}

// Describe and Collect show what was written.
func (w *SnapshotWriter) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(w, ch) }

// Collect implements prometheus.Collector.
func (w *SnapshotWriter) Collect(ch chan<- prometheus.Metric) {
	w.writes.Collect(ch)
	w.epoch.Collect(ch)
}

// Run writes a snapshot whenever there should be another one, until the context ends.
// Without Redis it returns at once.
func (w *SnapshotWriter) Run(ctx context.Context) error {
	if w.shared == nil {
		return nil
	}
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		w.tend(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// tend looks after the snapshot, and tells of what keeps it from doing so: once, until
// it is as it should be.
func (w *SnapshotWriter) tend(ctx context.Context) {
	err := w.writeIfDue(ctx)
	// Somebody else may do it.
	if err == nil || errors.Is(err, ErrLeaseHeld) || ctx.Err() != nil || err.Error() == w.failing {
		return
	}
	w.failing = err.Error()
	w.log.WarnContext(ctx, "snapshot cannot be written", "err", err)
}

func (w *SnapshotWriter) writeIfDue(ctx context.Context) error {
	ix, err := w.live.hold()
	defer w.live.letGo()
	if err != nil {
		return nil // there will be an index
	}
	n, there, err := w.store.namedSnapshot(ctx)
	if err != nil {
		return err
	}
	if ix.base.len()+ix.overlay.len() < w.least {
		if there {
			return w.forget(ctx, n)
		}
		return nil
	}
	why, err := w.due(ctx, ix, n, there)
	if why == "" || err != nil {
		return err
	}
	l, err := w.store.Acquire(ctx, snapshotLease, NewHolder(), leaseTTL)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), namePatience)
		defer cancel()
		if err := w.store.Release(ctx, l); err != nil {
			w.log.WarnContext(ctx, "lease of the snapshot cannot be released", "err", err)
		}
	}()
	if now, _, err := w.store.namedSnapshot(ctx); err != nil || string(now.digest) != string(n.digest) {
		return err // somebody else was quicker
	}
	began := time.Now()
	err = w.write(ctx, l, ix, n)
	w.writes.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return err
	}
	w.failing = ""
	w.log.InfoContext(ctx, "snapshot written", "epoch", ix.epoch, "why", why, "seconds", time.Since(began).Seconds())
	return nil
}

// write writes a snapshot, the parts first, then the head, and lets it be loaded
// instead of that before, which it deletes then. If it fails it leaves nothing.
func (w *SnapshotWriter) write(ctx context.Context, l Lease, ix *Index, before namedSnapshot) (err error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	var kept []redis.Key
	defer func() {
		if err != nil {
			w.failures++
			w.remove(ctx, kept)
		} else {
			w.failures = 0
		}
		w.rest(len(kept))
	}()
	keep := func(key redis.Key, value []byte) error {
		kept = append(kept, key)
		return w.shared.Keep(ctx, key, value, snapshotTTL)
	}
	renewed := time.Now()
	h, err := encodeSnapshot(ix, func(h *snapshotHead, part int, value []byte) error {
		if time.Since(renewed) >= w.renewal {
			if err := w.store.Renew(ctx, l, leaseTTL); err != nil {
				return err
			}
			renewed = time.Now()
		}
		return keep(h.partKey(part), value)
	})
	if err != nil {
		return err
	}
	head := h.encode()
	named := nameOf(h, head)
	if err := keep(named.headKey(), head); err != nil {
		return err
	}
	if err := w.name(ctx, l, named, ix.mark); err != nil {
		return err
	}
	if w.head != nil {
		w.remove(ctx, w.head.keys(before))
	}
	w.named, w.head, w.next, w.seen = named, h, 0, time.Now()
	w.epoch.Set(float64(h.epoch))
	return nil
}

func (w *SnapshotWriter) name(ctx context.Context, l Lease, n namedSnapshot, mark int64) error {
	ctx, cancel := context.WithTimeout(ctx, namePatience)
	defer cancel()
	return w.store.nameSnapshot(ctx, l, n, mark)
}

// forget ends the snapshot of a list that has become too short to have one: nobody
// looks after it any more, and all who begin would miss it.
func (w *SnapshotWriter) forget(ctx context.Context, n namedSnapshot) error {
	ctx, cancel := context.WithTimeout(ctx, namePatience)
	defer cancel()
	if err := w.store.forgetSnapshot(ctx, n); err != nil {
		return err
	}
	if w.head != nil {
		w.remove(ctx, w.head.keys(w.named))
	}
	w.named, w.head = namedSnapshot{}, nil
	w.epoch.Set(0)
	w.log.InfoContext(ctx, "snapshot is not needed any more", "epoch", n.epoch)
	return nil
}

// remove deletes values. Those that stay end by themselves.
func (w *SnapshotWriter) remove(ctx context.Context, keys []redis.Key) {
	_ = w.shared.Delete(context.WithoutCancel(ctx), keys...)
}
