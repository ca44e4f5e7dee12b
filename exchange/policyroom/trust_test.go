package policyroom

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
)

// sourceOf is where the rule of an event of the usual type is banked.
func sourceOf(stateKey, id string) string { return Key{mediaType, stateKey}.Source(id) }

// byModerator trusts @mod:a and @other:a, who both have the power, as @rogue:a has.
func byModerator() ([]Event, Trust) {
	state := []Event{created(`"11"`), power(`{"users":{"@mod:a":50,"@other:a":50,"@rogue:a":100}}`)}
	return state, Trust{Senders: []string{"@mod:a", "@other:a", "@weak:a"}, MinPower: 50}
}

func TestRemovalCountsByWhoRemoves(t *testing.T) {
	empty := func(id, sender string) Event { return stateEvent(id, mediaType, "k", sender, `{}`) }
	redacted := func(id, sender, by string) Event {
		e := stateEvent(id, mediaType, "k", sender, `{}`)
		e.RedactedBy = by
		return e
	}
	for name, c := range map[string]struct {
		now []Event
		// counts is the event that counts then, whoever may remove; kept tells whether
		// the banked rule $1 stays if removals need trust, and is taken out otherwise.
		counts string
		kept   bool
		by     string
	}{
		"as it was":                              {[]Event{ban("$1", "k", "@mod:a")}, "$1", false, ""},
		"emptied by a moderator":                 {[]Event{empty("$2", "@mod:a")}, "", false, ""},
		"emptied by another moderator":           {[]Event{empty("$2", "@other:a")}, "", false, ""},
		"emptied by a rogue":                     {[]Event{empty("$2", "@rogue:a")}, "", true, "@rogue:a"},
		"emptied by who has lost the power":      {[]Event{empty("$2", "@weak:a")}, "", true, "@weak:a"},
		"replaced by a moderator":                {[]Event{ban("$2", "k", "@mod:a")}, "$2", false, ""},
		"replaced by a rogue":                    {[]Event{ban("$2", "k", "@rogue:a")}, "", true, "@rogue:a"},
		"replaced by a rogue with nonsense":      {[]Event{stateEvent("$2", mediaType, "k", "@rogue:a", `[]`)}, "", true, "@rogue:a"},
		"replaced by a moderator with nonsense":  {[]Event{stateEvent("$2", mediaType, "k", "@mod:a", `[]`)}, "", false, ""},
		"redacted by a moderator":                {[]Event{redacted("$1", "@mod:a", "@other:a")}, "", false, ""},
		"redacted by a rogue":                    {[]Event{redacted("$1", "@mod:a", "@rogue:a")}, "", true, "@rogue:a"},
		"redacted by nobody knows whom":          {[]Event{empty("$1", "@mod:a")}, "", true, ""},
		"of who has lost the power":              {[]Event{ban("$1", "k", "@weak:a")}, "", false, ""},
		"the same, redacted by a rogue":          {[]Event{redacted("$1", "@weak:a", "@rogue:a")}, "", false, ""},
		"the replacing event redacted":           {[]Event{redacted("$2", "@mod:a", "@rogue:a")}, "", false, ""},
		"the replacing event of a rogue":         {[]Event{redacted("$2", "@rogue:a", "@mod:a")}, "", true, "@rogue:a"},
		"emptied by a rogue, then by another":    {[]Event{empty("$2", "@rogue:a"), empty("$3", "@other:a")}, "", false, ""},
		"lost by the room":                       {nil, "", true, ""},
		"another key of the same, and this lost": {[]Event{stateEvent("$2", "space.midnightthoughts.policy.media_hash", "k", "@mod:a", `{}`)}, "", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			state, trust := byModerator()
			var r Room
			r.Replace(append(state, c.now...))
			banked := sourceOf("k", "$1")
			for _, trust.TrustedRemovals = range []bool{false, true} {
				got := r.Rules(trust, []string{banked})
				var counts, kept, removed []string
				if c.counts != "" {
					counts = []string{sourceOf("k", c.counts)}
				}
				refused := Refused{Key{mediaType, "k"}, "$1", c.by, UntrustedRemoval}
				switch {
				case c.counts == "$1":
				case c.kept && trust.TrustedRemovals:
					kept = []string{banked}
				default:
					removed = []string{banked}
				}
				var sources []string
				for source := range got.Rules {
					sources = append(sources, source)
				}
				if diff := cmp.Diff([][]string{counts, kept, removed}, [][]string{sources, got.Kept, got.Removed}); diff != "" {
					t.Errorf("removals by trust %v: counting, kept, removed (-want +got):\n%s", trust.TrustedRemovals, diff)
				}
				if slices.Contains(got.Refused, refused) != (kept != nil) || got.Counts[UntrustedRemoval] != len(kept) {
					t.Errorf("refused %v", got.Refused)
				}
			}
		})
	}
}

