package bank_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
)

// TestRulesOfOneDigestAreTwoContents: neither loses signals by the other's end, nor is
// joined with what others say of the same bytes.
func TestRulesOfOneDigestAreTwoContents(t *testing.T) {
	eachEngine(t, testRulesOfOneDigestAreTwoContents)
}

func testRulesOfOneDigestAreTwoContents(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	same := pictureSignals(1)[0] // the SHA-256
	first := bank.SourceContent{Key: "a", Signals: []bank.Signal{same, pictureSignals(2)[2]}, Alone: true}
	second := bank.SourceContent{Key: "b", Signals: []bank.Signal{same, pictureSignals(3)[2]}, Alone: true}
	shared := bank.SourceContent{Key: "c", Signals: []bank.Signal{same}}
	again := bank.SourceContent{Key: "d", Signals: []bank.Signal{same}}
	for _, c := range []bank.SourceContent{first, second, shared, again} {
		commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{c}})
	}
	ids := func() (list []int64) {
		for _, m := range fresh(t, s).SHA256(digest(1)) {
			list = append(list, m.Content)
		}
		return list
	}
	all := ids()
	if len(all) != 3 {
		t.Fatalf("contents %v, want one of each rule and one of both others", all)
	}
	commit(t, s, "X", bank.Fetched{Removed: []string{"b"}})
	if got := ids(); len(got) != 2 || slices.Contains(got, all[1]) {
		t.Errorf("contents %v are left of %v", got, all)
	}
	if c, err := s.Content(t.Context(), "X", all[0]); err != nil || len(c.Signals) != 2 {
		t.Errorf("the other rule has %v, %v", c.Signals, err)
	}
	// A key goes from one kind to the other, and takes nothing with it.
	shared.Alone, first.Alone = true, false
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{shared, first}})
	if got := ids(); len(got) != 2 || slices.Contains(got, all[0]) || !slices.Contains(got, all[2]) {
		t.Errorf("contents %v after %v", got, all)
	}
	if keys, err := s.SourceKeys(t.Context(), "X"); err != nil || !slices.Equal(keys, []string{"a", "c", "d"}) {
		t.Errorf("keys %q, %v", keys, err)
	}
}

// TestRulePutAgainIsReplaced: it has its new signals and labels, and no others. What was
// decided holds for what it was decided about; what is off stays off.
func TestRulePutAgainIsReplaced(t *testing.T) { eachEngine(t, testRulePutAgainIsReplaced) }

func testRulePutAgainIsReplaced(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	put := func(signals []bank.Signal, metadata string) {
		t.Helper()
		commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{{Key: "k", Signals: signals, Metadata: metadata, Alone: true}}})
	}
	const ban, none = `{"json":{"recommendation":"ban","harms":["a"]}}`, ""
	put(pictureSignals(1), ban)
	id := contentOf(t, s, "X", 1)
	has := func(signals int, metadata string) {
		t.Helper()
		if c, err := s.Content(t.Context(), "X", id); err != nil || len(c.Signals) != signals || c.Metadata != metadata {
			t.Errorf("it has %d signals and %q, %v", len(c.Signals), c.Metadata, err)
		}
	}
	has(4, ban)
	hold(t, s, id)
	decide(t, s, "X", id, true)
	x, live := cold(t, s, nil)
	backwards := pictureSignals(1)
	slices.Reverse(backwards)
	put(backwards, none) // the labels alone
	has(4, none)
	refresh(t, x)
	if !load(t, live).Confirmed(id) {
		t.Error("the decision is lost, and the signals are the same")
	}
	put([]bank.Signal{pictureSignals(1)[0], pictureSignals(5)[2]}, ban)
	has(2, ban)
	refresh(t, x)
	if load(t, live).Confirmed(id) || len(load(t, live).MD5([]byte(pictureSignals(1)[1].Value))) != 0 {
		t.Error("it has signals that were taken back, or a decision about others")
	}
	hold(t, s, id)
	put(pictureSignals(2), none)
	has(4, none)
	refresh(t, x)
	if counts(t, load(t, live), id, 2) || len(reviews(t, s, "X")) != 1 {
		t.Error("whoever writes the list has ended the review")
	}
	decide(t, s, "X", id, false)
	put(pictureSignals(3), none)
	if counts(t, fresh(t, s), id, 3) {
		t.Error("whoever writes the list has undone a decision")
	}
}

