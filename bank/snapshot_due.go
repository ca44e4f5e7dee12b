package bank

import (
	"context"
	"errors"
	"time"

	"mediagate/internal/redis"
)

// due tells why there should be another snapshot, and nothing if there need not.
func (w *SnapshotWriter) due(ctx context.Context, ix *Index, n namedSnapshot, there bool) (why string, err error) {
	w.epoch.Set(float64(n.epoch))
	if time.Now().Before(w.rested) {
		return "", nil
	}
	if !there {
		w.named, w.head = namedSnapshot{}, nil
		return "first", nil
	}
	switch complete, err := w.complete(ctx, n); {
	case errors.Is(err, redis.ErrBypassed):
		return "", nil // its client tells of it
	case err != nil:
		return "", err
	case !complete:
		return "lost", nil
	}
	if ix.epoch <= n.epoch {
		w.failing = ""
		return "", nil
	}
	if time.Since(w.seen) < w.restMin {
		return "", nil
	}
	held := int64(ix.base.len() + ix.overlay.len())
	few := min(fewChanges, held/100)
	changed, err := w.store.changedSince(ctx, n.epoch, few+1)
	// What a removed bank held is not among the changes.
	if err != nil {
		return "", err
	}
	if changed <= few && w.head.signals()-held <= few {
		w.failing = ""
		return "", nil
	}
	return "changes", nil
}

// rest lets the time pass that follows so many values.
func (w *SnapshotWriter) rest(values int) {
	pause := time.Duration(values) * w.restValue
	for range w.failures {
		pause = min(2*pause, restMost)
	}
	w.rested = time.Now().Add(pause)
}

// complete tells whether Redis has the snapshot, as far as it is looked at this time,
// and keeps what it has. One of a newer program it leaves to that, with an error: if
// both wrote theirs, it would be in turn and for ever. It ends when no such program runs
// any more.
func (w *SnapshotWriter) complete(ctx context.Context, n namedSnapshot) (bool, error) {
	if w.head == nil || string(w.named.digest) != string(n.digest) {
		w.named, w.head, w.seen = n, nil, time.Now()
		h, err := receiveHead(ctx, w.shared, n)
		var r *refusal
		if errors.As(err, &r) && r.reason == isUnreachable || errors.Is(err, errNewerSnapshot) {
			return false, err
		}
		if err != nil {
			return false, nil // whatever it has, it is not the snapshot
		}
		w.head, w.failures = h, 0
		w.rest(len(h.parts)) // whoever has written it rests, too
	}
	keys := []redis.Key{n.headKey()}
	for range min(checkedParts, len(w.head.parts)) {
		w.next = (w.next + 1) % len(w.head.parts)
		keys = append(keys, w.head.partKey(w.next))
	}
	for _, key := range keys {
		if has, err := w.shared.Has(ctx, key, snapshotTTL); !has || err != nil {
			return false, err
		}
	}
	return true, nil
}
