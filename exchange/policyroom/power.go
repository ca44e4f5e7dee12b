package policyroom

import (
	"encoding/json"
	"math"
	"strconv"
)

// creators is the power of those who made a room of version 12 or later: no event can
// give as much, and none takes it.
const creators = math.MaxInt64

// powers says who may do what in a room now, by the rules of the Matrix
// specification, "Power levels" of each room version.
type powers struct {
	users                      map[string]int64
	usersDefault, stateDefault int64
	events                     map[string]int64
}

// newPowers reads them from the room's create and power levels events; power is nil if
// there is none. A room without create event gives nobody any.
func newPowers(create, power *Event) powers {
	p := powers{users: map[string]int64{}, events: map[string]int64{}, stateDefault: 50}
	var made struct {
		Version    any    `json:"room_version"`
		Creator    string `json:"creator"`
		Additional []any  `json:"additional_creators"`
	}
	if create != nil {
		_ = json.Unmarshal(create.Content, &made) // what cannot be read is not there
	}
	if power == nil {
		// Before it is given any, a room's creator has all power, and so has everybody
		// over its state.
		p.stateDefault = 0
		if create != nil {
			p.users[creatorOf(create, made.Creator)] = 100
		}
	} else {
		p.read(power.Content)
	}
	if version, _ := made.Version.(string); create != nil && hasCreators(version) {
		p.users[create.Sender] = creators
		for _, id := range made.Additional {
			if id, ok := id.(string); ok {
				p.users[id] = creators
			}
		}
	}
	return p
}

// creatorOf is the sender, which rooms before version 11 repeat.
func creatorOf(create *Event, named string) string {
	if named != "" {
		return named
	}
	return create.Sender
}

// hasCreators tells whether the creators of such rooms have power of their own. Later
// versions will; an unknown name has not.
func hasCreators(version string) bool {
	n, err := strconv.Atoi(version)
	return err == nil && n >= 12 || version == "org.matrix.hydra.11"
}

// read takes what a power levels event says. What cannot be read is not there.
func (p *powers) read(content json.RawMessage) {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(content, &fields)
	for name, levels := range map[string]map[string]int64{"users": p.users, "events": p.events} {
		var given map[string]json.RawMessage
		_ = json.Unmarshal(fields[name], &given)
		for of, raw := range given {
			if level, ok := level(raw); ok {
				levels[of] = level
			}
		}
	}
	for name, target := range map[string]*int64{"users_default": &p.usersDefault, "state_default": &p.stateDefault} {
		if level, ok := level(fields[name]); ok {
			*target = level
		}
	}
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
