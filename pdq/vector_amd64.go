//go:build !purego

package pdq

import "golang.org/x/sys/cpu"

// active is what the kernels of this process use; only tests change it. An
// operator can turn features off: GODEBUG=cpu.avx512f=off,cpu.avx2=off.
var active = widest()

func widest() vectors {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasFMA:
		return portable
	case !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512VL || !x.HasAVX512VPOPCNTDQ || !x.HasAVX512BITALG:
		return avx2
	default:
		return avx512
	}
}
