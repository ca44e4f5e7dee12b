package pdq

// Index answers which of many hashes lie near one. It is immutable and safe for
// concurrent use.
type Index struct {
	hashes []Hash
}

// Match is one hash found: its position in the list the index was built from,
// and its distance to the hash looked up.
type Match struct {
	Position, Distance int
}

// NewIndex indexes hashes, which it keeps and which must not change afterwards.
// The same hash may be listed many times; each is found.
func NewIndex(hashes []Hash) *Index {
	return &Index{hashes: hashes}
}

// Len returns how many hashes are indexed.
func (ix *Index) Len() int { return len(ix.hashes) }

// Hash returns the hash at a position.
func (ix *Index) Hash(position int) Hash { return ix.hashes[position] }

// Within returns every hash at most threshold bits away from q, by position. It
// is complete for every threshold from 0 to 256 and has no bound: a blank
// picture in a list can lie near thousands.
func (ix *Index) Within(q Hash, threshold int) []Match {
	m, _ := ix.AppendWithin(nil, q, threshold, len(ix.hashes))
	return m
}

// AppendWithin appends to dst at most limit hashes at most threshold bits away
// from q, by position, and reports whether there were more.
func (ix *Index) AppendWithin(dst []Match, q Hash, threshold, limit int) (m []Match, truncated bool) {
	found := 0
	for i, h := range ix.hashes {
		d := Distance(q, h)
		if d > threshold {
			continue
		}
		if found == limit {
			return dst, true
		}
		dst = append(dst, Match{Position: i, Distance: d})
		found++
	}
	return dst, false
}
