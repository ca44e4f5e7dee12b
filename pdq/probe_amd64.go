//go:build !purego

package pdq

// collect is collectPortable.
func collect(r *runs, bounds []uint32, next []uint16, q *Hash) (total int) {
	if active == portable {
		return collectPortable(r, bounds, next, q)
	}
	return collectPrefetch(r, bounds, next, q)
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

//go:noescape
func collectPrefetch(r *runs, bounds []uint32, next []uint16, q *Hash) (total int)

//go:noescape
func probeAVX512(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int

//go:noescape
func probeAVX2(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int

//go:noescape
func fetchPrefetch(hashes []Hash, ids, candidates []uint32)
