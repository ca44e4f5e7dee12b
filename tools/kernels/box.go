package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A band is as many rows of a picture as a register has lanes. Its columns are
// registers: lane i is row i. Transposed it is stored column by column.

// rows are pointers to the rows of a band, of which every fourth is kept.
type rows struct {
	every           []reg.GPVirtual
	stride, stride3 reg.GPVirtual
}

func (v isa) rows(base, stride string) rows {
	r := rows{every: []reg.GPVirtual{pointer(base)}, stride: pointer(stride), stride3: GP64()}
	LEAQ(Mem{Base: r.stride, Index: r.stride, Scale: 2}, r.stride3)
	for range v.quarters() - 1 {
		next := GP64()
		LEAQ(Mem{Base: r.every[len(r.every)-1], Index: r.stride, Scale: 4}, next)
		r.every = append(r.every, next)
	}
	return r
}

// at is row 4·quarter+i.
func (r rows) at(quarter, i int) Mem {
	base := r.every[quarter]
	switch i {
	case 0:
		return Mem{Base: base}
	case 1:
		return Mem{Base: base, Index: r.stride, Scale: 1}
	case 2:
		return Mem{Base: base, Index: r.stride, Scale: 2}
	default:
		return Mem{Base: base, Index: r.stride3, Scale: 1}
	}
}

// advance goes on by four samples.
func (r rows) advance() {
	for _, p := range r.every {
		ADDQ(Imm(16), p)
	}
}

// turn transposes each quarter of four registers as a 4×4 matrix.
func (v isa) turn(in []reg.VecVirtual) []reg.VecVirtual {
	a, b, c, d := v.vector(), v.vector(), v.vector(), v.vector()
	VUNPCKLPS(in[1], in[0], a)
	VUNPCKHPS(in[1], in[0], b)
	VUNPCKLPS(in[3], in[2], c)
	VUNPCKHPS(in[3], in[2], d)
	out := v.vectors(4)
	VUNPCKLPD(c, a, out[0])
	VUNPCKHPD(c, a, out[1])
	VUNPCKLPD(d, b, out[2])
	VUNPCKHPD(d, b, out[3])
	return out
}

// load reads four samples of every row of a band and returns them as columns.
func (v isa) load(r rows) []reg.VecVirtual {
	in := v.vectors(4)
	for i, z := range in {
		// A broadcast, and no move to the lowest quarter, which would leave avo
		// thinking that the others hold something.
		if v.lanes == 8 {
			VBROADCASTF128(r.at(0, i), z)
			VINSERTF128(Imm(1), r.at(1, i), z, z)
			continue
		}
		VBROADCASTF32X4(r.at(0, i), z)
		for q := 1; q < v.quarters(); q++ {
			VINSERTF32X4(Imm(uint64(q)), r.at(q, i), z, z)
		}
	}
	return v.turn(in)
}

// store is the inverse of load.
func (v isa) store(columns []reg.VecVirtual, r rows) {
	for i, z := range v.turn(columns) {
		VMOVUPS(z.AsX(), r.at(0, i))
		for q := 1; q < v.quarters(); q++ {
			if v.lanes == 8 {
				VEXTRACTF128(Imm(uint64(q)), z, r.at(q, i))
			} else {
				VEXTRACTF32X4(Imm(uint64(q)), z, r.at(q, i))
			}
		}
	}
}

func (v isa) transpose() {
	v.text("transpose", "func(dst, src *float32, stride, groups int)", "transposes 4·groups columns of a band",
		"with stride bytes from row to row.")
	dst, r, groups := pointer("dst"), v.rows("src", "stride"), pointer("groups")
	repeat("transpose", groups, func() {
		// There are too many rows for the processor to foresee them.
		for q := range v.quarters() {
			for i := range 4 {
				ahead := r.at(q, i)
				ahead.Disp = 512
				PREFETCHT0(ahead)
			}
		}
		for i, column := range v.load(r) {
			VMOVUPS(column, at(dst, i*v.bytes()))
		}
		r.advance()
		ADDQ(U32(4*v.bytes()), dst)
	})
	ret()
}

// quotient is sum/count for a positive integer count and its reciprocal, each
// rounded, as the division would round it: see vectorWindow in package pdq.
func (v isa) quotient(sum, count, inverse reg.VecVirtual) reg.VecVirtual {
	q, rest := v.vector(), v.vector()
	VMULPS(inverse, sum, q)
	VMOVAPS(sum, rest)
	VFNMADD231PS(count, q, rest)
	VFMADD231PS(inverse, rest, q)
	return q
}

func (v isa) boxColumns() {
	v.text("boxColumns", "func(dst *float32, stride int, sum, in *float32, back int, counts, inverses *float32, groups int)",
		"adds columns of a transposed band to a sum, subtracts those",
		"back bytes before, and writes 4·groups means as rows.")
	r, sum, in, back := v.rows("dst", "stride"), pointer("sum"), pointer("in"), pointer("back")
	counts, inverses, groups := pointer("counts"), pointer("inverses"), pointer("groups")
	NEGQ(back)
	s := v.vector()
	VMOVUPS(at(sum, 0), s)
	repeat("boxColumns", groups, func() {
		means := make([]reg.VecVirtual, 4)
		for i := range means {
			VADDPS(at(in, i*v.bytes()), s, s)
			VSUBPS(Mem{Base: in, Index: back, Scale: 1, Disp: i * v.bytes()}, s, s)
			count, inverse := v.vector(), v.vector()
			VBROADCASTSS(at(counts, 4*i), count)
			VBROADCASTSS(at(inverses, 4*i), inverse)
			means[i] = v.quotient(s, count, inverse)
		}
		v.store(means, r)
		r.advance()
		ADDQ(U32(4*v.bytes()), in)
		ADDQ(Imm(16), counts)
		ADDQ(Imm(16), inverses)
	})
	VMOVUPS(s, at(sum, 0))
	ret()
}

