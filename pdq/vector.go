package pdq

// vectors is a set of vector instructions that the inner loops, the kernels,
// exist for. Each kernel has a portable twin, which says what it must compute,
// to the last bit, and which all other processors use.
type vectors uint8

// The kernels for avx2 also need FMA; those for avx512 need F, BW, VL, VPOPCNTDQ
// and BITALG, which processors have had since Ice Lake and Zen 4.
const (
	portable vectors = iota
	avx2
	avx512
)

func (v vectors) String() string { return [...]string{"portable", "avx2", "avx512"}[v] }
