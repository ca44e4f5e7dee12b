package publish_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/publish"
)

func keyOf(hash string) string {
	digest := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(digest[:])
}

// TestBankIsPublished goes through what happens to contents. Nothing of them goes out
// but what is to.
func TestBankIsPublished(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	first := b.add(1)
	b.start()
	b.want(1, 2*soon) // it begins with joining the room
	primary, digest := text(4, 64), text(7, 64)
	e := b.owner.events(b.room)[keyOf(primary)]
	want := `{"io.github.mediagate.sha256":{"hash":"` + digest + `"},"space.midnightthoughts.pdqhash":{"hash":"` + primary + `","quality":"100"}}`
	if string(e.Content) != want || e.Sender != b.bot.ID {
		t.Errorf("%s says %s, want %s", e.Sender, e.Content, want)
	}

	// What is not to go out does not, beside what is.
	b.addContent(bank.NewContent{Bank: "OWN", Signals: picture(t, 2, 49), HashedHere: true})
	b.addContent(bank.NewContent{Bank: "OWN", Signals: picture(t, 3, 100)})
	b.addContent(bank.NewContent{Bank: "OWN", Signals: picture(t, 4, 100)[2:], HashedHere: true})
	off := bank.DisabledForever
	if _, err := b.store.UpdateContent(ctx, "OWN", b.add(5), bank.ContentUpdate{DisableUntil: &off}); err != nil {
		t.Fatal(err)
	}
	alike := picture(t, 1, 90)
	b.addContent(bank.NewContent{Bank: "OWN", Signals: alike, HashedHere: true}) // of the same hash
	b.addContent(bank.NewContent{Bank: "OWN", Signals: picture(t, 6, 50)[:1], HashedHere: true})
	b.want(2, soon)
	if got := b.owner.events(b.room)[keyOf(text(24, 64))]; string(got.Content) != `{"space.midnightthoughts.pdqhash":{"hash":"`+text(24, 64)+`","quality":"50"}}` {
		t.Errorf("without a digest it says %s", got.Content)
	}
	plan, err := publish.Preview(ctx, b.store, b.home, "OWN", "")
	if diff := cmp.Diff(publish.Plan{Room: b.room, Kept: 2}, plan); diff != "" || err != nil {
		t.Errorf("a preview of what is done: %v (-want +got):\n%s", err, diff)
	}

	// The one content of two goes: what the other one says is sent.
	if _, err := b.store.DeleteContent(ctx, "OWN", first); err != nil {
		t.Fatal(err)
	}
	await(t, "the other content speaks", soon, func() bool {
		return strings.Contains(string(b.owner.events(b.room)[keyOf(primary)].Content), `"90"`)
	})
	var old stateEvent
	b.owner.ask(http.MethodGet, "/rooms/"+b.room+"/event/"+e.ID, "", &old)
	if string(old.Content) != "{}" || old.Unsigned.Because == nil {
		t.Errorf("what the first one said is still told: %s", old.Content)
	}

	// A bank that does not block publishes nothing, nor does one that is gone.
	ratio, one := 0.0, 1.0
	if _, err := b.store.UpdateBank(ctx, "OWN", bank.Settings{Ratio: &ratio}); err != nil {
		t.Fatal(err)
	}
	b.want(0, soon)
	if _, err := b.store.UpdateBank(ctx, "OWN", bank.Settings{Ratio: &one}); err != nil {
		t.Fatal(err)
	}
	b.want(2, soon)
	if err := b.store.DeleteBank(ctx, "OWN"); err != nil {
		t.Fatal(err)
	}
	b.want(0, soon)
	for key, e := range b.owner.events(b.room) {
		if e.Unsigned.Because == nil {
			t.Errorf("%s was not redacted", key)
		}
	}
	// A bank that is gone is withdrawn by the name that it had.
	if err := b.store.Withdraw(ctx, "OWN"); err != nil {
		t.Fatal(err)
	}
	await(t, "the publication ends", soon, func() bool {
		list, err := b.store.Publications(ctx)
		return err == nil && len(list) == 0
	})

	secrets := []string{"c4n4ry", "mxc:", "note", "md5", text(6, 32), text(5, 64)} // of the first picture: MD5, upright
	for _, w := range b.proxy.writes() {
		for _, s := range secrets {
			if strings.Contains(w.path+w.body, s) {
				t.Errorf("%s is told in %s %s", s, w.path, w.body)
			}
		}
		for n := range uint64(4) {
			if strings.Contains(w.path, text(4*n, 64)) {
				t.Errorf("a hash stands in %s, which stays", w.path)
			}
		}
	}
}

