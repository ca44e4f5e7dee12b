//go:build !race

package pdq_test

const raceEnabled = false