// By a redaction that comes while the room is followed the same counts.
func TestRedactionCountsByWhoRedacts(t *testing.T) {
	for sender, kept := range map[string]int{"@other:a": 0, "@rogue:a": 1} {
		state, trust := byModerator()
		trust.TrustedRemovals = true
		var r Room
		r.Replace(append(state, ban("$1", "k", "@mod:a")))
		r.Redact(Event{Sender: sender, Redacts: "$1"})
		r.Redact(Event{Sender: "@mod:a", Redacts: "$1"}) // which changes nothing any more
		if got := r.Rules(trust, []string{sourceOf("k", "$1")}); len(got.Kept) != kept || len(got.Removed) == kept {
			t.Errorf("redacted by %s: kept %v, removed %v", sender, got.Kept, got.Removed)
		}
	}
}

func TestSourcesOfNoEventAreRemoved(t *testing.T) {
	state, trust := byModerator()
	var r Room
	r.Replace(state)
	if got := r.Rules(trust, []string{"else", sourceOf("k", "$1")}); !slices.Equal(got.Removed, []string{"else", sourceOf("k", "$1")}) {
		t.Errorf("removed %v", got.Removed)
	}
	trust.TrustedRemovals = true
	if got := r.Rules(trust, []string{"else"}); !slices.Equal(got.Kept, []string{"else"}) {
		t.Errorf("kept %v", got.Kept)
	}
}

// Nobody is not everybody, who may have the power.
func TestNobodyIsNotTrusted(t *testing.T) {
	var r Room
	r.Replace([]Event{power(`{"users_default":50}`)})
	if got := r.Rules(Trust{MinPower: 50, TrustedRemovals: true}, []string{sourceOf("k", "$1")}); len(got.Kept) != 1 {
		t.Errorf("removed %v", got.Removed)
	}
}

func TestEntriesHaveABound(t *testing.T) {
	state, trust := byModerator()
	trust.MaxEntries, trust.TrustedRemovals = 3, true
	snapshot := append(state, ban("$d", "d", "@mod:a"), ban("$c", "c", "@mod:a"), ban("$b", "b", "@mod:a"))
	for name, c := range map[string]struct {
		banked []string // of the usual key d and so on
		later  []Event
		count  []string
	}{
		"all":                      {nil, nil, []string{"b", "c", "d"}},
		"what comes later waits":   {nil, []Event{ban("$a", "a", "@mod:a")}, []string{"b", "c", "d"}},
		"unless it is banked":      {[]string{sourceOf("a", "$a")}, []Event{ban("$a", "a", "@mod:a")}, []string{"a", "b", "c"}},
		"and is banked changed":    {[]string{sourceOf("a", "$0")}, []Event{ban("$a", "a", "@mod:a")}, []string{"a", "b", "c"}},
		"in the order it comes":    {nil, []Event{stateEvent("$0", mediaType, "d", "@mod:a", `{}`), ban("$f", "f", "@mod:a"), ban("$a", "a", "@mod:a")}, []string{"b", "c", "f"}},
		"what is kept counts, too": {[]string{sourceOf("e", "$e")}, nil, []string{"b", "c"}},
		"even if it is too much":   {[]string{sourceOf("e", "$e"), sourceOf("f", "$f"), sourceOf("g", "$g"), sourceOf("h", "$h")}, nil, nil},
		"what does not count":      {nil, []Event{stateEvent("$a", mediaType, "b", "@mod:a", `[]`), ban("$x", "x", "@rogue:a"), ban("$e", "e", "@mod:a")}, []string{"c", "d", "e"}},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace(snapshot)
			for _, e := range c.later {
				r.Set(e)
			}
			got := r.Rules(trust, c.banked)
			if diff := cmp.Diff(c.count, keysOf(t, got.Rules)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if trust.MaxEntries = 0; len(r.Rules(trust, c.banked).Rules) != len(got.Rules)+got.Counts[TooManyEntries] {
				t.Errorf("refused %v", got.Counts)
			}
			trust.MaxEntries = 3
		})
	}
}

