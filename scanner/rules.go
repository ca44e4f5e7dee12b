package scanner

import (
	"mediagate/bank"
	"mediagate/media"
)

// rules say which matches of an item block.
type rules struct {
	// held tells contents that the breaker keeps from blocking; nil for none.
	held func(content int64) bool
	// what, if not nil, is a bank that is taken to be in monitor, or not to be.
	what *supposition
}

// supposition is what a bank is taken for.
type supposition struct {
	bank    int64
	monitor bool
}

// apply sets Enforced and Allowed of all matches of one item. All of a bank's must be
// there, in each view of the item, or so many that none left out is of another kind.
func (r rules) apply(matches []Match) {
	spared := r.spared(matches)
	near := func(m *Match) bool { return m.Type == bank.PDQ && r.blocks(m) && !spared.has(m) }
	agreeing := make(map[int64]struct{}) // banks near the item
	for i := range matches {
		if m := &matches[i]; near(m) {
			agreeing[m.Bank.ID] = struct{}{}
		}
	}
	for i := range matches {
		m := &matches[i]
		m.Allowed = m.Bank.Allow && r.counts(m)
		m.Enforced = r.blocks(m)
		if m.Enforced && m.Type == bank.PDQ {
			m.Enforced = near(m) && len(agreeing)-1 >= m.Bank.Agree // the bank is one of them
		}
	}
}

// Unopposed returns the matches by one PDQ hash without those that would block, but do not:
// an allowed picture is at least as near, too few banks agree, or their content is held. Of
// is the file that the hash is of, nil if only the hash is known: then all are returned
// if a scan does not let the file pass, for whatever reason, else none that would block.
func (s *Scanner) Unopposed(ix *bank.Index, found []bank.Match, of *media.Signals) []bank.Match {
	matches := make([]Match, len(found))
	for i, m := range found {
		matches[i].Match = m
	}
	switch {
	case of == nil:
		rules{held: s.breaker.view(ix)}.apply(matches)
	case !s.decide(ix, nil, of).Outcome.Allowed():
		return found
	}
	var out []bank.Match
	for i := range matches {
		if m := &matches[i]; m.Enforced || !(rules{}).blocks(m) {
			out = append(out, m.Match)
		}
	}
	return out
}

// spared says which pictures do not block for being near: those that an allowed one is at
// least as near as, in the same view of the item. A file can look harmless in one view and
// not in another, as on another ground, so that no view speaks for another.
type spared struct {
	// all tells that the item is allowed by its very bytes.
	all bool
	// from is the distance of the nearest allowed picture, by the view that it is near to.
	from map[media.Variant]int
}

// spared collects what is allowed. Anyone can make two files of one MD5, so that by MD5
// nothing is.
func (r rules) spared(matches []Match) spared {
	s := spared{from: make(map[media.Variant]int)}
	for i := range matches {
		m := &matches[i]
		if !m.Bank.Allow || !r.counts(m) {
			continue
		}
		if m.Type == bank.SHA256 {
			s.all = true
		}
		if from, ok := s.from[m.Looked]; m.Type == bank.PDQ && (!ok || m.Distance < from) {
			s.from[m.Looked] = m.Distance
		}
	}
	return s
}

// has tells whether a match by a picture is spared.
func (s spared) has(m *Match) bool {
	from, ok := s.from[m.Looked]
	return s.all || ok && m.Distance >= from
}

// blocks tells whether a match is one that its bank would block by, whatever the others
// are.
func (r rules) blocks(m *Match) bool {
	return r.counts(m) && !m.Bank.Allow && !r.monitored(m.Bank) && (r.held == nil || !r.held(m.Content))
}

func (r rules) monitored(b bank.Bank) bool {
	if r.what != nil && r.what.bank == b.ID {
		return r.what.monitor
	}
	return b.Monitor
}

// counts applies what banks and contents say: a bank that is on, a content that
// counts, and by MD5 alone only where the bank wants that.
func (rules) counts(m *Match) bool {
	if !m.Enabled || m.Bank.Ratio <= 0 {
		return false
	}
	switch m.Type {
	case bank.MD5, bank.VideoMD5:
		return m.Bank.MD5Enforce
	case bank.PDQ, bank.SHA256, bank.NamedItem, bank.NamedServer:
		return true
	default:
		return false
	}
}
