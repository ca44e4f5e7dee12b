//go:build !amd64 || purego

package pdq

func collect(r *runs, bounds []uint32, next []uint16, q *Hash) (total int) {
	return collectPortable(r, bounds, next, q)
}

func probe(candidates []uint32, r *runs, width int, next []uint16, _ []uint32, q *Hash, limit int) int {
	return probePortable(candidates, r, width, next, q, limit)
}

func fetch([]Hash, []uint32, []uint32) {}
