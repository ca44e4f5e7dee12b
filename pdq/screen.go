package pdq

import (
	"image"
	"math"
)

// In real arithmetic the blur and the sampling are one linear operator: each
// sample is a weighted sum of about two windows of rows and columns. That takes
// one product a pixel, and rounds otherwise than the reference.

// The reference's own rounding moves a coefficient of the transform: by less than a
// hundredth in photos and noise of any kind that was tried. Where one lies nearer to
// the median than that, with a margin, the exact way is taken. Pictures can be made
// whose roundings all go one way, and move it by more.
const (
	// gapMin is the least distance between the median and the next coefficient.
	gapMin = 0.05
	// screenSideMax is the longest side that the margin was measured for: sums of
	// longer lines gather more rounding.
	screenSideMax = 8192
	// stepSumMin is a sum of quality steps that is 100 even if a few were truncated
	// the other way.
	stepSumMin = 9100
)

// Screen hashes as [FromView] does, mostly much faster, and tells whether it had to
// take the exact way. It is for looking up what is seen, never for what is banked or
// told: a picture that was made for it can have a hash some bits from the exact one.
// Whoever makes one could as well change what it shows by as many.
func Screen(img image.Image, v View) (h Hash, quality int, exact bool) {
	width, height := img.Bounds().Dx(), img.Bounds().Dy()
	if width < minSide || height < minSide {
		return Hash{}, 0, true
	}
	s := borrow()
	defer s.release()
	s.picture.init(img, v)
	return s.screen(width, height, &s.picture, v.transposed())
}

func (s *shrinker) screen(width, height int, src rows, transposed bool) (h Hash, quality int, exact bool) {
	if max(width, height) <= screenSideMax {
		s.operate(width, height, src)
		if transposed {
			s.square.transpose()
		}
		if stepSum(&s.square) >= stepSumMin {
			s.square.transform(&s.spectrum)
			if median := s.spectrum.median(); s.spectrum.gap(median) > gapMin {
				return s.spectrum.above(median), 100, false
			}
		}
	}
	s.sample(width, height, src, transposed)
	if transposed {
		s.square.transpose()
	}
	h, quality = s.hash()
	return h, quality, true
}

// tents are the weights of the inputs of an axis in each of its samples.
type tents struct {
	n, taps int
	starts  [side]int32
	weights []float32 // taps for each sample; 0 where there is none
	changes []float64
}

func (t *tents) init(a *axis) {
	if t.n == a.n {
		return
	}
	t.n, t.taps = a.n, min(2*a.w, a.n)
	t.weights = grown(t.weights, side*t.taps)
	behind, ahead := a.w-half(a.w), half(a.w)-1
	for i, at := range a.samples[:side] {
		start := min(max(at-2*behind, 0), a.n-t.taps)
		t.starts[i] = int32(start)
		// The second mean is of first means, each of which adds the same to a run of
		// inputs: its beginning adds that to all that follow, its end takes it away.
		t.changes = append(t.changes[:0], make([]float64, t.taps+1)...)
		changes := t.changes
		for o := max(at-behind, 0); o <= min(at+ahead, a.n-1); o++ {
			share := 1 / float64(a.counts[at]) / float64(a.counts[o])
			changes[max(o-behind, 0)-start] += share
			changes[min(o+ahead, a.n-1)+1-start] -= share
		}
		sum := 0.0
		for k := range t.taps {
			sum += changes[k]
			t.weights[i*t.taps+k] = float32(sum)
		}
	}
}

// operate makes the square by the operator: weighted sums of rows as they come,
// and then of columns.
func (s *shrinker) operate(width, height int, src rows) {
	s.x.init(width)
	s.y.init(height)
	s.across.init(&s.x)
	s.down.init(&s.y)
	s.stride = padded(width) + band
	s.kept = grown(s.kept, side*s.stride)
	clear(s.kept)
	s.in = grown(s.in, s.stride)
	p, inMemory := src.(*plane)
	first := 0
	for y := range height {
		for first < side && int(s.down.starts[first])+s.down.taps <= y {
			first++
		}
		row := s.in[:width]
		for i, read := first, false; i < side && int(s.down.starts[i]) <= y; i++ {
			weight := s.down.weights[i*s.down.taps+y-int(s.down.starts[i])]
			if weight == 0 {
				continue
			}
			switch {
			case inMemory:
				row = p.luma[y*p.width:][:width]
			case !read:
				src.row(y, row)
				read = true
			}
			addScaled(s.kept[i*s.stride:][:width], row, weight)
		}
	}
	for i := 0; i < side; i += band {
		s.across.weigh(s.square[i*side:], s.kept[i*s.stride:], s.stride, &s.scratch)
	}
}

// weighPortable writes the samples of a band of rows.
func (t *tents) weighPortable(dst, src []float32, stride int) {
	for r := range band {
		row := src[r*stride:][:t.n]
		for j, start := range t.starts {
			weights := t.weights[j*t.taps:][:t.taps]
			in := row[start:][:t.taps]
			var sum float32
			for k, w := range weights {
				sum += float32(w * in[k])
			}
			dst[r*side+j] = sum
		}
	}
}

func addScaledPortable(dst, src []float32, weight float32) {
	for x, v := range src {
		dst[x] += float32(weight * v)
	}
}

// gap is the distance from the median to the next coefficient above it.
func (b *spectrum) gap(median float32) float32 {
	above, next := 0, float32(math.Inf(1))
	for _, v := range b {
		if v > median {
			above++
			next = min(next, v)
		}
	}
	if above < len(b)/2 {
		return 0 // the next one is equal to it
	}
	return next - median
}
