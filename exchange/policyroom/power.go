package policyroom

import (
	"encoding/json"
	"math"
	"strconv"
)

// creators is the power of those who made a room of version 12 or later: no event can
// give as much, and none takes it.
const creators = math.MaxInt64

// creation is what a create event says.
type creation struct {
	maker, version string
	additional     []string
	sender         string
}

func newCreation(e Event) *creation {
	// Names count as they are spelt, which those of a struct's fields do not.
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(e.Content, &fields) // what cannot be read is not there
	c := &creation{sender: e.Sender}
	c.version, _ = text(fields["room_version"])
	if c.maker, _ = text(fields["creator"]); c.maker == "" { // the sender, which rooms before version 11 repeat
		c.maker = e.Sender
	}
	var additional []json.RawMessage
	_ = json.Unmarshal(fields["additional_creators"], &additional)
	for _, raw := range additional {
		if id, ok := text(raw); ok {
			c.additional = append(c.additional, id)
		}
	}
	return c
}

// levels is what a power levels event says.
type levels struct {
	users, events              map[string]int64
	usersDefault, stateDefault int64
}

// newLevels reads them. What cannot be read is not there.
func newLevels(content json.RawMessage) *levels {
	l := &levels{users: make(map[string]int64), events: make(map[string]int64), stateDefault: 50}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(content, &fields)
	for name, levels := range map[string]map[string]int64{"users": l.users, "events": l.events} {
		var given map[string]json.RawMessage
		_ = json.Unmarshal(fields[name], &given)
		for of, raw := range given {
			if level, ok := level(raw); ok {
				levels[of] = level
			}
		}
	}
	for name, target := range map[string]*int64{"users_default": &l.usersDefault, "state_default": &l.stateDefault} {
		if level, ok := level(fields[name]); ok {
			*target = level
		}
	}
	return l
}

// powers says who may do what in a room now, by the rules of the Matrix
// specification, "Power levels" of each room version.
type powers struct {
	levels
	creators map[string]bool
}

// powers reads them from the room's create and power levels events. A room without
// create event gives nobody any of its own.
func (r *Room) powers() powers {
	p := powers{creators: make(map[string]bool)}
	switch {
	case r.levels != nil:
		p.levels = *r.levels
	case r.create != nil:
		// Before it is given any levels, a room's creator has all power, and so has
		// everybody over its state.
		p.users = map[string]int64{r.create.maker: 100}
	}
	if r.create != nil && hasCreators(r.create.version) {
		p.creators[r.create.sender] = true
		for _, id := range r.create.additional {
			p.creators[id] = true
		}
	}
	return p
}

// hasCreators tells whether the creators of such rooms have power of their own. Later
// versions will; an unknown name has not.
func hasCreators(version string) bool {
	n, err := strconv.Atoi(version)
	return err == nil && n >= 12 || version == "org.matrix.hydra.11"
}

// level reads a power level: an integer, which old rooms may have as a text.
func level(raw json.RawMessage) (int64, bool) {
	digits := string(raw)
	if s, ok := text(raw); ok {
		digits = s
	}
	n, err := strconv.ParseInt(digits, 10, 54)
	return n, err == nil
}

// of returns a user's power.
func (p powers) of(user string) int64 {
	if p.creators[user] {
		return creators
	}
	if level, ok := p.users[user]; ok {
		return level
	}
	return p.usersDefault
}

// needed returns the power that a state event of some type takes.
func (p powers) needed(eventType string) int64 {
	if level, ok := p.events[eventType]; ok {
		return level
	}
	return p.stateDefault
}
