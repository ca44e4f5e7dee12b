package pdq

import "math/bits"

// collectPortable says what collect does, for thresholds from slots on.
// Reading one entry of each bucket has its cache line fetched while the next
// buckets are looked up.
func collectPortable(r *runs, bounds []uint32, next []uint16, q *Hash) (total int) {
	touched := uint16(0)
	for s := range slots {
		own := s<<slotBits | int(slotOf(q, s))
		of := r.at[s*(1+slotBits):][:1+slotBits]
		for i := range of {
			at := own ^ 1<<i>>1 // the own first
			of[i] = run{bounds[at], bounds[at+1]}
			total += int(of[i].to - of[i].from)
			touched |= next[of[i].from]
		}
	}
	r.touched = touched
	return total
}

// probePortable says what probe does: to candidates it writes which entries of
// the runs, width of them a slot, differ from q in the slot after by at most
// limit bits if their run is the first of its slot, and by one less otherwise;
// limit is at least 1 if there are others.
// It returns how many these are, and -1 if there may be no room for them all.
// It reads up to nextSpare entries of next beyond each run.
func probePortable(candidates []uint32, r *runs, width int, next []uint16, q *Hash, limit int) int {
	found := 0
	for s := range slots {
		slot := slotOf(q, (s+1)%slots)
		most := limit
		for _, b := range r.at[s*width:][:width] {
			for from := b.from; from < b.to; from += 4 {
				near := nearLanes(next[from:], slot, most)
				if left := b.to - from; left < 4 {
					near &= 1<<(16*left) - 1
				}
				if near == 0 {
					continue
				}
				if found > len(candidates)-nextSpare {
					return -1
				}
				for ; near != 0; near &= near - 1 {
					candidates[found] = from + uint32(bits.TrailingZeros64(near)/16)
					found++
				}
			}
			most = limit - 1
		}
	}
	return found
}

// nearLanes tells which of the first four slots differ from slot by at most
// limit bits: for slot i it sets bit 16i+15.
func nearLanes(next []uint16, slot uint16, limit int) uint64 {
	const each = 0x0001_0001_0001_0001
	_ = next[3]
	x := uint64(next[0]) | uint64(next[1])<<16 | uint64(next[2])<<32 | uint64(next[3])<<48
	x ^= each * uint64(slot)
	x -= x >> 1 & (0x5555 * each)
	x = x&(0x3333*each) + x>>2&(0x3333*each)
	x = (x + x>>4) & (0x0f0f * each)
	x = (x + x>>8) & (0x001f * each)
	return (each*uint64(0x8000+limit) - x) & (0x8000 * each)
}
