package pdq

import (
	"math"
	"slices"
	"sync"
)

// frequencies kept along each axis; the constant one is not among them.
const frequencies = 16

// spectrum holds the 16×16 lowest frequencies, vertical by horizontal.
type spectrum [frequencies * frequencies]float32

// dctMatrix returns row i = frequency i+1, column j = sample j.
var dctMatrix = sync.OnceValue(func() *[frequencies][side]float32 {
	var d [frequencies][side]float32
	scale := float64(float32(math.Sqrt(2.0 / side)))
	for i := range d {
		for j := range d[i] {
			angle := math.Pi / 2 / side * float64(i+1)
			d[i][j] = float32(scale * math.Cos(angle*float64(2*j+1)))
		}
	}
	return &d
})

// transform is D·s·Dᵗ with sums in the reference's order. The conversions of
// the products keep compilers from fusing them with the additions.
func (s *square) transform() *spectrum {
	d := dctMatrix()
	var t [frequencies][side]float32
	for i := range t {
		for k := range side {
			f := d[i][k]
			for j, v := range s[k*side : (k+1)*side] {
				t[i][j] += float32(f * v)
			}
		}
	}
	var b spectrum
	for i := range t {
		for j := range d {
			var sum float32
			for k, v := range t[i] {
				sum += float32(v * d[j][k])
			}
			b[i*frequencies+j] = sum
		}
	}
	return &b
}

// median is the lower one: the 128th smallest of the 256 values.
func (b *spectrum) median() float32 {
	sorted := *b
	slices.Sort(sorted[:])
	return sorted[len(sorted)/2-1]
}

// hash sets the bit of every frequency strictly above the median.
func (b *spectrum) hash() Hash {
	median := b.median()
	var h Hash
	for k, v := range b {
		if v > median {
			h[k/64] |= 1 << (k % 64)
		}
	}
	return h
}

// quality is the reference's measure of contrast, 0–100: truncated differences
// of neighbouring samples, summed. It is an integer by definition.
func (s *square) quality() int {
	total := 0
	for i := range side {
		for j := range side {
			v := s[i*side+j]
			if i+1 < side {
				total += step(v, s[(i+1)*side+j])
			}
			if j+1 < side {
				total += step(v, s[i*side+j+1])
			}
		}
	}
	return min(100, total/90)
}

func step(u, v float32) int {
	d := int(float32((u-v)*100) / 255)
	return max(d, -d)
}

// dihedral returns the spectrum of the picture turned or mirrored: negated
// where odd of the source's (i, j) says so, and transposed or not.
func (b *spectrum) dihedral(transpose bool, negate func(i, j int) bool) *spectrum {
	var out spectrum
	for i := range frequencies {
		for j := range frequencies {
			v := b[i*frequencies+j]
			if negate(i, j) {
				v = -v
			}
			if transpose {
				out[j*frequencies+i] = v
			} else {
				out[i*frequencies+j] = v
			}
		}
	}
	return &out
}
