package exchange_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/media"
)

// expected says whether an item must be banked. What a fetcher cannot have seen,
// because it went before anybody could look, may be banked or not.
type expected int

const (
	no expected = iota
	yes
	either
)

// history is a homeserver's life, and what is to be banked of it.
type history struct {
	*bench
	rng      *rand.Rand
	contents [][]byte
	items    map[media.URI]*past
	backups  []state
	next     int
	log      []string
}

// past is what the model remembers of an item.
type past struct {
	content int
	banked  bool     // when all was last at rest
	decided bool     // something was decided about it since
	absent  expected // while the homeserver has no row of it
}

// TestBankFollowsAnyHistory plays random histories, with everything that can go
// wrong, and compares what is banked with the plain rule whenever all has come to
// rest: what is quarantined is banked, what is not is not, and what the homeserver
// does not know stays what it was.
func TestBankFollowsAnyHistory(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.postgres = seed%2 == 0
			b.config.Interval = 10 * time.Millisecond
			b.servers.FirstByteTimeout = 2 * time.Second
			h := &history{bench: b, rng: rand.New(rand.NewPCG(seed, 3)), items: make(map[media.URI]*past)}
			h.contents = [][]byte{picture(t, "formats/q30.jpg"), picture(t, "misc/wee.jpg")}
			for n := range 4 {
				h.contents = append(h.contents, text(n))
			}
			h.change(func(st *state) { st.record(json.RawMessage(`{}`)) }) // no stream is empty
			defer func() {
				if t.Failed() {
					t.Logf("history: %s", strings.Join(h.log, ", "))
				}
			}()
			h.start()
			for range 200 {
				h.step()
				if h.rng.IntN(4) == 0 {
					time.Sleep(time.Duration(h.rng.IntN(20)) * time.Millisecond)
				}
			}
			h.compare()
			// Released one by one, all goes.
			for uri, row := range h.backup().items {
				if row.quarantined {
					h.decideAbout(uri, false)
				}
			}
			h.compare()
		})
	}
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// some picks an item that the homeserver has a row of.
func (h *history) some() (media.URI, bool) {
	rows := slices.SortedFunc(maps.Keys(h.backup().items), func(a, b media.URI) int { return strings.Compare(a.String(), b.String()) })
	if len(rows) == 0 {
		return media.URI{}, false
	}
	return rows[h.rng.IntN(len(rows))], true
}

func (h *history) decideAbout(uri media.URI, quarantined bool) {
	h.note("%s quarantined %v", uri.ID, quarantined)
	h.decide(uri, quarantined)
	for _, p := range h.items {
		if p.content == h.items[uri].content {
			p.decided = true
		}
	}
}

func (h *history) step() {
	uri, ok := h.some()
	n := h.rng.IntN(100)
	if !ok {
		n = 0
	}
	row, _ := h.row(uri)
	switch {
	case n < 20:
		h.upload()
	case n < 45:
		h.decideAbout(uri, true)
	case n < 62:
		h.decideAbout(uri, false)
	case n < 65:
		h.storm()
	case n < 68:
		h.remove(uri)
	case n < 70:
		h.purge()
	case n < 72:
		h.note("file of %s gone", uri.ID)
		h.edit(uri, func(i *item) { i.download = gone })
	case n < 80:
		faults := []fault{badGateway, failing, limited, forbidden, page, unfound, cut, hanging}
		f := faults[h.rng.IntN(len(faults))]
		h.note("%s download fault %d", uri.ID, f)
		if row.download != gone {
			h.edit(uri, func(i *item) { i.download = f })
		}
	case n < 83:
		f := []fault{failing, limited, page, unfound, cut}[h.rng.IntN(5)]
		h.note("%s info fault %d", uri.ID, f)
		h.edit(uri, func(i *item) { i.info = f })
	case n < 86:
		f := []fault{unauthorized, forbidden, failing, page, unfound, cut}[h.rng.IntN(6)]
		h.note("fault %d", f)
		h.breakAll(f)
	case n < 88:
		h.note("restarted homeserver")
		h.down()
		h.up()
	case n < 90:
		h.heal()
	case n < 93:
		h.note("restarted fetcher")
		h.start()
	case n < 94:
		h.change(func(st *state) { st.record(json.RawMessage(`{"origin":"h"}`)) })
	case n < 95:
		h.note("backup")
		h.backups = append(h.backups, h.backup())
	case n < 97:
		h.restoreSome()
	default:
		h.compare()
	}
}

