package pdq

import (
	"math"
	"sync"
)

// frequencies kept along each axis; the constant one is not among them.
const frequencies = 16

// spectrum holds the 16×16 lowest frequencies, vertical by horizontal.
type spectrum [frequencies * frequencies]float32

// cosines is the matrix of the transform, row i = frequency i+1, column j = sample
// j, and its transpose.
type cosines struct {
	d  [frequencies * side]float32
	dt [side * frequencies]float32
}

var dct = sync.OnceValue(func() *cosines {
	var c cosines
	scale := float64(float32(math.Sqrt(2.0 / side)))
	for i := range frequencies {
		for j := range side {
			angle := math.Pi / 2 / side * float64(i+1)
			v := float32(scale * math.Cos(angle*float64(2*j+1)))
			c.d[i*side+j], c.dt[j*frequencies+i] = v, v
		}
	}
	return &c
})

// transform makes b D·s·Dᵗ with sums in the reference's order.
func (s *square) transform(b *spectrum) {
	c := dct()
	var t [frequencies * side]float32
	multiply(t[:], c.d[:], s[:], side)
	multiply(b[:], t[:], c.dt[:], frequencies)
}

// multiplyPortable is a·b for 16×64 and 64×columns samples. The conversion of the
// product keeps compilers from fusing it with the addition.
func multiplyPortable(dst, a, b []float32, columns int) {
	clear(dst)
	for i := range frequencies {
		out := dst[i*columns:][:columns]
		for k, f := range a[i*side:][:side] {
			row := b[k*columns:][:columns]
			for j, v := range row {
				out[j] += float32(f * v)
			}
		}
	}
}

// median is the lower one: the 128th smallest of the 256 values.
func (b *spectrum) median() float32 {
	v := *b
	const k = len(v)/2 - 1
	// Hoare's selection. NaN, which only a plane with NaN has, stops both scans.
	for from, to := 0, len(v)-1; from < to; {
		pivot := v[(from+to)/2]
		i, j := from, to
		for i <= j {
			for v[i] < pivot {
				i++
			}
			for v[j] > pivot {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			to = j
		case k >= i:
			from = i
		default:
			return v[k]
		}
	}
	return v[k]
}

// hash sets the bit of every frequency strictly above the median.
func (b *spectrum) hash() Hash { return b.above(b.median()) }

func (b *spectrum) above(median float32) Hash {
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
func (s *square) quality() int { return min(100, stepSum(s)/90) }

func stepSumPortable(s *square) int {
	total := 0
	for i := range side {
		row := s[i*side:][:side]
		for j, v := range row[1:] {
			total += step(row[j], v)
		}
		if i+1 < side {
			for j, v := range s[(i+1)*side:][:side] {
				total += step(row[j], v)
			}
		}
	}
	return total
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
