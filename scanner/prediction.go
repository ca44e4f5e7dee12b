package scanner

import (
	"context"
	"fmt"
	"time"

	"mediagate/bank"
)

// Prediction is what a bank would block of what was let pass.
type Prediction struct {
	// Seen is how many contents are remembered, and SeenRequests how often they were
	// asked for and let pass.
	Seen, SeenRequests int64
	// Contents are those of them that the bank would block, and Requests how often they
	// were asked for.
	Contents, Requests int64
	// Since is when the first of those that are remembered was first let pass; zero if
	// none is.
	Since time.Time
}

// Predict tells what of all that this process remembers to have let pass would be blocked
// if a bank were not in monitor, and would not be if it were: with what else is banked
// now, and with what is held. The breaker may then hold some of the bank's contents
// instead, if that is how the bank is set. For a bank that is not in monitor it is what is
// blocked for that bank's sake.
//
// Each process remembers what it was asked for itself, and nothing from before its start:
// of several that share the work each predicts its share. It takes about as long as
// scanning everything once, and there is one at a time. It fails with
// [bank.ErrBankNotFound], [bank.ErrNotReady] or the context's error.
func (s *Scanner) Predict(ctx context.Context, bankName string) (Prediction, error) {
	p, err := s.predict(ctx, bankName)
	if err != nil {
		return Prediction{}, fmt.Errorf("predict: %w", err)
	}
	return p, nil
}

func (s *Scanner) predict(ctx context.Context, bankName string) (p Prediction, err error) {
	select {
	case s.predicting <- struct{}{}:
		defer func() { <-s.predicting }()
	case <-ctx.Done():
		return Prediction{}, ctx.Err()
	}
	ix, err := s.index()
	if err != nil {
		return Prediction{}, err
	}
	b, ok := ix.Bank(bankName)
	if !ok {
		return Prediction{}, bank.ErrBankNotFound
	}
	for _, r := range s.memory.contents.All() {
		if err := ctx.Err(); err != nil {
			return Prediction{}, err
		}
		requests := r.requests.Load()
		p.Seen++
		p.SeenRequests += requests
		if p.Since.IsZero() || r.first.Before(p.Since) {
			p.Since = r.first
		}
		if s.blockedFor(ix, b, r) {
			p.Contents++
			p.Requests += requests
		}
	}
	return p, nil
}

// blockedFor tells whether a content would be blocked if a bank were not in monitor, and
// would not be if it were.
func (s *Scanner) blockedFor(ix *bank.Index, b bank.Bank, r *remembered) bool {
	held := s.breaker.view(ix)
	matches := s.matches(ix, r.signals.Load(), held)
	blocked := func(monitor bool) bool {
		rules{held: held, what: &supposition{b.ID, monitor}}.apply(matches)
		for _, m := range matches {
			if m.Enforced {
				return true
			}
		}
		return false
	}
	return blocked(false) && !blocked(true)
}
