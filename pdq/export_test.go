package pdq

import "image"

// Passes returns the plane after each of the four box passes.
func Passes(luma []float32, width, height int) [4][]float32 {
	var out [4][]float32
	in := luma
	for i := range 2 {
		rows := make([]float32, len(in))
		for y := range height {
			boxLine(rows[y*width:(y+1)*width], in[y*width:(y+1)*width])
		}
		columns := make([]float32, 0, len(in))
		box := newColumnBox(width, height)
		for y := range height {
			columns = append(columns, box.push(rows[y*width:(y+1)*width])...)
		}
		for row := box.drain(); row != nil; row = box.drain() {
			columns = append(columns, row...)
		}
		out[2*i], out[2*i+1], in = rows, columns, columns
	}
	return out
}

// Window, SampleAt and DCTMatrix are the constants of the stages.
func Window(n int) int                       { return window(n) }
func SampleAt(i, n int) int                  { return sampleAt(i, n) }
func DCTMatrix() [frequencies][side]float32  { return *dctMatrix() }
func Square(luma []float32, w, h int) square { return *sample(w, h, planeRows(luma, w), false) }

// Spectrum returns the 256 frequencies and their median.
func Spectrum(s square) (spectrum, float32) {
	b := s.transform()
	return *b, b.median()
}

// Luma returns img's brightness plane.
func Luma(img image.Image) []float32 {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	out := make([]float32, w*h)
	next := lumaRows(img, false)
	for y := range h {
		next(y, out[y*w:(y+1)*w])
	}
	return out
}