// TestRestartResumes in the middle, and sends nothing twice.
func TestRestartResumes(t *testing.T) {
	b := newBench(t, 50)
	const all = 40
	for n := range uint64(all) {
		b.add(n)
	}
	_, stop := b.start()
	await(t, "some are published", 4*soon, func() bool { return len(b.proxy.writes()) >= all/4 })
	stop()
	// The last write may reach the room after whoever made it was stopped.
	between, plan := 0, publish.Plan{}
	await(t, "the preview is of what the room holds", soon, func() bool {
		between = b.owner.holds(b.room)
		var err error
		if plan, err = publish.Preview(t.Context(), b.store, b.home, "OWN", ""); err != nil {
			t.Fatal(err)
		}
		return b.owner.holds(b.room) == between
	})
	if between == 0 || between == all {
		t.Fatalf("stopped with %d of %d", between, all)
	}
	if len(plan.Send) != all-between || plan.Kept != between {
		t.Errorf("after %d the preview is %d to send, %d kept", between, len(plan.Send), plan.Kept)
	}
	b.start()
	b.start() // another process: it stands by
	b.want(all, 6*soon)
	seen := make(map[string]int)
	for _, w := range b.proxy.writes() {
		seen[w.path]++
	}
	twice := 0
	for path, n := range seen {
		if n > 1 && !strings.Contains(path, "/send/") {
			twice += n - 1
		}
	}
	// The one that was on its way when it was stopped may have been sent again.
	if len(seen) != all || twice > 1 {
		t.Errorf("%d events, %d sent twice", len(seen), twice)
	}
}

// TestOthersEventsAreLeft: those of others, also where ours would stand, and ours that
// others have taken back.
func TestOthersEventsAreLeft(t *testing.T) {
	b := newBench(t, 50)
	taken := keyOf(text(4, 64))
	b.owner.set(b.room, eventType, taken, `{"reason":"mine"}`)
	b.owner.set(b.room, eventType, "other", `{"reason":"mine, too"}`)
	b.owner.set(b.room, "m.policy.rule.server", "x", `{"entity":"bad.test"}`)
	before := b.owner.events(b.room)
	b.add(1)
	b.add(2)
	_, stop := b.start()
	b.want(3, 2*soon)
	own := keyOf(text(8, 64))
	b.owner.redact(b.room, b.owner.events(b.room)[own].ID)
	stop()
	b.start() // it reads the room
	b.add(3)
	b.want(3, 2*soon)
	await(t, "the status tells", soon, func() bool { return b.status().Problem == "2 hashes are left to others, who have set or redacted them" })
	plan, err := publish.Preview(t.Context(), b.store, b.home, "OWN", "")
	if err != nil || plan.Left != 2 || plan.Kept != 1 || len(plan.Send)+len(plan.Redact) > 0 {
		t.Errorf("the preview is %+v, %v", plan, err)
	}
	after := b.owner.events(b.room)
	for _, key := range []string{taken, "other"} {
		if after[key].ID != before[key].ID || string(after[key].Content) != string(before[key].Content) {
			t.Errorf("%s was touched: %s", key, after[key].Content)
		}
	}
	if e := after[own]; string(e.Content) != "{}" {
		t.Errorf("what was taken back is told again: %s", e.Content)
	}
}

// TestHomeserverIsLeftAlone as long as it wants to be, and nothing is lost.
func TestHomeserverIsLeftAlone(t *testing.T) {
	b := newBench(t, 50)
	left := 2
	b.proxy.setRefuse(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || left == 0 {
			return false
		}
		left--
		w.Header().Set("Retry-After", "3")
		return answer(w, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED")
	})
	for n := range uint64(3) {
		b.add(n)
	}
	p, _ := b.start()
	b.want(3, 5*soon)
	writes := b.proxy.writes()
	if len(writes) != 5 {
		t.Fatalf("%d requests", len(writes))
	}
	for i := range 2 {
		if got := writes[i+1].at.Sub(writes[i].at); got < 3*time.Second {
			t.Errorf("asked again after %v", got)
		}
		if writes[i+1].path != writes[i].path {
			t.Errorf("asked for something else: %s", writes[i+1].path)
		}
	}
	for i := 3; i < 5; i++ {
		if got := writes[i].at.Sub(writes[i-1].at); got < 90*time.Millisecond {
			t.Errorf("wrote again after %v", got)
		}
	}
	for outcome, want := range map[string]float64{"limited": 2, "sent": 3, "redacted": 0} {
		await(t, fmt.Sprintf("%g events are counted as %s", want, outcome), soon, func() bool { return counted(t, p, outcome) == want })
	}
}

// TestPowerIsNeeded, and until it is there the status tells so.
func TestPowerIsNeeded(t *testing.T) {
	b := newBench(t, 0)
	b.add(1)
	b.start()
	await(t, "the status tells", 2*soon, func() bool { return strings.Contains(b.status().Problem, "403 M_FORBIDDEN") })
	if s := b.status(); s.Published != 0 || s.Finished.IsZero() {
		t.Errorf("the status is %+v", s)
	}
	b.owner.set(b.room, "m.room.power_levels", "", fmt.Sprintf(`{"users":{%q:100,%q:50}}`, b.owner.ID, b.bot.ID))
	b.want(1, 4*soon)
	await(t, "the status tells", soon, func() bool { return b.status().Problem == "" && b.status().Published == 1 })

	// Thrown out, it tells so, and what is in the room is not forgotten.
	b.owner.ask(http.MethodPost, "/rooms/"+b.room+"/kick", `{"user_id":"`+b.bot.ID+`"}`, &struct{}{})
	b.add(2)
	await(t, "the status tells", 2*soon, func() bool { return b.status().Problem != "" })
	if s := b.status(); s.Published != 1 || !strings.Contains(s.Problem, "M_FORBIDDEN") {
		t.Errorf("the status is %+v", s)
	}
	b.owner.ask(http.MethodPost, "/rooms/"+b.room+"/invite", `{"user_id":"`+b.bot.ID+`"}`, &struct{}{})
	b.want(2, 6*soon)
}

