package bank

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"sync"

	"mediagate/pdq"
)

// part is a searchable set of signals. It is immutable.
type part struct {
	signals
	pdq     *pdq.Index
	scratch sync.Pool // of *scratch
}

// scratch is what a lookup writes to. It is kept, because a popular picture has
// many thousands of matches.
type scratch struct {
	queries []pdq.Hash
	found   []pdq.Match
}

// signals are those of a part, in the order they are searched in.
type signals struct {
	hashes []pdq.Hash
	refs   []ref // of hashes
	sha256 digests
	md5    digests
}

// digests are exact signals, sorted by value.
type digests []entry

func newPart(s signals) *part { return &part{signals: s, pdq: pdq.NewIndex(s.hashes)} }

// newPartBeside is newPart while lookups go on.
func newPartBeside(s signals) *part { return &part{signals: s, pdq: pdq.NewIndexBeside(s.hashes)} }

// borrow returns what is to be put back into p.scratch.
func (p *part) borrow() *scratch {
	if s, ok := p.scratch.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

// newSignals returns none, with room for so many.
func newSignals(room counts) signals {
	var pdqs, sha256s, md5s int64
	for k, n := range room {
		switch kinds[k] {
		case PDQ:
			pdqs += n
		case SHA256:
			sha256s += n
		case MD5, VideoMD5:
			md5s += n
		case NamedItem, NamedServer: // these are no kinds
		}
	}
	return signals{
		hashes: make([]pdq.Hash, 0, pdqs), refs: make([]ref, 0, pdqs),
		sha256: make(digests, 0, sha256s), md5: make(digests, 0, md5s),
	}
}

// add appends a signal. After the last one they must be sorted.
func (s *signals) add(value []byte, r ref) {
	e := entry{ref: r}
	copy(e.value[:], value)
	switch kinds[r.kind] {
	case PDQ:
		s.hashes, s.refs = append(s.hashes, pdq.FromBytes(e.value)), append(s.refs, r)
	case SHA256:
		s.sha256 = append(s.sha256, e)
	case MD5, VideoMD5:
		s.md5 = append(s.md5, e)
	case NamedItem, NamedServer: // these are no kinds
	}
}

func (s *signals) sort() {
	slices.SortFunc(s.sha256, compare)
	slices.SortFunc(s.md5, compare)
}

// compare orders digests by value, and equal ones as they are listed.
func compare(a, b entry) int {
	if c := bytes.Compare(a.value[:], b.value[:]); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.ref.content, b.ref.content), cmp.Compare(a.ref.kind, b.ref.kind), cmp.Compare(a.ref.variant, b.ref.variant))
}

// counts counts them by kind.
func (s signals) counts() (n counts) {
	for i := range s.refs {
		n[s.refs[i].kind]++
	}
	for _, d := range []digests{s.sha256, s.md5} {
		for i := range d {
			n[d[i].ref.kind]++
		}
	}
	return n
}

// joined returns what is to be kept of two, in order and without sorting: a
// large one is joined with a small one.
func joined(a signals, keepA func(ref) bool, b signals, keepB func(ref) bool) signals {
	var out signals
	n := len(a.hashes) + len(b.hashes)
	out.hashes, out.refs = make([]pdq.Hash, 0, n), make([]ref, 0, n)
	add := func(s signals, keep func(ref) bool) {
		for i, r := range s.refs {
			if keep(r) {
				out.hashes, out.refs = append(out.hashes, s.hashes[i]), append(out.refs, r)
			}
		}
	}
	add(a, keepA)
	add(b, keepB)
	out.sha256 = joinedDigests(a.sha256, keepA, b.sha256, keepB)
	out.md5 = joinedDigests(a.md5, keepA, b.md5, keepB)
	return out
}

func joinedDigests(a digests, keepA func(ref) bool, b digests, keepB func(ref) bool) digests {
	out := make(digests, 0, len(a)+len(b))
	for len(a)+len(b) > 0 {
		from, keep := &a, keepA
		if len(a) == 0 || len(b) > 0 && compare(b[0], a[0]) < 0 {
			from, keep = &b, keepB
		}
		if keep((*from)[0].ref) {
			out = append(out, (*from)[0])
		}
		*from = (*from)[1:]
	}
	return out
}

func (s signals) len() int { return len(s.refs) + len(s.sha256) + len(s.md5) }

// eachRef calls do for every signal, without its value.
func (s signals) eachRef(do func(ref)) {
	for _, r := range s.refs {
		do(r)
	}
	for _, d := range []digests{s.sha256, s.md5} {
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
