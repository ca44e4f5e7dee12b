package bank_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mediagate/bank"
	"mediagate/internal/redistest"
)

// alone is a rule of a list.
func alone(key string, seed byte) bank.SourceContent {
	return bank.SourceContent{Key: key, Signals: pictureSignals(seed), Alone: true}
}

// counts tells whether a content counts that has the digest of a made-up picture.
func counts(t testing.TB, ix *bank.Index, id int64, seed byte) bool {
	t.Helper()
	for _, m := range ix.SHA256(digest(seed)) {
		if m.Content == id {
			return m.Enabled
		}
	}
	t.Errorf("content %d is not in the index", id)
	return false
}

func hold(t testing.TB, s *bank.Store, ids ...int64) {
	t.Helper()
	if err := s.Hold(t.Context(), ids, "it blocks much"); err != nil {
		t.Fatal(err)
	}
}

func decide(t testing.TB, s *bank.Store, name string, id int64, block bool) {
	t.Helper()
	if err := s.Decide(t.Context(), name, id, block); err != nil {
		t.Fatal(err)
	}
}

func reviews(t testing.TB, s *bank.Store, name string) []bank.Review {
	t.Helper()
	list, err := s.Reviews(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestReviewIsDecidedOnce(t *testing.T) { eachEngine(t, testReviewIsDecidedOnce) }

func testReviewIsDecidedOnce(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	x := createExchange(t, s, "Y")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("k/1", 1), alone("k/2", 2)}})
	commit(t, s, "Y", bank.Fetched{Put: []bank.SourceContent{banked("b", 3), banked("a", 3)}})
	first, second, third := contentOf(t, s, "X", 1), contentOf(t, s, "X", 2), contentOf(t, s, "Y", 3)
	hold(t, s, first, third, 999)
	held := epochOf(t, s)
	hold(t, s, third, first)
	hold(t, s)
	if got := epochOf(t, s); got != held {
		t.Errorf("epoch %d, was %d: held twice", got, held)
	}
	ix := fresh(t, s)
	if counts(t, ix, first, 1) || !counts(t, ix, second, 2) || counts(t, ix, third, 3) || ix.Confirmed(first) {
		t.Error("what was held counts, or something else does not")
	}
	lately := cmpopts.EquateApproxTime(time.Minute)
	want := []bank.Review{
		{Content: first, Bank: "X", Key: "k/1", Reason: "it blocks much", Since: time.Now()},
		{Content: third, Bank: "Y", Key: "a", Reason: "it blocks much", Since: time.Now()},
	}
	if diff := cmp.Diff(want, reviews(t, s, ""), lately); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], reviews(t, s, "Y"), lately); diff != "" {
		t.Errorf("of one bank (-want +got):\n%s", diff)
	}
	for _, until := range []int64{bank.Enabled, time.Now().Unix() - 5, time.Now().Unix() + 5} {
		if _, err := s.UpdateContent(t.Context(), "X", first, bank.ContentUpdate{DisableUntil: &until}); !errors.Is(err, bank.ErrInReview) {
			t.Errorf("enabled at %d without a decision: %v", until, err)
		}
	}
	for what, tt := range map[string]struct{ err, want error }{
		"not in review":  {s.Decide(t.Context(), "X", second, true), bank.ErrNotInReview},
		"of other bank":  {s.Decide(t.Context(), "Y", first, true), bank.ErrContentNotFound},
		"no content":     {s.Decide(t.Context(), "X", 999, false), bank.ErrContentNotFound},
		"no bank":        {s.Decide(t.Context(), "NONE", first, true), bank.ErrBankNotFound},
		"list of no one": {errorOf(s.Reviews(t.Context(), "NONE")), bank.ErrBankNotFound},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", what, tt.err, tt.want)
		}
	}
	decide(t, s, "X", first, true)
	decide(t, s, "X", first, true) // says the same
	decide(t, s, "Y", third, false)
	hold(t, s, first, third)
	ix = fresh(t, s)
	if !counts(t, ix, first, 1) || counts(t, ix, third, 3) || !ix.Confirmed(first) || ix.Confirmed(second) || ix.Confirmed(third) {
		t.Error("a decision was not kept")
	}
	want = []bank.Review{want[0]}
	want[0].Confirmed = true
	if diff := cmp.Diff(want, reviews(t, s, ""), lately); diff != "" {
		t.Errorf("after decisions (-want +got):\n%s", diff)
	}
	if err := s.Decide(t.Context(), "Y", third, true); !errors.Is(err, bank.ErrNotInReview) {
		t.Errorf("a dismissed one: %v", err)
	}
	decide(t, s, "X", first, false) // another mind
	hold(t, s, second)
	if n, err := s.CountHeld(t.Context(), x.Bank.ID); err != nil || n != 0 {
		t.Errorf("%d are held in Y, %v", n, err)
	}
	if n, err := s.CountHeld(t.Context(), exchangeOf(t, s, "X").Bank.ID); err != nil || n != 1 {
		t.Errorf("%d are held in X, %v", n, err)
	}
	if counts(t, fresh(t, s), first, 1) {
		t.Error("what was dismissed after all counts")
	}
	// The list takes it back, or the bank goes.
	commit(t, s, "X", bank.Fetched{Removed: []string{"k/2"}})
	if got := reviews(t, s, ""); len(got) != 0 {
		t.Errorf("left in review: %+v", got)
	}
}

