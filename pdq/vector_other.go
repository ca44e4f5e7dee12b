//go:build !amd64 || purego

package pdq

// active is what the kernels of this process use.
const active = portable
