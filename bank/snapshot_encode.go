package bank

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// encodeSnapshot gives all parts of an index to keep, in their order, and returns the
// head. A part is overwritten by the next one. It stops at the first error.
func encodeSnapshot(ix *Index, keep func(h *snapshotHead, part int, value []byte) error) (*snapshotHead, error) {
	h := &snapshotHead{epoch: ix.epoch, newest: ix.newest}
	_, _ = rand.Read(h.id[:]) // never fails
	var value []byte
	flush := func() error {
		if len(value) == 0 {
			return nil
		}
		h.parts = append(h.parts, sha256.Sum256(value))
		err := keep(h, len(h.parts)-1, value)
		value = value[:0]
		return err
	}
	// added is called after each entry.
	added := func(s section) error {
		if err := h.count(s); err != nil {
			return err
		}
		if h.entries[s]%partEntries == 0 {
			return flush()
		}
		return nil
	}
	for s := range disabledSection {
		for e := range ix.entriesOf(s) {
			value = appendEntry(value, s, e)
			if err := added(s); err != nil {
				return nil, err
			}
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ix.disabled)) {
		value = appendDisabled(value, indexed{id, ix.disabled[id]})
		if err := added(disabledSection); err != nil {
			return nil, err
		}
	}
	return h, flush()
}

// count counts one more entry of a section, of which there must not be more than readers
// take.
func (h *snapshotHead) count(s section) error {
	if h.entries[s] == sectionMax {
		return fmt.Errorf("write snapshot: %w: more than %d entries of a section", errTooLarge, int64(sectionMax))
	}
	h.entries[s]++
	return nil
}

// entriesOf yields all signals of a section that the index still holds, digests in
// order.
func (ix *Index) entriesOf(s section) iter.Seq[entry] {
	switch s {
	case sha256Section:
		return ix.digestsOf(ix.base.sha256, ix.overlay.sha256)
	case md5Section:
		return ix.digestsOf(ix.base.md5, ix.overlay.md5)
	default:
		return ix.hashes
	}
}

func (ix *Index) hashes(yield func(entry) bool) {
	for _, p := range []*part{ix.base, ix.overlay} {
		for i, r := range p.refs {
			if ix.holds(p, r) && !yield(entry{p.hashes[i].Bytes(), r}) {
				return
			}
		}
	}
}

// digestsOf merges those of base and overlay.
func (ix *Index) digestsOf(base, overlay digests) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		base, overlay := base, overlay
		for len(base)+len(overlay) > 0 {
			p, from := ix.base, &base
			if len(base) == 0 || len(overlay) > 0 && compare(overlay[0], base[0]) < 0 {
				p, from = ix.overlay, &overlay
			}
			e := (*from)[0]
			*from = (*from)[1:]
			if ix.holds(p, e.ref) && !yield(e) {
				return
			}
		}
	}
}
