package bank

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"mediagate/media"
)

// A snapshot is what an index was made of at an epoch, for processes that begin. It
// is cut in values of fewer than 4 MiB: parts, which have entries of one section
// each, and a head that lists them.
//
// The head is magic, version, id, epoch, the number of entries of each section, when
// the newest signal of each kind was banked, and the SHA-256 of every part; all
// numbers are big-endian. From the numbers of entries follows how many parts there
// are and how long each is. The id is random, and with a number it names the parts. An
// entry is the value, content, bank, number in kinds, and variant; or a content and until
// when it is disabled.
//
// What is in the head is not believed unless its SHA-256 is what the store says: see
// [Store.namedSnapshot]. So whatever Redis has instead, an older snapshot or that of
// another store, is not taken for it.
const (
	snapshotMagic   = "mediagate index\n"
	snapshotVersion = 1
	snapshotFixed   = len(snapshotMagic) + 4 + snapshotIDSize + 8 + sections*8 + len(newest{})*8
	snapshotIDSize  = 16
	// partEntries are those of every part of a section but the last.
	partEntries = 1 << 16
	// sectionMax is more than any index holds, and a limit to what a head can ask for.
	sectionMax = 1 << 28
)

// section is what a part has entries of.
type section uint8

const (
	pdqSection section = iota
	sha256Section
	md5Section
	disabledSection

	sections = 4
)

// refSize is that of content, bank, kind and variant.
const refSize = 8 + 4 + 1 + 1

// valueSize is how much of an entry's value is written.
func (s section) valueSize() int {
	if s == md5Section {
		return MD5.size()
	}
	return sha256.Size
}

// entrySize is that of a signal and its reference, or of a content and until when it
// is disabled.
func (s section) entrySize() int {
	if s == disabledSection {
		return 8 + 8
	}
	return s.valueSize() + refSize
}

// has tells whether a section is for signals of a kind.
func (s section) has(k kind) bool {
	if int(k) >= len(kinds) {
		return false
	}
	switch kinds[k] {
	case PDQ:
		return s == pdqSection
	case SHA256:
		return s == sha256Section
	default:
		return s == md5Section
	}
}

var (
	errMalformedSnapshot = errors.New("malformed snapshot")
	errTooLarge          = errors.New("the index is too large")
	errOlderSnapshot     = errors.New("the snapshot is of an older version than this program's")
	errNewerSnapshot     = errors.New("the snapshot is of a newer version than this program's")
)

type snapshotHead struct {
	id      [snapshotIDSize]byte
	epoch   int64
	entries [sections]int64
	newest  newest
	parts   [][sha256.Size]byte // digests
}

// signals is how many there are.
func (h *snapshotHead) signals() int64 {
	return h.entries[pdqSection] + h.entries[sha256Section] + h.entries[md5Section]
}

// extent is which entries a part has.
type extent struct {
	section section
	from, n int64
}

// extents are those of all parts.
func (h *snapshotHead) extents() (list []extent) {
	for s, n := range h.entries {
		for from := int64(0); from < n; from += partEntries {
			list = append(list, extent{section(s), from, min(partEntries, n-from)})
		}
	}
	return list
}

