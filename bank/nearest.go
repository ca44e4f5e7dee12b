package bank

import (
	"cmp"
	"slices"

	"mediagate/media"
)

// nearest keeps the best of all candidates it is given, one of each content and view of
// the item. What one bank has never takes the place of what another has: a bank that is
// only watched, or that allows, hides none that blocks, and none hides what is allowed.
// Nor does what is near one view take the place of what is near another.
type nearest struct {
	most  int // of each bank and view
	parts []nearestPart
	last  int // where that of the last candidate is
}

// nearestPart are the best of one bank near one view.
type nearestPart struct {
	bank   int32
	looked media.Variant
	best   []candidate // in order; at most so many
}

// candidate is a match before anything is looked up about it.
type candidate struct {
	ref      ref
	looked   media.Variant
	distance int
	// idle tells that the match counts for no verdict.
	idle bool
}

// compare orders by what counts, then by distance.
func (c candidate) compare(other candidate) int {
	if c.idle != other.idle {
		if other.idle {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(c.distance, other.distance), cmp.Compare(c.ref.content, other.ref.content), cmp.Compare(c.looked, other.looked))
}

// of returns what there is of a bank and a view, nil for nothing. There are few of both.
func (n *nearest) of(bank int32, looked media.Variant) *nearestPart {
	is := func(p nearestPart) bool { return p.bank == bank && p.looked == looked }
	if n.last < len(n.parts) && is(n.parts[n.last]) {
		return &n.parts[n.last]
	}
	i := slices.IndexFunc(n.parts, is)
	if i < 0 {
		return nil
	}
	n.last = i
	return &n.parts[i]
}

// refuses tells that no candidate of that bank, view and distance is taken any more. A
// popular picture has many thousands of matches, and most of them end here.
func (n *nearest) refuses(bank int32, looked media.Variant, distance int) bool {
	p := n.of(bank, looked)
	if p == nil || len(p.best) < n.most {
		return n.most == 0
	}
	last := &p.best[n.most-1]
	return !last.idle && distance > last.distance
}

func (n *nearest) add(c candidate) {
	p := n.of(c.ref.bank, c.looked)
	if p == nil {
		n.last = len(n.parts)
		n.parts = append(n.parts, nearestPart{bank: c.ref.bank, looked: c.looked})
		p = &n.parts[n.last]
	}
	p.add(c, n.most)
}

func (p *nearestPart) add(c candidate, most int) {
	if most == 0 || len(p.best) == most && c.compare(p.best[most-1]) >= 0 {
		return
	}
	i := slices.IndexFunc(p.best, func(other candidate) bool { return other.ref.content == c.ref.content })
	switch {
	case i >= 0 && c.compare(p.best[i]) >= 0:
		return
	case i >= 0:
		p.best = slices.Delete(p.best, i, i+1)
	case len(p.best) == most:
		p.best = p.best[:most-1]
	}
	i, _ = slices.BinarySearchFunc(p.best, c, candidate.compare)
	p.best = slices.Insert(p.best, i, c)
}

// all returns what was kept of all banks and views, in order.
func (n *nearest) all() []candidate {
	if len(n.parts) == 1 {
		return n.parts[0].best
	}
	var out []candidate
	for _, p := range n.parts {
		out = append(out, p.best...)
	}
	slices.SortFunc(out, candidate.compare)
	return out
}