// TestEventIsEmptiedIfItCannotBeRedacted.
func TestEventIsEmptiedIfItCannotBeRedacted(t *testing.T) {
	b := newBench(t, 50)
	id := b.add(1)
	b.proxy.setRefuse(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/redact/") && answer(w, http.StatusForbidden, "M_FORBIDDEN")
	})
	b.start()
	b.want(1, 2*soon)
	if _, err := b.store.DeleteContent(t.Context(), "OWN", id); err != nil {
		t.Fatal(err)
	}
	b.want(0, soon)
	if e := b.owner.events(b.room)[keyOf(text(4, 64))]; string(e.Content) != "{}" || e.Unsigned.Because != nil || e.Sender != b.bot.ID {
		t.Errorf("it became %+v", e)
	}
	b.add(1) // and back
	b.want(1, soon)
}

// TestWithdrawnBankLeavesTheRoom, and one that is only published no more does not.
func TestWithdrawnBankLeavesTheRoom(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	b.add(1)
	b.start()
	b.want(1, 2*soon)
	own, err := b.store.Bank(ctx, "OWN")
	if err == nil {
		err = b.store.Unpublish(ctx, "OWN")
	}
	if err != nil {
		t.Fatal(err)
	}
	b.add(2)
	await(t, "the lease is free", 2*soon, func() bool {
		l, err := b.store.Acquire(ctx, fmt.Sprintf("publish/%d", own.ID), "test", time.Minute)
		return err == nil && b.store.Release(ctx, l) == nil
	})
	if n := b.owner.holds(b.room); n != 1 {
		t.Errorf("the room holds %d", n)
	}
	if err := b.store.Publish(ctx, "OWN", b.room); err != nil {
		t.Fatal(err)
	}
	b.want(2, 2*soon)
	if err := b.store.Withdraw(ctx, "OWN"); err != nil {
		t.Fatal(err)
	}
	b.want(0, 2*soon)
	await(t, "the publication ends", soon, func() bool {
		_, err := b.store.Publication(ctx, "OWN")
		return errors.Is(err, bank.ErrPublicationNotFound)
	})
}

// TestMarkedListIsNotRepeated: whatever has marked it.
func TestMarkedListIsNotRepeated(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	if err := b.store.CreateExchange(ctx, bank.Exchange{Name: "LIST", API: "matrix_policy_list", Config: "{}"}); err != nil {
		t.Fatal(err)
	}
	monitor := false
	if _, err := b.store.UpdateBank(ctx, "LIST", bank.Settings{Monitor: &monitor}); err != nil {
		t.Fatal(err)
	}
	b.addContent(bank.NewContent{Bank: "LIST", Signals: picture(t, 1, 100), HashedHere: true})
	room := b.owner.createRoom(50, b.bot)
	if err := b.store.Publish(ctx, "LIST", room); err != nil {
		t.Fatal(err)
	}
	b.start()
	await(t, "the status tells", 2*soon, func() bool {
		p, err := b.store.Publication(ctx, "LIST")
		return err == nil && p.Status.Problem == publish.ErrForeign.Error()
	})
	if got := b.proxy.writes(); len(got) > 0 {
		t.Errorf("wrote %s", got[0].path)
	}
}

// TestListsAreNotRepeated: a bank that is fed by somebody else's list is refused, as it
// is marked and ever after.
func TestListsAreNotRepeated(t *testing.T) {
	store, ctx := newStore(t), t.Context()
	for name, api := range map[string]string{"LIST": "matrix_policy_list", "NEWER": "something_else", "QUARANTINE": "synapse_quarantined"} {
		if err := store.CreateExchange(ctx, bank.Exchange{Name: name, API: api, Config: "{}"}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.AddContent(ctx, bank.NewContent{Bank: name, Signals: picture(t, 1, 100), HashedHere: true}); err != nil {
			t.Fatal(err)
		}
		var want error
		if name != "QUARANTINE" {
			want = publish.ErrForeign
		}
		if err := publish.CheckBank(ctx, store, name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		plan, err := publish.Preview(ctx, store, nil, name, "")
		if !errors.Is(err, want) || len(plan.Send) > 0 != (want == nil) {
			t.Errorf("%s: a preview of %+v, %v", name, plan, err)
		}
	}
	if err := publish.CheckBank(ctx, store, "NONE"); !errors.Is(err, bank.ErrBankNotFound) {
		t.Errorf("no bank: %v", err)
	}
}
