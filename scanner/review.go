package scanner

import (
	"context"
	"time"

	"mediagate/bank"
)

// Reviewer is told of contents that are held, and has somebody decide about them.
type Reviewer interface {
	// Hold keeps contents from blocking until somebody decides. It must be able to be
	// told of the same content again.
	Hold(ctx context.Context, contents []int64, reason string) error
}

// Review has r told of contents that the breaker holds, as long as Run runs. Without it
// they are held by this process, for as long as it runs. It must be called before
// anything else.
func (s *Scanner) Review(r Reviewer) { s.reviewer = r }

// holdReason is what an operator reads about a content that is held.
const holdReason = "it would block what was asked for here long before it was listed"

const (
	// holdBatch is how many contents a Reviewer is told of at once.
	holdBatch = 100
	holdWait  = 10 * time.Second
	// holdRetry is how long to wait after a failure at first; twice as long after each
	// other, up to maxHoldRetry.
	holdRetry    = time.Second
	maxHoldRetry = time.Minute
	// settleEvery is how often it is looked at whether the index knows what is held.
	settleEvery = time.Second
)

// review tells the Reviewer of what is held until the context ends, and once more then.
func (s *Scanner) review(ctx context.Context) {
	if s.reviewer == nil {
		return
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	var next time.Time // when to tell at the earliest
	wait := holdRetry
	for {
		select {
		case <-ctx.Done():
			// What is not told now is forgotten with the process.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdWait)
			defer cancel()
			_ = s.report(last) // logged
			return
		case <-s.breaker.due:
		case <-tick.C:
			if ix, err := s.live.Load(); err == nil {
				s.breaker.settle(ix)
			}
		}
		if time.Now().Before(next) {
			continue
		}
		if s.report(ctx) != nil {
			next = time.Now().Add(wait)
			wait = min(2*wait, maxHoldRetry)
		} else {
			next, wait = time.Time{}, holdRetry
		}
	}
}

// report tells the Reviewer of all that it was not told of.
func (s *Scanner) report(ctx context.Context) error {
	for {
		batch := s.breaker.unreported()
		if len(batch) == 0 {
			return nil
		}
		contents := make([]int64, len(batch))
		for i, h := range batch {
			contents[i] = h.content
		}
		told, cancel := context.WithTimeout(ctx, holdWait)
		err := s.reviewer.Hold(told, contents, holdReason)
		cancel()
		if err != nil {
			s.log.WarnContext(ctx, "contents that are held cannot be put into review", "contents", len(contents), "err", err)
			return err
		}
		s.breaker.reported(batch)
	}
}

func (b *breaker) unreported() (batch []*hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.order {
		if !h.reported && b.held[h.content] == h {
			if batch = append(batch, h); len(batch) == holdBatch {
				break
			}
		}
	}
	return batch
}

func (b *breaker) reported(batch []*hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range batch {
		h.reported = true
	}
}

// settle leaves it to the index what it knows to be held, or was decided since: who
// enables a content again need not tell this process.
func (b *breaker) settle(ix *bank.Index) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.order[:0]
	for _, h := range b.order {
		if h.reported && (ix.Disabled(h.content) || ix.Confirmed(h.content)) {
			b.release(h)
		}
		if b.held[h.content] == h {
			kept = append(kept, h)
		}
	}
	clear(b.order[len(kept):])
	b.order = kept
}
