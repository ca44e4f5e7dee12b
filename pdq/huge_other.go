//go:build !linux

package pdq

// makeHuge is make, and on Linux more.
func makeHuge[T any](n int) []T { return make([]T, n) }
