package bank

import "runtime/debug"

// garbageMax is how much garbage may lie about beside a large index.
const garbageMax = 64 << 20

// settle gives back what making an index has taken, and keeps it small. By default
// as much garbage is kept as there is live memory, which is another index; to collect
// more often costs little, because indexes hold no pointers that the collector must
// follow. What an operator has set, with GOGC, stays.
//
// It concerns the whole process, which has one Indexer.
func (x *Indexer) settle(ix *Index) {
	percent := defaultGC
	if size := ix.base.size(); size > garbageMax {
		percent = int(max(1, defaultGC*garbageMax/size))
	}
	if percent == defaultGC && x.gcPercent == defaultGC {
		return
	}
	if before := debug.SetGCPercent(percent); before != x.gcPercent {
		debug.SetGCPercent(before)
	} else {
		x.gcPercent = percent
	}
	debug.FreeOSMemory()
}

// defaultGC is what debug.SetGCPercent says before anybody has set it.
const defaultGC = 100

// size is about how many bytes a part takes: for a hash its own, its reference and
// what pdq.Index takes.
func (p *part) size() int64 {
	return 144*int64(len(p.refs)) + 48*int64(len(p.sha256)+len(p.md5))
}
