package pdq

import (
	"sync"
	"sync/atomic"
)

// buildersMax bounds how many slots are sorted at a time, because each takes
// eight bytes a hash while it lasts.
const buildersMax = 4

func newBuckets(hashes []Hash, most int) *buckets {
	n := len(hashes)
	b := &buckets{
		bounds: makeHuge[uint32](slots<<slotBits + 1),
		ids:    makeHuge[uint32](slots * n),
		next:   makeHuge[uint16](slots*n + nextSpare),
	}
	b.bounds[slots<<slotBits] = uint32(slots * n)
	var taken atomic.Int32
	var builders sync.WaitGroup
	for range min(most, buildersMax) {
		builders.Go(func() {
			spread := makeHuge[uint64](n)
			for s := int(taken.Add(1)) - 1; s < slots; s = int(taken.Add(1)) - 1 {
				b.sort(hashes, s, spread)
			}
		})
	}
	builders.Wait()
	return b
}

// sort fills in what belongs to one slot. It sorts by the upper byte into spread,
// and from there by the lower, so that each time it writes to no more places
// than the processor's caches have room for.
func (b *buckets) sort(hashes []Hash, slot int, spread []uint64) {
	const byteBits, values = slotBits / 2, 1 << (slotBits / 2)
	word, shift := slot/4, slotBits*(slot%4)
	nextWord, nextShift := (slot+1)%slots/4, slotBits*((slot+1)%slots%4)
	var counts [values]uint32
	for i := range hashes {
		counts[uint8(hashes[i][word]>>(shift+byteBits))]++
	}
	var ends [values]uint32 // of what is spread so far
	for v := range values - 1 {
		ends[v+1] = ends[v] + counts[v]
	}
	for i := range hashes {
		own, next := uint16(hashes[i][word]>>shift), uint16(hashes[i][nextWord]>>nextShift)
		to := &ends[own>>byteBits]
		spread[*to] = uint64(i)<<32 | uint64(own)<<slotBits | uint64(next)
		*to++
	}
	first := uint32(slot * len(hashes))
	ids, next := b.ids[first:], b.next[first:]
	from := uint32(0)
	for upper, end := range ends {
		part := spread[from:end]
		clear(counts[:])
		for _, e := range part {
			counts[uint8(e>>slotBits)]++
		}
		bounds := b.bounds[slot<<slotBits+upper<<byteBits:][:values]
		for v, count := range counts {
			bounds[v] = first + from
			counts[v] = from
			from += count
		}
		for _, e := range part {
			to := &counts[uint8(e>>slotBits)]
			ids[*to], next[*to] = uint32(e>>32), uint16(e)
			*to++
		}
	}
}
