package pdq

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
)

// Index answers which of many hashes lie near one. It is immutable and safe for
// concurrent use.
//
// Up to a threshold of 31, the one that PDQ is used with, a lookup in a long
// list reads less than a thousandth of it, and never costs much more than one
// linear scan, however alike the hashes are. Short lists are scanned, and for
// larger thresholds all are.
type Index struct {
	hashes  []Hash
	buckets *buckets // nil for a short list
	scratch sync.Pool
}

// Match is one hash found.
type Match struct {
	// Query numbers the hash that was looked up, from 0.
	Query int
	// Position is that of the hash found, in the list the index was built from.
	Position int
	// Distance is how many bits they differ by.
	Distance int
}

// A list of up to scanMax hashes is scanned: that takes as long as two or three
// lookups in buckets, and there is nothing to build and to hold. From bucketsEnd
// on, 32 bits would not do to number the entries of buckets.
const (
	scanMax    = 10_000
	bucketsEnd = 1 << 32 / slots
)

// NewIndex indexes hashes, which it keeps and which must not change afterwards.
// The same hash may be listed many times; each is found. For a long list it
// keeps up to four processors busy for a while, and from then on takes about 100
// bytes a hash, beside the hash itself.
func NewIndex(hashes []Hash) *Index { return newIndex(hashes, scanMax, runtime.GOMAXPROCS(0)) }

// NewIndexBeside is NewIndex for a program that has other things to do meanwhile: it
// leaves half of the processors alone.
func NewIndexBeside(hashes []Hash) *Index {
	return newIndex(hashes, scanMax, max(1, runtime.GOMAXPROCS(0)/2))
}

func newIndex(hashes []Hash, scanMax, builders int) *Index {
	ix := &Index{hashes: hashes}
	if len(hashes) > scanMax && len(hashes) < bucketsEnd {
		ix.buckets = newBuckets(hashes, builders)
	}
	return ix
}

// Len returns how many hashes are indexed.
func (ix *Index) Len() int { return len(ix.hashes) }

// Hash returns the hash at a position.
func (ix *Index) Hash(position int) Hash { return ix.hashes[position] }

// Within returns every hash at most threshold bits away from q, by position. It
// is complete for every threshold from 0 to 256 and has no bound: a blank
// picture in a list can lie near thousands.
func (ix *Index) Within(q Hash, threshold int) []Match {
	return ix.AppendWithin(nil, q, threshold)
}

// AppendWithin appends to dst what [Index.Within] returns.
func (ix *Index) AppendWithin(dst []Match, q Hash, threshold int) []Match {
	return ix.AppendWithinAll(dst, []Hash{q}, threshold)
}

// AppendWithinAll appends to dst what [Index.Within] returns for each of several
// hashes, in their order. That takes less time than one call for each.
func (ix *Index) AppendWithinAll(dst []Match, queries []Hash, threshold int) []Match {
	if len(queries) == 0 || threshold < 0 {
		return dst
	}
	if ix.buckets == nil || threshold > bucketsThreshold {
		for i := range queries {
			dst = ix.appendScan(dst, i, &queries[i], threshold)
		}
		return dst
	}
	s, ok := ix.scratch.Get().(*scratch)
	if !ok {
		s = newScratch(len(ix.hashes))
	}
	// What a lookup reads is in memory, not in caches. So it takes three steps,
	// and has fetched in each what the next one reads, while the steps of the
	// queries before and after it are computed.
	for step := range len(queries) + 2 {
		if i := step; i < len(queries) {
			ix.buckets.collect(&s[i%2], &queries[i], threshold)
		}
		if i := step - 2; i >= 0 {
			dst = ix.appendCandidates(dst, i, &queries[i], threshold, &s[i%2])
		}
		if i := step - 1; i >= 0 && i < len(queries) {
			ix.buckets.probe(&s[i%2], ix.hashes, &queries[i], threshold)
		}
	}
	ix.scratch.Put(s)
	return dst
}

// appendCandidates appends which candidates match.
func (ix *Index) appendCandidates(dst []Match, query int, q *Hash, threshold int, l *lookup) []Match {
	if l.found < 0 {
		return ix.appendScan(dst, query, q, threshold)
	}
	start := len(dst)
	for _, at := range l.candidates[:l.found] {
		id := ix.buckets.ids[at]
		h := &ix.hashes[id]
		if d := Distance(*q, *h); d <= threshold && firstSlot(q, h, threshold) == int(at)/len(ix.hashes) {
			dst = append(dst, Match{Query: query, Position: int(id), Distance: d})
		}
	}
	slices.SortFunc(dst[start:], func(a, b Match) int { return cmp.Compare(a.Position, b.Position) })
	return dst
}

// appendScan appends what a linear scan finds.
func (ix *Index) appendScan(dst []Match, query int, q *Hash, threshold int) []Match {
	var hits [hitsMax]hit
	for from := 0; from < len(ix.hashes); {
		done, found := scan(&hits, ix.hashes[from:min(len(ix.hashes), from+scanStep)], q, threshold)
		for _, h := range hits[:found] {
			dst = append(dst, Match{Query: query, Position: from + int(h.at), Distance: int(h.distance)})
		}
		from += done
	}
	return dst
}
