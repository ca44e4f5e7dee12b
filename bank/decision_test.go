package bank_test

import (
	"testing"
	"time"

	"mediagate/bank"
)

// said is a rule of a list with some signals of made-up pictures.
func said(key string, signals ...bank.Signal) bank.Fetched {
	return bank.Fetched{Put: []bank.SourceContent{{Key: key, Signals: signals, Alone: true}}}
}

func sayServers(key, names string) bank.Fetched {
	return bank.Fetched{Put: []bank.SourceContent{{Key: key, Named: bank.Named{Servers: names}, Alone: true}}}
}

// TestDecisionsOutliveTheirContents: a list says what was decided about again, in another
// way, and has decided nothing.
func TestDecisionsOutliveTheirContents(t *testing.T) {
	eachEngine(t, testDecisionsOutliveTheirContents)
}

func testDecisionsOutliveTheirContents(t *testing.T, e engine) {
	own, other := pictureSignals(1), pictureSignals(2)
	emptied := bank.Fetched{Removed: []string{"k/1"}}
	const dismissed, confirmed, nothing = "dismissed", "confirmed", "nothing"
	for name, tt := range map[string]struct {
		first   bank.Fetched
		block   bool
		between bank.Fetched
		again   bank.Fetched
		want    string
	}{
		"under another key":             {said("k/1", own...), false, bank.Fetched{}, said("l/1", own...), dismissed},
		"taken back for a while":        {said("k/1", own...), false, emptied, said("k/2", own...), dismissed},
		"with one more hash":            {said("k/1", own[2]), false, emptied, said("k/2", own[1], own[2]), dismissed},
		"with one hash less":            {said("k/1", own[1], own[2]), false, emptied, said("k/2", own[2]), dismissed},
		"known by its MD5 first":        {said("k/1", own[1]), false, emptied, said("k/2", bank.Signal{Type: bank.VideoMD5, Value: own[1].Value}, own[2]), dismissed},
		"with another hash":             {said("k/1", own...), false, emptied, said("k/2", other...), nothing},
		"servers in another case":       {sayServers("k/1", "one.test"), false, emptied, sayServers("k/2", "One.test"), dismissed},
		"confirmed, by another key":     {said("k/1", own...), true, bank.Fetched{}, said("l/1", own...), confirmed},
		"confirmed, taken back":         {said("k/1", own...), true, emptied, said("k/2", own...), confirmed},
		"confirmed, with one hash less": {said("k/1", own[0], own[2]), true, emptied, said("k/2", own[2]), confirmed},
		"confirmed, with what nobody saw": {said("k/1", own[0], own[2]), true, emptied,
			said("k/2", other[0], own[2]), nothing},
		"confirmed, with a foreign MD5": {said("k/1", own[0], own[2]), true, emptied, said("k/2", own[0], other[1], own[2]), nothing},
		"confirmed servers":             {sayServers("k/1", "one.test"), true, emptied, sayServers("k/2", "one.test"), confirmed},
	} {
		t.Run(name, func(t *testing.T) {
			location := e.location(t)
			s := openStore(t, location)
			createExchange(t, s, "X")
			createExchange(t, s, "Y")
			commit(t, s, "X", tt.first)
			hold(t, s, 1)
			decide(t, s, "X", 1, tt.block)
			commit(t, s, "X", tt.between)
			to := e.location(t)
			if _, err := bank.Copy(t.Context(), location, to, silent); err != nil {
				t.Fatal(err)
			}
			for of, s := range map[string]*bank.Store{"store": s, "copy": openStore(t, to)} {
				commit(t, s, "Y", tt.again) // another list, about which nothing was decided
				commit(t, s, "X", tt.again)
				for id, want := range map[int64]string{2: nothing, 3: tt.want} {
					name := map[int64]string{2: "Y", 3: "X"}[id]
					c, err := s.Content(t.Context(), name, id)
					if err != nil {
						t.Fatal(err)
					}
					got := nothing
					switch {
					case c.DisableUntil == bank.DisabledForever:
						got = dismissed
					case fresh(t, s).Confirmed(id):
						got = confirmed
					}
					if got != want {
						t.Errorf("%s: in %s it is %s, want %s", of, name, got, want)
					}
				}
			}
		})
	}
}

// TestLastDecisionIsRemembered, however it was made.
func TestLastDecisionIsRemembered(t *testing.T) { eachEngine(t, testLastDecisionIsRemembered) }

func testLastDecisionIsRemembered(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("k", 1)}})
	key := "k"
	current := func() int64 { return contentOf(t, s, "X", 1) }
	until := func(until int64) func() {
		return func() {
			if _, err := s.UpdateContent(t.Context(), "X", current(), bank.ContentUpdate{DisableUntil: &until}); err != nil {
				t.Fatal(err)
			}
		}
	}
	review := func(block bool) func() {
		return func() {
			hold(t, s, current())
			decide(t, s, "X", current(), block)
		}
	}
	for n, tt := range []struct {
		what              string
		decide            func()
		counts, confirmed bool
	}{
		{"dismissed", review(false), false, false},
		{"enabled", until(bank.Enabled), true, false},
		{"disabled for good", until(bank.DisabledForever), false, false},
		{"enabled from the past on", until(time.Now().Unix() - 1000), true, false},
		{"confirmed", review(true), true, true},
		{"confirmed, and disabled", until(bank.DisabledForever), false, false},
		{"enabled after all", until(bank.Enabled), true, false},
	} {
		tt.decide()
		commit(t, s, "X", bank.Fetched{Removed: []string{key}})
		key = string(rune('l' + n))
		commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone(key, 1)}})
		if ix, id := fresh(t, s), current(); counts(t, ix, id, 1) != tt.counts || ix.Confirmed(id) != tt.confirmed {
			t.Errorf("%s, and said again: counts %t, confirmed %t", tt.what, counts(t, ix, id, 1), ix.Confirmed(id))
		}
	}
}