// TestReviewComesBackToWhatAnOperatorSaid is of contents that were disabled before, or
// are while they are held.
func TestReviewComesBackToWhatAnOperatorSaid(t *testing.T) {
	eachEngine(t, testReviewComesBackToWhatAnOperatorSaid)
}

func testReviewComesBackToWhatAnOperatorSaid(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	later := time.Now().Unix() + 1000
	until := func(id, until int64) {
		t.Helper()
		if _, err := s.UpdateContent(t.Context(), "A", id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(id, want int64) {
		t.Helper()
		if c, err := s.Content(t.Context(), "A", id); err != nil || c.DisableUntil != want {
			t.Errorf("content %d is disabled until %d, %v; want %d", id, c.DisableUntil, err, want)
		}
	}
	forever, soon, dismissed := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)}),
		addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2)}), addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(3)})
	until(forever, bank.DisabledForever)
	until(soon, later)
	hold(t, s, forever, soon, dismissed)
	is(soon, bank.DisabledForever)
	until(dismissed, bank.DisabledForever)
	if got := reviews(t, s, "A"); len(got) != 1 || got[0].Content != soon {
		t.Errorf("in review are %+v", got)
	}
	decide(t, s, "A", soon, true)
	is(soon, later)
	is(forever, bank.DisabledForever)
	until(dismissed, bank.Enabled) // it is one like any other
	is(dismissed, bank.Enabled)
	hold(t, s, dismissed)
	is(dismissed, bank.DisabledForever)
}

// TestBlockBlocksWhateverCameBetween: a content that was confirmed, and then disabled like
// any other, is confirmed again.
func TestBlockBlocksWhateverCameBetween(t *testing.T) {
	eachEngine(t, testBlockBlocksWhateverCameBetween)
}

func testBlockBlocksWhateverCameBetween(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	hold(t, s, id)
	decide(t, s, "A", id, true)
	for _, until := range []int64{bank.DisabledForever, time.Now().Unix() + 1000} {
		if _, err := s.UpdateContent(t.Context(), "A", id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
			t.Fatal(err)
		}
		decide(t, s, "A", id, true)
		if ix := fresh(t, s); !counts(t, ix, id, 1) || !ix.Confirmed(id) {
			t.Errorf("disabled until %d, decided to block, and it does not", until)
		}
	}
}

// TestReasonOfAReviewIsKeptReadable: what cannot be written must not keep a content from
// being held.
func TestReasonOfAReviewIsKeptReadable(t *testing.T) {
	eachEngine(t, testReasonOfAReviewIsKeptReadable)
}

func testReasonOfAReviewIsKeptReadable(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	if err := s.Hold(t.Context(), []int64{id}, "a \x00 and \xff"); err != nil {
		t.Fatal(err)
	}
	if got := reviews(t, s, "A"); len(got) != 1 || got[0].Reason != "a \uFFFD and \uFFFD" {
		t.Errorf("%+v", got)
	}
}

// ruled is what a rule of a list should be.
type ruled struct {
	id              int64
	seed            byte
	off             bool // an operator's doing, or by dismissal
	held, confirmed bool
}

// TestNothingInReviewCountsAnywhere plays random histories of a list and its reviews,
// and looks at all that can be made of the store: by changes, merged, from a snapshot,
// from the store, reopened and copied.
func TestNothingInReviewCountsAnywhere(t *testing.T) {
	eachEngine(t, testNothingInReviewCountsAnywhere)
}

