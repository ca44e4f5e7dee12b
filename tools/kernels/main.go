// Command kernels writes the assembly of package pdq: each kernel once for AVX2,
// eight samples at a time, and once for AVX-512, sixteen at a time. What they
// compute is said by their portable twins in package pdq.
//
// make generate runs it.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is one set of vector instructions.
type isa struct {
	name  string
	lanes int // float32 in a register
	// vector returns a fresh register.
	vector func() reg.VecVirtual
}

// bytes is the size of a register.
func (v isa) bytes() int { return 4 * v.lanes }

// quarters is how many groups of four samples a register holds.
func (v isa) quarters() int { return v.lanes / 4 }

func (v isa) vectors(n int) []reg.VecVirtual {
	out := make([]reg.VecVirtual, n)
	for i := range out {
		out[i] = v.vector()
	}
	return out
}

// text begins a function named for its instructions.
func (v isa) text(name, signature string, doc ...string) {
	TEXT(name+v.name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(append([]string{name + v.name + " " + doc[0]}, doc[1:]...)...)
}

// zero clears a register.
func (v isa) zero(r reg.VecVirtual) {
	if v.lanes == 16 {
		VPXORD(r, r, r)
		return
	}
	VXORPS(r, r, r)
}

func pointer(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// repeat runs body as often as the register says, which must not be negative and
// is 0 at the end.
func repeat(label string, times reg.GPVirtual, body func()) {
	TESTQ(times, times)
	JZ(LabelRef(label + "_end"))
	Label(label)
	body()
	DECQ(times)
	JNZ(LabelRef(label))
	Label(label + "_end")
}

func ret() {
	VZEROUPPER()
	RET()
}

func at(base reg.Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

func main() {
	ConstraintExpr("!purego")
	for _, v := range []isa{
		{name: "AVX2", lanes: 8, vector: YMM},
		{name: "AVX512", lanes: 16, vector: ZMM},
	} {
		v.transpose()
		v.boxColumns()
		v.sampleColumns()
		v.rowsOf()
		v.divideRows()
		v.slide()
		v.slideMean()
		v.divide()
		v.multiply()
		v.steps()
		v.addScaled()
		v.weighColumns()
		v.greyLuma()
		v.rgbaLuma()
		v.ycbcrLuma(1)
		v.ycbcrLuma(2)
	}
	Generate()
}
