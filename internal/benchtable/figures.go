package main

// What others have published or what we have measured of their programs, and what
// we are after. Benchmarks are named as in series.is, units are base units.

// source is who is faster or slower than we, and how that is known.
type source struct{ name, how string }

// theirMachine is where all of them were measured.
const theirMachine = "one thread of a Sapphire-Rapids-class Xeon with AVX-512 (a KVM guest, 2.97 GHz), the best of several runs"

var (
	reference = &source{"C++ reference", "ThreatExchange's pdq/cpp, hash from luma, built with g++ 12.2 -O3"}
	faiss     = &source{"FAISS MultiHash", "IndexBinaryMultiHash(256, 16, 16), which HMA uses, of FAISS 1.7.3 or 1.9.0; " +
		"the better of both, and of random and planted queries"}
	mih = &source{"C++ mih", "ThreatExchange's mih.h, built with g++ 12.2 -O3, and -march=native where that is better"}
)

// figure is one value of a source.
type figure struct {
	benchmark, unit string
	value           float64
	by              *source
}

var published = []figure{
	{"Hash/size=512x512", "sec/op", 3.9e-3, reference},
	{"Hash/size=640x480", "sec/op", 2.6e-3, reference},
	{"Hash/size=1024x768", "sec/op", 24e-3, reference},
	{"Hash/size=1920x1080", "sec/op", 27e-3, reference},
	{"Hash/size=4000x3000", "sec/op", 401e-3, reference},
	{"ScreenPhotos/size=512x512", "sec/op", 3.9e-3, reference},
	{"Lookup/list=random/hashes=10000/threshold=31", "lookups/s", 54e3, faiss},
	{"Lookup/list=random/hashes=10000/threshold=31", "lookups/s", 9.7e3, mih},
	{"Lookup/list=random/hashes=100000/threshold=31", "lookups/s", 6.5e3, faiss},
	{"Lookup/list=random/hashes=100000/threshold=31", "lookups/s", 3.0e3, mih},
	{"Lookup/list=random/hashes=1000000/threshold=31", "lookups/s", 1027, faiss},
	{"Lookup/list=random/hashes=1000000/threshold=31", "lookups/s", 793, mih},
	{"Lookup/list=random/hashes=10000000/threshold=31", "lookups/s", 13.4, faiss},
	{"Build/hashes=1000000", "sec/op", 3.4, faiss},
	{"Build/hashes=1000000", "sec/op", 20, mih},
	// Beside 32 bytes of the hash itself: 270 and 275.
	{"Build/hashes=1000000", "bytes/hash", 302, faiss},
	{"Build/hashes=1000000", "bytes/hash", 307, mih},
}

// goal is a value to reach: at least it for a rate, at most it for a cost.
type goal struct {
	benchmark, unit string
	limit, stretch  float64 // no stretch is 0
}

var goals = []goal{
	{"Hash/size=512x512/path=exact/kernels=avx512", "sec/op", 0.35e-3, 0.2e-3},
	{"Hash/size=512x512/path=exact/kernels=portable", "sec/op", 1.0e-3, 0.6e-3},
	{"Hash/size=4000x3000/path=exact/kernels=avx512", "sec/op", 20e-3, 8e-3},
	{"ScreenPhotos/size=512x512/pixels=float32/kernels=avx512", "sec/op", 0.10e-3, 0.04e-3},
	{"ScreenPhotos/size=512x512/pixels=gray/kernels=avx512", "sec/op", 0.10e-3, 0.04e-3},
	{"Lookup/list=random/hashes=1000000/queries=half-planted/threshold=31/kernels=avx512", "lookups/s", 150e3, 250e3},
	{"Lookup/list=random/hashes=1000000/queries=half-planted/threshold=31/kernels=portable", "lookups/s", 20e3, 35e3},
	{"Lookup/list=random/hashes=10000000/queries=half-planted/threshold=31/kernels=avx512", "lookups/s", 35e3, 60e3},
	{"Build/hashes=1000000", "sec/op", 0.35, 0.1},
	{"Build/hashes=1000000", "bytes/hash", 136, 112},
	{"Load/contents=1000000/types=1/source=store", "sec/op", 5, 0},
	{"Load/contents=1000000/types=1/source=snapshot", "sec/op", 1, 0},
	{"Load/contents=1000000/types=1", "rss-bytes", 300 << 20, 0},
	{"Hash", "allocs/op", 0, 0},
	{"Lookup", "allocs/op", 0, 0},
}

// scaleGoals are those of internal/scalebench.
var scaleGoals = []goal{
	{"ColdStart/hashes=1000000/from=redis", "sec/op", 1, 0},
	{"ColdStart/hashes=1000000/from=sqlite", "sec/op", 5, 0},
	{"ColdStart/hashes=1000000/from=postgres", "sec/op", 5, 0},
	{"Memory/hashes=1000000/state=settled", "MiB", 300, 0},
	{"Memory/hashes=10000000/state=settled", "MiB", 1.6 * 1024, 0},
	{"Memory/hashes=10000000/state=swapping", "MiB", 3.2 * 1024, 0},
	{"Hook/state=swapping", "errors", 0, 0},
	{"Hook/state=swapping", "p99/quiet", 2, 0},
	{"Hook/state=redis_away", "errors", 0, 0},
	{"Hook/state=redis_away", "p99/quiet", 2, 0},
	{"CachedAgain", "sec/op", 10, 0},
	{"Enforced", "sec/op", 2, 0},
	{"LookupRequests/hashes=1000000/handler=mediagate", "req/s", 40e3, 0},
}

// suites are what is measured in one run. What of one was not is told.
var suites = [][]goal{goals, scaleGoals}

// tolerance is by how much of it a limit may be missed: what one machine's figures
// differ by between days.
const tolerance = 0.10

// met tells how a value stands to the goal.
func (g goal) met(value float64) string {
	reaches := func(limit float64) bool { return value <= limit*(1+tolerance) }
	if higherIsBetter(g.unit) {
		reaches = func(limit float64) bool { return value >= limit*(1-tolerance) }
	}
	switch {
	case !reaches(g.limit):
		return "**not met**"
	case g.stretch != 0 && reaches(g.stretch):
		return "met, stretch too"
	default:
		return "met"
	}
}
