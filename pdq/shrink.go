package pdq

import "sync"

// square holds the blurred picture at 64×64 samples, row by row, and one sample
// more, which kernels may read.
type square [side*side + 1]float32

// rows fills row with line y of a picture, counted from the top.
type rows interface {
	row(y int, row []float32)
}

// plane is a picture of which all rows lie in memory.
type plane struct {
	luma  []float32
	width int
}

func (p *plane) row(y int, row []float32) { copy(row, p.luma[y*p.width:]) }

// shrinker blurs pictures and samples the result. Rows stream through it, so that
// it needs little more than two windows of rows in memory, which it reuses.
type shrinker struct {
	x, y axis
	// across and down are their operators.
	across, down tents
	// first and second are the passes along columns.
	first, second columns
	in, mid       []float32 // a band each
	kept          []float32 // the sampled rows, before they are sampled along x
	scratch       []float32 // of the kernels
	stride        int       // of in, mid and kept
	columnsFirst  bool
	// The picture and what becomes of it.
	plane    plane
	picture  picture
	square   square
	spectrum spectrum
}

// shrinkers are those at rest.
var shrinkers = sync.Pool{New: func() any { return new(shrinker) }}

func borrow() *shrinker { return shrinkers.Get().(*shrinker) }

// Memory is how many bytes hashing a picture may take, beside the picture.
func Memory(width, height int) int64 {
	// Bands and what kernels make of one; rings; kept rows; sums, zeros and tables.
	rows := 3*band + 2*padded(window(height)+band) + side + 8
	return 4 * (int64(rows)*int64(padded(width)+chunk) + 16*int64(padded(height)))
}

// held is how many samples the shrinker holds room for.
func (s *shrinker) held() int {
	n := cap(s.in) + cap(s.mid) + cap(s.kept) + cap(s.scratch) + cap(s.across.weights) + cap(s.down.weights)
	for _, c := range []*columns{&s.first, &s.second} {
		n += cap(c.ring) + cap(c.sums) + cap(c.zero)
	}
	for _, a := range []*axis{&s.x, &s.y} {
		n += cap(a.counts) + cap(a.inverses)
	}
	return n
}

// keptMax is how much memory a shrinker may keep, in samples. A usual photo of 12
// megapixels needs a quarter of it; only very long lines need more.
const keptMax = 2 << 20

// release gives the shrinker back, without the picture.
func (s *shrinker) release() {
	s.plane, s.picture = plane{}, picture{}
	if s.held() <= keptMax {
		shrinkers.Put(s)
	}
}

// hash is that of the samples, with their quality.
func (s *shrinker) hash() (Hash, int) {
	s.square.transform(&s.spectrum)
	return s.spectrum.hash(), s.square.quality()
}

// sample is shrink, but takes a picture of just 64×64 as it is.
func (s *shrinker) sample(width, height int, src rows, columnsFirst bool) {
	if width != side || height != side {
		s.shrink(width, height, src, columnsFirst)
		return
	}
	for y := range side {
		src.row(y, s.square[y*side:][:side])
	}
}

// columns is the pass along columns, one row in and one out. Rows are as wide as
// the stride; they are written into the ring, a band at a time, before they are
// taken.
type columns struct {
	*axis
	stride int
	ring   []float32
	sums   []float32
	zero   []float32
	taken  int
	kept   int // samples written
}

func (c *columns) init(a *axis, stride int) {
	c.axis, c.stride, c.taken, c.kept = a, stride, 0, 0
	c.ring = grown(c.ring, padded(a.w+band)*stride)
	c.sums, c.zero = grown(c.sums, stride), grown(c.zero, stride)
	clear(c.sums)
	clear(c.zero)
}

// from is the ring's room from row y on; a band that begins at a multiple of its
// height does not wrap.
func (c *columns) from(y int) []float32 { return c.ring[y%padded(c.w+band)*c.stride:] }

