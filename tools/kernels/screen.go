package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func (v isa) addScaled() {
	v.text("addScaled", "func(dst, src *float32, n int, weight float32)", "adds weight·src to a row.")
	dst, src, n := pointer("dst"), pointer("src"), pointer("n")
	weight := v.vector()
	broadcast(weight, "weight")
	v.along(n, func(i reg.GPVirtual) {
		sum := v.vector()
		VMOVUPS(Mem{Base: dst, Index: i, Scale: 4}, sum)
		VFMADD231PS(Mem{Base: src, Index: i, Scale: 4}, weight, sum)
		VMOVUPS(sum, Mem{Base: dst, Index: i, Scale: 4})
	})
	ret()
}

func (v isa) weighColumns() {
	v.text("weighColumns", "func(dst, in *float32, starts *int32, weights *float32, taps, samples int)",
		"sums as many columns of a transposed band as there are taps, from each start on,",
		"by their weights.")
	dst, in, starts := pointer("dst"), pointer("in"), pointer("starts")
	weights, taps, samples := pointer("weights"), pointer("taps"), pointer("samples")
	repeat("samples", samples, func() {
		column, left, sum := GP64(), GP64(), v.vector()
		MOVLQSX(at(starts, 0), column)
		IMUL3Q(U32(v.bytes()), column, column)
		ADDQ(in, column)
		MOVQ(taps, left)
		v.zero(sum)
		repeat("taps", left, func() {
			weight := v.vector()
			VBROADCASTSS(at(weights, 0), weight)
			VFMADD231PS(at(column, 0), weight, sum)
			ADDQ(Imm(4), weights)
			ADDQ(U32(v.bytes()), column)
		})
		VMOVUPS(sum, at(dst, 0))
		ADDQ(U32(v.bytes()), dst)
		ADDQ(Imm(4), starts)
	})
	ret()
}
