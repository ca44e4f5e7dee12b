package policyroom

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mediaType = "m.policy.media_hash"

func stateEvent(id, eventType, stateKey, sender, content string) Event {
	return Event{ID: id, Type: eventType, StateKey: &stateKey, Sender: sender, Content: json.RawMessage(content)}
}

func ban(id, stateKey, sender string) Event {
	return stateEvent(id, mediaType, stateKey, sender, `{"m.pdqhash":{"hash":"`+someHash+`","quality":100}}`)
}

func created(version string) Event {
	return stateEvent("$create", typeCreate, "", "@maker:a", `{"room_version":`+version+`,"creator":"@maker:a","additional_creators":["@second:a",7]}`)
}

func power(content string) Event { return stateEvent("$power", typePower, "", "@maker:a", content) }

func keysOf(t *testing.T, rules map[string]Rule) []string {
	t.Helper()
	var list []string
	for source := range rules {
		key, _, err := ParseSource(source)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, key.StateKey)
	}
	slices.Sort(list)
	return list
}

// Who has written a rule must be trusted with it now, and not only when it was written.
func TestRulesCountBySender(t *testing.T) {
	for name, c := range map[string]struct {
		state []Event
		trust Trust
		count bool
	}{
		"moderator":                    {[]Event{created(`"10"`), power(`{"users":{"@mod:a":50}}`)}, Trust{MinPower: 50}, true},
		"level as text":                {[]Event{created(`"6"`), power(`{"users":{"@mod:a":"50"}}`)}, Trust{MinPower: 50}, true},
		"everybody":                    {[]Event{created(`"10"`), power(`{"users_default":50}`)}, Trust{MinPower: 50}, true},
		"not a moderator any more":     {[]Event{created(`"10"`), power(`{"users":{"@mod:a":49}}`)}, Trust{MinPower: 49}, false},
		"event allowed to everybody":   {[]Event{created(`"10"`), power(`{"events":{"` + mediaType + `":0}}`)}, Trust{}, true},
		"the same, with a floor":       {[]Event{created(`"10"`), power(`{"events":{"` + mediaType + `":0}}`)}, Trust{MinPower: 1}, false},
		"event of administrators":      {[]Event{created(`"10"`), power(`{"users":{"@mod:a":50},"events":{"` + mediaType + `":100}}`)}, Trust{MinPower: 50}, false},
		"no power levels":              {[]Event{created(`"10"`)}, Trust{MinPower: 50}, false},
		"no power levels, no floor":    {[]Event{created(`"10"`)}, Trust{}, true},
		"levels that are no object":    {[]Event{created(`"10"`), power(`[]`)}, Trust{}, false},
		"levels out of range":          {[]Event{created(`"10"`), power(`{"users":{"@mod:a":9223372036854775807}}`)}, Trust{MinPower: 50}, false},
		"nothing about the room":       {nil, Trust{MinPower: 1}, false},
		"sender listed":                {[]Event{created(`"10"`), power(`{"users":{"@mod:a":50}}`)}, Trust{Senders: []string{"@x:a", "@mod:a"}}, true},
		"sender not listed":            {[]Event{created(`"10"`), power(`{"users":{"@mod:a":100}}`)}, Trust{Senders: []string{"@x:a"}}, false},
		"sender listed, without power": {[]Event{created(`"10"`), power(`{}`)}, Trust{Senders: []string{"@mod:a"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace(append(c.state, ban("$1", "k", "@mod:a")))
			got := r.Rules(c.trust, nil)
			if len(got.Rules) == 1 != c.count || len(got.Counts) == 1 == c.count {
				t.Errorf("%d rules, refused %v", len(got.Rules), got.Counts)
			}
		})
	}
}

func TestCreatorsHavePowerByVersion(t *testing.T) {
	for name, c := range map[string]struct {
		version, sender, levels string
		count                   bool
	}{
		"version 12":                    {`"12"`, "@maker:a", `{}`, true},
		"version 13":                    {`"13"`, "@maker:a", `{}`, true},
		"version 12, by its other name": {`"org.matrix.hydra.11"`, "@maker:a", `{}`, true},
		"additional creator":            {`"12"`, "@second:a", `{}`, true},
		"levels take nothing from them": {`"12"`, "@maker:a", `{"users":{"@maker:a":0}}`, true},
		"nobody else":                   {`"12"`, "@third:a", `{}`, false},
		"version 11":                    {`"11"`, "@maker:a", `{}`, false},
		"additional ones of version 11": {`"11"`, "@second:a", `{}`, false},
		"a version that is no text":     {`12`, "@maker:a", `{}`, false},
		"a version that nobody knows":   {`"org.example.99"`, "@maker:a", `{}`, false},
		"a version beside the version":  {`"11","Room_version":"12"`, "@maker:a", `{}`, false},
		"version 11 with a level":       {`"11"`, "@maker:a", `{"users":{"@maker:a":100}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace([]Event{created(c.version), power(c.levels), ban("$1", "k", c.sender)})
			if got := r.Rules(Trust{MinPower: 50}, nil); len(got.Rules) == 1 != c.count {
				t.Errorf("%d rules", len(got.Rules))
			}
		})
	}
}

func TestRulesAreTakenBack(t *testing.T) {
	redaction := func(old, content string) Event {
		return Event{ID: "$r", Type: Redaction, Sender: "@mod:a", Redacts: old, Content: json.RawMessage(content)}
	}
	for name, c := range map[string]struct {
		do   func(r *Room)
		left []string
	}{
		"by empty content":                   {func(r *Room) { r.Set(stateEvent("$2", mediaType, "k", "@mod:a", `{}`)) }, nil},
		"by redaction":                       {func(r *Room) { r.Redact(redaction("$1", `{}`)) }, nil},
		"by redaction, from version 11":      {func(r *Room) { r.Redact(redaction("", `{"redacts":"$1"}`)) }, nil},
		"by redaction in a snapshot":         {func(r *Room) { r.Replace([]Event{created(`"12"`), stateEvent("$1", mediaType, "k", "@maker:a", `{}`)}) }, nil},
		"not by another name of it":          {func(r *Room) { r.Redact(redaction("", `{"Redacts":"$1"}`)) }, []string{"k"}},
		"redacted before they were replaced": {func(r *Room) { r.Set(ban("$2", "k", "@maker:a")); r.Redact(redaction("$1", `{}`)) }, []string{"k"}},
		"under another state key":            {func(r *Room) { r.Set(stateEvent("$2", mediaType, "K", "@maker:a", `{}`)) }, []string{"k"}},
		"under another type": {func(r *Room) {
			r.Set(stateEvent("$2", "space.midnightthoughts.policy.media_hash", "k", "@maker:a", `{}`))
		}, []string{"k"}},
		"by what is no state event": {func(r *Room) {
			r.Set(Event{ID: "$2", Type: mediaType, Sender: "@maker:a", Content: json.RawMessage(`{}`)})
		}, []string{"k"}},
		"by what nobody trusts": {func(r *Room) { r.Set(stateEvent("$2", mediaType, "k", "@nobody:a", `{"m.pdqhash":1}`)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace([]Event{created(`"12"`), ban("$1", "k", "@maker:a")})
			c.do(&r)
			if diff := cmp.Diff(c.left, keysOf(t, r.Rules(Trust{MinPower: 50}, nil).Rules)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRedactionOfAnUnknownEventIsTold(t *testing.T) {
	var r Room
	if r.Redact(Event{Redacts: "$1"}) {
		t.Error("an empty room has redacted something")
	}
	r.Replace([]Event{ban("$1", "k", "@maker:a")})
	if !r.Redact(Event{Redacts: "$1"}) || r.Redact(Event{Redacts: "$0"}) {
		t.Error("it is not told which event is part of the state")
	}
}

// A redacted event stays so, whatever is delivered late.
func TestRedactedEventsDoNotComeBack(t *testing.T) {
	var r Room
	r.Replace([]Event{ban("$1", "k", "@maker:a")})
	r.Redact(Event{Sender: "@mod:a", Redacts: "$1"})
	r.Set(ban("$1", "k", "@maker:a"))
	if got := r.Rules(Trust{}, nil); len(got.Rules) > 0 {
		t.Errorf("rules %v", got.Rules)
	}
	e := ban("$2", "k", "@maker:a")
	e.RedactedBy = "@mod:a" // with its content, as some servers have it
	r.Set(e)
	if got := r.Rules(Trust{}, nil); len(got.Rules) > 0 {
		t.Errorf("rules %v", got.Rules)
	}
	r.Set(ban("$3", "k", "@maker:a"))
	if got := r.Rules(Trust{}, nil); len(got.Rules) != 1 {
		t.Errorf("rules %v", got.Rules)
	}
}

// Two events cannot have the same id, but may say so.
func TestRedactionFindsTheEventThatHasTheID(t *testing.T) {
	var r Room
	r.Replace([]Event{ban("$1", "k", "@maker:a"), ban("$1", "other", "@maker:a")})
	r.Set(ban("$2", "k", "@maker:a"))
	if !r.Redact(Event{Redacts: "$1"}) {
		t.Error("it is not found")
	}
	if diff := cmp.Diff([]string{"k"}, keysOf(t, r.Rules(Trust{}, nil).Rules)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Replace([]Event{ban("", "k", "@maker:a")})
	if r.Redact(Event{}) {
		t.Error("a redaction of nothing has redacted something")
	}
}

func TestLongStateKeysAreRefusedOneByOne(t *testing.T) {
	var r Room
	long := strings.Repeat("ü", 200)
	r.Replace([]Event{created(`"12"`), ban("$1", strings.Repeat("k", maxKey), "@maker:a")})
	r.Set(ban("$2", strings.Repeat("k", maxKey+1), "@maker:a"))
	r.Set(ban("$3", long, "@maker:a"))
	r.Set(ban("$4", long+"2", "@maker:a"))
	got := r.Rules(Trust{MinPower: 50}, nil)
	if diff := cmp.Diff(map[Refusal]int{KeyTooLong: 3}, got.Counts); diff != "" || len(got.Rules) != 1 {
		t.Errorf("%d rules (-want +got):\n%s", len(got.Rules), diff)
	}
	for _, x := range got.Refused {
		if len(x.Key.StateKey) > maxKey || !strings.Contains(x.Key.StateKey, "…") {
			t.Errorf("refused %+v", x)
		}
	}
	r.Redact(Event{Redacts: "$2"})
	r.Set(stateEvent("$5", mediaType, long, "@maker:a", `{}`))
	if got := r.Rules(Trust{MinPower: 50}, nil).Counts; got[KeyTooLong] != 2 {
		t.Errorf("refused %v", got)
	}
}

func TestWarnings(t *testing.T) {
	tombstone := func(id, content string) Event {
		return stateEvent(id, typeTombstone, "", "@maker:a", content)
	}
	lowest := func(level string) []Warning {
		return []Warning{{LowLevel, "m.policy.media_hash " + level}}
	}
	for name, c := range map[string]struct {
		state    []Event
		warnings []Warning
	}{
		"nothing":            {nil, []Warning{{Danger: NoPowerLevels}}},
		"no levels":          {[]Event{created(`"12"`)}, []Warning{{Danger: NoPowerLevels}}},
		"usual levels":       {[]Event{power(`{}`)}, nil},
		"fifty":              {[]Event{power(`{"events":{"m.policy.media_hash":50}}`)}, nil},
		"forty-nine":         {[]Event{power(`{"events":{"m.policy.media_hash":49}}`)}, lowest("49")},
		"negative":           {[]Event{power(`{"events":{"m.policy.media_hash":-1}}`)}, lowest("-1")},
		"another type":       {[]Event{power(`{"events":{"m.room.topic":0}}`)}, nil},
		"given up":           {[]Event{power(`{}`), tombstone("$t", `{"replacement_room":"!b:a"}`)}, []Warning{{Tombstoned, "!b:a"}}},
		"given up for none":  {[]Event{power(`{}`), tombstone("$t", `{"body":"x","replacement_room":1}`)}, []Warning{{Tombstoned, ""}}},
		"no tombstone":       {[]Event{power(`{}`), tombstone("$t", `{"body":"x"}`), tombstone("$u", `{}`)}, nil},
		"someone's own":      {[]Event{power(`{}`), stateEvent("$t", typeTombstone, "@x:a", "@x:a", `{"body":"x"}`)}, nil},
		"no levels of state": {[]Event{power(`{"state_default":50}`), stateEvent("$p", typePower, "x", "@x:a", `{"state_default":0}`)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace(c.state)
			if diff := cmp.Diff(c.warnings, r.Warnings()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	var r Room
	r.Replace([]Event{power(`{"state_default":0}`)})
	if got := r.Warnings(); len(got) != len(kinds) {
		t.Errorf("warnings %v", got)
	}
	r.Replace([]Event{power(`{}`), tombstone("$t", `{"replacement_room":"!b:a"}`)})
	if r.Successor != "!b:a" || !r.Redact(Event{Redacts: "$t"}) || len(r.Warnings()) > 0 || r.Successor != "" {
		t.Errorf("a tombstone that was redacted: %v, successor %q", r.Warnings(), r.Successor)
	}
}
