package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	crashSeed    = 1
	crashes      = 200
	crashesShort = 20
	crashClients = 4
)

// TestChangesSurviveKillWhollyOrNotAtAll kills the server again and again while
// clients change banks, and after each restart compares what it says with what
// the clients were told. Each client has banks of its own and makes one change
// at a time, so that it knows what must be there but for that one change, which
// may have had its whole effect or none.
func TestChangesSurviveKillWhollyOrNotAtAll(t *testing.T) {
	rounds := crashes
	if testing.Short() {
		rounds = crashesShort
	}
	dir := t.TempDir()
	env := databaseIn(dir)
	env["MEDIAGATE_MEDIA_WORKERS"] = "1" // nothing is decoded, and starting is quicker
	h := &history{given: map[int64]bool{}}
	for i := range uint64(crashClients) {
		h.clients = append(h.clients, &curator{name: fmt.Sprintf("CURATOR_%d", i), rng: rand.New(rand.NewPCG(crashSeed, i)), state: state{}})
	}
	rng := rand.New(rand.NewPCG(crashSeed, crashClients))
	for round := range rounds {
		acknowledgements, delay := 1+rng.IntN(12), time.Duration(rng.IntN(3000))*time.Microsecond
		starting := time.Duration(rng.IntN(60)) * time.Millisecond
		ok := t.Run(fmt.Sprintf("seed=%d/crash=%d", crashSeed, round), func(t *testing.T) {
			if round%10 == 0 {
				s := launch(t, env)
				time.Sleep(starting) // the point of the crash, not a wait for anything
				s.kill()
			}
			s := launch(t, env)
			s.awaitReady(t)
			h.check(t, s)
			h.crash(t, s, acknowledgements, delay)
		})
		if !ok {
			t.FailNow()
		}
	}
	s := start(t, env)
	h.check(t, s)
	for _, x := range h.gone {
		s.expect(t, x, nil)
	}
	s.stop(t)
	var damage string
	var orphans int
	if err := openStore(t, dir).QueryRowContext(t.Context(), `SELECT (SELECT group_concat(integrity_check) FROM pragma_integrity_check),
		(SELECT COUNT(*) FROM pragma_foreign_key_check)`).Scan(&damage, &orphans); err != nil || damage != "ok" || orphans != 0 {
		t.Errorf("the database is %q with %d rows that belong to nothing: %v", damage, orphans, err)
	}
	t.Logf("%d changes were acknowledged; of those under way at a crash %d had had their effect and %d had not", h.acknowledged, h.had, h.hadNot)
	if h.had+h.hadNot == 0 {
		t.Error("no change was ever under way at a crash")
	}
}

// entry is a content as its curator knows it. Every update sets both the note and
// DisableUntil, so that half of one would show.
type entry struct {
	PDQ, VideoMD5, Note string
	DisableUntil        int64
}

// Values of DisableUntil: two special ones, and a time.
const (
	disabled = 0
	enabled  = 1
	past     = 1000
)

// state is what a curator's banks hold: contents by number, by bank.
type state map[string]map[int64]entry

func (s state) clone() state {
	out := state{}
	for bank, contents := range s {
		out[bank] = maps.Clone(contents)
	}
	return out
}

// change is a request that changes banks.
type change struct {
	request
	adds *placed // without its number; nil if it adds no content
	// apply makes its whole effect. id is the number of the content it adds.
	apply func(s state, id int64)
}

// placed is a content with its place.
type placed struct {
	bank string
	id   int64
	entry
}

// curator is a client that changes banks of its own.
type curator struct {
	name string
	rng  *rand.Rand // nil for one that only looks
	made int        // banks
	// state holds what was acknowledged, and underWay the change that was not.
	state    state
	underWay *change
	gone     []placed // deleted since the last crash
}

