package exchange_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mediagate/bank"
)

// refuses waits until a list's status tells just so many refusals for each reason.
func (b *policyBench) refuses(name string, want map[string]int) {
	b.t.Helper()
	var got map[string]int
	defer func() {
		if b.t.Failed() {
			b.t.Logf("refused are %v, wanted %v", got, want)
		}
	}()
	await(b.t, "the status tells what is refused", func() bool {
		got = b.report(name).Refused
		return fmt.Sprint(got) == fmt.Sprint(want)
	})
}

// TestListsCountAsFarAsTheyAreTrusted has each setting that limits a list do so.
func TestListsCountAsFarAsTheyAreTrusted(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.set(listRoom, "m.room.power_levels", "", moderator, `{"users":{"`+moderator+`":100,"@helper:list.test":50,"@low:list.test":30},"events":{"m.policy.media_hash":0},"state_default":50}`)
	for n, sender := range []string{moderator, "@helper:list.test", "@low:list.test", stranger} {
		b.rooms.set(listRoom, "m.policy.media_hash", sender, sender, rule(hash(n)))
	}
	low, helper := "@low:list.test", "@helper:list.test"
	for name, tt := range map[string]struct {
		more    string
		keys    []string
		refused map[string]int
	}{
		"DEFAULT": {"", []string{moderator, helper}, map[string]int{"powerless_sender": 2}},
		"LOWER":   {`,"min_power":30`, []string{moderator, helper, low}, map[string]int{"powerless_sender": 1}},
		"HIGHER":  {`,"min_power":51`, []string{moderator}, map[string]int{"powerless_sender": 3}},
		"ALL":     {`,"min_power":0`, []string{moderator, helper, low, stranger}, nil},
		"SENDERS": {`,"senders":["@helper:list.test"]`, []string{helper}, map[string]int{"untrusted_sender": 3}},
		// Being listed gives nobody power.
		"LISTED": {`,"senders":["@low:list.test"]`, nil, map[string]int{"untrusted_sender": 3, "powerless_sender": 1}},
		"FEW":    {`,"max_entries":1`, []string{helper}, map[string]int{"powerless_sender": 2, "too_many_entries": 1}},
	} {
		b.subscribe(name, listRoom, tt.more)
		b.want(name, tt.keys...)
		if tt.refused == nil {
			tt.refused = map[string]int{}
		}
		b.refuses(name, tt.refused)
	}
	if !slices.ContainsFunc(b.report("DEFAULT").Warnings, func(w struct{ Danger, Subject string }) bool { return w.Danger == "low_level" }) {
		t.Error("it is not warned of a level of 0")
	}
	// Power that was taken away takes the rules with it, and those that come back count.
	b.rooms.set(listRoom, "m.room.power_levels", "", moderator, `{"users":{"`+moderator+`":100},"state_default":50}`)
	b.want("DEFAULT", moderator)
	warned := func(subject string) bool {
		for _, w := range b.report("DEFAULT").Warnings {
			if w.Danger == "low_level" && strings.HasPrefix(w.Subject, "m.policy.media_hash "+subject) {
				return true
			}
		}
		return false
	}
	await(t, "it is warned of no level any more", func() bool { return !warned("") })
	b.rooms.set(listRoom, "m.room.power_levels", "", moderator, `{"users":{"`+moderator+`":100,"@helper:list.test":50},"events":{"m.policy.media_hash":7},"state_default":50}`)
	b.want("DEFAULT", moderator, helper)
	await(t, "it is warned of a low level", func() bool { return warned("7") })
}

