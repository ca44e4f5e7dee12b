package pdq_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
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

// agrees compares what an index finds for queries, one by one and all at once,
// with what a linear scan does, with every set of vector instructions. It reports
// how many matches there are.
func agrees(t *testing.T, ix *pdq.Index, hashes, queries []pdq.Hash, threshold int) int {
	t.Helper()
	var want []pdq.Match
	for i, q := range queries {
		for _, m := range plainScan(hashes, q, threshold) {
			m.Query = i
			want = append(want, m)
		}
	}
	before := pdq.Match{Position: -1}
	pdq.EachVectors(func(kernels string) {
		got := ix.AppendWithinAll([]pdq.Match{before}, queries, threshold)
		if got[0] != before || !slices.Equal(got[1:], want) {
			t.Fatalf("%s, %d hashes, threshold %d: %d matches of %d queries, want %d, or others",
				kernels, len(hashes), threshold, len(got)-1, len(queries), len(want))
		}
		for i, rest := 0, want; i < len(queries); i++ {
			n := 0
			for ; n < len(rest) && rest[n].Query == i; n++ {
			}
			same := func(a, b pdq.Match) bool { return a.Position == b.Position && a.Distance == b.Distance }
			if got := ix.Within(queries[i], threshold); !slices.EqualFunc(got, rest[:n], same) {
				t.Fatalf("%s, %d hashes, threshold %d: %d matches, want %d, or others", kernels, len(hashes), threshold, len(got), n)
			}
			rest = rest[n:]
		}
	})
	return len(want)
}

// TestRecall looks hashes up that are planted at 0 to 32 bits from an entry, and
// one that is not. Every answer, with every set of vector instructions, is
// compared with the linear scan of the definition. MEDIAGATE_TEST_EXHAUSTIVE=1
// makes that 110,000 queries; otherwise it is some hundred for each short list and
// some dozen for each long one.
func TestRecall(t *testing.T) {
	full := os.Getenv("MEDIAGATE_TEST_EXHAUSTIVE") != ""
	for _, tt := range []struct {
		list          string
		hashes        uint64
		queries, some int
	}{
		{"random", 1, 4_000, 68},
		{"random", 2, 4_000, 68},
		{"random", 3, 4_000, 68},
		{"equal", 1_000, 4_000, 68},
		{"random", 1_000, 10_000, 340},
		{"balanced", 1_000, 10_000, 340},
		{"clustered", 1_000, 10_000, 340},
		{"ball", 1_000, 10_000, 340},
		{"random", 10_000, 10_000, 136},
		{"balanced", 10_000, 10_000, 136},
		{"clustered", 10_000, 10_000, 136},
		{"ball", 10_000, 2_500, 68},
		{"random", 100_000, 3_000, 34},
		{"balanced", 100_000, 3_000, 0},
		{"clustered", 100_000, 3_000, 34},
		{"ball", 100_000, 500, 34},
		{"random", 1_000_000, 3_000, 34},
		{"balanced", 1_000_000, 4_500, 0},
		{"clustered", 1_000_000, 4_500, 0},
	} {
		t.Run(fmt.Sprintf("%s/%d", tt.list, tt.hashes), func(t *testing.T) {
			n := tt.some
			if full {
				n = tt.queries
			}
			if n == 0 {
				t.Skip("only in full")
			}
			hashes := listOf(tt.list, tt.hashes)
			ix := pdq.NewIndexOver(hashes, 0)
			rng := splitmix(7)
			looked, found := 0, 0
			for looked < n {
				queries := randomHashes(rng.next(), 1)
				for len(queries) < 8 && looked+len(queries) < n {
					entry := hashes[rng.next()%tt.hashes]
					queries = append(queries, flip(&rng, entry, uint64(looked+len(queries))%33))
				}
				found += agrees(t, ix, hashes, queries, 31)
				looked += len(queries)
			}
			if found < n*3/4 {
				t.Errorf("%d queries found only %d matches", n, found)
			}
			t.Logf("%d queries found the %d matches that a linear scan finds", looked, found)
		})
	}
}

// TestEveryThreshold is about the bounds that follow from it.
func TestEveryThreshold(t *testing.T) {
	hashes := append(clusteredHashes(11, 20, 50, 34), randomHashes(12, 1000)...)
	ix := pdq.NewIndexOver(hashes, 0)
	rng := splitmix(13)
	for threshold := -1; threshold <= 40; threshold++ {
		var queries []pdq.Hash
		for range 20 {
			queries = append(queries, flip(&rng, hashes[rng.next()%uint64(len(hashes))], rng.next()%20))
		}
		agrees(t, ix, hashes, queries, threshold)
	}
}

