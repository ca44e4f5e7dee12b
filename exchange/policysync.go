package exchange

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"mediagate/exchange/policyroom"
	"mediagate/homeserver"
)

// syncer asks one homeserver, as one user, for what is new in all rooms that somebody
// follows: one request for all of them. It runs while there is somebody.
type syncer struct {
	client *homeserver.Client
	log    *slog.Logger
	stop   context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex
	feeds map[*feed]struct{}
	since string // empty before the first answer
	// interrupt ends the request that waits for news.
	interrupt context.CancelFunc
	invites   map[string][]string // who invited our user, by room
}

// feed is what a follower of a room is told. All is guarded by its syncer.
//
// A follower reads the room's state whenever it is stale, and applies events in
// between. What came while it read may be older than what it read, so events are kept
// until an answer has come that was asked for afterwards: then all there is since
// before the reading is there, in its order, and ends in the room's state of now.
type feed struct {
	room    string
	joined  bool // has our user joined it? Others are not asked for: a name that is none fails all
	wake    chan struct{}
	begun   chan struct{} // closed when state can be read that later events follow on
	events  []homeserver.Event
	queued  int // how large they are
	stale   bool
	reading bool
	readAt  time.Time // when the state was read last
	settled bool      // has an answer come that was asked for since?
	left    bool
	synced  time.Time // when the homeserver last said what is new
	err     error     // why it does not
}

// Bounds of a syncer.
const (
	pollTimeout = 30 * time.Second
	// pollGap is the least time from one request to the next.
	pollGap = 50 * time.Millisecond
	// maxQueued and maxQueuedBytes are how many events wait for a follower; with more,
	// the whole state is read instead.
	maxQueued       = 2000
	maxQueuedBytes  = 8 << 20
	firstSyncRetry  = 500 * time.Millisecond
	lastSyncRetry   = 15 * time.Second
	maxInvitedRooms = 1000
	maxInviters     = 100 // of one room
)

func newSyncer(client *homeserver.Client, log *slog.Logger) *syncer {
	ctx, stop := context.WithCancel(context.Background())
	s := &syncer{client: client, log: log, stop: stop, ended: make(chan struct{}), feeds: make(map[*feed]struct{}), invites: make(map[string][]string)}
	go s.run(ctx)
	return s
}

// syncerKey is whom a syncer asks, and as whom.
type syncerKey struct {
	address string
	as      [sha256.Size]byte
}

// followRoom follows a room by the syncer for all rooms of its user.
func (f *Fetcher) followRoom(client *homeserver.Client, room string, wake chan struct{}) (*syncer, *feed) {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	key := syncerKey{client.URL(), client.Service().Digest()}
	s := f.syncers[key]
	if s == nil {
		s = newSyncer(client, f.log)
		f.syncers[key] = s
	}
	return s, s.follow(room, wake)
}

func (f *Fetcher) unfollowRoom(s *syncer, of *feed) {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if s.leave(of) {
		maps.DeleteFunc(f.syncers, func(_ syncerKey, other *syncer) bool { return other == s })
	}
}

// follow tells, until leave, what happens in a room. wake is notified of it.
func (s *syncer) follow(room string, wake chan struct{}) *feed {
	f := &feed{room: room, wake: wake, begun: make(chan struct{}), stale: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[f] = struct{}{}
	if s.since != "" {
		close(f.begun)
	}
	return f
}

// join has the room of a feed asked for, which our user has joined. Invitations into it
// have served their purpose.
func (s *syncer) join(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.joined, f.left = true, false
	delete(s.invites, f.room)
	if s.interrupt != nil {
		s.interrupt() // it does not ask for this room
	}
}

// leave ends a feed, and tells whether it was the last one: then the syncer has ended.
func (s *syncer) leave(f *feed) (last bool) {
	s.mu.Lock()
	delete(s.feeds, f)
	last = len(s.feeds) == 0
	s.mu.Unlock()
	if last {
		s.stop()
		<-s.ended
	}
	return last
}

// run asks until the syncer is stopped.
func (s *syncer) run(ctx context.Context) {
	defer close(s.ended)
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		pause := pollGap
		anew, err := s.poll(ctx, began)
		switch {
		case err != nil:
			pause = min(firstSyncRetry<<min(failures, 10), lastSyncRetry)
			failures++
			if status, ok := errors.AsType[*homeserver.StatusError](err); ok {
				pause = max(pause, min(status.RetryAfter, time.Minute))
			}
		case !anew: // to begin anew may always work, and to go on never
			failures = 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(began.Add(pause))):
		}
	}
}

