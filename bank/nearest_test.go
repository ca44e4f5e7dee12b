package bank_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/pdq"
)

func randomHash(rng *rand.Rand) pdq.Hash {
	return pdq.Hash{rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()}
}

// near returns a hash at most most bits away.
func near(rng *rand.Rand, h pdq.Hash, most int) pdq.Hash {
	for range rng.IntN(most + 1) {
		bit := rng.IntN(pdq.Bits)
		h[bit/64] ^= 1 << (bit % 64)
	}
	return h
}

// nearestOf is what Nearest must answer, from all matches.
func nearestOf(ix *bank.Index, hashes []media.Hash, threshold, most int, held func(int64) bool) []bank.Match {
	type view struct {
		id     int64
		looked media.Variant
	}
	contents := make(map[view]bank.Match)
	for _, h := range hashes {
		for _, m := range ix.Within(h, threshold) {
			if other, ok := contents[view{m.Content, m.Looked}]; !ok || m.Distance < other.Distance {
				contents[view{m.Content, m.Looked}] = m
			}
		}
	}
	out := make([]bank.Match, 0, len(contents))
	for _, m := range contents {
		out = append(out, m)
	}
	counts := func(m bank.Match) int {
		if m.Enabled && m.Bank.Ratio > 0 && !held(m.Content) {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b bank.Match) int {
		return cmp.Or(cmp.Compare(counts(a), counts(b)), cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Content, b.Content), cmp.Compare(a.Looked, b.Looked))
	})
	taken := make(map[view]int)
	return slices.DeleteFunc(out, func(m bank.Match) bool {
		of := view{m.Bank.ID, m.Looked}
		taken[of]++
		return taken[of] > most
	})
}

// TestNearestIsTheBestOfAllMatches makes many contents alike, with views, in banks
// that are on and off, and disables some and holds others.
func TestNearestIsTheBestOfAllMatches(t *testing.T) {
	banks := []bank.Bank{{ID: 1, Name: "ON", Ratio: 1}, {ID: 2, Name: "OFF"}, {ID: 3, Name: "HALF", Ratio: 0.5}}
	held := func(content int64) bool { return content%5 == 0 }
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		centres := []pdq.Hash{randomHash(rng), randomHash(rng), randomHash(rng)}
		draw := func(views int) []media.Hash {
			var out []media.Hash
			for v := range views {
				out = append(out, media.Hash{PDQ: near(rng, centres[rng.IntN(3)], 25), Variant: media.Variant(v), Quality: 100})
			}
			return out
		}
		content := func(id int64) bank.HashContent {
			until := bank.Enabled
			if rng.IntN(3) == 0 {
				until = []int64{bank.DisabledForever, time.Now().Unix() + 1000, time.Now().Unix() - 1000}[rng.IntN(3)]
			}
			return bank.HashContent{ID: id, Bank: 1 + rng.Int64N(3), DisableUntil: until, Hashes: draw(1 + rng.IntN(3))}
		}
		var contents []bank.HashContent
		for id := range int64(300) {
			contents = append(contents, content(id+1))
		}
		ix, err := bank.IndexOf(banks, contents...)
		if err != nil {
			t.Fatal(err)
		}
		for id := range rng.Int64N(100) {
			ix = ix.With(banks, content(id*7+1)) // some are new
		}
		for _, ix := range []*bank.Index{ix, ix.Merged(), ix.With(banks[:1])} { // the last without two of the banks
			looked := draw(rng.IntN(4))
			for _, most := range []int{0, 1, 5, 100, 1000} {
				got, want := ix.Nearest(looked, 31, most, held), nearestOf(ix, looked, 31, most, held)
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d, at most %d (-want +got):\n%s", seed, most, diff)
				}
			}
		}
	}
}

// TestNoBankHidesAnother puts more contents of one bank near a picture than are told of
// a bank, and one of another bank farther away.
func TestNoBankHidesAnother(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 8))
	for _, near := range []bank.Bank{{Ratio: 1}, {Ratio: 1, Monitor: true}, {Ratio: 1, Allow: true}, {Ratio: 1, Agree: 2}} {
		near.ID, near.Name = 1, "NEAR"
		centre := randomHash(rng)
		far := centre
		far[0] ^= 1<<31 - 1
		contents := []bank.HashContent{{ID: 1000, Bank: 2, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: far}}}}
		for id := range int64(150) {
			contents = append(contents, bank.HashContent{ID: id + 1, Bank: 1, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: centre}}})
		}
		ix, err := bank.IndexOf([]bank.Bank{near, {ID: 2, Name: "FAR", Ratio: 1}}, contents...)
		if err != nil {
			t.Fatal(err)
		}
		got := ix.Nearest([]media.Hash{{PDQ: centre}}, 31, 101, nil)
		if len(got) != 102 || got[101].Content != 1000 || got[101].Distance != 31 {
			t.Errorf("%+v: %d matches, the last %+v", near, len(got), got[len(got)-1])
		}
	}
}

