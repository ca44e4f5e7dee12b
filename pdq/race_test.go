//go:build race

package pdq_test

// raceEnabled: the race detector makes a sync.Pool forget at random.
const raceEnabled = true
