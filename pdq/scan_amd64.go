//go:build !purego

package pdq

// scanVectors does as much of scan as goes by whole vectors, which may be
// nothing.
func scanVectors(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int) {
	switch active {
	case avx512:
		return scanAVX512(hits, hashes, q, threshold)
	case avx2:
		return scanAVX2(hits, hashes, q, threshold)
	default:
		return 0, 0
	}
}

//go:noescape
func scanAVX512(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int)

//go:noescape
func scanAVX2(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int)