// TestAddedHashIsMatchedByTheNextLookup adds hashes while others look up, and
// folds them in now and then.
func TestAddedHashIsMatchedByTheNextLookup(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	live, banks := bank.NewLive(), []bank.Bank{{ID: 1, Name: "A", Ratio: 1}}
	ix := manyHashes(t, rng, banks, 20_000)
	live.Swap(ix)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	queries := []media.Hash{{PDQ: randomHash(rng)}, {PDQ: randomHash(rng)}}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if got := load(t, live).Nearest(queries, 31, 100, nil); len(got) != 0 {
						t.Errorf("%d matches of hashes that are not banked", len(got))
						return
					}
				}
			}
		})
	}
	for i := range 50 {
		h := randomHash(rng)
		if i%10 == 9 {
			live.Swap(load(t, live).Merged())
		}
		live.Swap(load(t, live).With(banks, bank.HashContent{ID: int64(1e6 + i), Bank: 1, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: h}}}))
		for _, looked := range []pdq.Hash{h, near(rng, h, 31)} {
			got := load(t, live).Nearest([]media.Hash{{PDQ: looked}}, 31, 100, nil)
			if len(got) != 1 || got[0].Content != int64(1e6+i) {
				t.Fatalf("hash %d is not found after the swap: %d matches", i, len(got))
			}
		}
	}
	close(stop)
	readers.Wait()
}

// manyHashes makes an index of contents 1 to n with one random hash each.
func manyHashes(t testing.TB, rng *rand.Rand, banks []bank.Bank, n int) *bank.Index {
	t.Helper()
	contents := make([]bank.HashContent, n)
	hashes := make([]media.Hash, n)
	for i := range contents {
		hashes[i] = media.Hash{PDQ: randomHash(rng)}
		contents[i] = bank.HashContent{ID: int64(i + 1), Bank: 1, DisableUntil: bank.Enabled, Hashes: hashes[i : i+1]}
	}
	ix, err := bank.IndexOf(banks, contents...)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// BenchmarkAddWhileLooking lets two goroutines look up as fast as they can in a
// million hashes: with nothing else going on, and while hashes are added, every
// 5 ms one, and folded in. It reports how long 99 of 100 lookups took at most.
func BenchmarkAddWhileLooking(b *testing.B) {
	const size, adds = 1_000_000, 50
	rng := rand.New(rand.NewPCG(3, 4))
	banks := []bank.Bank{{ID: 1, Name: "A", Ratio: 1}}
	live := bank.NewLive()
	live.Swap(manyHashes(b, rng, banks, size))
	var queries []media.Hash
	for range 1 << 12 {
		queries = append(queries, media.Hash{PDQ: randomHash(rng)})
	}
	// beside returns how long each lookup took while work was done.
	beside := func(work func()) []time.Duration {
		var took [2][]time.Duration
		var readers sync.WaitGroup
		stop := make(chan struct{})
		for r := range took {
			took[r] = make([]time.Duration, 0, 1<<20)
			readers.Go(func() {
				for i := r; len(took[r]) < cap(took[r]); i++ {
					select {
					case <-stop:
						return
					default:
					}
					start := time.Now()
					load(b, live).Nearest(queries[i%len(queries):][:1], 31, 100, nil)
					took[r] = append(took[r], time.Since(start))
				}
			})
		}
		work()
		close(stop)
		readers.Wait()
		return slices.Concat(took[0], took[1])
	}
	p99 := func(took []time.Duration) float64 {
		slices.Sort(took)
		return float64(took[len(took)*99/100])
	}
	var quiet, busy []time.Duration
	id := int64(size)
	for b.Loop() {
		quiet = append(quiet, beside(func() { time.Sleep(500 * time.Millisecond) })...)
		busy = append(busy, beside(func() {
			for range adds {
				id++
				h := randomHash(rng)
				live.Swap(load(b, live).With(banks, bank.HashContent{ID: id, Bank: 1, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: h}}}))
				time.Sleep(5 * time.Millisecond)
			}
			live.Swap(load(b, live).Merged())
		})...)
	}
	b.ReportMetric(p99(quiet), "quiet-p99-ns")
	b.ReportMetric(p99(busy), "busy-p99-ns")
	b.ReportMetric(p99(busy)/p99(quiet), "busy/quiet")
}

// BenchmarkNearest looks up what a tenth of a million hashes matches, and what
// none does, with five views.
func BenchmarkNearest(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	banks := []bank.Bank{{ID: 1, Name: "A", Ratio: 1}}
	centre := randomHash(rng)
	var contents []bank.HashContent
	for i := range int64(1_000_000) {
		h := randomHash(rng)
		if i%10 == 0 {
			h = near(rng, centre, 15)
		}
		contents = append(contents, bank.HashContent{ID: i + 1, Bank: 1, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: h}}})
	}
	ix, err := bank.IndexOf(banks, contents...)
	if err != nil {
		b.Fatal(err)
	}
	for _, matches := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("hashes=1000000/views=5/matches=%d", matches), func(b *testing.B) {
			b.ReportAllocs()
			hashes := make([]media.Hash, 5)
			var took []time.Duration
			for b.Loop() {
				for i := range hashes {
					hashes[i] = media.Hash{PDQ: randomHash(rng), Variant: media.Variant(i)}
					if matches > 0 {
						hashes[i].PDQ = near(rng, centre, 10)
					}
				}
				start := time.Now()
				ix.Nearest(hashes, 31, 101, nil)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
		})
	}
}

// BenchmarkMerge folds one content into a million.
func BenchmarkMerge(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	banks := []bank.Bank{{ID: 1, Name: "A", Ratio: 1}}
	ix := manyHashes(b, rng, banks, 1_000_000).With(banks, bank.HashContent{ID: 1, Bank: 1, DisableUntil: bank.Enabled, Hashes: []media.Hash{{PDQ: randomHash(rng)}}})
	for b.Loop() {
		ix.Merged()
	}
}
