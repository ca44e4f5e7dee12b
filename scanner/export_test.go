package scanner

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"

	"mediagate/media"
)

// For the tests of this package, which live outside it.

const (
	LocalTTL   = localTTL
	RemoteTTL  = remoteTTL
	GrantTTL   = grantTTL
	MissingTTL = missingTTL
	RefusedTTL = refusedTTL
)

// ErrPanicked is what callers get whose scan panics.
var ErrPanicked = errPanicked

// SetClock empties the cache and has it go by another clock.
func (s *Scanner) SetClock(clock otter.Clock) { s.cache = newCache(s.config.CacheBytes, clock) }

// BreakCache makes every scan panic once it has the bytes.
func (s *Scanner) BreakCache() { s.cache.contents = nil }

// Holders counts who does and waits for work, and holds what it ended in as long
// as it is under way.
func (s *Scanner) Holders() int {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	n := 0
	for _, f := range s.flights.running {
		n += f.holders
	}
	return n
}

// Origins counts the servers whose media somebody waits for or downloads.
func (s *Scanner) Origins() int {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	return len(s.slots.origin)
}

// Idle tells whether every slot is free.
func (s *Scanner) Idle() bool {
	for _, n := range []struct {
		lane *lane
		size int64
	}{{&s.slots.all, int64(s.config.Downloads)}, {&s.slots.remote, max(1, int64(s.config.Downloads-s.config.Downloads/4))}} {
		if !n.lane.free.TryAcquire(n.size) {
			return false
		}
		n.lane.free.Release(n.size)
	}
	return true
}

// Waiting counts who waits for a slot of a server's, "" for one of all.
func (s *Scanner) Waiting(origin string) int64 {
	if origin == "" {
		return s.slots.all.waiting.Load()
	}
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	if o := s.slots.origin[origin]; o != nil {
		return o.waiting.Load()
	}
	return 0
}

// SetNow sets the time of day by which shared items are too old.
func (s *Scanner) SetNow(now func() time.Time) { s.shared.now = now }

// MaxFindings is how many findings may wait to be shared.
const MaxFindings = maxFindings

// AppendItem is what is shared of an item.
func AppendItem(item media.URI, found time.Time, etag string, s media.Signals) []byte {
	signals, err := s.AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	return appendItem(finding{item: &item, etag: etag, found: found}, signals)
}

// ParseItem reads that at a time of day.
func ParseItem(value []byte, item media.URI, ttl time.Duration, now time.Time) (s *media.Signals, etag string, left time.Duration, err error) {
	shared := newShared()
	shared.now = func() time.Time { return now }
	k, err := shared.parseItem(value, item, ttl)
	return k.signals, k.etag, k.ttl, err
}

// Judge decides about signals, as every way to scan does in the end.
func (s *Scanner) Judge(ctx context.Context, signals *media.Signals) (Verdict, error) {
	return s.judge(ctx, nil, signals)
}

// SetMemoryNow sets the time that the memory goes by.
func (s *Scanner) SetMemoryNow(now func() time.Time) { s.memory.now = now }

// SettleMemory drops what there is no room for.
func (s *Scanner) SettleMemory() { s.memory.contents.CleanUp() }

// Remembered is how much memory is taken for what was let pass.
func (s *Scanner) Remembered() (bytes uint64, contents int) {
	return s.memory.contents.WeightedSize(), s.memory.contents.EstimatedSize()
}

// Requests is how often a content was let pass, 0 if that is not known.
func (s *Scanner) Requests(signals *media.Signals) int64 {
	if r := s.memory.of(signals.SHA256); r != nil {
		return r.requests.Load()
	}
	return 0
}

// Held is how many contents this process holds itself.
func (s *Scanner) Held() int { return int(s.breaker.any.Load()) }

// Accounts is how many contents have an account.
func (s *Scanner) Accounts() int {
	s.breaker.mu.Lock()
	defer s.breaker.mu.Unlock()
	return len(s.breaker.accounts)
}

// OpenAccounts begins accounts of that many contents that nobody has.
func (s *Scanner) OpenAccounts(n int) {
	s.breaker.mu.Lock()
	defer s.breaker.mu.Unlock()
	for i := range n {
		s.breaker.account(-1-int64(i), s.memory.now())
	}
}

// The bounds of the breaker.
const (
	AccountTTL  = accountTTL
	MaxAccounts = maxAccounts
)

// Pass counts a request that is let pass.
func (s *Scanner) Pass(signals *media.Signals) { s.memory.pass(signals, false) }
