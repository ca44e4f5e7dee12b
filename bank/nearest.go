package bank

import (
	"cmp"
	"slices"

	"mediagate/media"
)

// nearest keeps the best of all candidates it is given, one of each content.
type nearest struct {
	most int
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

// refuses tells that no candidate of that distance is taken any more. A popular
// picture has many thousands of matches, and most of them end here.
func (n *nearest) refuses(distance int) bool {
	if len(n.best) < n.most || n.most == 0 {
		return n.most == 0
	}
	last := n.best[n.most-1]
	return !last.idle && distance > last.distance
}

func (n *nearest) add(c candidate) {
	if n.most == 0 || len(n.best) == n.most && c.compare(n.best[n.most-1]) >= 0 {
		return
	}
	i := slices.IndexFunc(n.best, func(other candidate) bool { return other.ref.content == c.ref.content })
	switch {
	case i >= 0 && c.compare(n.best[i]) >= 0:
		return
	case i >= 0:
		n.best = slices.Delete(n.best, i, i+1)
	case len(n.best) == n.most:
		n.best = n.best[:n.most-1]
	}
	i, _ = slices.BinarySearchFunc(n.best, c, candidate.compare)
	n.best = slices.Insert(n.best, i, c)
}
