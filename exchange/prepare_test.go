package exchange_test

import (
	"sync"
	"testing"
)

// TestPrepareAtOnce: processes that start together all find the exchange there,
// whoever was the one to create it.
func TestPrepareAtOnce(t *testing.T) {
	for range 10 {
		b := newBench(t)
		var all sync.WaitGroup
		for range 8 {
			f := b.newFetcher()
			all.Go(func() {
				if err := f.Prepare(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}
