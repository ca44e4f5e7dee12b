//go:build !amd64 || purego

package pdq

// active is what the kernels of this process use.
const active = portable

func (a *axis) blur(dst []float32, dstStride int, src []float32, srcStride int, _ *[]float32) {
	a.blurPortable(dst, dstStride, src, srcStride)
}

func (a *axis) sample(dst []float32, dstStride int, src []float32, srcStride int, _ *[]float32) {
	a.samplePortable(dst, dstStride, src, srcStride)
}

func slide(sum, next, oldest []float32) { slidePortable(sum, next, oldest) }

func slideMean(dst, sum, next, oldest []float32, count, _ float32) {
	slideMeanPortable(dst, sum, next, oldest, count)
}

func divide(dst, src []float32, count float32) { dividePortable(dst, src, count) }

func multiply(dst, a, b []float32, columns int) { multiplyPortable(dst, a, b, columns) }

func stepSum(s *square) int { return stepSumPortable(s) }

func addScaled(dst, src []float32, weight float32) { addScaledPortable(dst, src, weight) }

func (t *tents) weigh(dst, src []float32, stride int, _ *[]float32) {
	t.weighPortable(dst, src, stride)
}

func greyLuma(row []float32, line []byte) { greyLumaPortable(row, line) }

func rgbaLuma(row []float32, line []byte) { rgbaLumaPortable(row, line) }

func ycbcrLuma(row []float32, y, cb, cr []byte, skip, shift int) {
	ycbcrLumaPortable(row, y, cb, cr, skip, shift)
}
