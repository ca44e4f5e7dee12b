package scanner

import (
	"cmp"
	"slices"

	"mediagate/bank"
	"mediagate/media"
)

// Outcome is what a scan ends in. The zero value is Unknown, so that whatever
// forgets to decide has not decided.
type Outcome uint8

// The outcomes. Clean is only ever the result of a finished match against a
// loaded index.
const (
	// Unknown: something failed. It is always told as a retryable error, never
	// as blocked.
	Unknown Outcome = iota
	// Clean: looked at in full; nothing matches.
	Clean
	// Blocked: matches a content of a bank that is enforced.
	Blocked
	// Opaque: no picture that is decoded here. Its digests match nothing.
	Opaque
	// Unscannable: claims to be a picture, but cannot be looked at.
	Unscannable
)

// String returns the lower-case name that APIs and metrics use.
func (o Outcome) String() string {
	return [...]string{"unknown", "clean", "blocked", "opaque", "unscannable"}[o]
}

// Allowed tells whether an item of that outcome may be served: one that was looked
// at, or in which there is nothing to look at.
func (o Outcome) Allowed() bool { return o == Clean || o == Opaque }

// Verdict is the result of one scan.
type Verdict struct {
	Outcome Outcome
	// Epoch is the state of the banks that it holds for.
	Epoch int64
	// Matches are the contents that match, the nearest first, those that block
	// before those that do not; at most MaxMatches.
	Matches []Match
	// Truncated tells that there were more.
	Truncated bool
	// Signals are those of the item. Only those of Scan are never Screened.
	Signals media.Signals
}

// MaxMatches bounds Verdict.Matches: a blank picture in a list can lie near
// thousands.
const MaxMatches = 100

// Match is one banked content that an item matches by one signal type.
type Match struct {
	bank.Match
	// Enforced tells whether this match blocks. One that counts may still not: its bank
	// is in monitor, or allows; an allowed picture is at least as near in the same view;
	// too few other banks agree; or the content is held.
	Enforced bool
	// Allowed tells that what matches is known to be harmless.
	Allowed bool
}

// matches looks all signals of an item up. A content can match by several signals of one
// type, and by PDQ in several views of the item: what is told of it is left to tell, as
// one view may block and another not. Of matches by pictures, it leaves out what is not
// told anyway. Nothing is enforced yet.
func (s *Scanner) matches(ix *bank.Index, signals *media.Signals, held func(content int64) bool) []Match {
	found := append(ix.SHA256(signals.SHA256[:]), ix.MD5(signals.MD5[:])...)
	hashes := slices.Clone(signals.Hashes)
	hashes = slices.DeleteFunc(hashes, func(h media.Hash) bool { return h.Quality < s.config.MinQuality })
	// One more than is told, to know that there are more.
	found = append(found, ix.Nearest(hashes, s.config.MaxDistance, MaxMatches+1, held)...)
	out := make([]Match, len(found))
	for i, m := range found {
		out[i].Match = m
	}
	return out
}

// tell orders matches as a verdict has them, and leaves one of each content and signal
// type: the nearest of those that block, or the nearest if none does.
func tell(matches []Match) []Match {
	order(matches)
	type key struct {
		content int64
		kind    bank.SignalType
	}
	told := make(map[key]struct{}, len(matches))
	return slices.DeleteFunc(matches, func(m Match) bool {
		k := key{m.Content, m.Type}
		_, again := told[k]
		told[k] = struct{}{}
		return again
	})
}

// order puts what blocks first, then what is nearest.
func order(matches []Match) {
	slices.SortFunc(matches, func(a, b Match) int {
		if a.Enforced != b.Enforced {
			if a.Enforced {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Content, b.Content), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Looked, b.Looked))
	})
}

// decide turns a finished match into a verdict, with all that matches.
func (s *Scanner) decide(ix *bank.Index, item *media.URI, signals *media.Signals) Verdict {
	held := s.breaker.view(ix)
	v := Verdict{Epoch: ix.Epoch(), Signals: *signals, Matches: append(s.matches(ix, signals, held), named(ix, item)...)}
	rules{held: held}.apply(v.Matches)
	v.Matches = tell(v.Matches)
	switch {
	case len(v.Matches) > 0 && v.Matches[0].Enforced:
		v.Outcome = Blocked
	case signals.Refusal != "" || signals.Kind == media.Photo && len(signals.Hashes) == 0:
		v.Outcome = Unscannable
	case signals.Kind == media.Opaque:
		v.Outcome = Opaque
	default:
		v.Outcome = Clean
	}
	return v
}

// truncate leaves out what is not told.
func (v *Verdict) truncate() {
	if len(v.Matches) > MaxMatches {
		v.Matches, v.Truncated = v.Matches[:MaxMatches], true
	}
}