// TestRuleSaidAgainIsDecidedAlready: with another reason it is another event, and so
// another key. Who writes a list need not do more than that to repeat itself.
func TestRuleSaidAgainIsDecidedAlready(t *testing.T) {
	eachEngine(t, testRuleSaidAgainIsDecidedAlready)
}

func testRuleSaidAgainIsDecidedAlready(t *testing.T, e engine) {
	for name, tt := range map[string]struct {
		decide                  func(t *testing.T, s *bank.Store, id int64)
		counts, held, confirmed bool
	}{
		"nothing":   {func(*testing.T, *bank.Store, int64) {}, true, false, false},
		"held":      {func(t *testing.T, s *bank.Store, id int64) { hold(t, s, id) }, false, true, false},
		"confirmed": {func(t *testing.T, s *bank.Store, id int64) { hold(t, s, id); decide(t, s, "X", id, true) }, true, false, true},
		"dismissed": {func(t *testing.T, s *bank.Store, id int64) { hold(t, s, id); decide(t, s, "X", id, false) }, false, false, false},
		"disabled for a while": {func(t *testing.T, s *bank.Store, id int64) {
			until := time.Now().Unix() + 1000
			if _, err := s.UpdateContent(t.Context(), "X", id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
				t.Fatal(err)
			}
		}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := e.newStore(t)
			createExchange(t, s, "X")
			commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("a/1", 1)}})
			x, live := cold(t, s, nil)
			tt.decide(t, s, contentOf(t, s, "X", 1))
			is := func(id int64, seed byte, counted, held, confirmed bool) {
				t.Helper()
				ix := load(t, live)
				got := slices.ContainsFunc(reviews(t, s, "X"), func(r bank.Review) bool { return r.Content == id && !r.Confirmed })
				if counts(t, ix, id, seed) != counted || got != held || ix.Confirmed(id) != confirmed {
					t.Errorf("content %d of %d: counts %t, held %t, confirmed %t", id, seed, counts(t, ix, id, seed), got, ix.Confirmed(id))
				}
			}
			commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("a/2", 1), alone("b/1", 2), banked("c", 3)}, Removed: []string{"a/1", "NONE"}})
			refresh(t, x)
			again := contentOf(t, s, "X", 1)
			is(again, 1, tt.counts, tt.held, tt.confirmed)
			is(contentOf(t, s, "X", 2), 2, true, false, false)
			is(contentOf(t, s, "X", 3), 3, true, false, false)
			// With other hashes it is another rule, and so it is after the list had none.
			commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("a/3", 4)}, Removed: []string{"a/2"}})
			refresh(t, x)
			is(contentOf(t, s, "X", 4), 4, true, false, false)
			if got := reviews(t, s, "X"); len(got) != 0 {
				t.Errorf("left in review: %+v", got)
			}
		})
	}
}

// TestDecisionsAreOfWhatIsNamed: contents without signals are not all alike.
func TestDecisionsAreOfWhatIsNamed(t *testing.T) { eachEngine(t, testDecisionsAreOfWhatIsNamed) }

func testDecisionsAreOfWhatIsNamed(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	server := func(key, name string) bank.SourceContent {
		return bank.SourceContent{Key: key, Named: bank.Named{Servers: name}, Alone: true}
	}
	x, live := cold(t, s, nil)
	named := func(name string) bank.Match {
		t.Helper()
		refresh(t, x)
		got := load(t, live).Named(name, "id")
		if len(got) != 1 {
			t.Fatalf("%s is named by %+v", name, got)
		}
		return got[0]
	}
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{server("a/1", "one.test"), server("b", "two.test")}})
	one, two := named("one.test").Content, named("two.test").Content
	hold(t, s, one, two)
	if named("one.test").Enabled {
		t.Error("what is in review counts")
	}
	decide(t, s, "X", one, false)
	decide(t, s, "X", two, true)
	commit(t, s, "X", bank.Fetched{
		Put:     []bank.SourceContent{server("a/2", "one.test"), server("c", "three.test"), {Key: "d", Named: bank.Named{Item: itemDigest("mxc://four.test/id")}, Alone: true}},
		Removed: []string{"a/1"},
	})
	for name, counts := range map[string]bool{"one.test": false, "two.test": true, "three.test": true, "four.test": true} {
		if got := named(name); got.Enabled != counts || load(t, live).Confirmed(got.Content) != (name == "two.test") {
			t.Errorf("%s: %+v, confirmed %t", name, got, load(t, live).Confirmed(got.Content))
		}
	}
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{server("b", "two.test")}}) // says the same
	if !named("two.test").Enabled || !load(t, live).Confirmed(two) {
		t.Error("the decision is lost")
	}
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{server("b", "*.test")}})
	refresh(t, x)
	if load(t, live).Confirmed(two) {
		t.Error("it was decided about one server, and holds for all")
	}
}