// next chooses a change that is possible. There is little at any time, because
// all of it is looked at after each crash.
func (c *curator) next() change {
	banks := slices.Sorted(maps.Keys(c.state))
	if len(banks) == 0 || len(banks) < 2 && c.rng.IntN(10) == 0 {
		return c.create()
	}
	bank := banks[c.rng.IntN(len(banks))]
	ids := slices.Sorted(maps.Keys(c.state[bank]))
	kind := c.rng.IntN(100)
	switch {
	case kind < 5:
		return c.drop(bank)
	case len(ids) == 0, kind < 55 && len(ids) < 5:
		return c.add(bank)
	case kind < 75:
		return c.update(bank, ids[c.rng.IntN(len(ids))])
	default:
		return c.remove(bank, ids[c.rng.IntN(len(ids))])
	}
}

func (c *curator) create() change {
	c.made++
	name := fmt.Sprintf("%s_%d", c.name, c.made)
	return change{
		request: asJSON(http.MethodPost, "/c/banks", fmt.Sprintf(`{"name":%q}`, name)),
		apply:   func(s state, _ int64) { s[name] = map[int64]entry{} },
	}
}

func (c *curator) drop(bank string) change {
	return change{
		request: request{method: http.MethodDelete, path: "/c/bank/" + bank},
		apply:   func(s state, _ int64) { delete(s, bank) },
	}
}

func (c *curator) add(bank string) change {
	e := entry{PDQ: c.hex(64), VideoMD5: c.hex(32), Note: "added", DisableUntil: enabled}
	return change{
		request: asJSON(http.MethodPost, "/c/bank/"+bank+"/signal", fmt.Sprintf(`{"pdq":%q,"video_md5":%q,"note":%q}`, e.PDQ, e.VideoMD5, e.Note)),
		adds:    &placed{bank: bank, entry: e},
		apply:   func(s state, id int64) { s[bank][id] = e },
	}
}

func (c *curator) hex(digits int) string {
	var out strings.Builder
	for range digits {
		out.WriteString(strconv.FormatInt(c.rng.Int64N(16), 16))
	}
	return out.String()
}

func (c *curator) update(bank string, id int64) change {
	e := c.state[bank][id]
	tomorrow := time.Now().Add(24 * time.Hour).Unix()
	e.DisableUntil = []int64{disabled, enabled, past, tomorrow}[c.rng.IntN(4)]
	e.Note = "note " + c.hex(8)
	return change{
		request: asJSON(http.MethodPut, contentPath(bank, id), fmt.Sprintf(`{"disable_until_ts":%d,"note":%q}`, e.DisableUntil, e.Note)),
		apply:   func(s state, _ int64) { s[bank][id] = e },
	}
}

func (c *curator) remove(bank string, id int64) change {
	return change{
		request: request{method: http.MethodDelete, path: contentPath(bank, id)},
		apply:   func(s state, _ int64) { delete(s[bank], id) },
	}
}

func contentPath(bank string, id int64) string {
	return fmt.Sprintf("/c/bank/%s/content/%d", bank, id)
}

// run makes changes until the server is gone, and reports each acknowledgement
// with the number of what was added, or 0. With an outage, which is closed when it
// is over, it ends with the first change that fails, and also at that end.
func (c *curator) run(ctx context.Context, s *instance, acknowledged chan<- int64, outage <-chan struct{}) error {
	for {
		select {
		case <-outage:
			return nil
		default:
		}
		next := c.next()
		c.underWay = &next
		a, err := s.send(ctx, next.request)
		if err != nil {
			return nil // it is meant to be gone
		}
		if outage != nil && a.status >= http.StatusInternalServerError {
			return nil
		}
		var told struct {
			ID      int64 `json:"id"`
			Deleted *int  `json:"deleted"`
		}
		if json.Unmarshal(a.body, &told) != nil || a.status != http.StatusOK && a.status != http.StatusCreated || told.Deleted != nil && *told.Deleted != 1 {
			return fmt.Errorf("%s %s: status %d: %s", next.method, next.path, a.status, a.body)
		}
		if next.adds == nil {
			told.ID = 0
		}
		c.settle(&next, told.ID)
		acknowledged <- told.ID
	}
}

