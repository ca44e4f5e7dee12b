package policyroom

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// model is a plain model of what a server says of a room: its state by key, with
// events pruned as soon as their redaction is there, even if that came first.
type model struct {
	state    map[Key]Event
	old      []Event           // all that were ever in the state
	redacted map[string]string // who redacted an event, by its id
	levels   map[string]int    // of users
}

func (h *model) pruned(e Event) Event {
	if by, ok := h.redacted[e.ID]; ok {
		e.Content, e.RedactedBy = json.RawMessage(`{}`), by
	}
	return e
}

// snapshot is the state in any order, with some of what was there before it.
func (h *model) snapshot(random *rand.Rand) []Event {
	state := []Event{created(`"11"`), h.powerLevels()}
	for _, e := range h.state {
		state = append(state, h.pruned(e))
	}
	random.Shuffle(len(state), func(i, j int) { state[i], state[j] = state[j], state[i] })
	var before []Event
	for range min(3, len(h.old)) { // the same keys twice: the last one is the state's
		if e := h.old[random.IntN(len(h.old))]; h.state[Key{e.Type, *e.StateKey}].ID != "" {
			before = append(before, h.pruned(e))
		}
	}
	return append(before, state...)
}

func (h *model) powerLevels() Event {
	users, _ := json.Marshal(h.levels)
	return power(`{"users":` + string(users) + `}`)
}

// trusted is what byModerator's trust comes to.
func (h *model) trusted(user string) bool {
	return (user == "@mod:a" || user == "@other:a") && h.levels[user] >= 50
}

// wanted is what is to be banked, from the state and from what is banked.
func (h *model) wanted(banked map[string]bool, trustedRemovals bool) (rules map[string]Rule, kept map[string]bool) {
	rules, kept = map[string]Rule{}, map[string]bool{}
	for key, e := range h.state {
		e = h.pruned(e)
		if rule, _ := parse(kinds[key.Type], e.Content); rule != nil && h.trusted(e.Sender) {
			rule.Sender = e.Sender
			rules[key.Source(e.ID)] = *rule
		}
	}
	for source := range banked {
		if _, counts := rules[source]; counts || !trustedRemovals {
			continue
		}
		key, id, _ := ParseSource(source)
		e, there := h.state[key]
		switch {
		case !there:
			kept[source] = true
		case e.ID != id:
			kept[source] = !h.trusted(e.Sender)
		default: // it is redacted, or its author is not trusted any more
			kept[source] = h.trusted(e.Sender) && !h.trusted(h.redacted[id])
		}
		if !kept[source] {
			delete(kept, source)
		}
	}
	return rules, kept
}

