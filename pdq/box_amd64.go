//go:build !purego

package pdq

// lanes is how many rows of a band a register holds.
func (v vectors) lanes() int {
	if v == avx512 {
		return 16
	}
	return 8
}

// transposed is a band of as many rows as a register has lanes, column by column,
// that moves along x.
type transposed struct {
	columns []float32
	lanes   int
	src     []float32
	stride  int
	n       int
	first   int // the column that columns begins with
	end     int // the column after the last of them
	sum     [band]float32
}

// begin puts the window before the first column, with zeros there.
func (t *transposed) begin(a *axis, src []float32, stride int, scratch *[]float32) {
	*t = transposed{lanes: active.lanes(), src: src, stride: stride, n: a.n, first: -a.w}
	*scratch = grown(*scratch, (5*a.w+chunk+2*band)*t.lanes)
	t.columns = *scratch
	clear(t.columns[:a.w*t.lanes])
}

// at is where a column begins.
func (t *transposed) at(x int) int { return (x - t.first) * t.lanes }

// move forgets the columns before keep and appends a chunk of those that follow,
// or zeros after the last.
func (t *transposed) move(keep, w int) {
	if keep > t.first {
		copy(t.columns, t.columns[t.at(keep):t.at(t.end)])
		t.first = keep
	}
	if t.end < t.n {
		n := min(t.n-t.end, max(chunk, w))
		transpose(t.columns[t.at(t.end):], t.src[t.end:], t.stride, n/4, t.lanes)
		for x := t.end + n/4*4; x < t.end+n; x++ {
			for i := range t.lanes {
				t.columns[t.at(x)+i] = t.src[i*t.stride+x]
			}
		}
		t.end += n
	}
	if t.end == t.n { // whatever is asked for after it
		clear(t.columns[t.at(t.n):])
	}
}

// blurVector is blurPortable for as many rows as a register has lanes.
func (a *axis) blurVector(dst []float32, dstStride int, src []float32, srcStride int, scratch *[]float32) {
	var t transposed
	t.begin(a, src, srcStride, scratch)
	ahead := half(a.w) - 1
	for o := 0; o < a.n; {
		t.move(o+ahead-a.w, a.w)
		if o == 0 {
			for x := range ahead {
				for i := range t.lanes {
					t.sum[i] += t.columns[t.at(x)+i]
				}
			}
		}
		last := t.end - ahead
		if t.end == a.n {
			last = (a.n + 3) / 4 * 4
		}
		groups := (last - o) / 4
		boxColumns(dst[o:], dstStride, &t, o+ahead, a.w, a.counts[o:], a.inverses[o:], groups)
		o += 4 * groups
	}
}

// sampleVector is samplePortable for as many rows as a register has lanes.
func (a *axis) sampleVector(dst []float32, dstStride int, src []float32, srcStride int, scratch *[]float32) {
	var t transposed
	var sums [side * band]float32
	t.begin(a, src, srcStride, scratch)
	x := 0 // the next column
	for k := 0; k < side; {
		t.move(x-a.w, a.w)
		from := k
		for k < side && (a.samples[k]+half(a.w) <= t.end || t.end == a.n) {
			k++
		}
		if k > from {
			sampleColumns(sums[from*t.lanes:], &t, x, a.w, a.steps[from:k])
			x = a.samples[k-1] + half(a.w)
		}
	}
	divideRows(dst, dstStride, sums[:], a.sampleCounts[:], t.lanes)
}

func transpose(dst, src []float32, stride, groups, lanes int) {
	if groups == 0 {
		return
	}
	_, _ = dst[4*groups*lanes-1], src[(lanes-1)*stride+4*groups-1]
	if lanes == 16 {
		transposeAVX512(&dst[0], &src[0], 4*stride, groups)
	} else {
		transposeAVX2(&dst[0], &src[0], 4*stride, groups)
	}
}

func boxColumns(dst []float32, stride int, t *transposed, x, w int, counts, inverses []float32, groups int) {
	if groups <= 0 {
		return
	}
	n := 4 * groups
	_, _, _, _ = dst[(t.lanes-1)*stride+n-1], t.columns[t.at(x-w)], t.columns[t.at(x+n)-1], counts[n-1]
	in, back := &t.columns[t.at(x)], 4*w*t.lanes
	if t.lanes == 16 {
		boxColumnsAVX512(&dst[0], 4*stride, &t.sum[0], in, back, &counts[0], &inverses[0], groups)
	} else {
		boxColumnsAVX2(&dst[0], 4*stride, &t.sum[0], in, back, &counts[0], &inverses[0], groups)
	}
}

func sampleColumns(dst []float32, t *transposed, x, w int, steps []int32) {
	n := 0
	for _, s := range steps {
		n += int(s)
	}
	_, _, _ = dst[len(steps)*t.lanes-1], t.columns[t.at(x-w)], t.columns[t.at(x+n)-1]
	in, back := &t.columns[t.at(x)], 4*w*t.lanes
	if t.lanes == 16 {
		sampleColumnsAVX512(&dst[0], &t.sum[0], in, back, &steps[0], len(steps))
	} else {
		sampleColumnsAVX2(&dst[0], &t.sum[0], in, back, &steps[0], len(steps))
	}
}

func divideRows(dst []float32, stride int, sums, counts []float32, lanes int) {
	_, _ = dst[(lanes-1)*stride+side-1], sums[side*lanes-1]
	if lanes == 16 {
		divideRowsAVX512(&dst[0], 4*stride, &sums[0], &counts[0], side/4)
	} else {
		divideRowsAVX2(&dst[0], 4*stride, &sums[0], &counts[0], side/4)
	}
}

func (t *tents) weigh(dst, src []float32, stride int, scratch *[]float32) {
	if active == portable {
		t.weighPortable(dst, src, stride)
		return
	}
	var sums [side * band]float32
	n := active.lanes()
	*scratch = grown(*scratch, padded(t.n)*n)
	dst = dst[:band*side]
	for r := 0; r < band; r += n {
		// The rows are padded, so that whole groups of columns can be turned.
		transpose(*scratch, src[r*stride:], stride, padded(t.n)/4, n)
		if active == avx512 {
			weighColumnsAVX512(&sums[0], &(*scratch)[0], &t.starts[0], &t.weights[0], t.taps, side)
			rowsOfAVX512(&dst[r*side], 4*side, &sums[0], side/4)
		} else {
			weighColumnsAVX2(&sums[0], &(*scratch)[0], &t.starts[0], &t.weights[0], t.taps, side)
			rowsOfAVX2(&dst[r*side], 4*side, &sums[0], side/4)
		}
	}
}
