package exchange_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ownToken is that of the user who follows policy rooms.
const ownToken = "own-token"

// rooms plays the parts of a homeserver that a policy room is read from, as Synapse
// 1.160 does, and what others may do.
type rooms struct {
	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	changed chan struct{} // closed and made anew by each change
	at      int           // position in the stream
	// forgotten are positions before this one.
	forgotten int
	rooms     map[string]*fakeRoom
	aliases   map[string]string
	servers   []string // that aliases are known by
	asked     []string // the servers that the last joining named
	invites   []string // pairs of room and inviter that were not told yet
	// limit is how many events of a room an answer holds at most.
	limit int
	fault fault
	// failEvents is how many requests for one event fail.
	failEvents int
	// oddState is what each room's state has besides, and oddTimeline what the next
	// answer tells besides.
	oddState, oddTimeline []json.RawMessage
	calls                 map[string]int
	ids                   int
}

type fakeKey struct{ kind, key string }

// fakeRoom is a room with its state and all that was ever told of it.
type fakeRoom struct {
	version  string
	joined   bool
	outside  bool // the user was thrown out, and is told the state of then
	invited  bool // to join it needs an invitation
	left     int  // where in the stream the user was thrown out, 0 for never
	state    map[fakeKey]*fakeEvent
	timeline []*fakeEvent
}

type fakeEvent struct {
	at       int
	id       string
	kind     string
	key      *string
	sender   string
	content  json.RawMessage
	redacts  string
	redacted string // by whom
	// withheld is an event that is not told: the homeserver has lost it.
	withheld bool
}

func (e *fakeEvent) raw() json.RawMessage {
	fields := map[string]any{"event_id": e.id, "type": e.kind, "sender": e.sender, "content": e.content, "origin_server_ts": 1}
	if e.key != nil {
		fields["state_key"] = *e.key
	}
	if e.redacts != "" {
		fields["redacts"] = e.redacts
	}
	if e.redacted != "" {
		fields["content"] = json.RawMessage("{}")
		fields["unsigned"] = map[string]any{"redacted_because": map[string]any{"sender": e.redacted}}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return raw
}

const (
	moderator = "@mod:list.test"
	stranger  = "@stranger:list.test"
)

func startRooms(t testing.TB) *rooms {
	t.Helper()
	r := &rooms{t: t, changed: make(chan struct{}), rooms: make(map[string]*fakeRoom), aliases: make(map[string]string), limit: 100, calls: make(map[string]int)}
	r.server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

// create makes a room whose moderators are moderator and whoever has power 50.
func (r *rooms) create(id string) {
	r.change(func() {
		r.rooms[id] = &fakeRoom{version: "10", state: make(map[fakeKey]*fakeEvent)}
	})
	r.set(id, "m.room.create", "", moderator, `{"room_version":"10"}`)
	r.set(id, "m.room.power_levels", "", moderator, `{"users":{"`+moderator+`":100},"state_default":50,"users_default":0}`)
}

func (r *rooms) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *rooms) newID() string {
	r.ids++
	return fmt.Sprintf("$event/%d+", r.ids)
}

// set sends a state event, whoever may.
func (r *rooms) set(room, kind, key, sender, content string) (id string) {
	r.change(func() { id = r.add(room, kind, key, sender, content) })
	return id
}

func (r *rooms) add(room, kind, key, sender, content string) string {
	r.at++
	e := &fakeEvent{at: r.at, id: r.newID(), kind: kind, key: &key, sender: sender, content: json.RawMessage(content)}
	r.rooms[room].state[fakeKey{kind, key}] = e
	r.rooms[room].timeline = append(r.rooms[room].timeline, e)
	return e.id
}

// redact redacts an event. applied tells whether the homeserver lets that pass.
func (r *rooms) redact(room, id, sender string, applied bool) {
	r.change(func() {
		r.at++
		f := r.rooms[room]
		f.timeline = append(f.timeline, &fakeEvent{at: r.at, id: r.newID(), kind: "m.room.redaction", sender: sender, content: json.RawMessage(`{"redacts":"` + id + `"}`), redacts: id})
		for _, e := range f.timeline {
			if e.id == id && applied {
				e.redacted = sender
			}
		}
	})
}

// lose forgets a key of the state without telling, as a state reset does.
func (r *rooms) lose(room, kind, key string) {
	r.change(func() { delete(r.rooms[room].state, fakeKey{kind, key}) })
}

// revert makes an earlier event that of its key again, without telling.
func (r *rooms) revert(room string, e *fakeEvent) {
	r.change(func() { r.rooms[room].state[fakeKey{e.kind, *e.key}] = e })
}

func (r *rooms) count(call string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[call]
}

func (r *rooms) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	path := strings.TrimPrefix(q.URL.EscapedPath(), "/_matrix/client/v3/")
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i]) // the client escapes
	}
	r.mu.Lock()
	r.calls[parts[0]]++
	broken := r.fault
	r.mu.Unlock()
	switch {
	case broken == failing:
		answer(w, http.StatusInternalServerError, "M_UNKNOWN", "it failed")
	case q.Header.Get("Authorization") != "Bearer "+ownToken:
		answer(w, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "no")
	case strings.HasSuffix(path, "account/whoami"):
		write(w, http.StatusOK, map[string]any{"user_id": "@own:local.test"})
	case parts[0] == "sync":
		r.sync(w, q)
	case parts[0] == "directory" && len(parts) == 3:
		r.alias(w, parts[2])
	case parts[0] == "join" && len(parts) == 2:
		r.join(w, parts[1], q.URL.Query()["via"])
	case parts[0] == "rooms" && len(parts) >= 3 && parts[2] == "state":
		r.readState(w, parts[1], parts[3:])
	default:
		answer(w, http.StatusNotFound, "M_UNRECOGNIZED", path)
	}
}

