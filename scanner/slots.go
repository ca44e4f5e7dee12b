package scanner

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"mediagate/media"
)

// slots bounds the downloads under way. A quarter of them is for our homeserver's
// own media, and no other server has more than its share, so that servers which
// answer slowly hold up nobody else's media.
type slots struct {
	wait   time.Duration
	all    lane
	remote lane
	mu     sync.Mutex
	origin map[string]*originLane
	share  int64
	queue  int64
}

// lane lets so many go at once, and a few more wait.
type lane struct {
	free    *semaphore.Weighted
	waiting atomic.Int64
	queue   int64
}

type originLane struct {
	lane
	users int // guarded by slots.mu
}

func newSlots(c Config) *slots {
	all, queue := int64(c.Downloads), int64(c.Queue)
	return &slots{
		wait: c.QueueWait, share: int64(c.DownloadsPerOrigin), queue: queue, origin: make(map[string]*originLane),
		all:    lane{free: semaphore.NewWeighted(all), queue: queue},
		remote: lane{free: semaphore.NewWeighted(max(1, all-all/4)), queue: queue},
	}
}

// acquire waits for a slot, and fails with [media.ErrOverloaded] if there is none
// in time. origin is empty for our homeserver's own media.
func (s *slots) acquire(ctx context.Context, origin string) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	lanes := []*lane{&s.all}
	leave := func() {}
	if origin != "" {
		o := s.enter(origin)
		leave = func() { s.leave(origin, o) }
		lanes = []*lane{&o.lane, &s.remote, &s.all} // the narrowest first
	}
	for i, l := range lanes {
		if err := l.acquire(ctx); err != nil {
			releaseAll(lanes[:i])
			leave()
			return nil, err
		}
	}
	return func() {
		releaseAll(lanes)
		leave()
	}, nil
}

func releaseAll(lanes []*lane) {
	for _, l := range lanes {
		l.free.Release(1)
	}
}

func (l *lane) acquire(ctx context.Context) error {
	if l.free.TryAcquire(1) {
		return nil
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > l.queue || l.free.Acquire(ctx, 1) != nil {
		return media.ErrOverloaded
	}
	return nil
}

// enter finds the lane of an origin. There is one as long as somebody uses it.
func (s *slots) enter(origin string) *originLane {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.origin[origin]
	if o == nil {
		o = &originLane{lane: lane{free: semaphore.NewWeighted(s.share), queue: min(s.queue, max(1, s.queue/4))}}
		s.origin[origin] = o
	}
	o.users++
	return o
}

func (s *slots) leave(origin string, o *originLane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.users--
	if o.users == 0 {
		delete(s.origin, origin)
	}
}
