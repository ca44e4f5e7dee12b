//go:build !purego

package pdq

import "golang.org/x/sys/cpu"

// active is what the kernels of this process use; only tests change it.
var active = widest()

func widest() vectors {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasFMA:
		return portable
	case !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512VL || !x.HasAVX512VPOPCNTDQ || !x.HasAVX512BITALG:
		return avx2
	default:
		return avx512
	}
}

// vectorWindow is the longest box whose means the kernels round as the division
// does. They correct sum·(1/count) once by its remainder; that this gives the
// quotient for every sum was tried for every count up to here.
const vectorWindow = 512

func (a *axis) blur(dst []float32, dstStride int, src []float32, srcStride int, scratch *[]float32) {
	if active == portable || a.w > vectorWindow {
		a.blurPortable(dst, dstStride, src, srcStride)
		return
	}
	for r := 0; r < band; r += active.lanes() {
		a.blurVector(dst[r*dstStride:], dstStride, src[r*srcStride:], srcStride, scratch)
	}
}

func (a *axis) sample(dst []float32, dstStride int, src []float32, srcStride int, scratch *[]float32) {
	if active == portable || a.w > vectorWindow {
		a.samplePortable(dst, dstStride, src, srcStride)
		return
	}
	for r := 0; r < band; r += active.lanes() {
		a.sampleVector(dst[r*dstStride:], dstStride, src[r*srcStride:], srcStride, scratch)
	}
}

func slide(sum, next, oldest []float32) {
	next, oldest = next[:len(sum)], oldest[:len(sum)]
	switch active {
	case avx512:
		slideAVX512(&sum[0], &next[0], &oldest[0], len(sum))
	case avx2:
		slideAVX2(&sum[0], &next[0], &oldest[0], len(sum))
	default:
		slidePortable(sum, next, oldest)
	}
}

func slideMean(dst, sum, next, oldest []float32, count, inverse float32) {
	dst, next, oldest = dst[:len(sum)], next[:len(sum)], oldest[:len(sum)]
	switch {
	case active == portable || count > vectorWindow:
		slideMeanPortable(dst, sum, next, oldest, count)
	case active == avx512:
		slideMeanAVX512(&dst[0], &sum[0], &next[0], &oldest[0], len(sum), count, inverse)
	default:
		slideMeanAVX2(&dst[0], &sum[0], &next[0], &oldest[0], len(sum), count, inverse)
	}
}

func divide(dst, src []float32, count float32) {
	dst = dst[:len(src)]
	switch active {
	case avx512:
		divideAVX512(&dst[0], &src[0], len(src), count)
	case avx2:
		divideAVX2(&dst[0], &src[0], len(src), count)
	default:
		dividePortable(dst, src, count)
	}
}

func multiply(dst, a, b []float32, columns int) {
	if active == portable {
		multiplyPortable(dst, a, b, columns)
		return
	}
	_, _, _ = dst[frequencies*columns-1], a[frequencies*side-1], b[side*columns-1]
	n := active.lanes()
	for i := 0; i < frequencies; i += n {
		for j := 0; j < columns; j += n {
			if active == avx512 {
				multiplyAVX512(&dst[i*columns+j], 4*columns, &a[i*side], &b[j], 4*columns)
			} else {
				multiplyAVX2(&dst[i*columns+j], 4*columns, &a[i*side], &b[j], 4*columns)
			}
		}
	}
}

// lastOff is a mask for registers whose last lane does not count; narrower ones
// use its end.
var lastOff = [16]int32{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0}

func stepSum(s *square) int {
	switch active {
	case avx512:
		return int(stepsAVX512(&s[0], &lastOff[0]))
	case avx2:
		return int(stepsAVX2(&s[0], &lastOff[8]))
	default:
		return stepSumPortable(s)
	}
}

func addScaled(dst, src []float32, weight float32) {
	dst = dst[:len(src)]
	n := whole(len(src))
	switch {
	case n == 0:
	case active == avx512:
		addScaledAVX512(&dst[0], &src[0], n, weight)
	default:
		addScaledAVX2(&dst[0], &src[0], n, weight)
	}
	addScaledPortable(dst[n:], src[n:], weight)
}
