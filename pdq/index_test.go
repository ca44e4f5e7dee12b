package pdq_test

import (
	"fmt"
	"slices"
	"testing"

	"mediagate/pdq"
)

func randomHashes(seed, n uint64) []pdq.Hash {
	rng := splitmix(seed)
	out := make([]pdq.Hash, n)
	for i := range out {
		out[i] = pdq.Hash{rng.next(), rng.next(), rng.next(), rng.next()}
	}
	return out
}

// plainScan is what an index must answer, by the definition.
func plainScan(hashes []pdq.Hash, q pdq.Hash, threshold int) []pdq.Match {
	var out []pdq.Match
	for i, h := range hashes {
		if d := pdq.Distance(h, q); d <= threshold {
			out = append(out, pdq.Match{Position: i, Distance: d})
		}
	}
	return out
}

func TestWithinAtEveryDistance(t *testing.T) {
	rng := splitmix(5)
	q := randomHashes(6, 1)[0]
	var hashes []pdq.Hash
	for d := range uint64(pdq.Bits + 1) {
		hashes = append(hashes, flip(&rng, q, d))
	}
	ix := pdq.NewIndex(hashes)
	for threshold := -1; threshold <= pdq.Bits; threshold++ {
		got := ix.Within(q, threshold)
		if len(got) != threshold+1 {
			t.Fatalf("threshold %d finds %d, want %d", threshold, len(got), threshold+1)
		}
		for i, m := range got {
			if m.Position != i || m.Distance != i {
				t.Fatalf("threshold %d: match %d is %v", threshold, i, m)
			}
		}
	}
}

func TestSmallAndRepeatedLists(t *testing.T) {
	q := randomHashes(8, 1)[0]
	for _, n := range []int{0, 1, 2, 3, 100} {
		ix := pdq.NewIndex(slices.Repeat([]pdq.Hash{q}, n))
		if got := ix.Within(q, 0); len(got) != n || ix.Len() != n {
			t.Errorf("%d equal hashes: found %d", n, len(got))
		}
	}
}

func TestAppendWithinStopsAtItsLimit(t *testing.T) {
	q := randomHashes(9, 1)[0]
	ix := pdq.NewIndex(slices.Repeat([]pdq.Hash{q}, 10))
	for _, tt := range []struct {
		limit, want int
		truncated   bool
	}{{0, 0, true}, {9, 9, true}, {10, 10, false}, {11, 10, false}} {
		before := []pdq.Match{{Position: -1}}
		got, truncated := ix.AppendWithin(before, q, 0, tt.limit)
		if len(got) != 1+tt.want || truncated != tt.truncated || got[0].Position != -1 {
			t.Errorf("limit %d: %d matches, truncated %v; want %d, %v", tt.limit, len(got)-1, truncated, tt.want, tt.truncated)
		}
	}
	if _, truncated := pdq.NewIndex(nil).AppendWithin(nil, q, 256, 0); truncated {
		t.Error("an empty index was truncated")
	}
}

// The index may be clever; it must answer as a plain scan does.
func FuzzIndexAgreesWithScan(f *testing.F) {
	f.Add(uint64(1), uint8(20), uint8(31), uint8(30))
	f.Add(uint64(2), uint8(1), uint8(255), uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, n, threshold, spread uint8) {
		rng := splitmix(seed)
		hashes := randomHashes(seed, 1)
		for range n {
			hashes = append(hashes, flip(&rng, hashes[0], rng.next()%(uint64(spread)+1)))
		}
		got := pdq.NewIndex(hashes).Within(hashes[0], int(threshold))
		if want := plainScan(hashes, hashes[0], int(threshold)); !slices.Equal(got, want) {
			t.Errorf("Within(%v, %d) = %v, want %v", hashes[0], threshold, got, want)
		}
	})
}

func BenchmarkIndexWithin(b *testing.B) {
	for _, n := range []uint64{1e4, 1e6} {
		hashes := randomHashes(1, n)
		ix := pdq.NewIndex(hashes)
		b.Run(fmt.Sprintf("hashes=%d/threshold=31", n), func(b *testing.B) {
			b.ReportAllocs()
			var dst []pdq.Match
			for i := 0; b.Loop(); i++ {
				dst, _ = ix.AppendWithin(dst[:0], hashes[i%len(hashes)], 31, 100)
			}
		})
	}
}
