package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// side is that of the square the transform is made from.
const side = 64

func (v isa) multiply() {
	v.text("multiply", "func(dst *float32, dstStride int, a, b *float32, bStride int)",
		"is a block of a·b, as wide and high as a register has",
		"lanes, with 64 columns in a; strides are bytes.")
	dst, dstStride := pointer("dst"), pointer("dstStride")
	a, b, bStride := pointer("a"), pointer("b"), pointer("bStride")
	sums := v.vectors(v.lanes)
	for _, s := range sums {
		v.zero(s)
	}
	k := GP64()
	MOVQ(U32(side), k)
	repeat("multiply", k, func() {
		row := v.vector()
		VMOVUPS(at(b, 0), row)
		for i, s := range sums {
			product := v.vector()
			if v.lanes == 16 {
				VMULPS_BCST(at(a, 4*side*i), row, product)
			} else {
				VBROADCASTSS(at(a, 4*side*i), product)
				VMULPS(row, product, product)
			}
			VADDPS(product, s, s)
		}
		ADDQ(Imm(4), a)
		ADDQ(bStride, b)
	})
	for _, s := range sums {
		VMOVUPS(s, at(dst, 0))
		ADDQ(dstStride, dst)
	}
	ret()
}

// stepSum adds |trunc((u-w)·100/255)| to total.
func (v isa) stepSum(u reg.VecVirtual, w Op, hundred, most, total, keep reg.VecVirtual) {
	d := v.vector()
	VSUBPS(w, u, d)
	VMULPS(hundred, d, d)
	VDIVPS(most, d, d)
	VCVTTPS2DQ(d, d)
	VPABSD(d, d)
	if keep != nil {
		if v.lanes == 16 {
			VPANDD(keep, d, d)
		} else {
			VPAND(keep, d, d)
		}
	}
	VPADDD(d, total, total)
}

func (v isa) steps() {
	v.text("steps", "func(s *float32, keep *int32) int32",
		"is the sum of the quality steps of a square of 64×64, which",
		"must have room for one more sample; keep is -1 for every lane but the last.")
	s := pointer("s")
	mask := pointer("keep")
	keep, total := v.vector(), v.vector()
	VMOVUPS(at(mask, 0), keep)
	v.zero(total)
	hundred, most := v.constant(100), v.constant(255)
	n := GP64()
	row := func(vertical bool) {
		for x := 0; x < side; x += v.lanes {
			u := v.vector()
			VMOVUPS(at(s, 4*x), u)
			if vertical {
				v.stepSum(u, at(s, 4*(x+side)), hundred, most, total, nil)
			}
			last := reg.VecVirtual(nil)
			if x+v.lanes == side {
				last = keep
			}
			v.stepSum(u, at(s, 4*x+4), hundred, most, total, last)
		}
		ADDQ(U32(4*side), s)
	}
	MOVQ(U32(side-1), n)
	repeat("rows", n, func() { row(true) })
	row(false)
	for half := v.lanes / 2; half > 0; half /= 2 {
		other := v.vector()
		switch half {
		case 8:
			VEXTRACTI64X4(Imm(1), total, other.AsY())
			VPADDD(other.AsY(), total.AsY(), total.AsY())
		case 4:
			VEXTRACTI128(Imm(1), total.AsY(), other.AsX())
			VPADDD(other.AsX(), total.AsX(), total.AsX())
		case 2:
			VPSHUFD(Imm(0x4e), total.AsX(), other.AsX())
			VPADDD(other.AsX(), total.AsX(), total.AsX())
		case 1:
			VPSHUFD(Imm(0xb1), total.AsX(), other.AsX())
			VPADDD(other.AsX(), total.AsX(), total.AsX())
		}
	}
	out := GP32()
	VMOVD(total.AsX(), out)
	Store(out, ReturnIndex(0))
	ret()
}

// constant is a register full of a small number.
func (v isa) constant(value float32) reg.VecVirtual {
	bits, r := GP32(), v.vector()
	MOVL(U32(math.Float32bits(value)), bits)
	VMOVD(bits, r.AsX())
	VBROADCASTSS(r.AsX(), r)
	return r
}
