package pdq

// The blur of the reference ("Jarosz filter") is a box mean along every row, then
// along every column, and both once more. Its sums are running ones: the order of
// additions and subtractions decides their last bits.

// side of the square the blurred picture is sampled to.
const side = 64

// band is how many rows are blurred along x at once.
const band = 16

// chunk is how many columns of a band are transposed at once: few enough that
// they stay in the first cache.
const chunk = 256

// axis is how the box runs along lines of n samples.
type axis struct {
	n, w int
	// counts and inverses are, by output, how many samples its box has, and one
	// divided by that. They are 1 in padding.
	counts, inverses []float32
	// samples are the outputs that are kept; steps how many inputs come from one
	// to the next.
	samples      [side + 1]int // and one that is never reached
	steps        [side]int32
	sampleCounts [side]float32
}

// window is the length of the box for a line of n samples.
func window(n int) int { return (n + 2*side - 1) / (2 * side) }

// half is how far a box of length w reaches: output i is the mean of inputs
// i-(w-half) to i+half-1, as far as they exist. For even w the box is one
// longer towards the end.
func half(w int) int { return (w + 2) / 2 }

// sampleAt is the index on a line of n samples that sample i of 64 is taken from.
func sampleAt(i, n int) int { return (2*i + 1) * n / (2 * side) }

func (a *axis) init(n int) {
	if a.n == n {
		return
	}
	a.n, a.w = n, window(n)
	a.counts, a.inverses = grown(a.counts, padded(n)), grown(a.inverses, padded(n))
	taken := 0
	for i := range side {
		at := sampleAt(i, n)
		a.samples[i] = at
		a.steps[i] = int32(at + half(a.w) - taken)
		taken = at + half(a.w)
	}
	for i := range a.counts {
		a.counts[i] = 1
		if i < n {
			a.counts[i] = float32(min(i+half(a.w), n) - max(i+half(a.w)-a.w, 0))
		}
		a.inverses[i] = 1 / a.counts[i]
	}
	for i := range side {
		a.sampleCounts[i] = a.counts[a.samples[i]]
	}
	a.samples[side] = n
}

// padded rounds up to whole bands.
func padded(n int) int { return (n + band - 1) / band * band }

