package policyroom

import (
	"encoding/json"
	"slices"
)

// Key names a rule of a room: what is under it changes, and is taken back, as one.
type Key struct{ Type, StateKey string }

// maxKey is how long a type or a state key may be, in bytes, of the specification.
const maxKey = 255

// Room is the state of a policy room, as far as rules depend on it. The zero Room is
// empty. It is not safe for concurrent use.
type Room struct {
	held   map[Key]held
	places map[string]Key // of the events held, by id
	create *Event
	power  *Event
	// Successor is the room that a tombstone names, empty for none.
	Successor string
}

// held is a policy event in a room's state.
type held struct {
	id, sender string
	rule       *Rule
	refused    []Refusal
}

// Replace makes the room's state that of a snapshot.
func (r *Room) Replace(state []Event) {
	*r = Room{held: make(map[Key]held), places: make(map[string]Key)}
	for _, e := range state {
		r.Set(e)
	}
}

// Set takes a state event for the newest of its type and state key. Events of other
// types are left alone.
func (r *Room) Set(e Event) {
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
	if !ok || len(*e.StateKey) > maxKey {
		return
	}
	key := Key{e.Type, *e.StateKey}
	if r.held == nil {
		r.held, r.places = make(map[Key]held), make(map[string]Key)
	}
	delete(r.places, r.held[key].id)
	rule, refused := parse(k, e.Content)
	r.held[key] = held{e.ID, e.Sender, rule, refused}
	r.places[e.ID] = key
}

// setOwn takes an event about the room itself.
func (r *Room) setOwn(e Event) {
	switch e.Type {
	case typeCreate:
		r.create = &e
	case typePower:
		r.power = &e
	default:
		var c struct {
			Successor string `json:"replacement_room"`
		}
		_ = json.Unmarshal(e.Content, &c) // what cannot be read names no room
		r.Successor = c.Successor
	}
}

// Redact empties the event that a redaction is about. It tells whether that event is
// part of the state; if not, it may be one that is still to come.
func (r *Room) Redact(e Event) bool {
	id := e.Redacts
	var c struct {
		Redacts string `json:"redacts"`
	}
	if json.Unmarshal(e.Content, &c) == nil && c.Redacts != "" { // from version 11 on
		id = c.Redacts
	}
	key, ok := r.places[id]
	if !ok {
		return false
	}
	r.held[key] = held{id: id, sender: r.held[key].sender}
	return true
}

// Trust is whose rules an operator lets count.
type Trust struct {
	// Senders are the users whose rules count; if there are none, those of all who
	// have the power.
	Senders []string
	// MinPower is the power that a sender must have now, beside what the room
	// demands for such events. Without it a room that lets everybody write would be
	// everybody's list.
	MinPower int64
}

// What is refused because of who sent it.
const (
	UntrustedSender Refusal = "untrusted_sender"
	Powerless       Refusal = "powerless_sender"
)

// Rules returns what counts of the room's state, and how much is refused.
func (r *Room) Rules(t Trust) (map[Key]Rule, map[Refusal]int) {
	rules, refused := make(map[Key]Rule), make(map[Refusal]int)
	p := newPowers(r.create, r.power)
	for key, h := range r.held {
		if h.rule == nil && h.refused == nil {
			continue // taken back
		}
		power := p.of(h.sender)
		switch {
		case len(t.Senders) > 0 && !slices.Contains(t.Senders, h.sender):
			refused[UntrustedSender]++
			continue
		case power < t.MinPower || power < p.needed(key.Type):
			refused[Powerless]++
			continue
		}
		for _, reason := range h.refused {
			refused[reason]++
		}
		if h.rule != nil {
			rules[key] = *h.rule
		}
	}
	return rules, refused
}
