package pdq_test

import (
	"image"
	"math"
	"os"
	"slices"
	"testing"

	"mediagate/pdq"
)

// TestVectorsInUse makes sure that a run which is to try certain kernels does.
func TestVectorsInUse(t *testing.T) {
	t.Logf("the kernels in use are %s", pdq.Vectors())
	if want := os.Getenv("MEDIAGATE_TEST_VECTORS"); want != "" && want != pdq.Vectors() {
		t.Errorf("the kernels in use are %s, not %s", pdq.Vectors(), want)
	}
}

// FuzzKernels looks for a plane whose samples or hash depend on the kernels.
func FuzzKernels(f *testing.F) {
	f.Add(uint16(512), uint16(512), uint8(0), uint64(1))
	f.Add(uint16(5), uint16(1300), uint8(1), uint64(2))
	f.Add(uint16(1300), uint16(5), uint8(2), uint64(3))
	f.Add(uint16(129), uint16(257), uint8(3), uint64(4))
	f.Add(uint16(64), uint16(64), uint8(0), uint64(5))
	f.Add(uint16(1023), uint16(63), uint8(1), uint64(6))
	f.Fuzz(func(t *testing.T, width, height uint16, kind uint8, seed uint64) {
		w, h := 5+int(width)%1500, 5+int(height)%1500
		if w*h > 1<<18 {
			h = 5 + h%100
		}
		rng := splitmix(seed)
		luma := make([]float32, w*h)
		for i := range luma {
			switch kind % 4 {
			case 0: // 8-bit noise
				luma[i] = float32(rng.next() >> 56)
			case 1: // all bits of a sample in use
				luma[i] = float32(rng.next()>>40) / 65536
			case 2: // flat: what is left of the sums is their rounding
				luma[i] = float32(seed%2551) / 10
			case 3: // nearly black, in very different sizes
				luma[i] = float32(math.Ldexp(float64(rng.next()>>40), -24-int(rng.next()%40)))
			}
		}
		grey := image.NewGray(image.Rect(0, 0, w, h))
		for i, v := range luma {
			grey.Pix[i] = uint8(v)
		}
		type result struct {
			square   []float32
			hash     pdq.Hash
			quality  int
			dihedral [8]pdq.Hash
			turned   pdq.Hash
		}
		var want result
		pdq.EachVectors(func(kernels string) {
			var got result
			got.square = pdq.Square(luma, w, h)
			got.hash, got.quality = pdq.FromLuma(luma, w, h)
			got.dihedral, _ = pdq.Dihedral(luma, w, h)
			got.turned, _ = pdq.FromView(grey, pdq.View{Orientation: 6})
			if want.square == nil {
				want = got
			}
			for i, v := range got.square {
				if math.Float32bits(v) != math.Float32bits(want.square[i]) {
					t.Fatalf("%s, %d×%d: sample %d is %x, want %x", kernels, w, h, i, v, want.square[i])
				}
			}
			if got.hash != want.hash || got.quality != want.quality || got.dihedral != want.dihedral || got.turned != want.turned {
				t.Errorf("%s, %d×%d: %+v, want %+v", kernels, w, h, got, want)
			}
		})
	})
}

// TestKernelsOnLongLines is for boxes as long as the columns that are transposed at
// once, and longer than the kernels take.
func TestKernelsOnLongLines(t *testing.T) {
	for _, n := range []int{2049, 8191, 33_000, 65_536, 65_537, 70_003} {
		grey := image.NewGray(image.Rect(0, 0, n, 5))
		rng := splitmix(uint64(n))
		for i := range grey.Pix {
			grey.Pix[i] = uint8(rng.next() >> 56)
		}
		for _, v := range []pdq.View{{}, {Orientation: 6}} {
			var want pdq.Hash
			pdq.EachVectors(func(kernels string) {
				got, _ := pdq.FromView(grey, v)
				if want == (pdq.Hash{}) {
					want = got
				}
				if got != want {
					t.Errorf("%d, %+v, %s: %d bits from the portable hash", n, v, kernels, pdq.Distance(got, want))
				}
			})
		}
	}
}

// TestMeansAreQuotients compares the means of the kernels with divisions: every
// mantissa by every odd count, if all is asked for, as an even count only scales.
func TestMeansAreQuotients(t *testing.T) {
	step := uint32(997)
	if os.Getenv("MEDIAGATE_TEST_EXHAUSTIVE") != "" {
		step = 1
	}
	const size = 1 << 12
	zero, sums, means := make([]float32, size), make([]float32, size), make([]float32, size)
	pdq.EachVectors(func(kernels string) {
		for count := float32(1); count <= pdq.VectorWindow; count += 2 {
			for mantissa := uint32(0); mantissa < 1<<23; {
				for i := range sums {
					sums[i] = math.Float32frombits(127<<23 | mantissa%(1<<23))
					mantissa += step
				}
				pdq.SlideMean(means, slices.Clone(sums), zero, zero, count)
				for i, s := range sums {
					if means[i] != s/count {
						t.Fatalf("%s: %b/%v = %b, want %b", kernels, s, count, means[i], s/count)
					}
				}
			}
		}
	})
}

// Nobody promises a sensible hash of what no picture has, but it must not crash.
func TestLumaThatIsNoNumber(t *testing.T) {
	for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), -1e38, 1e-45} {
		luma := make([]float32, 200*100)
		for i := range luma {
			luma[i] = v * float32(i%3)
		}
		pdq.EachVectors(func(string) {
			pdq.FromLuma(luma, 200, 100)
			pdq.Dihedral(luma, 200, 100)
		})
	}
}

func TestHashingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget at random")
	}
	grey := image.NewGray(image.Rect(0, 0, 300, 200))
	colours := image.NewYCbCr(grey.Rect, image.YCbCrSubsampleRatio420)
	luma := make([]float32, 300*200)
	for name, hash := range map[string]func(){
		"plane":  func() { pdq.FromLuma(luma, 300, 200) },
		"grey":   func() { pdq.FromImage(grey) },
		"colour": func() { pdq.FromImage(colours) },
		"turned": func() { pdq.FromView(grey, pdq.View{Orientation: 6}) },
		"screen": func() { pdq.Screen(colours, pdq.View{}) },
	} {
		if n := testing.AllocsPerRun(100, hash); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
