package pdq

// NewIndexOver is NewIndex, but scans only lists of up to scanMax hashes.
func NewIndexOver(hashes []Hash, scanMax int) *Index { return newIndex(hashes, scanMax, 2) }

// ScanMax is the longest list that NewIndex has scanned.
const ScanMax = scanMax

// NextSpare is how far kernels read beyond what they are told to.
const NextSpare = nextSpare

// Collect returns the bounds of the runs of q and how much they hold, by the
// kernel and by its portable twin.
func Collect(bounds []uint32, next []uint16, q Hash) (kernel, twin [][2]uint32, held, twinHeld int) {
	var a, b runs
	held, twinHeld = collect(&a, bounds, next, &q), collectPortable(&b, bounds, next, &q)
	for i := range a.at {
		kernel = append(kernel, [2]uint32{a.at[i].from, a.at[i].to})
		twin = append(twin, [2]uint32{b.at[i].from, b.at[i].to})
	}
	return kernel, twin, held, twinHeld
}

// Probe returns the candidates in runs, of which there are 16·width, by the
// kernel and by its portable twin, nil if there is no room for them.
func Probe(room int, bounds [][2]uint32, width int, next []uint16, q Hash, limit int) (kernel, twin []uint32) {
	var r runs
	for i, b := range bounds {
		r.at[i] = run{b[0], b[1]}
	}
	kernel, twin = make([]uint32, room), make([]uint32, room)
	ids := make([]uint32, len(next))
	a := probe(kernel, &r, width, next, ids, &q, limit)
	b := probePortable(twin, &r, width, next, &q, limit)
	if a < 0 {
		kernel, a = nil, 0
	}
	if b < 0 {
		twin, b = nil, 0
	}
	return kernel[:a], twin[:b]
}

// Scan returns positions and distances, by the kernels and by the portable twin.
func Scan(hashes []Hash, q Hash, threshold int) (kernel, twin [][2]int) {
	all := func(scan func(*[hitsMax]hit, []Hash, *Hash, int) (int, int)) (out [][2]int) {
		var hits [hitsMax]hit
		for from := 0; from < len(hashes); {
			done, found := scan(&hits, hashes[from:], &q, threshold)
			for _, h := range hits[:found] {
				out = append(out, [2]int{from + int(h.at), int(h.distance)})
			}
			from += done
		}
		return out
	}
	return all(scan), all(scanPortable)
}