// inputs are the row that comes next and the one that leaves the box, or zeros.
func (c *columns) inputs() (next, oldest []float32) {
	next, oldest = c.zero, c.zero
	if c.taken < c.n {
		next = c.from(c.taken)[:c.stride]
	}
	if c.taken >= c.w {
		oldest = c.from(c.taken - c.w)[:c.stride]
	}
	return next, oldest
}

// output is the output that the next row completes; negative while the first half
// of the box fills.
func (c *columns) output() int { return c.taken + 1 - half(c.w) }

// mean takes a row and writes the output it completes.
func (c *columns) mean(dst []float32) {
	next, oldest := c.inputs()
	slideMean(dst[:c.stride], c.sums, next, oldest, c.counts[c.output()], c.inverses[c.output()])
	c.taken++
}

// skip takes a row and writes nothing.
func (c *columns) skip() {
	next, oldest := c.inputs()
	slide(c.sums, next, oldest)
	c.taken++
}

// shrink blurs and samples a picture. Both sides must be at least 5. columnsFirst
// swaps the two axes: with it the transpose of a picture is blurred as if it had
// been turned, to the last bit.
func (s *shrinker) shrink(width, height int, src rows, columnsFirst bool) {
	s.columnsFirst = columnsFirst
	s.x.init(width)
	s.y.init(height)
	// No multiple of 4 KiB, whose rows would fight for the same lines of a cache.
	s.stride = padded(width) + band
	s.in, s.mid = grown(s.in, band*s.stride), grown(s.mid, band*s.stride)
	s.first.init(&s.y, s.stride)
	if columnsFirst {
		s.second.init(&s.y, s.stride)
		s.kept = grown(s.kept, side*s.stride)
	} else {
		s.second.init(&s.y, side)
	}
	for y := 0; y < height; y += band {
		s.take(src, y, min(band, height-y))
		for range min(band, height-y) {
			s.next()
		}
	}
	for s.first.output() < height {
		s.next()
	}
	for s.second.output() < height {
		s.keep()
	}
	if columnsFirst {
		for i := 0; i < side; i += band {
			s.x.sample(s.square[i*side:], side, s.kept[i*s.stride:], s.stride, &s.scratch)
		}
	}
}

// take brings n rows from y on, a band or the last of them, to where the first
// pass along columns finds them.
func (s *shrinker) take(src rows, y, n int) {
	dst := s.first.from(y)
	if s.columnsFirst {
		for i := range n {
			src.row(y+i, dst[i*s.stride:][:s.x.n])
		}
		return
	}
	if p, ok := src.(*plane); ok && n == band {
		s.x.blur(dst, s.stride, p.luma[y*p.width:], p.width, &s.scratch)
		return
	}
	for i := range n {
		src.row(y+i, s.in[i*s.stride:][:s.x.n])
	}
	s.x.blur(dst, s.stride, s.in, s.stride, &s.scratch)
}

// next takes one row along the columns and, once that completes a band, the band
// along x and the columns again.
func (s *shrinker) next() {
	out := s.first.output()
	if out < 0 {
		s.first.skip()
		return
	}
	s.first.mean(s.mid[out%band*s.stride:])
	if out%band < band-1 && out < s.y.n-1 {
		return
	}
	begin := out - out%band
	if s.columnsFirst {
		s.x.blur(s.second.from(begin), s.stride, s.mid, s.stride, &s.scratch)
	} else {
		s.x.sample(s.second.from(begin), side, s.mid, s.stride, &s.scratch)
	}
	for range out - begin + 1 {
		s.keep()
	}
}

// keep takes one row along the columns for the second time and keeps the output
// that completes if it is sampled.
func (s *shrinker) keep() {
	c, dst := &s.second, s.square[:]
	if s.columnsFirst {
		dst = s.kept
	}
	out := c.output()
	c.skip()
	for ; c.samples[c.kept] == out; c.kept++ {
		divide(dst[c.kept*c.stride:][:c.stride], c.sums, c.counts[out])
	}
}

func (s *square) transpose() {
	for i := range side {
		for j := range i {
			s[i*side+j], s[j*side+i] = s[j*side+i], s[i*side+j]
		}
	}
}
