//go:build !amd64 || purego

package pdq

// EachVectors calls do with every set of vector instructions that this build
// has.
func EachVectors(do func(name string)) { do(active.String()) }
