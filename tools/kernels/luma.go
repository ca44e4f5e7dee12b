package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// everyLane is a number in memory, once for each lane of the widest register.
type everyLane map[uint32]Mem

var lanesOf = everyLane{}

func (e everyLane) of(bits uint32) Mem {
	if m, ok := e[bits]; ok {
		return m
	}
	m := GLOBL(fmt.Sprintf("lanes%x", bits), attr.RODATA|attr.NOPTR)
	for i := range 16 {
		DATA(4*i, U32(bits))
	}
	e[bits] = m
	return m
}

func number(n int32) Mem       { return lanesOf.of(uint32(n)) }
func decimal(f float32) Mem    { return lanesOf.of(math.Float32bits(f)) }
func pair(low, high int16) Mem { return number(int32(high)<<16 | int32(low)) }

// and and or are VPAND and VPOR, which have another name for 512 bits.
func (v isa) and(m Op, r reg.VecVirtual) {
	if v.lanes == 16 {
		VPANDD(m, r, r)
	} else {
		VPAND(m, r, r)
	}
}

func (v isa) or(m Op, r reg.VecVirtual) {
	if v.lanes == 16 {
		VPORD(m, r, r)
	} else {
		VPOR(m, r, r)
	}
}

// thousandth stores n/1000, rounded as the division rounds it.
func (v isa) thousandth(n reg.VecVirtual, dst Mem) {
	sum, thousand, inverse := v.vector(), v.vector(), v.vector()
	VCVTDQ2PS(n, sum)
	VMOVUPS(decimal(1000), thousand)
	VMOVUPS(decimal(1.0/1000), inverse)
	VMOVUPS(v.quotient(sum, thousand, inverse), dst)
}

func (v isa) greyLuma() {
	v.text("greyLuma", "func(dst *float32, src *byte, n int)", "converts bytes.")
	dst, src, n := pointer("dst"), pointer("src"), pointer("n")
	v.along(n, func(i reg.GPVirtual) {
		g := v.vector()
		VPMOVZXBD(Mem{Base: src, Index: i, Scale: 1}, g)
		VCVTDQ2PS(g, g)
		VMOVUPS(g, Mem{Base: dst, Index: i, Scale: 4})
	})
	ret()
}

func (v isa) rgbaLuma() {
	v.text("rgbaLuma", "func(dst *float32, src *byte, n int)", "is the brightness of pixels of four bytes: R, G, B",
		"and one that does not count.")
	dst, src, n := pointer("dst"), pointer("src"), pointer("n")
	v.along(n, func(i reg.GPVirtual) {
		even, odd := v.vector(), v.vector()
		VMOVUPS(Mem{Base: src, Index: i, Scale: 4}, even)
		VPSRLW(Imm(8), even, odd)
		v.and(number(0x00ff00ff), even)
		VPMADDWD(pair(299, 114), even, even)
		VPMADDWD(pair(587, 0), odd, odd)
		VPADDD(odd, even, even)
		v.thousandth(even, Mem{Base: dst, Index: i, Scale: 4})
	})
	ret()
}

func (v isa) ycbcrLuma(across int) {
	v.text(fmt.Sprintf("ycbcrLuma%d", across), "func(dst *float32, y, cb, cr *byte, n int)",
		fmt.Sprintf("is the brightness of the RGB of pixels of which %d share a chroma", across), "sample.")
	dst, y, cb, cr, n := pointer("dst"), pointer("y"), pointer("cb"), pointer("cr"), pointer("n")
	// chroma is less 128.
	chroma := func(p, i reg.GPVirtual) reg.VecVirtual {
		c := v.vector()
		switch {
		case across == 1:
			VPMOVZXBD(Mem{Base: p, Index: i, Scale: 1}, c)
		default:
			few := XMM()
			if v.lanes == 16 {
				VMOVQ(Mem{Base: p, Index: i, Scale: 1}, few)
			} else {
				VMOVD(Mem{Base: p, Index: i, Scale: 1}, few)
			}
			VPUNPCKLBW(few, few, few)
			VPMOVZXBD(few, c)
		}
		VPSUBD(number(128), c, c)
		return c
	}
	times := func(factor int32, c reg.VecVirtual) reg.VecVirtual {
		product := v.vector()
		VPMULLD(number(factor), c, product)
		return product
	}
	clamp := func(c reg.VecVirtual) {
		VPSRAD(Imm(16), c, c)
		VPMAXSD(number(0), c, c)
		VPMINSD(number(255), c, c)
	}
	half := GP64()
	v.along(n, func(i reg.GPVirtual) {
		MOVQ(i, half)
		if across == 2 {
			SHRQ(Imm(1), half)
		}
		base := v.vector()
		VPMOVZXBD(Mem{Base: y, Index: i, Scale: 1}, base)
		VPMULLD(number(0x10101), base, base)
		blue, red := chroma(cb, half), chroma(cr, half)
		r, g, b := v.vector(), v.vector(), v.vector()
		VPADDD(times(91881, red), base, r)
		VPSUBD(times(22554, blue), base, g)
		VPSUBD(times(46802, red), g, g)
		VPADDD(times(116130, blue), base, b)
		clamp(r)
		clamp(g)
		clamp(b)
		VPSLLD(Imm(16), g, g)
		v.or(g, r)
		VPMADDWD(pair(299, 587), r, r)
		VPMADDWD(pair(114, 0), b, b)
		VPADDD(b, r, r)
		v.thousandth(r, Mem{Base: dst, Index: i, Scale: 4})
	})
	ret()
}
