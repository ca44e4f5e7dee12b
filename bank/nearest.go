package bank

import (
	"cmp"
	"slices"

	"mediagate/media"
)

// nearest keeps the best of all candidates it is given, one of each content. What one
// bank has never takes the place of what another has: a bank that is only watched, or
// that allows, hides none that blocks, and none hides what is allowed.
type nearest struct {
	most  int // of each bank
	banks []bankNearest
	last  int // where the last candidate's bank is
}

// bankNearest are the best of one bank.
type bankNearest struct {
	bank int32
	best []candidate // in order; at most so many
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
	return cmp.Or(cmp.Compare(c.distance, other.distance), cmp.Compare(c.ref.content, other.ref.content))
}

// of returns what there is of a bank, nil for nothing. There are few banks.
func (n *nearest) of(bank int32) *bankNearest {
	if n.last < len(n.banks) && n.banks[n.last].bank == bank {
		return &n.banks[n.last]
	}
	i := slices.IndexFunc(n.banks, func(b bankNearest) bool { return b.bank == bank })
	if i < 0 {
		return nil
	}
	n.last = i
	return &n.banks[i]
}

// refuses tells that no candidate of that bank and distance is taken any more. A
// popular picture has many thousands of matches, and most of them end here.
func (n *nearest) refuses(bank int32, distance int) bool {
	b := n.of(bank)
	if b == nil || len(b.best) < n.most {
		return n.most == 0
	}
	last := &b.best[n.most-1]
	return !last.idle && distance > last.distance
}

func (n *nearest) add(c candidate) {
	b := n.of(c.ref.bank)
	if b == nil {
		n.last = len(n.banks)
		n.banks = append(n.banks, bankNearest{bank: c.ref.bank})
		b = &n.banks[n.last]
	}
	b.add(c, n.most)
}

func (b *bankNearest) add(c candidate, most int) {
	if most == 0 || len(b.best) == most && c.compare(b.best[most-1]) >= 0 {
		return
	}
	i := slices.IndexFunc(b.best, func(other candidate) bool { return other.ref.content == c.ref.content })
	switch {
	case i >= 0 && c.compare(b.best[i]) >= 0:
		return
	case i >= 0:
		b.best = slices.Delete(b.best, i, i+1)
	case len(b.best) == most:
		b.best = b.best[:most-1]
	}
	i, _ = slices.BinarySearchFunc(b.best, c, candidate.compare)
	b.best = slices.Insert(b.best, i, c)
}

// all returns what was kept of all banks, in order.
func (n *nearest) all() []candidate {
	if len(n.banks) == 1 {
		return n.banks[0].best
	}
	var out []candidate
	for _, b := range n.banks {
		out = append(out, b.best...)
	}
	slices.SortFunc(out, candidate.compare)
	return out
}
