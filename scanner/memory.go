package scanner

import (
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"mediagate/media"
)

// memory holds what was let pass, by the SHA-256 of its bytes: since when, and how often
// it was asked for. It knows no names of items and nobody who asked, is nowhere but in
// this process, and is forgotten with it. What is asked for least goes first when it is
// full.
//
// What is blocked stays as it was when it was last let pass: since when, and how often
// before. Requests that are blocked are not counted, so that nobody can add to what was
// let pass by asking again; and when it is let pass again, counting goes on.
type memory struct {
	contents *otter.Cache[[sha256.Size]byte, *remembered]
	now      func() time.Time
}

// remembered is one content that was let pass.
type remembered struct {
	first    time.Time // with the monotonic clock, which nobody sets
	requests atomic.Int64
	unlisted unlisted
	// signals are those that it was last judged by.
	signals atomic.Pointer[media.Signals]
	// added are the accounts that its requests were added to, sorted; guarded by
	// breaker.mu. adds is how many, for who weighs it.
	added []int64
	adds  atomic.Int32
}

// unlisted are those requests for a content that were let pass while no bank with a
// breaker matched it: the past that a breaker goes by. What such a bank matches is let
// pass, too, while the bank is in monitor, wants others to agree, or has it held, and
// anybody can ask for that as often as they like.
type unlisted struct {
	requests atomic.Int64
	// first and last are when, a nanosecond more than the time since remembered.first; 0
	// while there are none.
	first, last atomic.Int64
}

// span returns how many requests there were, and over how long.
func (u *unlisted) span() (requests int64, over time.Duration) {
	requests = u.requests.Load()
	return requests, time.Duration(u.last.Load() - u.first.Load())
}

func newMemory(bytes int64) *memory {
	return &memory{
		now: time.Now,
		contents: otter.Must(&otter.Options[[sha256.Size]byte, *remembered]{
			MaximumWeight: uint64(bytes),
			Weigher: func(_ [sha256.Size]byte, r *remembered) uint32 {
				return entryOverhead + weigh(r.signals.Load()) + 16*uint32(r.adds.Load())
			},
		}),
	}
}

// pass counts a request that is let pass. listed tells that a bank with a breaker matches.
func (m *memory) pass(s *media.Signals, listed bool) {
	now := m.now()
	r, ok := m.contents.GetIfPresent(s.SHA256)
	if !ok {
		r = &remembered{first: now}
		r.signals.Store(s)
		r, _ = m.contents.SetIfAbsent(s.SHA256, r)
	}
	if r.signals.Load() != s {
		r.signals.Store(s)
	}
	r.requests.Add(1)
	if listed {
		return
	}
	at := 1 + max(0, int64(now.Sub(r.first)))
	r.unlisted.first.CompareAndSwap(0, at)
	r.unlisted.last.Store(at)
	r.unlisted.requests.Add(1)
}

// of returns what is remembered of a content, nil for nothing.
func (m *memory) of(digest [sha256.Size]byte) *remembered {
	r, _ := m.contents.GetIfPresent(digest)
	return r
}

// weighAgain has the memory know that it holds more of a content.
func (m *memory) weighAgain(digest [sha256.Size]byte, r *remembered) {
	m.contents.ComputeIfPresent(digest, func(now *remembered) (*remembered, otter.ComputeOp) {
		if now != r { // forgotten meanwhile, and begun anew
			return now, otter.CancelOp
		}
		return r, otter.WriteOp
	})
}
