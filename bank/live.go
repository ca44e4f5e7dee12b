package bank

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Live is the index that answers are made from. Readers Load once an item and
// keep the result to the end, so that an answer comes from one epoch; only the
// Indexer swaps.
type Live struct {
	p atomic.Pointer[Index]
	// checked is when the index was last known to be the store's state, in Unix
	// nanoseconds.
	checked atomic.Int64

	mu      sync.Mutex
	swapped chan struct{} // closed and replaced at each swap
}

// NewLive returns a Live that holds nothing yet.
func NewLive() *Live { return &Live{swapped: make(chan struct{})} }

// Load returns the newest index. Before the first there is ErrNotReady and not
// an empty index, which would call every picture clean. Load never blocks.
func (l *Live) Load() (*Index, error) {
	if ix := l.p.Load(); ix != nil {
		return ix, nil
	}
	return nil, ErrNotReady
}

// Age is how long ago the index was last known to be the store's state.
func (l *Live) Age() time.Duration {
	return time.Since(time.Unix(0, l.checked.Load()))
}

// Wait returns once an index of that epoch or a later one is live, or with the
// context's error.
func (l *Live) Wait(ctx context.Context, epoch int64) error {
	for {
		l.mu.Lock()
		swapped := l.swapped
		l.mu.Unlock()
		if ix := l.p.Load(); ix != nil && ix.epoch >= epoch {
			return nil
		}
		select {
		case <-swapped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Live) swap(ix *Index) {
	l.p.Store(ix)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.swapped)
	l.swapped = make(chan struct{})
}
