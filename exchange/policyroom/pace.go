package policyroom

import "time"

// window is what a Pace looks back over.
const window = time.Hour

// maxRemembered bounds what a Pace remembers of all senders together. More additions
// than that within an hour are accepted from nobody.
const maxRemembered = 50_000

// Pace remembers how much each sender has lately added to a list. The zero Pace
// remembers nothing. It is not safe for concurrent use.
//
// What a list has when it is read for the first time is no addition. What takes the
// place of another rule is one: else all of a list could be swapped at once.
type Pace struct {
	accepted map[string][]time.Time // in the order they were accepted in
	total    int
}

// Accept tells whether a sender may add something now, and remembers it if so: not
// more than so many within an hour. No sender may add anything if most is 0 or less.
func (p *Pace) Accept(sender string, now time.Time, most int) bool {
	p.forget(sender, now)
	if len(p.accepted[sender]) >= most {
		return false
	}
	if p.total >= maxRemembered {
		for other := range p.accepted {
			p.forget(other, now)
		}
		if p.total >= maxRemembered {
			return false
		}
	}
	if p.accepted == nil {
		p.accepted = make(map[string][]time.Time)
	}
	p.accepted[sender] = append(p.accepted[sender], now)
	p.total++
	return true
}

// forget drops what a sender has added too long ago.
func (p *Pace) forget(sender string, now time.Time) {
	list := p.accepted[sender]
	old := 0
	for old < len(list) && now.Sub(list[old]) >= window {
		old++
	}
	p.total -= old
	if old == len(list) {
		delete(p.accepted, sender)
		return
	}
	p.accepted[sender] = list[old:]
}

// Undo forgets what a sender has added last: it was not banked after all.
func (p *Pace) Undo(sender string) {
	list := p.accepted[sender]
	if len(list) == 0 {
		return
	}
	p.total--
	if p.accepted[sender] = list[:len(list)-1]; len(list) == 1 {
		delete(p.accepted, sender)
	}
}