// poll asks once and tells the followers. anew tells that it has asked from where on there
// is something new, and not what that is.
func (s *syncer) poll(ctx context.Context, began time.Time) (anew bool, err error) {
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.interrupt = cancel
	r := homeserver.SyncRequest{Since: s.since, Types: policyroom.Types(), Timeout: pollTimeout}
	var asked []*feed
	for f := range s.feeds {
		asked = append(asked, f)
		if f.joined && !slices.Contains(r.Rooms, f.room) {
			r.Rooms = append(r.Rooms, f.room)
		}
		if !f.settled && !f.reading && !f.readAt.IsZero() {
			r.Timeout = 0 // it waits for an answer, and not for news
		}
	}
	s.mu.Unlock()
	slices.Sort(r.Rooms)
	if anew = r.Since == ""; anew {
		r.Timeout = 0
	}
	answer, err := s.client.Sync(attempt, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupt = nil
	switch {
	case err == nil:
		s.deliver(answer, asked, began, anew)
	case ctx.Err() != nil || attempt.Err() != nil:
		return anew, nil
	case isBadSince(err) && !anew:
		s.log.WarnContext(ctx, "policy rooms are read anew", "err", err)
		s.since = ""
	default:
		for _, f := range asked {
			f.err = err
			if f.synced.IsZero() {
				notify(f.wake)
			}
		}
	}
	return anew, err
}

// isBadSince tells errors that end with beginning anew: too much is new to be read
// at once, or the homeserver does not know any more where that was.
func isBadSince(err error) bool {
	status, ok := errors.AsType[*homeserver.StatusError](err)
	return errors.Is(err, homeserver.ErrTooLong) || ok && status.Status == http.StatusBadRequest
}

// deliver gives what is new to those for whom it was asked.
func (s *syncer) deliver(answer homeserver.SyncResponse, asked []*feed, began time.Time, anew bool) {
	s.since = answer.Next
	for f := range s.feeds { // those too that have come meanwhile
		select {
		case <-f.begun:
		default:
			close(f.begun)
			notify(f.wake)
		}
	}
	now := time.Now()
	for _, f := range asked {
		f.err, f.synced = nil, now
		if !f.reading && f.readAt.Before(began) && !f.settled {
			f.settled = true
			notify(f.wake)
		}
		if slices.ContainsFunc(answer.Invites, func(i homeserver.Invite) bool { return i.Room == f.room }) {
			notify(f.wake)
		}
		room, joined := answer.Joined[f.room]
		switch {
		case anew || room.Limited || len(f.events)+len(room.Events) > maxQueued || f.queued+sizeOf(room.Events) > maxQueuedBytes:
			f.stale, f.events, f.queued = true, nil, 0
			notify(f.wake)
		case len(room.Events) > 0:
			f.events, f.queued = append(f.events, room.Events...), f.queued+sizeOf(room.Events)
			notify(f.wake)
		}
		if f.joined && slices.Contains(answer.Left, f.room) && !joined {
			f.joined, f.left = false, true
			delete(s.invites, f.room)
			notify(f.wake)
		}
	}
	for _, invite := range answer.Invites {
		from, known := s.invites[invite.Room]
		if room := known || len(s.invites) < maxInvitedRooms || s.follows(invite.Room); room && len(from) < maxInviters && !slices.Contains(from, invite.Inviter) {
			s.invites[invite.Room] = append(from, invite.Inviter)
		}
	}
}

// follows tells whether somebody follows a room.
func (s *syncer) follows(room string) bool {
	for f := range s.feeds {
		if f.room == room {
			return true
		}
	}
	return false
}

// leftRoom notes that our user is not in a feed's room any more.
func (s *syncer) leftRoom(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.joined, f.left = false, true
	delete(s.invites, f.room)
}

// sizeOf is about how much memory events take.
func sizeOf(events []homeserver.Event) (bytes int) {
	for _, e := range events {
		bytes += len(e.Content) + 512
	}
	return bytes
}

// look takes what a follower is to do next: read the state, or apply events.
func (s *syncer) look(f *feed) (events []homeserver.Event, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.stale || !f.settled {
		return nil, f.stale
	}
	events, f.events, f.queued = f.events, nil, 0
	return events, false
}

// setStale has a follower read the state again.
func (s *syncer) setStale(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.stale = true
}

// read has a follower read the state.
func (s *syncer) read(f *feed, do func() error) error {
	s.mu.Lock()
	f.stale, f.reading, f.settled, f.events, f.queued = false, true, false, nil, 0
	s.mu.Unlock()
	err := do()
	s.mu.Lock()
	defer s.mu.Unlock()
	f.reading, f.readAt = false, time.Now()
	if err != nil {
		f.stale = true
	}
	if s.interrupt != nil {
		s.interrupt() // an answer is wanted that was asked for now
	}
	return err
}

// condition is how a feed goes.
type condition struct {
	synced time.Time
	left   bool
	err    error
}

func (s *syncer) condition(f *feed) condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return condition{f.synced, f.left, f.err}
}

// invitersTo tells who has invited our user into a room since it was joined last.
func (s *syncer) invitersTo(room string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.invites[room])
}