func TestSharedContentKeepsMetadata(t *testing.T) { eachEngine(t, testSharedContentKeepsMetadata) }

func testSharedContentKeepsMetadata(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	for _, tt := range []struct{ key, given, want string }{
		{"a", "", ""}, {"b", `{"content_id":"1"}`, `{"content_id":"1"}`}, {"a", "", `{"content_id":"1"}`}, {"c", `{}`, `{}`},
	} {
		c := banked(tt.key, 1)
		c.Metadata = tt.given
		commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{c}})
		if got, err := s.Content(t.Context(), "X", contentOf(t, s, "X", 1)); err != nil || got.Metadata != tt.want {
			t.Errorf("%s gave %q: %q, %v", tt.key, tt.given, got.Metadata, err)
		}
	}
	bad := banked("d", 2)
	bad.Metadata = `{"recommendation":"ban"}`
	if err := s.Commit(t.Context(), "X", bank.Fetched{Put: []bank.SourceContent{banked("e", 3), bad}}); err == nil || !strings.Contains(err.Error(), "recommendation") {
		t.Errorf("metadata of another form: %v", err)
	}
	checkCounts(t, s, "X", 3, 0)
}

func TestReportIsKept(t *testing.T) { eachEngine(t, testReportIsKept) }

func testReportIsKept(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	largest := `{"a":"` + strings.Repeat("b", bank.MaxReport-len(`{"a":""}`)) + `"}`
	kept := ""
	for _, tt := range []struct {
		report string
		ok     bool
	}{
		{" \n{\"room\":\"\\u0000\",\"rules\":3}", true}, {largest, true}, {" " + largest, false}, {"[]", false}, {"null", false}, {"{}{}", false},
		{"{\"a\":\"\x00\"}", false}, {"{\"a\":\"\xff\"}", false}, {"{", false}, {"", true},
	} {
		err := s.SetFetchStatus(t.Context(), bank.Lease{}, "X", bank.FetchStatus{Finished: time.Unix(5, 0), Report: tt.report})
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, bank.ErrReport) {
			t.Errorf("%.20q: %v", tt.report, err)
		}
		if tt.ok {
			kept = tt.report
		}
		if got := exchangeOf(t, s, "X").Status.Report; got != kept {
			t.Errorf("%.20q is kept, want %.20q", got, kept)
		}
	}
}

func TestSourceKeysAreSorted(t *testing.T) { eachEngine(t, testSourceKeysAreSorted) }

func testSourceKeysAreSorted(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	createExchange(t, s, "Y")
	want := []string{"A", "B/é", "a", "m.policy/%2F/$1", "z", "é"}
	for i, key := range []string{"z", "A", "é", "a", "m.policy/%2F/$1", "B/é"} {
		commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone(key, byte(i))}})
	}
	commit(t, s, "Y", bank.Fetched{Put: []bank.SourceContent{alone("b", 1)}})
	if keys, err := s.SourceKeys(t.Context(), "X"); err != nil || !slices.Equal(keys, want) {
		t.Errorf("%q, %v; want %q", keys, err, want)
	}
	for _, none := range []string{"NONE", "a\x00"} {
		if keys, err := s.SourceKeys(t.Context(), none); err != nil || len(keys) != 0 {
			t.Errorf("%q has %q, %v", none, keys, err)
		}
	}
}
