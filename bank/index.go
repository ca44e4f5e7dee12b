package bank

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"mediagate/media"
	"mediagate/pdq"
)

// Index answers which banked signals match, as of one epoch of the store. It is
// immutable and safe for concurrent use.
//
// It is a large part and a small overlay of what changed since the large one
// was built, so that a change costs its own size and not the list's.
type Index struct {
	moment
	banks  map[int32]Bank
	base   *part
	newest newest
	// hidden are contents of base that were changed or removed since, and
	// overlay the signals of those that were changed or added.
	hidden  map[int64]struct{}
	overlay *part
	// orphaned tells that a bank was removed whose contents base still holds.
	orphaned bool
	// disabled holds Content.DisableUntil where it is not Enabled.
	disabled  map[int64]int64
	exchanges []string // sorted
	awaiting  []string
	confirmed []int64 // sorted
	named     namings
	counts    func() map[SignalType]int
}

// Match is one banked signal that an item's signal matches.
type Match struct {
	Content int64
	Bank    Bank
	Type    SignalType
	// Distance is in bits, and 0 for digests.
	Distance int
	// Stored and Looked are the views that the banked and the given hash are of.
	Stored, Looked media.Variant
	// Enabled tells whether the content counts at the time of the lookup.
	Enabled bool
}

// newIndex builds an index of a full delta. It refuses one that lost signals on
// the way.
func newIndex(d delta) (*Index, error) {
	if got := d.signals.counts(); got != d.held {
		return nil, fmt.Errorf("build index: it holds %d signals, the store %d", got.total(), d.held.total())
	}
	ix := &Index{
		moment: d.moment, banks: byID(d.banks), newest: d.newest, base: newPart(d.signals), overlay: newPart(signals{}),
		disabled: make(map[int64]int64), exchanges: d.exchanges, awaiting: d.awaiting, confirmed: d.confirmed, named: d.named,
	}
	ix.setDisabled(d.contents)
	ix.counts = sync.OnceValue(ix.count)
	return ix, nil
}

func byID(banks []Bank) map[int32]Bank {
	out := make(map[int32]Bank, len(banks))
	for _, b := range banks {
		out[int32(b.ID)] = b
	}
	return out
}

func (ix *Index) setDisabled(contents []indexed) {
	for _, c := range contents {
		if c.disableUntil != Enabled {
			ix.disabled[c.id] = c.disableUntil
		} else {
			delete(ix.disabled, c.id)
		}
	}
}

// with returns an index that also has a later delta.
func (ix *Index) with(d delta) *Index {
	next := &Index{
		moment: d.moment, banks: byID(d.banks), newest: ix.newest, base: ix.base, orphaned: ix.orphaned,
		hidden: copied(ix.hidden), disabled: ix.disabled, exchanges: d.exchanges, awaiting: d.awaiting, confirmed: d.confirmed, named: d.named,
	}
	if ix.disables(d) {
		next.disabled = copied(ix.disabled)
	}
	for id := range ix.banks {
		if _, stays := next.banks[id]; !stays {
			next.orphaned = true
		}
	}
	next.newest.merge(d.newest)
	gone := make(map[int64]struct{}, len(d.removed)+len(d.contents))
	for _, id := range d.removed {
		gone[id] = struct{}{}
	}
	for _, c := range d.contents {
		gone[c.id] = struct{}{}
	}
	maps.Copy(next.hidden, gone)
	if ix.disables(d) {
		for _, id := range d.removed {
			delete(next.disabled, id)
		}
		next.setDisabled(d.contents)
	}
	next.overlay = newPart(joined(
		ix.overlay.signals, func(r ref) bool { _, stale := gone[r.content]; return !stale },
		d.signals, func(ref) bool { return true },
	))
	next.counts = sync.OnceValue(next.count)
	return next
}

// disables tells whether a delta changes which contents are disabled. Few do, and
// the list may be long.
func (ix *Index) disables(d delta) bool {
	return slices.ContainsFunc(d.contents, func(c indexed) bool {
		_, was := ix.disabled[c.id]
		return was || c.disableUntil != Enabled
	}) || slices.ContainsFunc(d.removed, func(id int64) bool {
		_, was := ix.disabled[id]
		return was
	})
}

// copied is a copy that can be written to.
func copied[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m)+1)
	maps.Copy(out, m)
	return out
}

// overlayMax is how much a lookup may have to do beside the large part.
const overlayMax = 10_000

// unmerged tells that it is time to fold the overlay in.
func (ix *Index) unmerged() bool {
	return ix.orphaned || len(ix.hidden)+ix.overlay.len() > overlayMax
}

// merged returns the same index with an empty overlay.
func (ix *Index) merged() *Index {
	held := joined(
		ix.base.signals, func(r ref) bool { return ix.holds(ix.base, r) },
		ix.overlay.signals, func(r ref) bool { return ix.holds(ix.overlay, r) },
	)
	next := &Index{
		moment: ix.moment, banks: ix.banks, newest: ix.newest, base: newPartBeside(held), overlay: newPart(signals{}), disabled: ix.disabled,
		exchanges: ix.exchanges, awaiting: ix.awaiting, confirmed: ix.confirmed, named: ix.named,
	}
	next.counts = sync.OnceValue(next.count)
	return next
}

// holds tells whether a signal of a part is still there.
func (ix *Index) holds(p *part, r ref) bool {
	if _, hidden := ix.hidden[r.content]; hidden && p == ix.base {
		return false
	}
	_, ok := ix.banks[r.bank]
	return ok
}

// held counts the signals that are still there.
func (ix *Index) held() (n int64) {
	if len(ix.hidden) == 0 && !ix.orphaned {
		return int64(ix.base.len() + ix.overlay.len())
	}
	for _, p := range []*part{ix.base, ix.overlay} {
		p.eachRef(func(r ref) {
			if ix.holds(p, r) {
				n++
			}
		})
	}
	return n
}

