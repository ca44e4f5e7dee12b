package pdq_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"mediagate/pdq"
)

// The lists of the benchmarks, by the rules in testdata/generators.md.

func balancedHashes(seed, n uint64) []pdq.Hash {
	rng := splitmix(seed)
	out := make([]pdq.Hash, n)
	for i := range out {
		out[i] = flip(&rng, pdq.Hash{}, 128)
	}
	return out
}

func clusteredHashes(seed, centres, per, maxd uint64) []pdq.Hash {
	rng := splitmix(seed)
	out := make([]pdq.Hash, 0, centres*per)
	for range centres {
		centre := pdq.Hash{rng.next(), rng.next(), rng.next(), rng.next()}
		for range per {
			d := rng.next() % (maxd + 1)
			out = append(out, flip(&rng, centre, d))
		}
	}
	return out
}

// listOf makes a list of n hashes. Clusters are of ten; in a ball, a tenth of all
// lies within 31 bits of one.
func listOf(kind string, n uint64) []pdq.Hash {
	switch kind {
	case "balanced":
		return balancedHashes(1000, n)
	case "clustered":
		return clusteredHashes(1000, n/10, 10, 31)
	case "equal":
		return slices.Repeat(randomHashes(1000, 1), int(n))
	case "ball":
		return append(clusteredHashes(1001, 1, n/10, 31), randomHashes(1000, n-n/10)...)
	default:
		return randomHashes(1000, n)
	}
}

// queriesOf makes queries for a list: planted ones are up to 31 bits from an
// entry, and of half-planted ones the others are random.
func queriesOf(kind string, hashes []pdq.Hash, n int) []pdq.Hash {
	rng := splitmix(2000)
	out := make([]pdq.Hash, n)
	for i := range out {
		planted := kind == "planted" || kind == "half-planted" && i%2 == 0
		if planted {
			entry := hashes[rng.next()%uint64(len(hashes))]
			out[i] = flip(&rng, entry, rng.next()%32)
		} else {
			out[i] = pdq.Hash{rng.next(), rng.next(), rng.next(), rng.next()}
		}
	}
	return out
}

const batch = 8 // about as many as a picture has views

func BenchmarkLookup(b *testing.B) {
	for _, bm := range []struct {
		list    string
		size    uint64
		queries []string
	}{
		{"random", 1e4, []string{"half-planted"}},
		{"random", 1e5, []string{"half-planted"}},
		{"random", 1e6, []string{"half-planted", "random"}},
		{"balanced", 1e6, []string{"half-planted"}},
		{"clustered", 1e6, []string{"half-planted"}},
		{"random", 1e7, []string{"half-planted"}},
	} {
		b.Run(fmt.Sprintf("list=%s/hashes=%d", bm.list, bm.size), func(b *testing.B) {
			if testing.Short() && bm.size > 1e6 {
				b.Skip("takes two gigabytes")
			}
			hashes := listOf(bm.list, bm.size)
			ix := pdq.NewIndex(hashes)
			for _, kind := range bm.queries {
				queries := queriesOf(kind, hashes, 1<<14)
				pdq.EachVectors(func(kernels string) {
					for _, batch := range []int{1, batch} {
						b.Run(fmt.Sprintf("queries=%s/threshold=31/batch=%d/kernels=%s", kind, batch, kernels), func(b *testing.B) {
							benchmarkLookups(b, ix, queries, batch)
						})
					}
				})
			}
		})
	}
}

func benchmarkLookups(b *testing.B, ix *pdq.Index, queries []pdq.Hash, batch int) {
	b.ReportAllocs()
	var dst []pdq.Match
	i := 0
	for b.Loop() {
		dst = ix.AppendWithinAll(dst[:0], queries[i:i+batch], 31)
		i = (i + batch) % len(queries)
	}
	b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "lookups/s")
}

// BenchmarkLookupInBall looks up what has 100,000 matches.
func BenchmarkLookupInBall(b *testing.B) {
	const size = 1e6
	hashes := listOf("ball", size)
	ix := pdq.NewIndex(hashes)
	queries := queriesOf("planted", hashes[:size/10], 1<<10)
	pdq.EachVectors(func(kernels string) {
		b.Run(fmt.Sprintf("hashes=%d/threshold=31/kernels=%s", len(hashes), kernels), func(b *testing.B) {
			b.ReportAllocs()
			var dst []pdq.Match
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				dst = ix.AppendWithin(dst[:0], queries[i%len(queries)], 31)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
		})
	})
}

func BenchmarkLinearScan(b *testing.B) {
	for _, size := range []uint64{1e4, 1e6} {
		hashes := randomHashes(1000, size)
		ix := pdq.NewIndexOver(hashes, len(hashes))
		queries := queriesOf("half-planted", hashes, 1<<10)
		pdq.EachVectors(func(kernels string) {
			b.Run(fmt.Sprintf("hashes=%d/kernels=%s", size, kernels), func(b *testing.B) {
				benchmarkLookups(b, ix, queries, 1)
			})
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, size := range []uint64{1e5, 1e6} {
		hashes := randomHashes(1000, size)
		b.Run(fmt.Sprintf("hashes=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			var ix *pdq.Index
			for b.Loop() {
				ix = pdq.NewIndex(hashes)
			}
			b.StopTimer()
			held := heap()
			runtime.KeepAlive(ix)
			b.ReportMetric(float64(held-heap())/float64(size)+pdq.Bits/8, "bytes/hash")
		})
	}
}

// heap is how much memory is held.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
