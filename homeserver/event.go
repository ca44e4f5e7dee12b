package homeserver

import (
	"encoding/json"
	"errors"
)

// Event is an event of a room, as far as it matters for lists. Nothing of it is
// checked: servers of others have written it. What is missing, or of another type than
// it should be, is empty, and an Event without a Type is one that could not be read.
//
// A redacted event has an empty object for its content in rooms of every version,
// wherever it is read.
type Event struct {
	ID       string          `json:"event_id"`
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key"` // nil: no state event
	Sender   string          `json:"sender"`
	Content  json.RawMessage `json:"content"` // nil: none
	// Redacts is what a redaction is about, if it says so beside its content, where
	// rooms before version 11 have it. Synapse writes it there and into the content,
	// for rooms of every version.
	Redacts string `json:"redacts"`
	// RedactedBy is who sent the redaction of this event; empty if there is none.
	RedactedBy string `json:"-"`
}

// UnmarshalJSON implements json.Unmarshaler. It fails for what is no object.
//
// Names count as they are spelt. Servers hand on what others have put into an event
// beside the fields that it has to have, so that a "Sender" could stand beside the
// sender, which encoding/json would take for it.
func (e *Event) UnmarshalJSON(raw []byte) error {
	fields := object(raw)
	if fields == nil {
		return errors.New("an event must be an object")
	}
	*e = Event{
		ID: text(fields["event_id"]), Type: text(fields["type"]), Sender: text(fields["sender"]), Content: fields["content"],
		Redacts: text(fields["redacts"]), RedactedBy: text(object(object(fields["unsigned"])["redacted_because"])["sender"]),
	}
	var key *string
	if json.Unmarshal(fields["state_key"], &key) == nil {
		e.StateKey = key
	}
	return nil
}

// readEvents reads each for itself: one that cannot be read is an empty Event.
func readEvents(list []json.RawMessage) []Event {
	events := make([]Event, len(list))
	for i, raw := range list {
		_ = json.Unmarshal(raw, &events[i]) // it is empty then
	}
	return events
}

// object returns the fields of a JSON object, by their exact names; nil if it is none.
func object(raw json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	return fields
}

// text returns a JSON string; what is none is empty.
func text(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