func (h *snapshotHead) encode() []byte {
	out := append(make([]byte, 0, snapshotFixed+len(h.parts)*sha256.Size), snapshotMagic...)
	out = binary.BigEndian.AppendUint32(out, snapshotVersion)
	out = append(out, h.id[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(h.epoch))
	for _, n := range h.entries {
		out = binary.BigEndian.AppendUint64(out, uint64(n))
	}
	for _, at := range h.newest {
		out = binary.BigEndian.AppendUint64(out, uint64(at))
	}
	for _, digest := range h.parts {
		out = append(out, digest[:]...)
	}
	return out
}

// decodeHead is the inverse of encode. It refuses what encode does not write.
func decodeHead(raw []byte) (*snapshotHead, error) {
	if len(raw) < len(snapshotMagic)+4 || string(raw[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it is none", errMalformedSnapshot)
	}
	switch version := binary.BigEndian.Uint32(raw[len(snapshotMagic):]); {
	case version < snapshotVersion:
		return nil, fmt.Errorf("%w: %d", errOlderSnapshot, version)
	case version > snapshotVersion:
		return nil, fmt.Errorf("%w: %d", errNewerSnapshot, version)
	}
	if len(raw) < snapshotFixed {
		return nil, fmt.Errorf("%w: its head is cut short", errMalformedSnapshot)
	}
	h := new(snapshotHead)
	rest := raw[len(snapshotMagic)+4:]
	rest = rest[copy(h.id[:], rest):]
	number := func() int64 {
		n := binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		return int64(n)
	}
	h.epoch = number()
	for s := range h.entries {
		if h.entries[s] = number(); h.entries[s] < 0 || h.entries[s] > sectionMax {
			return nil, fmt.Errorf("%w: a section of %d entries", errMalformedSnapshot, uint64(h.entries[s]))
		}
	}
	for k := range h.newest {
		h.newest[k] = number()
	}
	if h.epoch <= 0 {
		return nil, fmt.Errorf("%w: it is of epoch %d", errMalformedSnapshot, h.epoch)
	}
	if parts := len(h.extents()); len(rest) != parts*sha256.Size {
		return nil, fmt.Errorf("%w: %d parts have digests of %d bytes", errMalformedSnapshot, parts, len(rest))
	}
	for digest := range slices.Chunk(rest, sha256.Size) {
		h.parts = append(h.parts, [sha256.Size]byte(digest))
	}
	return h, nil
}

// appendEntry appends a signal to a part of a section.
func appendEntry(part []byte, s section, e entry) []byte {
	part = append(part, e.value[:s.valueSize()]...)
	part = binary.BigEndian.AppendUint64(part, uint64(e.ref.content))
	part = binary.BigEndian.AppendUint32(part, uint32(e.ref.bank))
	return append(part, byte(e.ref.kind), byte(e.ref.variant))
}

// appendDisabled appends a content that is disabled.
func appendDisabled(part []byte, c indexed) []byte {
	part = binary.BigEndian.AppendUint64(part, uint64(c.id))
	return binary.BigEndian.AppendUint64(part, uint64(c.disableUntil))
}

// decodeEntries reads the signals of a part. An entry is overwritten by the next one.
func decodeEntries(part []byte, s section, each func(i int, e *entry)) error {
	size, values := s.entrySize(), s.valueSize()
	if len(part)%size != 0 {
		return fmt.Errorf("%w: a part of %d bytes", errMalformedSnapshot, len(part))
	}
	var e entry
	for i := range len(part) / size {
		raw := part[i*size:][:size]
		copy(e.value[:], raw[:values])
		raw = raw[values:]
		e.ref = ref{
			content: int64(binary.BigEndian.Uint64(raw)), bank: int32(binary.BigEndian.Uint32(raw[8:])),
			kind: kind(raw[12]), variant: media.Variant(raw[13]),
		}
		if e.ref.content <= 0 || e.ref.bank <= 0 || !s.has(e.ref.kind) {
			return fmt.Errorf("%w: a signal of kind %d of content %d in bank %d", errMalformedSnapshot, raw[12], e.ref.content, e.ref.bank)
		}
		each(i, &e)
	}
	return nil
}

// decodeDisabled reads the disabled contents of a part.
func decodeDisabled(part []byte, each func(i int, c indexed)) error {
	size := disabledSection.entrySize()
	if len(part)%size != 0 {
		return fmt.Errorf("%w: a part of %d bytes", errMalformedSnapshot, len(part))
	}
	for i := range len(part) / size {
		raw := part[i*size:]
		c := indexed{int64(binary.BigEndian.Uint64(raw)), int64(binary.BigEndian.Uint64(raw[8:]))}
		if c.id <= 0 || c.disableUntil == Enabled {
			return fmt.Errorf("%w: content %d is listed as disabled", errMalformedSnapshot, c.id)
		}
		each(i, c)
	}
	return nil
}

// isSorted tells whether digests are in order, and none is there twice.
func (d digests) isSorted() bool {
	for i := 1; i < len(d); i++ {
		if compare(d[i-1], d[i]) >= 0 {
			return false
		}
	}
	return true
}

// isDigestOf compares.
func isDigestOf(digest, raw []byte) bool {
	sum := sha256.Sum256(raw)
	return bytes.Equal(digest, sum[:])
}
