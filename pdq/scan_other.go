//go:build !amd64 || purego

package pdq

func scanVectors(*[hitsMax]hit, []Hash, *Hash, int) (done, found int) { return 0, 0 }
