package homeserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
)

const (
	maxSyncBytes = 16 << 20
	// The homeserver gathers what it tells before it begins to, longer if nobody has
	// asked it before.
	syncSlack, firstSyncSlack = 30 * time.Second, 5 * time.Minute
	// timelineLimit is the most that Synapse lets anybody ask for.
	timelineLimit = 100
	// maxFilterBytes keeps addresses below what proxies take, 8 KiB often.
	maxFilterBytes = 3 << 10
)

const (
	createType    = "m.room.create"
	memberType    = "m.room.member"
	redactionType = "m.room.redaction"
)

// SyncRequest says what a Sync is to tell.
type SyncRequest struct {
	// Since is the Next of the answer before; empty for a first one.
	Since string
	// Rooms are the ids of those whose events are wanted; none is all. Others may be
	// told of, too: Synapse tells of each room that was joined meanwhile. If one of
	// them is no id, it refuses to tell anything.
	Rooms []string
	// Types are those of the state events that are wanted. Redactions are told, too. Of
	// the create event of a room of version 12 Synapse tells nothing where Rooms are
	// named: it is in the room's state, and never changes.
	Types []string
	// Timeout is how long the homeserver may wait until there is something to tell.
	Timeout time.Duration
}

// SyncResponse is what has happened since a Sync.
type SyncResponse struct {
	// Next is where the next Sync begins.
	Next string
	// Joined has the rooms in which something has happened, and that the user is in;
	// in the answer to a first request, all that the user is in, but perhaps for one
	// that was joined just now.
	Joined map[string]RoomSync
	// Left are those of Rooms that the user has left, was thrown out of, or declined.
	Left []string
	// Invites are told whatever Rooms are asked for.
	Invites []Invite
}

// RoomSync is what has happened in a room.
type RoomSync struct {
	// Events are those that changed the state before the timeline, and then the
	// timeline, in order.
	//
	// A redacted event is told as it was left, and its redaction after it. A
	// redaction without effect, because its sender had no right to it or its event is
	// not known yet, is not told by Synapse: later such an event comes redacted.
	Events []Event
	// Limited tells that Events are not all: what was redacted is missing then, and
	// the state must be read. It is so for a room that was just joined.
	//
	// That it is false proves little. Synapse counts what it then withholds (see
	// Events) among the events that fill the timeline, so that it can lose some and
	// not say so. The state must be read now and then, too.
	Limited bool
}

// Invite is an invitation into a room. Inviter is who has sent it.
type Invite struct{ Room, Inviter string }

// Sync tells what has happened in rooms. It fails with [ErrTooLong] if that is more
// than 16 MiB, and then can only begin anew. A first request, without Since, tells where
// to go on from, the invitations and which rooms are joined, and no events: what is read
// by RoomState after it is all that is needed.
func (c *Client) Sync(ctx context.Context, r SyncRequest) (SyncResponse, error) {
	query := url.Values{"filter": {r.filter()}, "timeout": {strconv.FormatInt(max(r.Timeout, 0).Milliseconds(), 10)}}
	slack := firstSyncSlack
	if r.Since != "" {
		query.Set("since", r.Since)
		slack = syncSlack
	}
	raw, err := c.do(ctx, request{
		call: "sync", method: http.MethodGet, path: mautrix.ClientURLPath{"v3", "sync"}, query: query, limit: maxSyncBytes, within: max(r.Timeout, 0) + slack,
	})
	var s SyncResponse
	if err == nil {
		s, err = parseSync(raw)
	}
	if err != nil {
		return SyncResponse{}, fmt.Errorf("sync: %w", err)
	}
	r.keep(s)
	return s, nil
}

