package pdq_test

import (
	"slices"
	"testing"

	"mediagate/pdq"
)

// TestScanKernels compares with the portable twin, which is compared with the
// definition elsewhere: all lengths of up to some vectors, few and many hits, at
// places that are not aligned, up to the end of what may be read.
func TestScanKernels(t *testing.T) {
	all := clusteredHashes(1, 1, 400, 64)
	room := guarded[pdq.Hash](t, len(all))
	pdq.EachVectors(func(kernels string) {
		for n := range 150 {
			hashes := room[len(room)-n:]
			copy(hashes, all[n:])
			for _, threshold := range []int{0, 5, 60, 64, 128, 256} {
				got, want := pdq.Scan(hashes, all[0], threshold)
				if !slices.Equal(got, want) {
					t.Fatalf("%s, %d hashes, threshold %d: %d hits, want %d", kernels, n, threshold, len(got), len(want))
				}
			}
		}
		got, want := pdq.Scan(all, all[7], 31)
		if !slices.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s: %d hits, want %d", kernels, len(got), len(want))
		}
	})
}