func (h *history) upload() {
	h.next++
	uri := local(fmt.Sprint("l", h.next))
	if h.rng.IntN(2) == 0 {
		uri = remote(fmt.Sprint("r", h.next))
	}
	content := h.rng.IntN(len(h.contents))
	digest, protected := h.rng.IntN(4) > 0, h.rng.IntN(10) == 0
	h.note("%s has content %d, digest %v", uri.ID, content, digest)
	h.add(uri, h.contents[content])
	h.edit(uri, func(i *item) { i.digest, i.protected = digest, protected && uri.Server == localName })
	h.items[uri] = &past{content: content}
}

// remove deletes a local item.
func (h *history) remove(uri media.URI) {
	if uri.Server != localName {
		return
	}
	h.note("%s deleted", uri.ID)
	row, _ := h.row(uri)
	p := h.items[uri]
	switch {
	case !row.quarantined:
		p.absent = no
	case p.banked && !p.decided:
		p.absent = yes
	default:
		p.absent = either
	}
	h.synapse.remove(uri)
}

// purge empties the cache of remote media, but for what is quarantined.
func (h *history) purge() {
	h.note("purged")
	h.change(func(st *state) {
		for uri, row := range st.items {
			if uri.Server != localName && !row.quarantined {
				delete(st.items, uri)
				h.items[uri].absent = no
			}
		}
	})
}

// heal ends all faults but missing files.
func (h *history) heal() {
	h.note("healed")
	h.breakAll(healthy)
	h.change(func(st *state) {
		for _, row := range st.items {
			row.info = healthy
			if row.download != gone {
				row.download = healthy
			}
		}
	})
}

// restoreSome puts an older copy of the database in place: of the database, and
// not of the files.
func (h *history) restoreSome() {
	h.compare()
	now := h.backup()
	at := slices.IndexFunc(h.backups, func(st state) bool { return st.last < now.last })
	if at < 0 {
		return
	}
	old := h.backups[at].clone()
	h.backups = slices.Delete(h.backups, at, at+1)
	h.note("restored %d", old.last)
	for uri, row := range old.items {
		row.info, row.download = healthy, gone
		if file, stays := now.items[uri]; stays {
			row.download = file.download
		}
	}
	for uri, p := range h.items {
		if _, restored := old.items[uri]; !restored {
			p.absent = map[bool]expected{true: yes, false: no}[p.banked]
		}
	}
	h.restore(old)
	h.compare()
}

// compare waits until all has come to rest.
func (h *history) compare() {
	h.t.Helper()
	h.heal()
	h.settle()
	h.note("compared")
	var keys []string
	for uri := range h.items {
		keys = append(keys, uri.String())
	}
	banked, err := h.store.Sources(h.t.Context(), home, keys)
	if err != nil {
		h.t.Fatal(err)
	}
	total := 0
	holders := make([]int, len(h.contents)) // how many keys each content must have
	whole := make([]bool, len(h.contents))  // it must be hashed
	for uri, p := range h.items {
		row, exists := h.row(uri)
		want := p.absent
		switch {
		case exists && !row.quarantined:
			want = no
		case exists && !row.digest && row.download == gone:
			want = either
		case exists:
			want = yes
		}
		got := banked[uri.String()]
		if want != either && got != (want == yes) {
			h.t.Errorf("%s is banked: %v", uri, got)
		}
		p.banked, p.decided = got, false
		if !exists {
			p.absent = map[bool]expected{true: yes, false: no}[got]
		}
		if got {
			total++
			holders[p.content]++
			whole[p.content] = whole[p.content] || exists && row.download != gone
		}
	}
	if sources, _ := h.counts(home); sources != total {
		h.t.Errorf("%d sources, want %d: there are others than the items'", sources, total)
	}
	for n, content := range h.contents {
		all := "sha256 md5"
		if n < 2 {
			all += " pdq"
		}
		switch got := h.found(content); {
		case holders[n] == 0 && got != "", holders[n] > 0 && whole[n] && got != all, holders[n] > 0 && got != all && got != "sha256":
			h.t.Errorf("content %d has %d keys, must be hashed: %v; it is found by %q", n, holders[n], whole[n], got)
		}
	}
	if h.t.Failed() {
		h.t.FailNow()
	}
}