// grown returns a slice of length n that reuses memory.
func grown(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// mean is sum/count, rounded as the division rounds it, for any sum whose
// quotient is a normal number. A quotient of a 24-bit number by an integer below
// 2^27 is never halfway between two float32, and never nearer to that than
// 2^-52 of itself, which is more than the two roundings in float64 can move it.
func mean(sum float32, inverse float64) float32 { return float32(float64(sum) * inverse) }

// blurPortable writes the box means of the rows of a band to dst. Strides are in
// samples.
func (a *axis) blurPortable(dst []float32, dstStride int, src []float32, srcStride int) {
	for r := 0; r < band; r += 4 {
		a.blurFour(dst[r*dstStride:], dstStride, src[r*srcStride:], srcStride)
	}
}

// blurFour blurs four rows, whose sums do not wait for one another.
func (a *axis) blurFour(dst []float32, dstStride int, src []float32, srcStride int) {
	n, w, ahead := a.n, a.w, half(a.w)-1
	in0, in1, in2, in3 := fourRows(src, srcStride, n)
	out0, out1, out2, out3 := fourRows(dst, dstStride, n)
	var s0, s1, s2, s3 float32
	for i := range ahead {
		s0, s1, s2, s3 = s0+in0[i], s1+in1[i], s2+in2[i], s3+in3[i]
	}
	o := 0
	for ; o+ahead < w; o++ { // nothing leaves yet
		i := o + ahead
		s0, s1, s2, s3 = s0+in0[i], s1+in1[i], s2+in2[i], s3+in3[i]
		inverse := 1 / float64(a.counts[o])
		out0[o], out1[o], out2[o], out3[o] = mean(s0, inverse), mean(s1, inverse), mean(s2, inverse), mean(s3, inverse)
	}
	if m := n - w; m > 0 {
		inverse := 1 / float64(w)
		next0, next1, next2, next3 := in0[w:][:m], in1[w:][:m], in2[w:][:m], in3[w:][:m]
		in0, in1, in2, in3 := in0[:m], in1[:m], in2[:m], in3[:m]
		out0, out1, out2, out3 := out0[o:][:m], out1[o:][:m], out2[o:][:m], out3[o:][:m]
		for i := range m {
			s0 += next0[i]
			s1 += next1[i]
			s2 += next2[i]
			s3 += next3[i]
			s0 -= in0[i]
			s1 -= in1[i]
			s2 -= in2[i]
			s3 -= in3[i]
			out0[i], out1[i] = mean(s0, inverse), mean(s1, inverse)
			out2[i], out3[i] = mean(s2, inverse), mean(s3, inverse)
		}
		o += m
	}
	for ; o < n; o++ { // nothing comes any more
		i := o + ahead - w
		s0, s1, s2, s3 = s0-in0[i], s1-in1[i], s2-in2[i], s3-in3[i]
		inverse := 1 / float64(a.counts[o])
		out0[o], out1[o], out2[o], out3[o] = mean(s0, inverse), mean(s1, inverse), mean(s2, inverse), mean(s3, inverse)
	}
}

func fourRows(s []float32, stride, n int) (a, b, c, d []float32) {
	return s[:n], s[stride:][:n], s[2*stride:][:n], s[3*stride:][:n]
}

// samplePortable is blurPortable, but writes the 64 sampled means of each row
// alone.
func (a *axis) samplePortable(dst []float32, dstStride int, src []float32, srcStride int) {
	for r := 0; r < band; r += 4 {
		a.sampleFour(dst[r*dstStride:], dstStride, src[r*srcStride:], srcStride)
	}
}

func (a *axis) sampleFour(dst []float32, dstStride int, src []float32, srcStride int) {
	n, w := a.n, a.w
	in0, in1, in2, in3 := fourRows(src, srcStride, n)
	out0, out1, out2, out3 := fourRows(dst, dstStride, side)
	var s0, s1, s2, s3 float32
	i := 0
	for k := range side {
		end := a.samples[k] + half(w)
		for ; i < min(end, w); i++ {
			s0, s1, s2, s3 = s0+in0[i], s1+in1[i], s2+in2[i], s3+in3[i]
		}
		if m := min(end, n) - i; m > 0 {
			next0, next1, next2, next3 := in0[i:][:m], in1[i:][:m], in2[i:][:m], in3[i:][:m]
			old0, old1, old2, old3 := in0[i-w:][:m], in1[i-w:][:m], in2[i-w:][:m], in3[i-w:][:m]
			for j := range m {
				s0 += next0[j]
				s1 += next1[j]
				s2 += next2[j]
				s3 += next3[j]
				s0 -= old0[j]
				s1 -= old1[j]
				s2 -= old2[j]
				s3 -= old3[j]
			}
			i += m
		}
		for ; i < end; i++ {
			j := i - w
			s0, s1, s2, s3 = s0-in0[j], s1-in1[j], s2-in2[j], s3-in3[j]
		}
		count := a.sampleCounts[k]
		out0[k], out1[k], out2[k], out3[k] = s0/count, s1/count, s2/count, s3/count
	}
}

// slidePortable adds a row to sums and subtracts another.
func slidePortable(sum, next, oldest []float32) {
	next, oldest = next[:len(sum)], oldest[:len(sum)]
	for x, s := range sum {
		s += next[x]
		s -= oldest[x]
		sum[x] = s
	}
}

// slideMeanPortable is slidePortable and writes the means of count rows.
func slideMeanPortable(dst, sum, next, oldest []float32, count float32) {
	inverse := 1 / float64(count)
	dst, next, oldest = dst[:len(sum)], next[:len(sum)], oldest[:len(sum)]
	for x, s := range sum {
		s += next[x]
		s -= oldest[x]
		sum[x] = s
		dst[x] = mean(s, inverse)
	}
}

func dividePortable(dst, src []float32, count float32) {
	for x, v := range src {
		dst[x] = v / count
	}
}
