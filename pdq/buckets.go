package pdq

import "math/bits"

// buckets hold a list once for each slot, sorted by what the hashes have there.
//
// A hash is cut into 16 slots of 16 bits, which form a ring. Of a hash that is
// at most t bits away, there is a slot s that differs by at most t/16 bits, and
// by at most 2t/16 together with the slot after it (rounded down): on the way
// round, begin after the place where the bits so far most exceed t/16 a slot;
// from there on they never exceed it. (Qin, Xiao: "Pigeonring", 2018.)
//
// So for t ≤ 31 every match is in one of 272 buckets: of each slot, the one of
// the query's own value and those of the 16 values one bit away. Before a whole
// hash is read, which takes a cache miss or two, the slot after is compared:
// beside it are those of the whole bucket, and hardly any stay.
type buckets struct {
	// bounds are where each bucket begins in the other two: first those of slot
	// 0, by value, then slot 1 and so on, and the end of the last.
	bounds []uint32
	// ids are positions in the list, those of each bucket ascending.
	ids []uint32
	// next is, for each of ids, what that hash has in the slot after. Kernels
	// read up to nextSpare beyond a bucket's end, hence as many more at the end.
	next []uint16
}

const (
	slots     = 16
	slotBits  = Bits / slots
	nextSpare = 32

	// bucketsThreshold is the largest threshold that buckets are complete for.
	bucketsThreshold = 2*slots - 1
)

// runs are the buckets to look at, slot by slot. For thresholds from slots on
// these are 17 a slot, the query's own first; below, that one alone.
type runs struct {
	at [slots * (1 + slotBits)]run
	// touched is of no interest, but must be read from the buckets to be written.
	touched uint16
}

// run is a bucket: where it begins and ends.
type run struct{ from, to uint32 }

// scratch is what lookups write to, by turns.
type scratch [2]lookup

// lookup is one that goes on.
type lookup struct {
	runs runs
	// held is how many entries the runs hold.
	held int
	// candidates are indices of ids, and found how many there are, or -1 if
	// there is no room for all: to read their hashes would take longer than to
	// scan the list.
	candidates []uint32
	found      int
}

func newScratch(n int) *scratch {
	var s scratch
	for i := range s {
		s[i].candidates = make([]uint32, n/64+8*nextSpare)
	}
	return &s
}

func slotOf(h *Hash, slot int) uint16 { return uint16(h[slot/4] >> (slotBits * (slot % 4))) }

// collect finds out which buckets hold hashes at most threshold bits from q, and
// has their memory fetched.
func (b *buckets) collect(l *lookup, q *Hash, threshold int) {
	if threshold >= slots {
		l.held = collect(&l.runs, b.bounds, b.next, q)
		return
	}
	l.held = 0
	for s := range slots {
		at := s<<slotBits | int(slotOf(q, s))
		l.runs.at[s] = run{b.bounds[at], b.bounds[at+1]}
		l.held += int(b.bounds[at+1] - b.bounds[at])
	}
}

// probe finds out which entries of the collected buckets the slot after leaves
// possible, and has their hashes fetched. It gives up if that costs more than
// a scan.
func (b *buckets) probe(l *lookup, hashes []Hash, q *Hash, threshold int) {
	l.found = -1
	if l.held > slots/4*len(hashes) {
		return
	}
	width := 1
	if threshold >= slots {
		width = 1 + slotBits
	}
	l.found = probe(l.candidates, &l.runs, width, b.next, b.ids, q, 2*threshold/slots)
	fetch(hashes, b.ids, l.candidates[:max(0, l.found)])
}

// firstSlot returns the first slot of the two hashes that probe makes a
// candidate of, so that a match is taken only once.
func firstSlot(a, b *Hash, threshold int) int {
	own := bits.OnesCount16(slotOf(a, 0) ^ slotOf(b, 0))
	for s := range slots {
		next := bits.OnesCount16(slotOf(a, (s+1)%slots) ^ slotOf(b, (s+1)%slots))
		if own <= threshold/slots && own+next <= 2*threshold/slots {
			return s
		}
		own = next
	}
	return -1
}
