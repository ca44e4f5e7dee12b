//go:build !purego

package pdq

// whole is how many of n samples fill registers; the rest is done portably.
func whole(n int) int {
	if active == portable {
		return 0
	}
	return n / active.lanes() * active.lanes()
}

func greyLuma(row []float32, line []byte) {
	line = line[:len(row)]
	n := whole(len(row))
	switch {
	case n == 0:
	case active == avx512:
		greyLumaAVX512(&row[0], &line[0], n)
	default:
		greyLumaAVX2(&row[0], &line[0], n)
	}
	greyLumaPortable(row[n:], line[n:])
}

func rgbaLuma(row []float32, line []byte) {
	line = line[:4*len(row)]
	n := whole(len(row))
	switch {
	case n == 0:
	case active == avx512:
		rgbaLumaAVX512(&row[0], &line[0], n)
	default:
		rgbaLumaAVX2(&row[0], &line[0], n)
	}
	rgbaLumaPortable(row[n:], line[4*n:])
}

func ycbcrLuma(row []float32, y, cb, cr []byte, skip, shift int) {
	y = y[:len(row)]
	n := whole(len(row))
	if n == 0 || skip > 0 || shift > 1 {
		ycbcrLumaPortable(row, y, cb, cr, skip, shift)
		return
	}
	_, _ = cb[n>>shift-1], cr[n>>shift-1]
	switch {
	case active == avx512 && shift == 0:
		ycbcrLuma1AVX512(&row[0], &y[0], &cb[0], &cr[0], n)
	case active == avx512:
		ycbcrLuma2AVX512(&row[0], &y[0], &cb[0], &cr[0], n)
	case shift == 0:
		ycbcrLuma1AVX2(&row[0], &y[0], &cb[0], &cr[0], n)
	default:
		ycbcrLuma2AVX2(&row[0], &y[0], &cb[0], &cr[0], n)
	}
	ycbcrLumaPortable(row[n:], y[n:], cb[n>>shift:], cr[n>>shift:], 0, shift)
}
