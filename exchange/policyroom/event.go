// Package policyroom reads which media a Matrix policy room bans: from its state
// events (MSC4113, MSC4207, MSC2313) to the rules that an operator's trust lets
// count. It speaks to no server and keeps nothing but the state it was given.
package policyroom

import (
	"maps"
	"slices"

	"mediagate/homeserver"
)

// Event is what a homeserver says of an event of a room.
type Event = homeserver.Event

// Types of the events that are read.
const (
	typeCreate    = "m.room.create"
	typePower     = "m.room.power_levels"
	typeTombstone = "m.room.tombstone"

	// HashEvent is the type of events that ban media.
	HashEvent = "m.policy.media_hash"
)

// Redaction is the type of events that empty others.
const Redaction = "m.room.redaction"

// kind is what a policy event is about.
type kind int

const (
	mediaHash kind = iota // MSC4113
	mediaItem             // MSC4207
	server                // MSC2313
)

// kinds are the types of policy events. Each spelling is a rule of its own: who has
// used two must take both back.
var kinds = map[string]kind{
	HashEvent: mediaHash,
	"space.midnightthoughts.policy.media_hash": mediaHash,
	"m.policy.rule.mxc":                        mediaItem,
	"org.matrix.msc4207.mxc":                   mediaItem,
	"m.policy.rule.server":                     server,
	"m.room.rule.server":                       server,
	"org.matrix.mjolnir.rule.server":           server,
}

// Types lists the types of state events that a room is read by, in order.
func Types() []string {
	return append([]string{typeCreate, typePower, typeTombstone}, slices.Sorted(maps.Keys(kinds))...)
}
