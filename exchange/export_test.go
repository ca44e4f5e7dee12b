package exchange

import (
	"context"
	"time"

	"mediagate/bank"
	"mediagate/media"
)

// Hasten makes a Fetcher that has not begun wait for less.
func (f *Fetcher) Hasten() {
	f.pauses = pauses{
		scan: 50 * time.Millisecond, due: 20 * time.Millisecond, general: 50 * time.Millisecond,
		firstRetry: 30 * time.Millisecond, lastRetry: 100 * time.Millisecond,
		lease: 10 * time.Second, renew: 3 * time.Second, standBy: 20 * time.Millisecond,
		reread: 300 * time.Millisecond, rereadFirst: 300 * time.Millisecond, rereadSoon: 200 * time.Millisecond,
	}
}

// SetRereads changes when a Fetcher that has not begun reads the state of a room again:
// every so often, first, and after an event.
func (f *Fetcher) SetRereads(every, first, soon time.Duration) {
	f.pauses.reread, f.pauses.rereadFirst, f.pauses.rereadSoon = every, first, soon
}

// ParseCheckpoint reads a checkpoint, and writes it again.
func ParseCheckpoint(text string) (from int64, again bool, written string, err error) {
	c, err := parseCheckpoint(text)
	return c.From, c.Again, c.String(), err
}

// Key is what an item is pending under.
func Key(server, id string) string { return key(media.URI{Server: server, ID: id}) }

// ParseKey reads what Key wrote.
func ParseKey(text string) (server, id string, err error) {
	item, err := parseKey(text)
	return item.Server, item.ID, err
}

// SetLease changes the times of the leases of a Fetcher that has not begun.
func (f *Fetcher) SetLease(lease, renew, standBy time.Duration) {
	f.pauses.lease, f.pauses.renew, f.pauses.standBy = lease, renew, standBy
}

// Lease names the lease of an exchange.
func Lease(name string) string { return leaseOf(name) }

// EndAtExpiry lets holdings end just when their leases expire, each followed by
// another one, and counts those that were ended by what was the one before's.
func (f *Fetcher) EndAtExpiry(times int) (lost int) {
	r := f.newRunner(context.Background(), bank.Exchange{}, nil)
	defer r.stop()
	ended, cancel := context.WithCancel(r.ctx)
	cancel()
	for n := range times {
		_, lose := context.WithCancelCause(r.ctx)
		r.lose = lose
		r.keep(ended, time.Now().Add(time.Duration(n%50)*time.Microsecond), lose)
		next, loseNext := context.WithCancelCause(r.ctx)
		r.lose = loseNext
		time.Sleep(100 * time.Microsecond)
		if next.Err() != nil {
			lost++
		}
		lose(nil)
		loseNext(nil)
	}
	return lost
}