func testNothingInReviewCountsAnywhere(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 29))
			location := e.location(t)
			s := openStore(t, location)
			createExchange(t, s, "X")
			rules, decided := make(map[string]ruled), make(map[byte]bool)
			follower, live := cold(t, s, nil)
			x, w := newWriter(t, s, shared)
			snapshots := 0
			for n := range 120 {
				stepReview(t, rng, s, rules, decided)
				if err := follower.Refresh(t.Context(), rng.IntN(8) == 0); err != nil {
					t.Fatal(err)
				}
				checkRules(t, "follower", load(t, live), rules)
				if n%8 == 0 {
					checkRules(t, "store", fresh(t, openStore(t, location)), rules)
					refresh(t, x)
					if err := w.Write(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if n%8 == 3 && counted(t, w)["mediagate_snapshot_writes_total ok"] > 0 {
					begun, live := cold(t, s, shared)
					wasLoaded(t, begun, "snapshot", "")
					checkRules(t, "snapshot", load(t, live), rules)
					snapshots++
				}
				if n%40 == 39 {
					to := e.location(t)
					if _, err := bank.Copy(t.Context(), location, to, silent); err != nil {
						t.Fatal(err)
					}
					copied := openStore(t, to)
					checkRules(t, "copy", fresh(t, copied), rules)
					if diff := cmp.Diff(reviews(t, s, ""), reviews(t, copied, "")); diff != "" {
						t.Errorf("reviews (-source +copy):\n%s", diff)
					}
				}
			}
			if snapshots == 0 {
				t.Error("no snapshot was loaded")
			}
		})
	}
}

// recall applies what was decided about the picture of a rule, to block it or not.
func (r ruled) recall(decided map[byte]bool) ruled {
	block, ok := decided[r.seed]
	switch {
	case ok && !block:
		r.off, r.held, r.confirmed = true, false, false
	case ok && !r.off && !r.held:
		r.confirmed = true
	}
	return r
}

// stepReview changes store, rules and what was decided in the same way.
func stepReview(t *testing.T, rng *rand.Rand, s *bank.Store, rules map[string]ruled, decided map[byte]bool) {
	t.Helper()
	key := fmt.Sprint("rule/", rng.IntN(6))
	r, there := rules[key]
	before := exchangeOf(t, s, "X").Checkpoint
	put := func(seed byte) {
		commit(t, s, "X", bank.Fetched{From: before, To: before, Put: []bank.SourceContent{alone(key, seed)}})
	}
	switch what := rng.IntN(12); {
	case !there:
		seed := byte(rng.IntN(4)) // two rules may say the same
		put(seed)
		var newest int64
		for _, m := range fresh(t, s).SHA256(digest(seed)) {
			newest = max(newest, m.Content)
		}
		rules[key] = ruled{id: newest, seed: seed}.recall(decided)
		return
	case what == 0:
		commit(t, s, "X", bank.Fetched{From: before, To: before, Removed: []string{key}})
		delete(rules, key)
		return
	case what == 1: // the list says it again
		put(r.seed)
		r = r.recall(decided)
	case what == 2: // or something else
		put(r.seed + 4)
		r.seed, r.confirmed = r.seed+4, false
		r = r.recall(decided)
	case what < 6:
		all := []int64{12345}
		for k, other := range rules {
			if k == key || rng.IntN(3) == 0 {
				all = append(all, other.id)
				if other.held = other.held || !other.off && !other.confirmed; k == key {
					r = other
				}
				rules[k] = other
			}
		}
		hold(t, s, all...)
	case what < 9:
		block := rng.IntN(2) == 0
		err := s.Decide(t.Context(), "X", r.id, block)
		if !r.held && !r.confirmed {
			if !errors.Is(err, bank.ErrNotInReview) {
				t.Fatalf("decided what is not in review: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		r.held, r.confirmed, r.off = false, block, !block
		decided[r.seed] = block
	default:
		until := []int64{bank.DisabledForever, bank.Enabled}[rng.IntN(2)]
		_, err := s.UpdateContent(t.Context(), "X", r.id, bank.ContentUpdate{DisableUntil: &until})
		if r.held && until == bank.Enabled {
			if !errors.Is(err, bank.ErrInReview) {
				t.Fatalf("enabled without a decision: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		r.off, r.held = until == bank.DisabledForever, false
		if decided[r.seed] = !r.off; !r.off && !r.confirmed {
			delete(decided, r.seed)
		}
	}
	rules[key] = r
}

func checkRules(t *testing.T, of string, ix *bank.Index, rules map[string]ruled) {
	t.Helper()
	var want, got []string
	for _, r := range rules {
		want = append(want, fmt.Sprintf("%d %d %t %t", r.id, r.seed, !r.off && !r.held, r.confirmed))
	}
	for seed := range byte(30) {
		for _, m := range ix.SHA256(digest(seed)) {
			got = append(got, fmt.Sprintf("%d %d %t %t", m.Content, seed, m.Enabled, ix.Confirmed(m.Content)))
		}
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Fatalf("%s: content, seed, counts, confirmed are\n%s\nwant\n%s", of, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