func TestRoomThatBansAndAllowsIsNotBelieved(t *testing.T) {
	rule := func(id, stateKey, sender, hash, wish string) Event {
		return stateEvent(id, mediaType, stateKey, sender, `{"m.pdqhash":{"hash":"`+hash+`","quality":100},"recommendation":"`+wish+`"}`)
	}
	servers := func(id, stateKey, entity, wish string) Event {
		return stateEvent(id, "m.policy.rule.server", stateKey, "@mod:a", `{"entity":"`+entity+`","recommendation":"`+wish+`"}`)
	}
	const item = `{"hashes":{"sha256":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}`
	for name, c := range map[string]struct {
		state  []Event
		counts map[Refusal]int
		count  int
	}{
		"a hash":             {[]Event{rule("$1", "k", "@mod:a", someHash, "m.ban"), rule("$2", "l", "@mod:a", someHash, "m.allow")}, map[Refusal]int{Conflicting: 1, RecommendsAllowing: 1}, 0},
		"another hash":       {[]Event{rule("$1", "k", "@mod:a", someHash, "m.ban"), rule("$2", "l", "@mod:a", otherHash, "m.allow")}, map[Refusal]int{RecommendsAllowing: 1}, 1},
		"allowed by a rogue": {[]Event{rule("$1", "k", "@mod:a", someHash, "m.ban"), rule("$2", "l", "@rogue:a", someHash, "m.allow")}, map[Refusal]int{UntrustedSender: 1}, 1},
		"allowed no more":    {[]Event{rule("$1", "k", "@mod:a", someHash, "m.ban"), rule("$2", "l", "@mod:a", someHash, "m.allow"), stateEvent("$3", mediaType, "l", "@mod:a", `{}`)}, map[Refusal]int{}, 1},
		"a server":           {[]Event{servers("$1", "k", "example.org", "m.ban"), servers("$2", "l", "Example.org", "org.matrix.mjolnir.allow")}, map[Refusal]int{Conflicting: 1, RecommendsAllowing: 1}, 0},
		"an item": {[]Event{
			stateEvent("$1", "m.policy.rule.mxc", "k", "@mod:a", item+`,"recommendation":"m.takedown"}`),
			stateEvent("$2", "m.policy.rule.mxc", "l", "@mod:a", item+`,"recommendation":"fi.mau.meowlnir.unban"}`),
		}, map[Refusal]int{Conflicting: 1, RecommendsAllowing: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			state, trust := byModerator()
			var r Room
			r.Replace(append(state, c.state...))
			got := r.Rules(trust, nil)
			if diff := cmp.Diff(c.counts, got.Counts); diff != "" || len(got.Rules) != c.count {
				t.Errorf("%d rules, refused (-want +got):\n%s", len(got.Rules), diff)
			}
		})
	}
}

func TestLintRefusesRulesOfARoom(t *testing.T) {
	state, trust := byModerator()
	trust.Lint = func(rule Rule) []Refusal {
		if rule.Signals[0].Type == bank.MD5 {
			return []Refusal{HarmlessDigest, AllOne}
		}
		return nil
	}
	trust.MaxEntries = 1
	var r Room
	r.Replace(append(state, ban("$1", "k", "@mod:a"), stateEvent("$2", mediaType, "a", "@mod:a", `{"io.github.mediagate.md5":{"hash":"`+someDigest+`"}}`)))
	got := r.Rules(trust, []string{sourceOf("a", "$2")})
	if diff := cmp.Diff([]string{"k"}, keysOf(t, got.Rules)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []Refused{{Key{mediaType, "a"}, "$2", "@mod:a", AllOne}, {Key{mediaType, "a"}, "$2", "@mod:a", HarmlessDigest}}
	if diff := cmp.Diff(want, got.Refused); diff != "" || !slices.Equal(got.Removed, []string{sourceOf("a", "$2")}) {
		t.Errorf("removed %v, refused (-want +got):\n%s", got.Removed, diff)
	}
}

func TestReportListsSoMuch(t *testing.T) {
	var r Room
	for n := range maxListed + 5 {
		r.Set(stateEvent(fmt.Sprint("$", n), mediaType, fmt.Sprintf("%05d", n), "@x:a", `[]`))
	}
	got := r.Rules(Trust{}, nil)
	if len(got.Refused) != maxListed || got.Counts[NotAnObject] != maxListed+5 {
		t.Errorf("%d listed, counted %v", len(got.Refused), got.Counts)
	}
	if !slices.IsSortedFunc(got.Refused, func(a, b Refused) int { return a.Key.compare(b.Key) }) {
		t.Error("they are in no order")
	}
	var report Report
	report.Add(Refused{Reason: TooManyAdditions})
	if len(report.Refused) != 1 || report.Counts[TooManyAdditions] != 1 {
		t.Errorf("added to nothing: %+v", report)
	}
}

func TestSendersAreKnown(t *testing.T) {
	var r Room
	r.Replace([]Event{ban("$1", "k", "@mod:a")})
	if got := r.Rules(Trust{}, nil).Rules[sourceOf("k", "$1")].Sender; got != "@mod:a" {
		t.Errorf("sender %q", got)
	}
}