func TestRoomWithoutPowerLevelsIsNobodysList(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.lose(listRoom, "m.room.power_levels", "")
	b.rooms.set(listRoom, mediaHash, "theirs", stranger, rule(hash(1)))
	b.rooms.set(listRoom, mediaHash, "creators", moderator, rule(hash(2)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "creators")
	b.refuses(listName, map[string]int{"powerless_sender": 1})
}

func TestSenderAddsNoMoreThanItsPace(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	// What is there when one subscribes is no addition.
	var want []string
	for n := range 10 {
		b.rooms.set(listRoom, mediaHash, fmt.Sprint("old", n), moderator, rule(hash(n)))
		want = append(want, fmt.Sprint("old", n))
	}
	b.subscribe(listName, listRoom, `,"max_additions_per_hour":3`)
	b.want(listName, want...)
	b.rooms.set(listRoom, "m.room.power_levels", "", moderator, `{"users":{"`+moderator+`":100,"@helper:list.test":50},"state_default":50}`)
	for n := range 5 {
		b.rooms.set(listRoom, mediaHash, fmt.Sprint("new", n), moderator, rule(hash(100+n)))
		held := map[string]int{}
		if n > 2 {
			held["too_many_additions"] = n - 2
		}
		b.refuses(listName, held)
		if n < 3 {
			want = append(want, fmt.Sprint("new", n))
			b.want(listName, want...)
		}
	}
	// Others are not held up, and what waits to take the place of a rule leaves it there.
	b.rooms.set(listRoom, mediaHash, "helpers", "@helper:list.test", rule(hash(200)))
	b.rooms.set(listRoom, mediaHash, "old0", moderator, rule(hash(201)))
	b.want(listName, append(want, "helpers")...)
	b.refuses(listName, map[string]int{"too_many_additions": 3})
	b.wantBanned(hash(0))
	// Nor is what is taken back.
	b.rooms.set(listRoom, mediaHash, "old1", moderator, `{}`)
	await(t, "it is taken back", func() bool { return len(b.banked(listName)) == len(want) })
}

// wantBanned waits until a hash is banned.
func (b *policyBench) wantBanned(h string) {
	b.t.Helper()
	signal, err := bank.ParseSignal(bank.PDQ, h)
	if err != nil {
		b.t.Fatal(err)
	}
	await(b.t, "the hash is banned", func() bool {
		b.sync()
		return len(b.index().PrimaryWithin(pdqOf(signal), 0)) > 0
	})
}

func TestUntrustedRemovalsLiftNothing(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	var ids []string
	for _, key := range []string{"emptied", "redacted", "replaced", "lost", "ours"} {
		ids = append(ids, b.rooms.set(listRoom, mediaHash, key, moderator, rule(hash(len(ids)))))
	}
	b.subscribe(listName, listRoom, `,"senders":["`+moderator+`"],"trusted_removals":true`)
	b.subscribe("HONOURS", listRoom, `,"senders":["`+moderator+`"]`)
	b.want(listName, "emptied", "redacted", "replaced", "lost", "ours")
	b.rooms.set(listRoom, mediaHash, "emptied", stranger, `{}`)
	b.rooms.redact(listRoom, ids[1], stranger, true)
	b.rooms.set(listRoom, mediaHash, "replaced", stranger, rule(hash(50)))
	b.rooms.lose(listRoom, mediaHash, "lost")
	b.rooms.set(listRoom, mediaHash, "ours", moderator, `{}`)
	b.want(listName, "emptied", "redacted", "replaced", "lost")
	b.refuses(listName, map[string]int{"untrusted_removal": 4, "untrusted_sender": 1})
	b.want("HONOURS")
	// So it is after a restart, of which only the room's state and the bank are known.
	b.start()
	b.want(listName, "emptied", "redacted", "replaced", "lost")
	b.refuses(listName, map[string]int{"untrusted_removal": 4, "untrusted_sender": 1})
	b.rooms.set(listRoom, mediaHash, "emptied", moderator, `{}`)
	b.want(listName, "redacted", "replaced", "lost")
}

func TestPoisonIsNotBanked(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	if _, err := b.store.CreateBank(t.Context(), bank.Bank{Name: "HARMLESS", Ratio: 1, Allow: true}); err != nil {
		t.Fatal(err)
	}
	logo, err := bank.ParseSignal(bank.PDQ, hash(3))
	bytes, err2 := bank.ParseSignal(bank.SHA256, strings.Repeat("ab", 32))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.AddContent(t.Context(), bank.NewContent{Bank: "HARMLESS", Signals: []bank.Signal{logo, bytes}}); err != nil {
		t.Fatal(err)
	}
	b.rooms.set(listRoom, mediaHash, "zero", moderator, rule(strings.Repeat("00", 32)))
	b.rooms.set(listRoom, mediaHash, "one", moderator, rule(strings.Repeat("ff", 32)))
	b.rooms.set(listRoom, mediaHash, "heavy", moderator, rule(strings.Repeat("ff", 24)+strings.Repeat("00", 8)))
	b.rooms.set(listRoom, mediaHash, "logo", moderator, rule("ff"+hash(3)[2:]))
	b.rooms.set(listRoom, mediaHash, "bytes", moderator, `{"io.github.mediagate.sha256":{"hash":"`+strings.Repeat("ab", 32)+`"}}`)
	b.rooms.set(listRoom, mediaHash, "good", moderator, rule(hash(60)))
	b.rooms.set(listRoom, "m.policy.rule.server", "server", moderator, `{"entity":"bad.test","recommendation":"m.ban"}`)
	b.subscribe(listName, listRoom, "")
	b.want(listName, "good")
	await(t, "the status names them", func() bool { return len(b.report(listName).Examples) >= 6 })
	refused := b.report(listName).Refused
	for _, reason := range []string{"all_zero", "all_one", "implausible_weight", "near_allowed", "servers_off"} {
		if refused[reason] == 0 {
			t.Errorf("nothing is refused as %s: %v", reason, refused)
		}
	}
	named := make(map[string]bool)
	for _, e := range b.report(listName).Examples {
		named[e.StateKey] = e.Event != "" && e.Sender == moderator && e.Reason != ""
	}
	for _, key := range []string{"zero", "one", "heavy", "logo", "bytes", "server"} {
		if !named[key] {
			t.Errorf("the status does not name %s", key)
		}
	}
}

func TestServersAreBannedButNotOurs(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	for key, pattern := range map[string]string{"theirs": "bad.example.org", "ours": "LOCAL.test", "glob": "lo?al.test", "all": "*"} {
		b.rooms.set(listRoom, "m.policy.rule.server", key, moderator, `{"entity":"`+pattern+`","recommendation":"m.ban"}`)
	}
	b.subscribe(listName, listRoom, `,"servers":true`)
	b.want(listName, "theirs")
	b.refuses(listName, map[string]int{"own_server": 3, "too_broad": 2})
}
