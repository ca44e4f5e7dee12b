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
	// held is what hold has returned, until it is let go.
	held *Index
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

// hold is Load for who keeps the index in memory for long. It must be let go before
// another one is held.
func (l *Live) hold() (*Index, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ix, err := l.Load()
	l.held = ix
	return ix, err
}

func (l *Live) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = nil
}

// holdsOlder tells whether somebody keeps a large part in memory that is not this one.
func (l *Live) holdsOlder(base *part) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil && l.held.base != base
}

func (l *Live) swap(ix *Index) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p.Store(ix)
	close(l.swapped)
	l.swapped = make(chan struct{})
}
