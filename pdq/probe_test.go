package pdq_test

import (
	"slices"
	"testing"

	"mediagate/pdq"
)

// TestProbeKernels compares with the portable twin: buckets of 0 to 70 entries,
// one after the other and so not aligned, the last at the end of memory.
func TestProbeKernels(t *testing.T) {
	rng := splitmix(3)
	q := randomHashes(4, 1)[0]
	for _, width := range []int{1, 17} {
		for first := range uint32(70) {
			var bounds [][2]uint32
			end := uint32(0)
			for i := range uint32(16 * width) {
				length := (first + i*7) % 71
				bounds = append(bounds, [2]uint32{end, end + length})
				end += length
			}
			next := guarded[uint16](t, int(end)+pdq.NextSpare)
			for i := range next {
				slot := (i/(len(next)/16+1) + 1) % 16
				next[i] = uint16(q[slot/4] >> (16 * (slot % 4)))
				for range rng.next() % 8 {
					next[i] ^= 1 << (rng.next() % 16)
				}
			}
			pdq.EachVectors(func(kernels string) {
				for limit := min(1, width-1); limit < 4; limit++ {
					got, want := pdq.Probe(len(next)+pdq.NextSpare, bounds, width, next, q, limit)
					if !slices.Equal(got, want) || limit == 3 && end > 0 && len(want) == 0 {
						t.Fatalf("%s, width %d, limit %d: %d candidates, want %d", kernels, width, limit, len(got), len(want))
					}
				}
			})
		}
	}
}

// TestProbeStopsInTime gives room for fewer candidates than there are.
func TestProbeStopsInTime(t *testing.T) {
	const length = 100
	next := make([]uint16, 16*length+pdq.NextSpare) // all as in a zero hash
	var bounds [][2]uint32
	for i := range uint32(16) {
		bounds = append(bounds, [2]uint32{i * length, (i + 1) * length})
	}
	pdq.EachVectors(func(kernels string) {
		for room := pdq.NextSpare; room < len(next)+pdq.NextSpare; room++ {
			got, _ := pdq.Probe(room, bounds, 1, next, pdq.Hash{}, 0)
			if got != nil && len(got) != 16*length || got == nil && room >= len(next) {
				t.Fatalf("%s, room for %d: %d of %d", kernels, room, len(got), 16*length)
			}
		}
	})
}

// TestCollectKernels compares with the portable twin.
func TestCollectKernels(t *testing.T) {
	rng := splitmix(5)
	bounds := make([]uint32, 1<<20+1)
	for i := range bounds[1:] {
		bounds[i+1] = bounds[i] + uint32(rng.next()%4)
	}
	next := make([]uint16, int(bounds[1<<20])+pdq.NextSpare)
	extremes := []pdq.Hash{{}, {1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1}}
	pdq.EachVectors(func(kernels string) {
		for _, q := range append(extremes, randomHashes(6, 100)...) {
			got, want, held, wantHeld := pdq.Collect(bounds, next, q)
			if !slices.Equal(got, want) || held != wantHeld {
				t.Fatalf("%s, %v: %d held, want %d, or bounds differ", kernels, q, held, wantHeld)
			}
		}
	})
}
