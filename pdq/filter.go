package pdq

// The blur of the reference ("Jarosz filter"): a box mean along every row, then
// along every column, and both once more. Rows stream through it, so that a
// picture of any height needs no more than two windows of rows in memory.

// side of the square the blurred picture is sampled to.
const side = 64

// window is the length of the box for a line of n samples.
func window(n int) int { return (n + 2*side - 1) / (2 * side) }

// half is how far a box of length w reaches: output i is the mean of inputs
// i-(w-half) to i+half-1, as far as they exist. For even w the box is one
// longer towards the end.
func half(w int) int { return (w + 2) / 2 }

// boxLine writes the box mean of src to dst, which must not overlap it. The
// order of additions and subtractions is the reference's and decides the last
// bits of every sum.
func boxLine(dst, src []float32) {
	n := len(src)
	w := window(n)
	var sum float32
	in, out := 0, 0
	for ; in < half(w)-1; in++ {
		sum += src[in]
	}
	for ; in < w; in++ {
		sum += src[in]
		dst[out] = sum / float32(in+1)
		out++
	}
	for ; in < n; in++ {
		sum += src[in]
		sum -= src[in-w]
		dst[out] = sum / float32(w)
		out++
	}
	for ; out < n; out++ {
		w--
		sum -= src[n-1-w]
		dst[out] = sum / float32(w)
	}
}

// columnBox is boxLine along every column at once, one row in and, after a
// delay of half a window, one row out.
type columnBox struct {
	n, w    int         // rows in all, length of the box
	in, out int         // rows taken and given so far
	count   int         // rows in sum
	sum     []float32   // one running sum a column
	ring    [][]float32 // the last w rows
	row     []float32   // the row given
}

func newColumnBox(width, rows int) *columnBox {
	w := window(rows)
	b := &columnBox{n: rows, w: w, sum: make([]float32, width), row: make([]float32, width), ring: make([][]float32, w)}
	for i := range b.ring {
		b.ring[i] = make([]float32, width)
	}
	return b
}

// push takes the next row and returns the next output row, or nil while the
// first half window fills. The result is valid until the next call.
func (b *columnBox) push(row []float32) []float32 {
	oldest := b.ring[b.in%b.w]
	if b.in < b.w {
		b.count++
		for x, v := range row {
			b.sum[x] += v
		}
	} else {
		for x, v := range row {
			s := b.sum[x]
			s += v
			s -= oldest[x]
			b.sum[x] = s
		}
	}
	copy(oldest, row)
	b.in++
	if b.in < half(b.w) {
		return nil
	}
	return b.give()
}

// drain returns one of the last rows once every row was pushed, and nil at the
// end.
func (b *columnBox) drain() []float32 {
	if b.out == b.n {
		return nil
	}
	oldest := b.ring[(b.n-b.count)%b.w]
	for x, v := range oldest {
		b.sum[x] -= v
	}
	b.count--
	return b.give()
}

func (b *columnBox) give() []float32 {
	count := float32(b.count)
	for x, s := range b.sum {
		b.row[x] = s / count
	}
	b.out++
	return b.row
}

// blurPass is one box pass along one axis and one along the other.
type blurPass struct {
	columnsFirst bool
	columns      *columnBox
	line         []float32
}

// newBlurPass makes a pass over rows of the given width. columnsFirst swaps the
// two axes: with it a transposed picture is blurred as if it had been turned,
// to the last bit.
func newBlurPass(width, rows int, columnsFirst bool) *blurPass {
	return &blurPass{columnsFirst: columnsFirst, columns: newColumnBox(width, rows), line: make([]float32, width)}
}

// push and drain are those of columnBox; the row pushed may be overwritten.
func (p *blurPass) push(row []float32) []float32 {
	if p.columnsFirst {
		return p.along(p.columns.push(row))
	}
	return p.columns.push(p.along(row))
}

func (p *blurPass) drain() []float32 {
	row := p.columns.drain()
	if p.columnsFirst {
		return p.along(row)
	}
	return row
}

func (p *blurPass) along(row []float32) []float32 {
	if row == nil {
		return nil
	}
	boxLine(p.line, row)
	return p.line
}

// square holds the blurred picture at 64×64 samples, row by row.
type square [side * side]float32

// sampleAt is the index on a line of n samples that sample i of 64 is taken from.
func sampleAt(i, n int) int { return (2*i + 1) * n / (2 * side) }

// rows fills row with line y of a picture, counted from the top.
type rows func(y int, row []float32)

// sample is shrink, but takes a picture of just 64×64 as it is.
func sample(width, height int, next rows, columnsFirst bool) *square {
	if width != side || height != side {
		return shrink(width, height, next, columnsFirst)
	}
	var s square
	for y := range side {
		next(y, s[y*side:(y+1)*side])
	}
	return &s
}

// shrink blurs height rows of the given width, which next fills in order from
// the top, and samples the result. Both sides must be at least 5.
func shrink(width, height int, next rows, columnsFirst bool) *square {
	first := newBlurPass(width, height, columnsFirst)
	second := newBlurPass(width, height, columnsFirst)
	var s square
	y, i := 0, 0
	take := func(row []float32) {
		if row == nil {
			return
		}
		for ; i < side && sampleAt(i, height) == y; i++ {
			for j := range side {
				s[i*side+j] = row[sampleAt(j, width)]
			}
		}
		y++
	}
	row := make([]float32, width)
	for in := range height {
		next(in, row)
		if blurred := first.push(row); blurred != nil {
			take(second.push(blurred))
		}
	}
	for blurred := first.drain(); blurred != nil; blurred = first.drain() {
		take(second.push(blurred))
	}
	for blurred := second.drain(); blurred != nil; blurred = second.drain() {
		take(blurred)
	}
	return &s
}

func (s *square) transpose() {
	for i := range side {
		for j := range i {
			s[i*side+j], s[j*side+i] = s[j*side+i], s[i*side+j]
		}
	}
}
