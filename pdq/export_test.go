package pdq

import (
	"image"
	"slices"
)

// Passes returns the plane after each of the four box passes.
func Passes(luma []float32, width, height int) [4][]float32 {
	var out [4][]float32
	var x, y axis
	x.init(width)
	y.init(height)
	stride := padded(width)
	in := make([]float32, padded(height)*stride)
	for i := range height {
		copy(in[i*stride:], luma[i*width:][:width])
	}
	pack := func(rows []float32) []float32 {
		var out []float32
		for i := range height {
			out = append(out, rows[i*stride:][:width]...)
		}
		return out
	}
	for i := range 2 {
		rows, means := make([]float32, len(in)), make([]float32, len(in))
		var scratch []float32
		for b := 0; b < height; b += band {
			x.blur(rows[b*stride:], stride, in[b*stride:], stride, &scratch)
		}
		var c columns
		c.init(&y, stride)
		for c.output() < height {
			if c.taken < height {
				copy(c.from(c.taken), rows[c.taken*stride:][:stride])
			}
			if out := c.output(); out < 0 {
				c.skip()
			} else {
				c.mean(means[out*stride:])
			}
		}
		out[2*i], out[2*i+1], in = pack(rows), pack(means), means
	}
	return out
}

// Window, SampleAt and DCTMatrix are the constants of the stages.
func Window(n int) int                       { return window(n) }
func SampleAt(i, n int) int                  { return sampleAt(i, n) }
func DCTMatrix() [frequencies * side]float32 { return dct().d }

// Vectors names the kernels in use.
func Vectors() string { return active.String() }

// VectorWindow is the longest box that kernels compute.
const VectorWindow = 512

// SlideMean is one step of the pass along columns.
func SlideMean(dst, sum, next, oldest []float32, count float32) {
	slideMean(dst, sum, next, oldest, count, 1/count)
}

// Square returns the 64×64 samples of a plane.
func Square(luma []float32, width, height int) []float32 {
	s := borrow()
	defer s.release()
	s.plane = plane{luma: luma, width: width}
	s.sample(width, height, &s.plane, false)
	return slices.Clone(s.square[:side*side])
}

// Spectrum returns the 256 frequencies of the samples and their median.
func Spectrum(samples []float32) (spectrum, float32) {
	var s square
	copy(s[:], samples)
	var b spectrum
	s.transform(&b)
	return b, b.median()
}

// Luma returns img's brightness plane.
func Luma(img image.Image) []float32 {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	out := make([]float32, w*h)
	var p picture
	p.init(img, View{})
	for y := range h {
		p.row(y, out[y*w:(y+1)*w])
	}
	return out
}

// GapMin is what the guard of screening asks for.
const GapMin = gapMin

// OperatorSquare is Square by the operator.
func OperatorSquare(luma []float32, width, height int) []float32 {
	s := borrow()
	defer s.release()
	s.plane = plane{luma: luma, width: width}
	s.operate(width, height, &s.plane)
	return slices.Clone(s.square[:side*side])
}

// ScreenLuma is to FromLuma what Screen is to FromView.
func ScreenLuma(luma []float32, width, height int) (h Hash, quality int, exact bool) {
	checkPlane(luma, width, height)
	if width < minSide || height < minSide {
		return Hash{}, 0, true
	}
	s := borrow()
	defer s.release()
	s.plane = plane{luma: luma, width: width}
	return s.screen(width, height, &s.plane, false)
}

// Held is how many bytes it took to hash a picture in both ways.
func Held(img image.Image, v View) int64 {
	s := new(shrinker)
	s.picture.init(img, v)
	s.operate(img.Bounds().Dx(), img.Bounds().Dy(), &s.picture)
	s.sample(img.Bounds().Dx(), img.Bounds().Dy(), &s.picture, v.transposed())
	return 4 * int64(s.held())
}
