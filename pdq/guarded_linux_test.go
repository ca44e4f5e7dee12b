package pdq_test

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded makes a slice that ends where memory ends: to read on is to crash.
func guarded[T any](t *testing.T, n int) []T {
	t.Helper()
	page := unix.Getpagesize()
	size := (n*int(unsafe.Sizeof(*new(T))) + page - 1) / page * page
	raw, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(raw); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mprotect(raw[size:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	whole := size / int(unsafe.Sizeof(*new(T)))
	return unsafe.Slice((*T)(unsafe.Pointer(&raw[0])), whole)[whole-n:]
}
