package policyroom

import "encoding/json"

// Redaction is the type of events that empty others.
const Redaction = typeRedaction

// Redacted returns the key of the event of the state that a redaction is about, and
// false if that is part of it no more, or not yet.
func (r *Room) Redacted(e Event) (Key, bool) {
	id := e.Redacts
	var c struct {
		Redacts string `json:"redacts"`
	}
	if json.Unmarshal(e.Content, &c) == nil && c.Redacts != "" { // from version 11 on
		id = c.Redacts
	}
	if id != "" && id == r.tombstone {
		return Key{Type: typeTombstone}, true
	}
	key, ok := r.places[id]
	return key, ok && id != ""
}

// Load takes an event of a snapshot into an empty room.
func (r *Room) Load(e Event) { r.set(e, 0) }
