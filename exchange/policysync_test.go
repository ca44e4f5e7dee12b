package exchange

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"mediagate/homeserver"
)

// newFeed is a feed of a syncer that asks nobody, and whose follower has read the state.
func newFeed(t *testing.T) (*syncer, *feed) {
	t.Helper()
	s := &syncer{feeds: make(map[*feed]struct{}), invites: make(map[string][]string)}
	f := s.follow("!list:list.test", make(chan struct{}, 1))
	f.joined = true
	if err := s.read(f, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.tell(f, homeserver.SyncResponse{})
	return s, f
}

// tell delivers an answer that was asked for just now.
func (s *syncer) tell(f *feed, answer homeserver.SyncResponse) { s.tellAskedAt(time.Now(), f, answer) }

func (s *syncer) tellAskedAt(began time.Time, f *feed, answer homeserver.SyncResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver(answer, []*feed{f}, began, false)
}

// TestFeedHoldsSoManyEvents and not one more: then it holds none, and the state is read.
func TestFeedHoldsSoManyEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		events int
		bytes  int // of all of them, as they are counted
	}{
		"by number": {2000, 2000 * 512},
		"by size":   {16, 8 << 20},
	} {
		for more := range 2 {
			t.Run(fmt.Sprintf("%s and %d", name, more), func(t *testing.T) {
				s, f := newFeed(t)
				each := tt.bytes/tt.events - 512
				for n := range tt.events {
					size := each
					if name == "by size" && n == 0 {
						size += more
					}
					s.tell(f, inRoom(homeserver.Event{Content: make(json.RawMessage, size)}))
				}
				want := tt.events
				if name == "by number" {
					s.tell(f, inRoom(make([]homeserver.Event, more)...))
				}
				if more > 0 {
					want = 0
				}
				if len(f.events) != want || f.stale != (more > 0) || f.queued != want*tt.bytes/tt.events {
					t.Errorf("%d events of %d bytes are held, want %d; the state is to be read: %v", len(f.events), f.queued, want, f.stale)
				}
			})
		}
	}
}

func inRoom(events ...homeserver.Event) homeserver.SyncResponse {
	return homeserver.SyncResponse{Joined: map[string]homeserver.RoomSync{"!list:list.test": {Events: events}}}
}

// TestEventsWaitForAnAnswerSinceTheStateWasRead: those of one that was asked for before
// may be older than the state, and what they are followed by is not there yet.
func TestEventsWaitForAnAnswerSinceTheStateWasRead(t *testing.T) {
	s, f := newFeed(t)
	before := time.Now()
	if err := s.read(f, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.tellAskedAt(before, f, inRoom(homeserver.Event{ID: "$old"}))
	if got, stale := s.look(f); len(got) > 0 || stale {
		t.Fatalf("%d events are told too early, stale: %v", len(got), stale)
	}
	s.tell(f, inRoom(homeserver.Event{ID: "$new"}))
	if got, _ := s.look(f); len(got) != 2 || got[0].ID != "$old" || got[1].ID != "$new" {
		t.Errorf("told are %+v", got)
	}
}

// TestInvitationsAreRememberedUpToABound, which leaves those into rooms that are followed.
func TestInvitationsAreRememberedUpToABound(t *testing.T) {
	s, f := newFeed(t)
	invite := func(room, user string) {
		s.tell(f, homeserver.SyncResponse{Invites: []homeserver.Invite{{Room: room, Inviter: user}}})
	}
	for n := range 1001 {
		invite(fmt.Sprintf("!%d:x", n), "@a:x")
	}
	for n := range 101 {
		invite("!0:x", fmt.Sprintf("@%d:x", n))
		invite("!0:x", fmt.Sprintf("@%d:x", n)) // again
	}
	invite("!list:list.test", "@inviter:x")
	for room, want := range map[string]int{"!0:x": 100, "!999:x": 1, "!1000:x": 0, "!list:list.test": 1} {
		if got := s.invitersTo(room); len(got) != want {
			t.Errorf("%d have invited into %s, want %d", len(got), room, want)
		}
	}
}
