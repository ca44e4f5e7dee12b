package redis

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// logInterval is the least time between two lines of the same kind.
const logInterval = time.Minute

// notices tell of what may happen with each operation, and not each time.
type notices struct {
	log      *slog.Logger
	interval time.Duration // logInterval

	mu sync.Mutex
	// bypassed is why Redis is, as was told, or "" if it is used, and bypassedAt when
	// it was told.
	bypassed   string
	bypassedAt time.Time
	// rejected is how many values were since that was told last, at rejectedAt.
	rejected   int
	rejectedAt time.Time
	// refusing is while writes are refused, the last one at refusedAt.
	refusing  bool
	refusedAt time.Time
	// deaf is while we may not listen for nudges.
	deaf bool
}

// bypass tells why Redis is bypassed, if it was not told, or of another cause. Who can
// write to Redis can have it bypassed again and again.
func (n *notices) bypass(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if why.Error() == n.bypassed || time.Since(n.bypassedAt) < n.interval {
		return // in the end it is told: when Redis is asked whether it is back
	}
	n.bypassed, n.bypassedAt = why.Error(), time.Now()
	n.log.Warn("redis is bypassed", "err", why)
}

// use tells that Redis is used again, if it was told that it is not.
func (n *notices) use() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bypassed != "" {
		n.bypassed = ""
		n.log.Info("redis is used again")
	}
}

// reject tells of a value that is rejected, and of those before it that it did not
// tell of.
func (n *notices) reject(ctx context.Context, kind Kind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rejected++
	if time.Since(n.rejectedAt) < n.interval {
		return
	}
	n.log.WarnContext(ctx, "values in redis are rejected", "kind", string(kind), "count", n.rejected)
	n.rejected, n.rejectedAt = 0, time.Now()
}

// refuse tells that writes are refused when that begins.
func (n *notices) refuse(ctx context.Context, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusedAt = time.Now()
	if !n.refusing {
		n.refusing = true
		n.log.WarnContext(ctx, "redis refuses to write", "err", cause(err))
	}
}

// accept tells that it has ended, when none was for the interval: what is full takes a
// value whenever another one expires.
func (n *notices) accept(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refusing && time.Since(n.refusedAt) >= n.interval {
		n.refusing = false
		n.log.InfoContext(ctx, "redis writes again")
	}
}

// deafen tells that we may not listen for nudges, once.
func (n *notices) deafen(ctx context.Context, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.deaf {
		n.deaf = true
		n.log.WarnContext(ctx, "redis does not tell of changes", "err", cause(err))
	}
}

// hear tells that we may again.
func (n *notices) hear(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.deaf {
		n.deaf = false
		n.log.InfoContext(ctx, "redis tells of changes again")
	}
}
