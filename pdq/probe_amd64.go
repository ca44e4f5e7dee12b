//go:build !purego

package pdq

// collect is collectPortable.
func collect(r *runs, bounds []uint32, next []uint16, q *Hash) (total int) {
	if active == portable {
		return collectPortable(r, bounds, next, q)
	}
	total = collectPrefetch(r, bounds, next, q)
	// Runs of more than two cache lines each, which the second-level cache still
	// has room for.
	if total > len(r.at)*2*nextSpare && total < 1<<18 {
		collectLong(r, next)
	}
	return total
}

// probe is probePortable. ids are those that belong to next; those of candidates
// are fetched.
func probe(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int {
	switch active {
	case avx512:
		return probeAVX512(candidates, r, width, next, ids, q, limit)
	case avx2:
		return probeAVX2(candidates, r, width, next, ids, q, limit)
	default:
		return probePortable(candidates, r, width, next, q, limit)
	}
}

// fetch has the hashes of candidates brought near.
func fetch(hashes []Hash, ids, candidates []uint32) {
	if active != portable {
		fetchPrefetch(hashes, ids, candidates)
	}
}

// collectPrefetch has the first and the last cache line of each run fetched.
//
//go:noescape
func collectPrefetch(r *runs, bounds []uint32, next []uint16, q *Hash) (total int)

// collectLong has those between fetched.
//
//go:noescape
func collectLong(r *runs, next []uint16)

//go:noescape
func probeAVX512(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int

//go:noescape
func probeAVX2(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int

// fetchPrefetch does it for hashes of which none reaches over a cache line.
//
//go:noescape
func fetchPrefetch(hashes []Hash, ids, candidates []uint32)
