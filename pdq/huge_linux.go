package pdq

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeMin is below what huge pages are worth asking for.
const hugeMin = 4 << 20

// makeHuge is make, for memory that is read all over the place: with pages of
// 2 MB the processor finds most of it without walking page tables.
func makeHuge[T any](n int) []T {
	s := make([]T, n)
	size := uintptr(n) * unsafe.Sizeof(*new(T))
	if size < hugeMin {
		return s
	}
	const page = 4096
	skip := -uintptr(unsafe.Pointer(&s[0])) % page            //nolint:gosec // Only a remainder is made of it.
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), size) //nolint:gosec // Exactly the bytes of s.
	// Without huge pages, which kernels may lack or forbid, all is the same but
	// slower.
	_ = unix.Madvise(raw[skip:skip+(size-skip)/page*page], unix.MADV_HUGEPAGE)
	return s
}