func (v isa) sampleColumns() {
	v.text("sampleColumns", "func(dst, sum, in *float32, back int, steps *int32, samples int)",
		"is boxColumns, but writes only the sums reached after each",
		"number of steps, as columns.")
	dst, sum, in, back := pointer("dst"), pointer("sum"), pointer("in"), pointer("back")
	steps, samples := pointer("steps"), pointer("samples")
	NEGQ(back)
	s, left := v.vector(), GP64()
	VMOVUPS(at(sum, 0), s)
	repeat("samples", samples, func() {
		MOVLQSX(at(steps, 0), left)
		repeat("steps", left, func() {
			VADDPS(at(in, 0), s, s)
			VSUBPS(Mem{Base: in, Index: back, Scale: 1}, s, s)
			ADDQ(U32(v.bytes()), in)
		})
		VMOVUPS(s, at(dst, 0))
		ADDQ(U32(v.bytes()), dst)
		ADDQ(Imm(4), steps)
	})
	VMOVUPS(s, at(sum, 0))
	ret()
}

func (v isa) rowsOf() {
	v.text("rowsOf", "func(dst *float32, stride int, columns *float32, groups int)", "writes 4·groups columns as rows.")
	r, in, groups := v.rows("dst", "stride"), pointer("columns"), pointer("groups")
	repeat("rows", groups, func() {
		columns := v.vectors(4)
		for i, c := range columns {
			VMOVUPS(at(in, i*v.bytes()), c)
		}
		v.store(columns, r)
		r.advance()
		ADDQ(U32(4*v.bytes()), in)
	})
	ret()
}

func (v isa) divideRows() {
	v.text("divideRows", "func(dst *float32, stride int, sums, counts *float32, groups int)",
		"divides 4·groups columns and writes them as rows.")
	r, sums, counts, groups := v.rows("dst", "stride"), pointer("sums"), pointer("counts"), pointer("groups")
	repeat("divideRows", groups, func() {
		columns := v.vectors(4)
		for i, c := range columns {
			count := v.vector()
			VBROADCASTSS(at(counts, 4*i), count)
			VMOVUPS(at(sums, i*v.bytes()), c)
			VDIVPS(count, c, c)
		}
		v.store(columns, r)
		r.advance()
		ADDQ(U32(4*v.bytes()), sums)
		ADDQ(Imm(16), counts)
	})
	ret()
}

// slideOnce moves a register of sums on by a row.
func (v isa) slideOnce(sum, next, oldest reg.GPVirtual, i reg.GPVirtual) reg.VecVirtual {
	s := v.vector()
	VMOVUPS(Mem{Base: sum, Index: i, Scale: 4}, s)
	VADDPS(Mem{Base: next, Index: i, Scale: 4}, s, s)
	VSUBPS(Mem{Base: oldest, Index: i, Scale: 4}, s, s)
	VMOVUPS(s, Mem{Base: sum, Index: i, Scale: 4})
	return s
}

// along runs body over n samples, a multiple of the lanes.
func (v isa) along(n reg.GPVirtual, body func(i reg.GPVirtual)) {
	i := GP64()
	XORQ(i, i)
	Label("along")
	CMPQ(i, n)
	JGE(LabelRef("along_end"))
	body(i)
	ADDQ(U32(v.lanes), i)
	JMP(LabelRef("along"))
	Label("along_end")
}

func (v isa) slide() {
	v.text("slide", "func(sum, next, oldest *float32, n int)", "adds a row to sums and subtracts another.")
	sum, next, oldest, n := pointer("sum"), pointer("next"), pointer("oldest"), pointer("n")
	v.along(n, func(i reg.GPVirtual) { v.slideOnce(sum, next, oldest, i) })
	ret()
}

func (v isa) slideMean() {
	v.text("slideMean", "func(dst, sum, next, oldest *float32, n int, count, inverse float32)",
		"is slide and writes the means.")
	dst, sum, next, oldest, n := pointer("dst"), pointer("sum"), pointer("next"), pointer("oldest"), pointer("n")
	count, inverse := v.vector(), v.vector()
	broadcast(count, "count")
	broadcast(inverse, "inverse")
	v.along(n, func(i reg.GPVirtual) {
		s := v.slideOnce(sum, next, oldest, i)
		VMOVUPS(v.quotient(s, count, inverse), Mem{Base: dst, Index: i, Scale: 4})
	})
	ret()
}

func broadcast(r reg.VecVirtual, param string) {
	p, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(p.Addr, r)
}

func (v isa) divide() {
	v.text("divide", "func(dst, src *float32, n int, count float32)", "divides a row.")
	dst, src, n := pointer("dst"), pointer("src"), pointer("n")
	count := v.vector()
	broadcast(count, "count")
	v.along(n, func(i reg.GPVirtual) {
		q := v.vector()
		VMOVUPS(Mem{Base: src, Index: i, Scale: 4}, q)
		VDIVPS(count, q, q)
		VMOVUPS(q, Mem{Base: dst, Index: i, Scale: 4})
	})
	ret()
}