// settle makes a change part of the state.
func (c *curator) settle(x *change, id int64) {
	before := c.state.clone()
	x.apply(c.state, id)
	c.underWay = nil
	for bank, contents := range before {
		for id, e := range contents {
			if _, stays := c.state[bank][id]; !stays {
				c.gone = append(c.gone, placed{bank, id, e})
			}
		}
	}
}

// history is what all curators know together.
type history struct {
	clients                   []*curator
	given                     map[int64]bool // every number of a content
	last                      int64          // the largest
	gone                      []placed
	acknowledged, had, hadNot int
}

// give notes the number of a new content.
func (h *history) give(t *testing.T, id int64) {
	t.Helper()
	if h.given[id] {
		t.Errorf("content %d was given its number twice", id)
	}
	h.given[id] = true
	h.last = max(h.last, id)
}

// crash lets all curators work and kills the server some time after so many
// acknowledgements.
func (h *history) crash(t *testing.T, s *instance, acknowledgements int, delay time.Duration) {
	kill := func() { time.AfterFunc(delay, func() { _ = s.cmd.Process.Kill() }) }
	if n := h.work(t, s, acknowledgements, kill, nil); n < acknowledgements {
		t.Errorf("the clients stopped after %d changes:\n%s", n, s.printed)
		s.kill()
	}
	<-s.ended
}