func (r *rooms) alias(w http.ResponseWriter, alias string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room, ok := r.aliases[alias]
	if !ok {
		answer(w, http.StatusNotFound, "M_NOT_FOUND", "no such alias")
		return
	}
	write(w, http.StatusOK, map[string]any{"room_id": room, "servers": r.servers})
}

func (r *rooms) join(w http.ResponseWriter, id string, via []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = via
	room := r.rooms[id]
	if room == nil || room.invited {
		answer(w, http.StatusForbidden, "M_FORBIDDEN", "you are not invited")
		return
	}
	room.joined, room.left, room.outside = true, 0, false
	write(w, http.StatusOK, map[string]any{"room_id": id})
}

func (r *rooms) readState(w http.ResponseWriter, id string, rest []string) {
	r.mu.Lock()
	room := r.rooms[id]
	if len(rest) == 2 && r.failEvents > 0 {
		r.failEvents--
		r.mu.Unlock()
		answer(w, http.StatusInternalServerError, "M_UNKNOWN", "it failed")
		return
	}
	if room == nil || !room.joined {
		r.mu.Unlock()
		answer(w, http.StatusForbidden, "M_FORBIDDEN", "you are not in the room")
		return
	}
	list := []json.RawMessage{}
	if len(rest) == 0 {
		list = append(list, r.oddState...)
	}
	if member := (fakeKey{"m.room.member", "@own:local.test"}); len(rest) == 0 || len(rest) == 2 && rest[1] == member.key {
		list = append(list, json.RawMessage(`{"type":"m.room.member","state_key":"@own:local.test","sender":"@own:local.test","event_id":"$own","content":{"membership":"`+map[bool]string{false: "join", true: "ban"}[room.outside]+`"}}`))
	}
	for key, e := range room.state {
		if len(rest) == 0 || len(rest) == 2 && key == (fakeKey{rest[0], rest[1]}) {
			list = append(list, e.raw())
		}
	}
	r.mu.Unlock()
	switch {
	case len(rest) == 0:
		write(w, http.StatusOK, list)
	case len(list) == 0:
		answer(w, http.StatusNotFound, "M_NOT_FOUND", "no such event")
	default:
		write(w, http.StatusOK, list[0])
	}
}

func (r *rooms) sync(w http.ResponseWriter, q *http.Request) {
	since, _ := strconv.Atoi(strings.TrimPrefix(q.URL.Query().Get("since"), "s"))
	wait, _ := strconv.Atoi(q.URL.Query().Get("timeout"))
	var filter struct {
		Room struct{ Rooms []string }
	}
	_ = json.Unmarshal([]byte(q.URL.Query().Get("filter")), &filter)
	r.mu.Lock()
	known := !slices.ContainsFunc(filter.Room.Rooms, func(id string) bool { return r.rooms[id] == nil })
	r.mu.Unlock()
	if !known { // as Synapse does for ids that are none
		answer(w, http.StatusBadRequest, "M_UNKNOWN", "no such room")
		return
	}
	deadline := time.After(time.Duration(wait) * time.Millisecond)
	for {
		r.mu.Lock()
		changed := r.changed
		if since > 0 && since < r.forgotten {
			r.mu.Unlock()
			answer(w, http.StatusBadRequest, "M_UNKNOWN", "no such position")
			return
		}
		out, news := r.answer(since, filter.Room.Rooms)
		r.mu.Unlock()
		if news || wait == 0 || since == 0 {
			write(w, http.StatusOK, out)
			return
		}
		select {
		case <-changed:
		case <-q.Context().Done():
			return
		case <-deadline:
			wait = 0
		}
	}
}

func (r *rooms) answer(since int, wanted []string) (out map[string]any, news bool) {
	join, leave, invite := map[string]any{}, map[string]any{}, map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(r.rooms)) {
		room := r.rooms[id]
		if room.left > since {
			leave[id] = map[string]any{}
		}
		if !room.joined || room.left > 0 || len(wanted) > 0 && !slices.Contains(wanted, id) {
			continue
		}
		events := []json.RawMessage{}
		for _, e := range room.timeline {
			if e.at > since && !e.withheld {
				events = append(events, e.raw())
			}
		}
		events, r.oddTimeline = append(r.oddTimeline, events...), nil
		limited := since == 0 || len(events) > r.limit
		if limited && len(events) > r.limit {
			events = events[len(events)-r.limit:]
		}
		if len(events) > 0 {
			join[id] = map[string]any{"timeline": map[string]any{"events": events, "limited": limited}}
		}
	}
	for _, pair := range r.invites {
		room, inviter, _ := strings.Cut(pair, " ")
		invite[room] = map[string]any{"invite_state": map[string]any{"events": []any{map[string]any{
			"type": "m.room.member", "state_key": "@own:local.test", "sender": inviter, "content": map[string]any{"membership": "invite"},
		}}}}
	}
	r.invites = nil
	return map[string]any{
		"next_batch": "s" + strconv.Itoa(r.at), "rooms": map[string]any{"join": join, "leave": leave, "invite": invite},
	}, len(join)+len(leave)+len(invite) > 0
}
