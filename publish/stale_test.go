package publish_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mediagate/bank"
)

// sends counts the requests that say something in a room.
func (p *proxy) sends() (n int) {
	for _, w := range p.writes() {
		if strings.Contains(w.path, "/state/") && w.body != "{}" {
			n++
		}
	}
	return n
}

// TestChangedBankIsNotPublishedOn: what a bank held as the work began is not sent when
// it is not to be any more, and the status tells how far it is.
func TestChangedBankIsNotPublishedOn(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	const all = 100
	for n := range uint64(all) {
		b.add(n)
	}
	b.start()
	await(t, "the status tells how far it is", 2*soon, func() bool {
		s := b.status()
		return s.Published > 0 && s.Problem == fmt.Sprintf("%d events are still to be written", all-s.Published) && s.Finished.IsZero()
	})
	monitor := true
	if _, err := b.store.UpdateBank(ctx, "OWN", bank.Settings{Monitor: &monitor}); err != nil {
		t.Fatal(err)
	}
	b.want(0, 3*soon)
	first := b.proxy.sends()
	if first >= all {
		t.Errorf("all %d were sent", first)
	}
	monitor = false
	if _, err := b.store.UpdateBank(ctx, "OWN", bank.Settings{Monitor: &monitor}); err != nil {
		t.Fatal(err)
	}
	await(t, "it is published again", 2*soon, func() bool { return b.proxy.sends() > first+5 })
	if err := b.store.DeleteBank(ctx, "OWN"); err != nil {
		t.Fatal(err)
	}
	b.want(0, 2*soon)
	if again := b.proxy.sends() - first; again >= all {
		t.Errorf("all %d were sent again", again)
	}
	await(t, "the status tells that all is done", soon, func() bool { return b.status().Problem == "" && b.status().Published == 0 })
}

// TestChangedBankIsNotPublishedAfterAPause that the homeserver wants.
func TestChangedBankIsNotPublishedAfterAPause(t *testing.T) {
	b := newBench(t, 50)
	for n := range uint64(5) {
		b.add(n)
	}
	passed := 0
	b.proxy.setRefuse(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || passed < 3 {
			if r.Method == http.MethodPut {
				passed++
			}
			return false
		}
		w.Header().Set("Retry-After", "4")
		return answer(w, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED")
	})
	b.start()
	await(t, "the status tells why it waits", 2*soon, func() bool {
		s := b.status()
		return s.Published == 3 && strings.Contains(s.Problem, "429 M_LIMIT_EXCEEDED") && strings.HasSuffix(s.Problem, "2 events are still to be written")
	})
	sent := b.proxy.sends()
	if err := b.store.DeleteBank(t.Context(), "OWN"); err != nil {
		t.Fatal(err)
	}
	b.proxy.setRefuse(nil)
	b.want(0, 3*soon)
	if got := b.proxy.sends() - sent; got > 0 {
		t.Errorf("%d were sent after the bank was deleted", got)
	}
}

// TestBanksThatHadOneNameArePublishedApart, each into its room, and what one leaves
// behind is taken back while the other one is published.
func TestBanksThatHadOneNameArePublishedApart(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	b.add(1)
	b.start()
	b.want(1, 2*soon)
	renamed := "OLD"
	if _, err := b.store.UpdateBank(ctx, "OWN", bank.Settings{Name: &renamed}); err != nil {
		t.Fatal(err)
	}
	b.bank("OWN")
	b.add(2)
	next := b.owner.createRoom(50, b.bot)
	if err := b.store.Publish(ctx, "OWN", next); err != nil {
		t.Fatal(err)
	}
	await(t, "the next one is published", 2*soon, func() bool { return b.owner.holds(next) == 1 })
	if err := b.store.DeleteBank(ctx, "OLD"); err != nil {
		t.Fatal(err)
	}
	b.want(0, 2*soon)
	b.add(3)
	await(t, "the next one is still published", 2*soon, func() bool { return b.owner.holds(next) == 2 })
	await(t, "both are told", soon, func() bool {
		list, err := b.store.Publications(ctx)
		return err == nil && len(list) == 2 && list[0].Status.Published == 0 && list[1].Status.Published == 2
	})
}

// TestWhatWasSetByHandIsLeft: events of the user that are not as they are made here.
func TestWhatWasSetByHandIsLeft(t *testing.T) {
	b := newBench(t, 50)
	said := `{"space.midnightthoughts.pdqhash":{"hash":"` + text(1000, 64) + `","quality":"100"}}`
	taken := keyOf(text(4, 64))
	byHand := map[string]string{
		"by-hand": said, text(1000, 64): said, "no-hash": `{"reason":"mine"}`, "long": `{"x":"` + strings.Repeat("x", 1000) + `"}`,
		"no-text": `{"space.midnightthoughts.pdqhash":{"hash":["x"]}}`, taken: `{"reason":"mine"}`,
	}
	b.bot.ask(http.MethodPost, "/join/"+b.room, "{}", &struct{}{})
	for key, content := range byHand {
		b.bot.set(b.room, eventType, key, content)
	}
	before := b.owner.events(b.room)
	b.bot.set(b.room, eventType, keyOf(text(1000, 64)), said) // just as if it were made here
	b.add(1)
	b.add(2)
	b.start()
	await(t, "the status tells", 2*soon, func() bool {
		s := b.status()
		return s.Published == 1 && strings.HasPrefix(s.Problem, "1 hashes are left to others")
	})
	after := b.owner.events(b.room)
	for key := range byHand {
		if after[key].ID != before[key].ID || string(after[key].Content) != string(before[key].Content) {
			t.Errorf("%s was touched: %s", key, after[key].Content)
		}
	}
	if e := after[keyOf(text(1000, 64))]; string(e.Content) != "{}" {
		t.Errorf("what is as if made here is left: %s", e.Content)
	}
}

// TestBusyStoreIsPublishedAllTheSame, and the status tells how far it is, however often
// another plan is made.
func TestBusyStoreIsPublishedAllTheSame(t *testing.T) {
	b, ctx := newBench(t, 50), t.Context()
	const all = 70
	for n := range uint64(all) {
		b.add(n)
	}
	b.bank("OTHER")
	b.start()
	told, others := false, uint64(1000)
	await(t, "all is published", 4*soon, func() bool {
		others++
		if _, err := b.store.AddContent(ctx, bank.NewContent{Bank: "OTHER", Signals: picture(t, others, 100)}); err != nil {
			t.Fatal(err)
		}
		s := b.status()
		told = told || s.Published > 0 && strings.HasSuffix(s.Problem, " events are still to be written")
		return b.proxy.sends() == all
	})
	if !told {
		t.Error("the status did not tell how far it was")
	}
}
