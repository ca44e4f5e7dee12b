package policyroom

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
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
		return Event{ID: "$r", Type: typeRedaction, Sender: "@mod:a", Redacts: old, Content: json.RawMessage(content)}
	}
	for name, c := range map[string]struct {
		do   func(r *Room)
		left []string
	}{
		"by empty content":                   {func(r *Room) { r.Set(stateEvent("$2", mediaType, "k", "@mod:a", `{}`)) }, nil},
		"by redaction":                       {func(r *Room) { r.Redact(redaction("$1", `{}`)) }, nil},
		"by redaction, from version 11":      {func(r *Room) { r.Redact(redaction("", `{"redacts":"$1"}`)) }, nil},
		"by redaction in a snapshot":         {func(r *Room) { r.Replace([]Event{created(`"12"`), stateEvent("$1", mediaType, "k", "@maker:a", `{}`)}) }, nil},
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

// Whatever happens to a room, what is followed is what its state says then.
func TestRoomFollowsAnyHistory(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var r Room
		model := map[Key]Event{} // the state
		r.Replace(nil)
		for n := range 300 {
			key := Key{slices.Sorted(maps.Keys(kinds))[random.IntN(3)], fmt.Sprint("k", random.IntN(5))}
			e := ban(fmt.Sprint("$", n), key.StateKey, "@mod:a")
			e.Type = key.Type
			switch random.IntN(5) {
			case 0:
				e.Content = json.RawMessage(`{}`)
			case 1:
				id := fmt.Sprint("$", random.IntN(n+1))
				for k, held := range model {
					if held.ID == id {
						held.Content = json.RawMessage(`{}`)
						model[k] = held
					}
				}
				r.Redact(Event{Redacts: id})
				continue
			case 2:
				if random.IntN(20) == 0 {
					r.Replace(slices.Collect(maps.Values(model)))
				}
				continue
			}
			model[key] = e
			r.Set(e)
		}
		want := map[string]Rule{}
		for key, e := range model {
			if rule, _ := parse(kinds[key.Type], e.Content); rule != nil {
				rule.Sender = e.Sender
				want[key.Source(e.ID)] = *rule
			}
		}
		if diff := cmp.Diff(want, r.Rules(Trust{}, nil).Rules); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}