// filter leaves out all that is not wanted. A list of no rooms would leave out all of
// them, invitations among them, so there is none.
func (r SyncRequest) filter() string {
	nothing := map[string]any{"types": []string{}}
	// Synapse leaves rooms out that it has no event of to tell. So a first answer has
	// the one that each room has, and others have memberships: else nobody would know
	// where he was thrown out.
	//
	// It gives the same answer to the same question for two minutes, which is too long
	// for who begins anew: no first question is like another.
	types, timeline := []string{createType}, map[string]any{
		"types": []string{}, "not_types": []string{rand.Text()}, "limit": 1, // some servers take 0 for their default
	}
	if r.Since != "" {
		types = append([]string{}, r.Types...)
		timeline = map[string]any{"types": append(slices.Clone(types), redactionType, memberType), "limit": timelineLimit, "lazy_load_members": true}
	}
	state := map[string]any{"types": types, "lazy_load_members": true}
	room := map[string]any{"ephemeral": nothing, "account_data": nothing, "state": state, "timeline": timeline}
	// The create event of a room of version 12 is in no room for Synapse's filter.
	if rooms, err := json.Marshal(r.Rooms); err == nil && r.Since != "" && len(r.Rooms) > 0 && len(rooms) <= maxFilterBytes {
		room["rooms"] = r.Rooms // else all are told of, which is more than is needed
	}
	filter, _ := json.Marshal(map[string]any{"presence": nothing, "account_data": nothing, "room": room}) // of texts and numbers
	return string(filter)
}

// keep leaves out events that were not asked for.
func (r SyncRequest) keep(s SyncResponse) {
	for id, room := range s.Joined {
		room.Events = slices.DeleteFunc(room.Events, func(e Event) bool {
			return r.Since == "" || e.Type != "" && e.Type != redactionType && !slices.Contains(r.Types, e.Type)
		})
		s.Joined[id] = room
	}
}

func parseSync(raw []byte) (SyncResponse, error) {
	answer := object(raw)
	s := SyncResponse{Next: text(answer["next_batch"]), Joined: make(map[string]RoomSync)}
	if s.Next == "" {
		return SyncResponse{}, fmt.Errorf("%w: it is no sync", ErrUpstream)
	}
	parts, ok := objectOrNone(answer["rooms"])
	rooms := make(map[string]map[string]json.RawMessage)
	for _, name := range []string{"join", "leave", "invite"} {
		var known bool
		rooms[name], known = objectOrNone(parts[name])
		ok = ok && known
	}
	if !ok {
		return SyncResponse{}, fmt.Errorf("%w: its rooms are no object", ErrUpstream)
	}
	for room, raw := range rooms["join"] {
		s.Joined[room] = parseRoomSync(raw)
	}
	s.Left = slices.Sorted(maps.Keys(rooms["leave"]))
	for _, room := range slices.Sorted(maps.Keys(rooms["invite"])) {
		s.Invites = append(s.Invites, Invite{room, inviter(rooms["invite"][room])})
	}
	return s, nil
}

// objectOrNone is object for what may be missing. Not ok is what is neither.
func objectOrNone(raw json.RawMessage) (fields map[string]json.RawMessage, ok bool) {
	fields = object(raw)
	return fields, fields != nil || isMissing(raw)
}

func isMissing(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// parseRoomSync reads what is told of a joined room. What cannot be read counts as a
// gap, which the state fills.
func parseRoomSync(raw json.RawMessage) (s RoomSync) {
	room := object(raw)
	timeline := object(room["timeline"])
	limited := timeline["limited"]
	s.Limited = room == nil || !isMissing(limited) && string(limited) != "false"
	for _, part := range []json.RawMessage{room["state"], room["timeline"]} {
		var list []json.RawMessage
		section, ok := objectOrNone(part)
		if !ok || !isMissing(section["events"]) && json.Unmarshal(section["events"], &list) != nil {
			s.Limited = true
		}
		s.Events = append(s.Events, readEvents(list)...)
	}
	return s
}

// inviter finds who has sent an invitation: among what is told of the room, the one
// member event that invites, which is the user's own. It is empty if there is not just
// one. The rest is told by the inviter's server, unchecked.
func inviter(raw json.RawMessage) (sender string) {
	var list []json.RawMessage
	if json.Unmarshal(object(object(raw)["invite_state"])["events"], &list) != nil {
		return ""
	}
	for _, e := range readEvents(list) {
		if e.Type != memberType || text(object(e.Content)["membership"]) != "invite" {
			continue
		}
		if sender != "" {
			return ""
		}
		sender = e.Sender
	}
	return sender
}