// Whatever happens to a room, what is to be banked is what its state and the sources
// that are banked say, to who has followed it as to who has just been started.
func TestRoomFollowsAnyHistory(t *testing.T) {
	users := []string{"@mod:a", "@other:a", "@rogue:a"}
	sawKept, sawRemoved := 0, 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		_, trust := byModerator()
		trust.TrustedRemovals = seed%2 == 0
		h := &model{map[Key]Event{}, nil, map[string]string{}, map[string]int{"@mod:a": 50, "@other:a": 50, "@rogue:a": 100}}
		var r Room
		r.Replace(h.snapshot(random))
		banked := map[string]bool{}
		for n := range 200 {
			sender := users[random.IntN(3)]
			switch random.IntN(12) {
			case 0, 1, 2: // a redaction, perhaps of what is old or still to come
				id := fmt.Sprint("$", random.IntN(n+3))
				if _, done := h.redacted[id]; !done {
					h.redacted[id] = sender
				}
				e := Event{ID: fmt.Sprint("$r", n), Type: typeRedaction, Sender: sender}
				if random.IntN(2) == 0 {
					e.Redacts = id
				} else {
					e.Content = json.RawMessage(`{"redacts":"` + id + `"}`)
				}
				held := slices.ContainsFunc(slices.Collect(maps.Values(h.state)), func(e Event) bool { return e.ID == id })
				if r.Redact(e) != held {
					t.Fatalf("seed %d: it is not told whether %s is part of the state", seed, id)
				}
			case 3: // a state reset, or a gap: the room is read again
				for key := range h.state {
					if random.IntN(20) == 0 {
						delete(h.state, key)
					}
				}
				r.Replace(h.snapshot(random))
			case 4: // what is delivered again
				for _, e := range h.state {
					r.Set(h.pruned(e))
					break
				}
			case 5:
				h.levels["@other:a"] = 50 - h.levels["@other:a"]
				r.Set(h.powerLevels())
			default:
				key := Key{slices.Sorted(maps.Keys(kinds))[random.IntN(3)], fmt.Sprint("k/", random.IntN(4))}
				e := ban(fmt.Sprint("$", n), key.StateKey, sender)
				e.Type = key.Type
				if content := []string{`{}`, `[]`, `null`, `{"m.pdqhash":7}`}; random.IntN(3) == 0 {
					e.Content = json.RawMessage(content[random.IntN(len(content))])
				}
				h.state[key] = e
				h.old = append(h.old, e)
				r.Set(h.pruned(e))
			}
			if random.IntN(3) > 0 {
				continue // more happens before it is looked at
			}
			var again Room
			again.Replace(h.snapshot(random))
			sources := slices.Collect(maps.Keys(banked))
			got := r.Rules(trust, sources)
			rules, kept := h.wanted(banked, trust.TrustedRemovals)
			if diff := cmp.Diff(rules, got.Rules); diff != "" {
				t.Fatalf("seed %d: rules (-want +got):\n%s", seed, diff)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(kept)), got.Kept); diff != "" {
				t.Fatalf("seed %d: kept (-want +got):\n%s", seed, diff)
			}
			if diff := cmp.Diff(got, again.Rules(trust, sources)); diff != "" {
				t.Fatalf("seed %d: followed and read again (-followed +read):\n%s", seed, diff)
			}
			sawKept, sawRemoved = sawKept+len(got.Kept), sawRemoved+len(got.Removed)
			for _, source := range got.Removed {
				delete(banked, source)
			}
			for source := range got.Rules {
				banked[source] = true
			}
			if len(banked) != len(got.Rules)+len(got.Kept) {
				t.Fatalf("seed %d: %d sources are banked, of %d rules and %d kept ones", seed, len(banked), len(got.Rules), len(got.Kept))
			}
		}
	}
	if sawKept < 100 || sawRemoved < 100 {
		t.Errorf("it was tried with %d kept and %d removed rules", sawKept, sawRemoved)
	}
}

// Whoever floods a list takes nothing out of it.
func TestFloodTakesNothingOut(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		state, trust := byModerator()
		trust.MaxEntries = 20
		var r Room
		r.Replace(state)
		for n := range trust.MaxEntries {
			r.Set(ban(fmt.Sprint("$", n), fmt.Sprint("old", random.Int()), "@mod:a"))
		}
		banked := slices.Collect(maps.Keys(r.Rules(trust, nil).Rules))
		for n := range 200 {
			r.Set(ban(fmt.Sprint("$new", n), fmt.Sprint(random.Int()), "@other:a"))
		}
		got := r.Rules(trust, banked)
		if len(got.Removed) > 0 || len(got.Rules) != trust.MaxEntries || got.Counts[TooManyEntries] != 200 {
			t.Fatalf("seed %d: removed %v, refused %v", seed, got.Removed, got.Counts)
		}
	}
}

// A room of 640 MB of text leaves what its rules say.
func TestRoomKeepsNoContents(t *testing.T) {
	padding := strings.Repeat("x", 60<<10)
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var r Room
	before, total := used(), 0
	for n := range 10_000 {
		content := fmt.Sprintf(`{"m.pdqhash":{"hash":"%064x","quality":100},"reason":"%s"}`, n, padding)
		switch n % 4 {
		case 1:
			content = `{"recommendation":"` + padding + `"}`
		case 2:
			content = `{"harms":["` + padding + `"],"entity":"` + padding + `"}`
		}
		total += len(content)
		r.Set(stateEvent(fmt.Sprint("$", n), mediaType, fmt.Sprint(n)+padding[:1000*(n%2)], "@a:a", content))
	}
	r.Set(power(`{"users":{"@a:a":50},"reason":"` + padding + `"}`))
	if after := used(); after > before+32<<20 {
		t.Errorf("%d bytes of events leave %d", total, after-before)
	}
	if got := r.Rules(Trust{}, nil); len(got.Rules) != 2500 || len(got.Refused) != maxListed {
		t.Errorf("%d rules, refused %v", len(got.Rules), got.Counts)
	}
}
