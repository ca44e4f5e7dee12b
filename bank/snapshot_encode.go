package bank

import (
	"crypto/rand"
	"crypto/sha256"
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
		if h.entries[s]++; h.entries[s]%partEntries == 0 {
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

// entriesOf yields all signals of a section that the index still holds, digests in
// order. An entry is overwritten by the next one.
func (ix *Index) entriesOf(s section) iter.Seq[*entry] {
	switch s {
	case sha256Section:
		return ix.digestsOf(ix.base.sha256, ix.overlay.sha256)
	case md5Section:
		return ix.digestsOf(ix.base.md5, ix.overlay.md5)
	default:
		return ix.hashes
	}
}

func (ix *Index) hashes(yield func(*entry) bool) {
	var e entry
	for _, p := range []*part{ix.base, ix.overlay} {
		for i, r := range p.refs {
			if !ix.holds(p, r) {
				continue
			}
			if e = (entry{p.hashes[i].Bytes(), r}); !yield(&e) {
				return
			}
		}
	}
}

// digestsOf merges those of base and overlay.
func (ix *Index) digestsOf(base, overlay digests) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for len(base)+len(overlay) > 0 {
			p, from := ix.base, &base
			if len(base) == 0 || len(overlay) > 0 && compare(overlay[0], base[0]) < 0 {
				p, from = ix.overlay, &overlay
			}
			e := (*from)[0]
			*from = (*from)[1:]
			if ix.holds(p, e.ref) && !yield(&e) {
				return
			}
		}
	}
}
