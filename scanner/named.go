package scanner

import (
	"mediagate/bank"
	"mediagate/media"
)

// named returns the contents that name an item or its server. Nothing is enforced yet.
func named(ix *bank.Index, item *media.URI) (out []Match) {
	if item == nil {
		return nil
	}
	for _, m := range ix.Named(item.Server, item.ID) {
		out = append(out, Match{Match: m})
	}
	return out
}

// isName tells matches by a name. They say nothing of how much else an entry blocks.
func isName(m Match) bool { return m.Type == bank.NamedItem || m.Type == bank.NamedServer }

// banned tells whether an item is blocked by its name alone: then nothing of it need be
// downloaded.
func (s *Scanner) banned(item media.URI) (Verdict, bool) {
	ix, err := s.index()
	if err != nil {
		return Verdict{}, false // which is told where more is asked
	}
	matches := named(ix, &item)
	rules{held: s.breaker.view(ix)}.apply(matches)
	order(matches)
	if len(matches) == 0 || !matches[0].Enforced {
		return Verdict{}, false
	}
	v := Verdict{Outcome: Blocked, Epoch: ix.Epoch(), Matches: matches}
	v.truncate()
	return v, true
}