// Bank returns the bank of that name, and false if there is none.
func (ix *Index) Bank(name string) (Bank, bool) {
	for _, b := range ix.banks {
		if b.Name == name {
			return b, true
		}
	}
	return Bank{}, false
}

// Disabled tells whether a content of the index does not count now.
func (ix *Index) Disabled(content int64) bool { return !ix.enabled(ref{content: content}, time.Now()) }

// HasExchange tells whether there is an exchange of that name, enabled or not.
func (ix *Index) HasExchange(name string) bool {
	_, found := slices.BinarySearch(ix.exchanges, name)
	return found
}

// Awaiting names the exchanges that are enabled, feed a bank that is on and not in
// monitor, and have not been through once since they were created: what they would bank
// is not in the index.
func (ix *Index) Awaiting() []string { return ix.awaiting }

// Epoch is the number of the last commit that the index contains.
func (ix *Index) Epoch() int64 { return ix.epoch }

// Len returns how many signals of a type are indexed: those that operators and
// lists count, which leaves out the further views of pictures.
func (ix *Index) Len(t SignalType) int { return ix.counts()[t] }

func (ix *Index) count() map[SignalType]int {
	counts := make(map[SignalType]int)
	for _, p := range []*part{ix.base, ix.overlay} {
		p.eachRef(func(r ref) {
			if r.variant == media.Primary && ix.holds(p, r) {
				counts[kinds[r.kind]]++
			}
		})
	}
	return counts
}

// Newest returns when the newest signal of a type was banked, and false if
// there is none.
func (ix *Index) Newest(t SignalType) (time.Time, bool) {
	k, err := kindOf(t)
	if err != nil || ix.newest[k] == 0 {
		return time.Time{}, false
	}
	return time.Unix(ix.newest[k], 0), true
}

// PrimaryWithin returns the primary hashes at most threshold bits from h.
func (ix *Index) PrimaryWithin(h pdq.Hash, threshold int) []Match {
	return ix.within(media.Hash{PDQ: h}, threshold, func(r ref) bool { return r.variant == media.Primary })
}

// Within returns the hashes of every view at most threshold bits from h.
func (ix *Index) Within(h media.Hash, threshold int) []Match {
	return ix.within(h, threshold, func(ref) bool { return true })
}

func (ix *Index) within(h media.Hash, threshold int, wanted func(ref) bool) []Match {
	var out []Match
	now := time.Now()
	for _, p := range []*part{ix.base, ix.overlay} {
		found := p.pdq.Within(h.PDQ, threshold)
		out = slices.Grow(out, len(found))
		for _, m := range found {
			if r := p.refs[m.Position]; wanted(r) && ix.holds(p, r) {
				match := ix.match(r, now)
				match.Distance, match.Looked = m.Distance, h.Variant
				out = append(out, match)
			}
		}
	}
	return out
}

// Nearest looks up all hashes of one item, each of another view. Of each content that has
// hashes at most threshold bits from one of them it returns the nearest to that one: a
// match for each view of the item that it is near to. It returns of each bank and view at
// most so many contents: first those that are enabled in a bank that is on, and not held,
// and of each sort the nearest. held may be nil.
func (ix *Index) Nearest(hashes []media.Hash, threshold, most int, held func(content int64) bool) []Match {
	s := ix.base.borrow()
	defer ix.base.scratch.Put(s)
	s.queries = s.queries[:0]
	for _, h := range hashes {
		s.queries = append(s.queries, h.PDQ)
	}
	now := time.Now()
	best := nearest{most: most}
	for _, p := range []*part{ix.base, ix.overlay} {
		s.found = p.pdq.AppendWithinAll(s.found[:0], s.queries, threshold)
		for _, m := range s.found {
			r := p.refs[m.Position]
			looked := hashes[m.Query].Variant
			if best.refuses(r.bank, looked, m.Distance) || !ix.holds(p, r) {
				continue
			}
			c := candidate{ref: r, looked: looked, distance: m.Distance}
			c.idle = !ix.enabled(r, now) || ix.banks[r.bank].Ratio <= 0 || held != nil && held(r.content)
			best.add(c)
		}
	}
	kept := best.all()
	out := make([]Match, 0, len(kept))
	for _, c := range kept {
		match := ix.match(c.ref, now)
		match.Distance, match.Looked = c.distance, c.looked
		out = append(out, match)
	}
	return out
}

// SHA256 returns the contents with these very bytes.
func (ix *Index) SHA256(value []byte) []Match {
	return ix.exact(value, func(p *part) digests { return p.sha256 })
}

// MD5 returns the contents of that MD5, whether it was given for a video or
// taken of any content.
func (ix *Index) MD5(value []byte) []Match {
	return ix.exact(value, func(p *part) digests { return p.md5 })
}

func (ix *Index) exact(value []byte, of func(*part) digests) []Match {
	var out []Match
	now := time.Now()
	for _, p := range []*part{ix.base, ix.overlay} {
		for _, e := range of(p).find(value) {
			if ix.holds(p, e.ref) {
				out = append(out, ix.match(e.ref, now))
			}
		}
	}
	return out
}

func (ix *Index) match(r ref, now time.Time) Match {
	return Match{Content: r.content, Bank: ix.banks[r.bank], Type: kinds[r.kind], Stored: r.variant, Enabled: ix.enabled(r, now)}
}

// enabled tells whether the content of a signal counts.
func (ix *Index) enabled(r ref, now time.Time) bool {
	until, ok := ix.disabled[r.content]
	return !ok || enabledAt(until, now)
}
