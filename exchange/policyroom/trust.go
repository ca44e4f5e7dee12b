package policyroom

import (
	"cmp"
	"slices"
)

// Trust is whose rules an operator lets count, and how many.
type Trust struct {
	// Senders are the users whose rules count; if there are none, those of all who
	// have the power.
	Senders []string
	// MinPower is the power that a sender must have now, beside what the room
	// demands for such events. Without it a room that lets everybody write would be
	// everybody's list.
	MinPower int64
	// TrustedRemovals keeps a rule that was banked unless who emptied, replaced or
	// redacted it is trusted, too. Otherwise every removal counts that the homeserver
	// let pass.
	TrustedRemovals bool
	// MaxEntries bounds the rules of a room; 0 is no bound.
	MaxEntries int
	// Lint tells what else speaks against a rule; nil is nothing. See Lint.
	Lint func(Rule) []Refusal
}

// refuses tells why a user's events of some type do not count, empty if they do.
func (t Trust) refuses(p powers, user, eventType string) Refusal {
	power := p.of(user)
	switch {
	case len(t.Senders) > 0 && !slices.Contains(t.Senders, user):
		return UntrustedSender
	case power < t.MinPower || power < p.needed(eventType):
		return Powerless
	default:
		return ""
	}
}

// Reading is what a room's state comes to.
type Reading struct {
	// Rules are those that count, by source.
	Rules map[string]Rule
	// Kept are the sources, of those that are banked, that stay although the room does
	// not say them any more: who took them back is not trusted. Their rules are not
	// known here. In order.
	Kept []string
	// Removed are the sources, of those that are banked, that are neither in Rules nor
	// Kept: what they brought is to be taken out. In order.
	Removed []string
	Report
}

// Rules returns what counts of the room's state for whoever has banked those sources
// before. The answer depends on nothing but the state, the trust and the sources, so a
// restart changes none, but for the order in which what has come lately shares what
// is left below Trust.MaxEntries. Before there is a snapshot it must not be asked for:
// everything would be removed.
func (r *Room) Rules(t Trust, banked []string) Reading {
	reading := Reading{Rules: make(map[string]Rule), Report: Report{Counts: make(map[Refusal]int)}}
	p := r.powers()
	known, kept := make(map[Key]bool), make(map[string]bool) // keys and sources
	var refused []Refused
	for _, source := range banked {
		key, id, _ := ParseSource(source) // what cannot be read is not in the state
		known[key] = true
		if by, gone := r.gone(t, p, key, id); gone && t.TrustedRemovals && (by == "" || t.refuses(p, by, key.Type) != "") {
			kept[source] = true
			reading.Kept = append(reading.Kept, source)
			refused = append(refused, Refused{key, id, by, UntrustedRemoval})
		}
	}
	counting, more := r.counting(t, p)
	refused = append(refused, more...)
	if t.MaxEntries > 0 && len(counting)+len(reading.Kept) > t.MaxEntries {
		// What was there first stays, or whoever floods a list would empty it. A rule that
		// was changed is as old as the one before it.
		slices.SortFunc(counting, func(a, b entry) int {
			switch {
			case known[a.key] && !known[b.key]:
				return -1
			case known[b.key] && !known[a.key]:
				return 1
			}
			return cmp.Or(cmp.Compare(a.since, b.since), a.key.compare(b.key))
		})
	}
	for _, e := range counting {
		if t.MaxEntries > 0 && len(reading.Rules)+len(reading.Kept) >= t.MaxEntries {
			refused = append(refused, e.refused(TooManyEntries))
			continue
		}
		reading.Rules[e.key.Source(e.id)] = *e.rule
	}
	for _, source := range banked {
		if _, counts := reading.Rules[source]; !counts && !kept[source] {
			reading.Removed = append(reading.Removed, source)
		}
	}
	slices.Sort(reading.Kept)
	slices.Sort(reading.Removed)
	slices.SortFunc(refused, func(a, b Refused) int {
		return cmp.Or(a.Key.compare(b.Key), cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.Reason, b.Reason))
	})
	for _, x := range refused {
		reading.Add(x)
	}
	return reading
}

// gone tells whether the room's state does not say any more what an event of it said,
// and who did that, empty if nobody did. Of an author who is not trusted there is
// nothing to keep.
func (r *Room) gone(t Trust, p powers, key Key, id string) (by string, gone bool) {
	h, ok := r.held[key]
	switch {
	case !ok: // the state was reset
		return "", true
	case h.id != id:
		return h.sender, true
	default:
		return h.redactedBy, h.empty() && t.refuses(p, h.sender, key.Type) == ""
	}
}

// entry is a held event with its key.
type entry struct {
	key Key
	held
}

func (e entry) refused(reason Refusal) Refused { return Refused{e.key, e.id, e.sender, reason} }

// counting returns the events that count, however many they are, and what does not.
func (r *Room) counting(t Trust, p powers) (counting []entry, refused []Refused) {
	allowed := make(map[[2]string]bool)
	for key, h := range r.held {
		e := entry{key, h}
		if h.empty() {
			continue
		}
		if reason := t.refuses(p, h.sender, key.Type); reason != "" {
			refused = append(refused, e.refused(reason))
			continue
		}
		for _, reason := range h.refused {
			refused = append(refused, e.refused(reason))
		}
		switch {
		case h.rule == nil:
		case h.rule.Recommendation == allow:
			for _, target := range h.rule.targets() {
				allowed[target] = true
			}
		default:
			counting = append(counting, e)
		}
	}
	counting = slices.DeleteFunc(counting, func(e entry) bool {
		var reasons []Refusal
		if slices.ContainsFunc(e.rule.targets(), func(target [2]string) bool { return allowed[target] }) {
			reasons = append(reasons, Conflicting)
		}
		if t.Lint != nil {
			reasons = append(reasons, t.Lint(*e.rule)...)
		}
		for _, reason := range reasons {
			refused = append(refused, e.refused(reason))
		}
		return len(reasons) > 0
	})
	return counting, refused
}
