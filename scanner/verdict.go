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
	// Enforced tells whether this match blocks.
	Enforced bool
}

// enforced applies what banks and contents say: a bank that is on, a content
// that counts, and by MD5 alone only where the bank wants that.
func enforced(m bank.Match) bool {
	if !m.Enabled || m.Bank.Ratio <= 0 {
		return false
	}
	switch m.Type {
	case bank.MD5, bank.VideoMD5:
		return m.Bank.MD5Enforce
	case bank.PDQ, bank.SHA256:
		return true
	default:
		return false
	}
}

// matches looks all signals of an item up. Of matches by pictures, it leaves out
// what is not told anyway.
func (s *Scanner) matches(ix *bank.Index, signals media.Signals) []Match {
	found := append(ix.SHA256(signals.SHA256[:]), ix.MD5(signals.MD5[:])...)
	hashes := slices.Clone(signals.Hashes)
	hashes = slices.DeleteFunc(hashes, func(h media.Hash) bool { return h.Quality < s.config.MinQuality })
	// One more than is told, to know that there are more.
	found = append(found, ix.Nearest(hashes, s.config.MaxDistance, MaxMatches+1, nil)...)
	// A content can have several signals of one type: the nearest is kept.
	type key struct {
		content int64
		kind    bank.SignalType
	}
	nearest := make(map[key]bank.Match, len(found))
	for _, m := range found {
		k := key{m.Content, m.Type}
		if other, ok := nearest[k]; !ok || m.Distance < other.Distance {
			nearest[k] = m
		}
	}
	out := make([]Match, 0, len(nearest))
	for _, m := range nearest {
		out = append(out, Match{Match: m, Enforced: enforced(m)})
	}
	slices.SortFunc(out, func(a, b Match) int {
		if a.Enforced != b.Enforced {
			if a.Enforced {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Content, b.Content), cmp.Compare(a.Type, b.Type))
	})
	return out
}

// decide turns a finished match into a verdict.
func (s *Scanner) decide(ix *bank.Index, signals media.Signals) Verdict {
	v := Verdict{Epoch: ix.Epoch(), Signals: signals, Matches: s.matches(ix, signals)}
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
	if len(v.Matches) > MaxMatches {
		v.Matches, v.Truncated = v.Matches[:MaxMatches], true
	}
	return v
}
