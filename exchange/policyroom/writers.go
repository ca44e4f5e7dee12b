package policyroom

import (
	"maps"
	"slices"
)

// Writers returns who may write events of a type now, in order, and whether everybody
// may.
func (r *Room) Writers(eventType string) (users []string, everybody bool) {
	p := r.powers()
	needed := p.needed(eventType)
	all := maps.Clone(p.creators)
	for user := range p.users {
		all[user] = true
	}
	for _, user := range slices.Sorted(maps.Keys(all)) {
		if p.of(user) >= needed {
			users = append(users, user)
		}
	}
	return users, p.usersDefault >= needed
}

// Entry is an event that says something, or should.
type Entry struct {
	Key             Key
	EventID, Sender string
	// Rule is what it bans, if that counts for those who are trusted; nil if there is
	// nothing to count.
	Rule *Rule
}

// Entries returns the events of the room's state that say something, in the order of
// their keys.
func (r *Room) Entries() (list []Entry) {
	for _, key := range slices.SortedFunc(maps.Keys(r.held), Key.compare) {
		if h := r.held[key]; !h.empty() {
			list = append(list, Entry{key, h.id, h.sender, h.rule})
		}
	}
	return list
}
