package pdq

// hit is a hash that a scan found: where, and how far away.
type hit struct{ at, distance uint32 }

const (
	// hitsMax is how many hits a scan may return.
	hitsMax = 64
	// scanStep is how many hashes are scanned at most before the caller is asked
	// for more.
	scanStep = 1 << 20
)

// scan writes to hits which hashes are at most threshold bits from q, by
// position. It may stop before the end, to go on in another call: done tells
// how many hashes it dealt with, at least one.
func scan(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int) {
	if done, found = scanVectors(hits, hashes, q, threshold); done > 0 {
		return done, found
	}
	return scanPortable(hits, hashes, q, threshold)
}

// scanPortable says what scan does.
func scanPortable(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int) {
	a := *q
	for i := range hashes {
		d := Distance(a, hashes[i])
		if d > threshold {
			continue
		}
		hits[found] = hit{uint32(i), uint32(d)}
		if found++; found == hitsMax {
			return i + 1, found
		}
	}
	return len(hashes), found
}
