package bank

import (
	"bytes"
	"slices"
	"sort"

	"mediagate/pdq"
)

// part is a searchable set of signals. It is immutable.
type part struct {
	pdq     *pdq.Index
	pdqRefs []ref // by position in pdq
	sha256  digests
	md5     digests
}

// digests are exact signals, sorted by value.
type digests []entry

func newPart(entries []entry) *part {
	p := &part{}
	var hashes []pdq.Hash
	for _, e := range entries {
		switch kinds[e.ref.kind] {
		case PDQ:
			hashes = append(hashes, pdq.FromBytes(e.value))
			p.pdqRefs = append(p.pdqRefs, e.ref)
		case SHA256:
			p.sha256 = append(p.sha256, e)
		case MD5, VideoMD5:
			p.md5 = append(p.md5, e)
		}
	}
	for _, d := range []digests{p.sha256, p.md5} {
		slices.SortStableFunc(d, func(a, b entry) int { return bytes.Compare(a.value[:], b.value[:]) })
	}
	p.pdq = pdq.NewIndex(hashes)
	return p
}

func (p *part) len() int { return len(p.pdqRefs) + len(p.sha256) + len(p.md5) }

// entries returns what the part was made from, in some order.
func (p *part) entries() []entry {
	out := make([]entry, 0, p.len())
	for i, r := range p.pdqRefs {
		out = append(out, entry{value: p.pdq.Hash(i).Bytes(), ref: r})
	}
	return append(append(out, p.sha256...), p.md5...)
}

// eachRef calls do for every signal, without its value.
func (p *part) eachRef(do func(ref)) {
	for _, r := range p.pdqRefs {
		do(r)
	}
	for _, d := range []digests{p.sha256, p.md5} {
		for _, e := range d {
			do(e.ref)
		}
	}
}

// find returns all entries of that value.
func (d digests) find(value []byte) digests {
	var want entry
	copy(want.value[:], value)
	from := sort.Search(len(d), func(i int) bool { return bytes.Compare(d[i].value[:], want.value[:]) >= 0 })
	to := from
	for to < len(d) && d[to].value == want.value {
		to++
	}
	return d[from:to]
}
