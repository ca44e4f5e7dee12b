package policyroom

import (
	"maps"
	"slices"
	"strconv"
)

// Danger is what an operator should know of a room. It is a label of metrics.
type Danger string

// The dangers.
const (
	// NoPowerLevels is a room in which everybody may write state.
	NoPowerLevels Danger = "no_power_levels"
	// LowLevel is a type of policy events that takes less power than a moderator's.
	LowLevel Danger = "low_level"
	// Tombstoned is a room that was given up.
	Tombstoned Danger = "tombstoned"
)

// moderator is the power that state takes unless a room says otherwise.
const moderator = 50

// Warning is something about a room that refuses nothing.
type Warning struct {
	Danger Danger
	// Subject is the event type and its level, or the room that follows, which can be
	// empty.
	Subject string
}

// Warnings tells what speaks against trusting a room, in order.
func (r *Room) Warnings() (list []Warning) {
	if r.levels == nil {
		list = append(list, Warning{Danger: NoPowerLevels})
	} else {
		p := r.powers()
		for _, t := range slices.Sorted(maps.Keys(kinds)) {
			if level := p.needed(t); level < moderator {
				list = append(list, Warning{LowLevel, t + " " + strconv.FormatInt(level, 10)})
			}
		}
	}
	if r.tombstone != "" {
		list = append(list, Warning{Tombstoned, r.Successor})
	}
	return list
}
