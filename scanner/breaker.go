package scanner

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
)

// breaker holds contents of lists that would block what has long been asked for here.
//
// An item that nothing blocks but contents of banks with a breaker, and that was asked for
// over at least known while no such bank matched it, has those requests added to the
// account of each of them, once. The content whose account reaches its bank's Breaker is
// held: it blocks nothing any more, from that decision on. How long ago the requests were
// says nothing: a raid of an hour adds nothing a month later either. Nor does what is
// asked for once it is listed, be the list in force or only watched.
type breaker struct {
	known  time.Duration
	memory *memory
	log    *slog.Logger
	holds  *bankCounter

	mu       sync.Mutex
	accounts map[int64]*account // by content
	// begun are the accounts from the oldest on, among them some that are not there any
	// more.
	begun  []*account
	opened int64 // how many there were so far
	held   map[int64]*hold
	// order is that in which contents were held, among them some that are not any more.
	order []*hold
	// any is how many are held, for who need not know which.
	any atomic.Int64
	// due tells review that there is something to say.
	due chan struct{}
}

// account is what one content would have blocked of old.
type account struct {
	id, content int64
	begun       time.Time
	requests    int64
}

// hold is a content that is held by this process.
type hold struct {
	content  int64
	reported bool
}

const (
	// accountTTL is how long requests are added up. An account that begins anew has
	// everything added to it again that is asked for again.
	accountTTL = 30 * 24 * time.Hour
	// maxAccounts and maxHeld bound what is kept. Beyond the first the oldest account
	// begins anew; beyond the second nothing more is held until what is held is known to
	// the store.
	maxAccounts = 1 << 16
	maxHeld     = 1 << 16
)

func newBreaker(known time.Duration, m *memory, log *slog.Logger) *breaker {
	return &breaker{
		known: known, memory: m, log: log,
		holds:    newBankCounter("mediagate_breaker_holds_total", "Contents that were held because they would have blocked what was let pass for long, by bank."),
		accounts: make(map[int64]*account), held: make(map[int64]*hold), due: make(chan struct{}, 1),
	}
}

// view tells what is held by one index, the same for each content as often as it is
// asked. It is nil if nothing is. It is for one goroutine.
func (b *breaker) view(ix *bank.Index) func(content int64) bool {
	if b.any.Load() == 0 {
		return nil
	}
	seen := make(map[int64]bool)
	return func(content int64) bool {
		is, known := seen[content]
		if !known {
			b.mu.Lock()
			is = b.held[content] != nil
			b.mu.Unlock()
			is = is && !ix.Confirmed(content)
			seen[content] = is
		}
		return is
	}
}

// trips adds the past of an item that is about to be blocked to the accounts of what
// blocks it, and tells whether the item must be decided about again, because something of
// that is held.
func (b *breaker) trips(ctx context.Context, ix *bank.Index, v *Verdict) bool {
	blocking := v.Matches
	if i := slices.IndexFunc(blocking, func(m Match) bool { return !m.Enforced }); i >= 0 {
		blocking = blocking[:i]
	}
	if slices.ContainsFunc(blocking, func(m Match) bool { return m.Bank.Breaker <= 0 || ix.Confirmed(m.Content) || isName(m) }) {
		return false
	}
	past := b.memory.of(v.Signals.SHA256)
	if past == nil {
		return false
	}
	if requests, over := past.unlisted.span(); requests == 0 || over < b.known {
		return false
	}
	now := b.memory.now()
	b.mu.Lock()
	added, again := len(past.added), false
	var held []Match
	for _, m := range blocking {
		switch {
		case b.held[m.Content] != nil: // by another request, or by another signal
			again = true
		case b.add(m, past, now) && b.hold(m.Content):
			held, again = append(held, m), true
		}
	}
	added -= len(past.added)
	past.adds.Store(int32(len(past.added)))
	b.mu.Unlock()
	if added != 0 {
		b.memory.weighAgain(v.Signals.SHA256, past)
	}
	for _, m := range held {
		b.holds.inc(m.Bank.Name)
		b.log.WarnContext(ctx, "content is held: it would block what was let pass for long", "bank", m.Bank.Name, "content_id", m.Content)
	}
	return again
}

// add adds an item's requests to a content's account, unless they are there, and tells
// whether it is full.
func (b *breaker) add(m Match, past *remembered, now time.Time) bool {
	a := b.account(m.Content, now)
	if i, found := slices.BinarySearch(past.added, a.id); !found {
		past.added = slices.Insert(past.added, i, a.id)
		a.requests += past.unlisted.requests.Load()
	}
	return a.requests >= int64(m.Bank.Breaker)
}

// account returns the account of a content, and begins one if there is none, or none that
// still holds.
func (b *breaker) account(content int64, now time.Time) *account {
	for len(b.begun) > 0 && now.Sub(b.begun[0].begun) >= accountTTL {
		b.closeOldest()
	}
	a := b.accounts[content]
	if a == nil {
		if len(b.begun) >= maxAccounts {
			b.closeOldest()
		}
		b.opened++
		a = &account{id: b.opened, content: content, begun: now}
		b.accounts[content] = a
		b.begun = append(b.begun, a)
	}
	return a
}

func (b *breaker) closeOldest() {
	if oldest := b.begun[0]; b.accounts[oldest.content] == oldest {
		delete(b.accounts, oldest.content)
	}
	b.begun = b.begun[1:]
}

// hold keeps a content from blocking, and tells whether there was room for that.
func (b *breaker) hold(content int64) bool {
	for len(b.order) >= maxHeld {
		oldest := b.order[0]
		if b.held[oldest.content] == oldest && !oldest.reported {
			return false
		}
		b.release(oldest)
		b.order = b.order[1:]
	}
	h := &hold{content: content}
	b.held[content] = h
	b.order = append(b.order, h)
	b.any.Store(int64(len(b.held)))
	delete(b.accounts, content)
	select {
	case b.due <- struct{}{}:
	default: // it is told already
	}
	return true
}

// release lets the index alone say whether a content counts.
func (b *breaker) release(h *hold) {
	if b.held[h.content] == h {
		delete(b.held, h.content)
		b.any.Store(int64(len(b.held)))
	}
}

// bankCounter counts by the name of a bank.
type bankCounter struct {
	*prometheus.CounterVec
	numbers sync.Map // *atomic.Int64, by name
}

func newBankCounter(name, help string) *bankCounter {
	return &bankCounter{CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"bank"})}
}

func (c *bankCounter) inc(bank string) {
	c.WithLabelValues(bank).Inc()
	n, ok := c.numbers.Load(bank)
	if !ok {
		n, _ = c.numbers.LoadOrStore(bank, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

// of returns the number of a bank.
func (c *bankCounter) of(bank string) int64 {
	n, ok := c.numbers.Load(bank)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// forget drops the numbers of banks that are not there any more.
func (c *bankCounter) forget(ix *bank.Index) {
	c.numbers.Range(func(key, _ any) bool {
		if name := key.(string); !hasBank(ix, name) {
			c.numbers.Delete(name)
			c.DeleteLabelValues(name)
		}
		return true
	})
}

func hasBank(ix *bank.Index, name string) bool {
	_, ok := ix.Bank(name)
	return ok
}
