package policyroom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// maxKey is how long a state key may be, in bytes, of the specification.
const maxKey = 255

// Room is the state of a policy room, as far as rules depend on it. It keeps what was
// read of events, and no contents. The zero Room is empty. It is not safe for
// concurrent use.
type Room struct {
	held   map[Key]held
	places map[string]Key // of the events held, by id
	taken  int            // how many events have come since the snapshot
	create *creation
	levels *levels
	// tombstone is the id of the event that has closed the room, empty for none.
	tombstone string
	// Successor is the room that a tombstone names, empty for none.
	Successor string
}

// held is a policy event in a room's state.
type held struct {
	id, sender string
	since      int // the number of the event, 0 if it was in the snapshot
	redacted   bool
	redactedBy string // empty if that is not told
	rule       *Rule
	refused    []Refusal
}

// empty tells whether an event says nothing: it was redacted, or takes a rule back.
func (h held) empty() bool { return h.rule == nil && h.refused == nil }

// Load takes a state event of a snapshot: into an empty room, each of the snapshot.
func (r *Room) Load(e Event) { r.set(e, 0) }

// Replace makes the room's state that of a snapshot.
func (r *Room) Replace(state []Event) {
	*r = Room{}
	for _, e := range state {
		r.Load(e)
	}
}

// Set takes a state event for the newest of its type and state key. Events of other
// types are left alone.
func (r *Room) Set(e Event) {
	r.taken++
	r.set(e, r.taken)
}

func (r *Room) set(e Event, since int) {
	if e.StateKey == nil {
		return
	}
	switch e.Type {
	case typeCreate, typePower, typeTombstone:
		if *e.StateKey == "" {
			r.setOwn(e)
		}
		return
	}
	k, ok := kinds[e.Type]
	if !ok {
		return
	}
	h := held{id: e.ID, sender: e.Sender, since: since, redacted: e.RedactedBy != "", redactedBy: e.RedactedBy}
	key := Key{e.Type, *e.StateKey}
	switch {
	case h.redacted: // whatever is left of it says nothing
	case len(key.StateKey) > maxKey:
		h.refused = []Refusal{KeyTooLong}
	default:
		if h.rule, h.refused = parse(k, e.Content); h.rule != nil {
			h.rule.Sender = e.Sender
		}
	}
	key.StateKey = shorten(key.StateKey)
	if r.held == nil {
		r.held, r.places = make(map[Key]held), make(map[string]Key)
	}
	old := r.held[key]
	if old.redacted && old.id == e.ID {
		return // no event comes back from that
	}
	if r.places[old.id] == key {
		delete(r.places, old.id)
	}
	r.held[key] = h
	r.places[e.ID] = key
}

// shorten keeps long state keys apart without keeping them.
func shorten(stateKey string) string {
	if len(stateKey) <= maxKey {
		return stateKey
	}
	digest := sha256.Sum256([]byte(stateKey))
	return strings.ToValidUTF8(stateKey[:64], "") + "…" + hex.EncodeToString(digest[:])
}

// setOwn takes an event about the room itself.
func (r *Room) setOwn(e Event) {
	switch e.Type {
	case typeCreate:
		r.create = newCreation(e)
	case typePower:
		r.levels = newLevels(e.Content)
	default:
		var c map[string]json.RawMessage
		_ = json.Unmarshal(e.Content, &c) // what cannot be read names no room
		if r.tombstone, r.Successor = e.ID, ""; len(c) == 0 {
			r.tombstone = ""
		}
		if r.Successor, _ = text(c["replacement_room"]); len(r.Successor) > maxKey {
			r.Successor = ""
		}
	}
}

// Redacted returns the key of the event of the state that a redaction is about, and
// false if that is part of it no more, or not yet. That the redaction had an effect is
// not said.
func (r *Room) Redacted(e Event) (Key, bool) {
	id := redacts(e)
	if id != "" && id == r.tombstone {
		return Key{Type: typeTombstone}, true
	}
	key, ok := r.places[id]
	return key, ok && id != ""
}

// Redact empties the event that a redaction is about. It tells whether that event is
// part of the state; if not, it may be one that is still to come.
func (r *Room) Redact(e Event) bool {
	key, ok := r.Redacted(e)
	if !ok {
		return false
	}
	if key.Type == typeTombstone {
		r.tombstone, r.Successor = "", ""
		return true
	}
	h := r.held[key]
	if !h.redacted {
		h.redacted, h.redactedBy = true, e.Sender
	}
	h.rule, h.refused = nil, nil
	r.held[key] = h
	return true
}

// Has tells whether the state has an event under a key, empty or not.
func (r *Room) Has(k Key) bool {
	_, ok := r.held[k]
	return ok
}

// redacts is the event that a redaction is about, empty for none.
func redacts(e Event) string {
	var c map[string]json.RawMessage
	_ = json.Unmarshal(e.Content, &c)                 // what cannot be read names no event
	if id, ok := text(c["redacts"]); ok && id != "" { // from version 11 on
		return id
	}
	return e.Redacts
}