// work lets all curators work, does something after so many acknowledgements, and
// returns how many there were when the last curator has ended.
func (h *history) work(t *testing.T, s *instance, acknowledgements int, then func(), outage <-chan struct{}) (n int) {
	acknowledged := make(chan int64)
	var working sync.WaitGroup
	for _, c := range h.clients {
		if c.rng == nil {
			continue
		}
		working.Go(func() {
			if err := c.run(t.Context(), s, acknowledged, outage); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		working.Wait()
		close(acknowledged)
	}()
	for id := range acknowledged {
		h.acknowledged++
		if id != 0 {
			h.give(t, id)
		}
		if n++; n == acknowledgements {
			then()
		}
	}
	return n
}

// check compares a server that has restarted with what the curators know.
func (h *history) check(t *testing.T, s *instance) {
	listed := map[string]bool{}
	for _, b := range decode[[]struct{ Name string }](t, s.ask(t, request{path: "/c/banks"}, http.StatusOK).body) {
		listed[b.Name] = true
	}
	contents, banks := 0, 0
	for _, c := range h.clients {
		h.resolve(t, s, c, listed)
		h.gone = append(h.gone, c.gone...)
		for _, x := range c.gone {
			s.expect(t, x, nil)
		}
		c.gone = nil
		for bank, entries := range c.state {
			banks++
			for id, e := range entries {
				contents++
				s.expect(t, placed{bank, id, e}, &e)
			}
		}
	}
	if banks != len(listed) {
		t.Errorf("%d banks are listed, want %d", len(listed), banks)
	}
	for kind, status := range decode[map[string]struct{ Size int }](t, s.ask(t, request{path: "/m/index/status"}, http.StatusOK).body) {
		if status.Size != contents {
			t.Errorf("%d signals of type %s are indexed, want %d", status.Size, kind, contents)
		}
	}
}

// resolve finds out whether the change that was under way has had its effect,
// which must be all or nothing.
func (h *history) resolve(t *testing.T, s *instance, c *curator, listed map[string]bool) {
	t.Helper()
	if c.underWay == nil {
		return
	}
	x, id := c.underWay, int64(0)
	after := c.state.clone()
	if x.adds != nil {
		// Its number was not told, so its signals have to tell.
		found := s.found(t, "pdq", x.adds.PDQ)
		if byMD5 := s.found(t, "video_md5", x.adds.VideoMD5); !slices.Equal(found, byMD5) {
			t.Fatalf("a content that was being added is found as %v by one signal and %v by the other", found, byMD5)
		}
		if len(found) == 0 {
			for id := h.last + 1; id <= h.last+crashClients; id++ {
				if e, ok := s.content(t, x.adds.bank, id); ok {
					t.Fatalf("content %d is there as %+v but not found by its signals", id, e)
				}
			}
			h.hadNot++
			c.underWay = nil
			return
		}
		id = found[0]
		h.give(t, id)
	}
	x.apply(after, id)
	observed := state{}
	for _, known := range []state{c.state, after} {
		for bank, entries := range known {
			if listed[bank] && observed[bank] == nil {
				observed[bank] = map[int64]entry{}
			}
			for id := range entries {
				if e, ok := s.content(t, bank, id); ok {
					observed[bank][id] = e
				}
			}
		}
	}
	switch {
	case cmp.Equal(observed, after):
		h.had++
		c.settle(x, id)
	case cmp.Equal(observed, c.state):
		h.hadNot++
		c.underWay = nil
	default:
		t.Fatalf("%s %s had half of its effect; as if it had not: (-want +got)\n%s\nas if it had:\n%s",
			x.method, x.path, cmp.Diff(c.state, observed), cmp.Diff(after, observed))
	}
}

// expect looks at a content in every way there is. want is nil if it must be
// gone.
func (s *instance) expect(t *testing.T, x placed, want *entry) {
	t.Helper()
	e, ok := s.content(t, x.bank, x.id)
	var found []int64
	acted := map[string][]match{}
	if want != nil {
		found = []int64{x.id}
		if want.DisableUntil == enabled || want.DisableUntil == past {
			acted[x.bank] = []match{{x.id}}
		}
	}
	if ok != (want != nil) || ok && e != *want {
		t.Errorf("content %d of %s is %+v (there: %t), want %+v", x.id, x.bank, e, ok, want)
	}
	for kind, value := range map[string]string{"pdq": x.PDQ, "video_md5": x.VideoMD5} {
		if got := s.found(t, kind, value); !slices.Equal(got, found) {
			t.Errorf("content %d of %s is found as %v by its %s, want %v", x.id, x.bank, got, kind, found)
		}
		if got := s.acted(t, kind, value); !cmp.Equal(got, acted) {
			t.Errorf("content %d of %s is acted on as %v by its %s, want %v", x.id, x.bank, got, kind, acted)
		}
	}
}

// content reads a content, and tells whether it is there.
func (s *instance) content(t *testing.T, bank string, id int64) (entry, bool) {
	t.Helper()
	a, err := s.send(t.Context(), request{path: contentPath(bank, id) + "?include_signals=true"})
	if err != nil {
		t.Fatal(err)
	}
	if a.status == http.StatusNotFound {
		return entry{}, false
	}
	told := decode[struct {
		ID           int64             `json:"id"`
		DisableUntil int64             `json:"disable_until_ts"`
		Note         string            `json:"note"`
		Signals      map[string]string `json:"signals"`
	}](t, a.body)
	if a.status != http.StatusOK || told.ID != id {
		t.Fatalf("content %d: status %d: %s", id, a.status, a.body)
	}
	return entry{PDQ: told.Signals["pdq"], VideoMD5: told.Signals["video_md5"], Note: told.Note, DisableUntil: told.DisableUntil}, true
}

// found looks a signal up among all contents.
func (s *instance) found(t *testing.T, kind, value string) []int64 {
	t.Helper()
	a := s.ask(t, request{path: "/m/raw_lookup?" + lookupOf(kind, value)}, http.StatusOK)
	return decode[struct{ Matches []int64 }](t, a.body).Matches
}

type match struct {
	ID int64 `json:"bank_content_id"`
}

// acted looks a signal up among contents that count.
func (s *instance) acted(t *testing.T, kind, value string) map[string][]match {
	t.Helper()
	return decode[map[string][]match](t, s.ask(t, request{path: "/m/lookup?" + lookupOf(kind, value)}, http.StatusOK).body)
}

func lookupOf(kind, value string) string {
	return url.Values{"signal_type": {kind}, "signal": {value}}.Encode()
}