// TestDifferencesAtTheBounds plants hashes whose bits differ as evenly over the
// slots as the threshold lets them, which leaves no slot but one to find them by.
func TestDifferencesAtTheBounds(t *testing.T) {
	q := randomHashes(14, 1)[0]
	rng := splitmix(15)
	for threshold := range 32 {
		var hashes []pdq.Hash
		for spare := range 16 {
			h := q
			for bit := range threshold {
				slot := (spare + 1 + bit) % 16
				at := (uint64(bit/16)*8 + rng.next()%8) % 16
				h[slot/4] ^= 1 << (uint64(slot%4)*16 + at)
			}
			hashes = append(hashes, h)
		}
		ix := pdq.NewIndexOver(hashes, 0)
		if found := agrees(t, ix, hashes, []pdq.Hash{q}, threshold); found != 16 {
			t.Errorf("threshold %d: %d are that near, want 16", threshold, found)
		}
	}
}

// TestListsAroundTheChangeToBuckets is about where NewIndex changes over.
func TestListsAroundTheChangeToBuckets(t *testing.T) {
	for n := pdq.ScanMax - 1; n <= pdq.ScanMax+1; n++ {
		hashes := listOf("clustered", pdq.ScanMax+10)[:n]
		agrees(t, pdq.NewIndex(hashes), hashes, queriesOf("planted", hashes, 20), 31)
	}
}

// TestLookupsAllocateNothing is about the steady state; a garbage collection may
// take the scratch away, which the average hides.
func TestLookupsAllocateNothing(t *testing.T) {
	hashes := listOf("clustered", 20_000)
	for name, ix := range map[string]*pdq.Index{"buckets": pdq.NewIndex(hashes), "scan": pdq.NewIndexOver(hashes, len(hashes))} {
		queries := queriesOf("planted", hashes, 8)
		dst := ix.AppendWithinAll(nil, queries, 31)
		if n := testing.AllocsPerRun(100, func() { dst = ix.AppendWithinAll(dst[:0], queries, 31) }); n != 0 && !raceEnabled {
			t.Errorf("%s: %v allocations for %d matches", name, n, len(dst))
		}
		if n := testing.AllocsPerRun(100, func() { dst = ix.AppendWithin(dst[:0], queries[0], 31) }); n != 0 && !raceEnabled {
			t.Errorf("%s: %v allocations for a single lookup", name, n)
		}
	}
}

func TestIndexIsSafeForConcurrentUse(t *testing.T) {
	hashes := listOf("clustered", 20_000)
	ix := pdq.NewIndex(hashes)
	queries := queriesOf("planted", hashes, 64)
	want := ix.AppendWithinAll(nil, queries, 31)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var got []pdq.Match
			for range 20 {
				if got = ix.AppendWithinAll(got[:0], queries, 31); !slices.Equal(got, want) {
					t.Errorf("%d matches, want %d, or others", len(got), len(want))
					return
				}
			}
		})
	}
	readers.Wait()
}

// The index may be clever; it must answer as a plain scan does.
func FuzzIndexAgreesWithScan(f *testing.F) {
	f.Add(uint64(1), uint16(20), uint8(31), uint8(30), uint8(1), false)
	f.Add(uint64(2), uint16(1), uint8(255), uint8(0), uint8(1), true)
	f.Add(uint64(3), uint16(900), uint8(31), uint8(35), uint8(40), false)
	f.Add(uint64(4), uint16(300), uint8(16), uint8(0), uint8(1), false)
	f.Add(uint64(5), uint16(300), uint8(15), uint8(18), uint8(2), false)
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, threshold, spread, centres uint8, short bool) {
		rng := splitmix(seed)
		hashes := randomHashes(seed, uint64(centres)+1)
		for range n % 2000 {
			centre := hashes[rng.next()%(uint64(centres)+1)]
			hashes = append(hashes, flip(&rng, centre, rng.next()%(uint64(spread)+1)))
		}
		scanMax := 0
		if short {
			scanMax = len(hashes)
		}
		queries := []pdq.Hash{hashes[0], hashes[len(hashes)-1], randomHashes(seed+1, 1)[0]}
		for range seed % 4 {
			queries = append(queries, flip(&rng, hashes[rng.next()%uint64(len(hashes))], rng.next()%33))
		}
		agrees(t, pdq.NewIndexOver(hashes, scanMax), hashes, queries, int(threshold))
	})
}
