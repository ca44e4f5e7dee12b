package bank_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
)

// banked is a made-up picture that was hashed here.
func banked(key string, seed byte) bank.SourceContent {
	return bank.SourceContent{Key: key, Signals: pictureSignals(seed), HashedHere: true}
}

// exactly is the same known by nothing but its digest.
func exactly(key string, seed byte) bank.SourceContent {
	return bank.SourceContent{Key: key, Signals: pictureSignals(seed)[:1]}
}

// digest is the SHA-256 of a made-up picture.
func digest(seed byte) []byte { return []byte(pictureSignals(seed)[0].Value) }

func pending(key, task string) bank.Pending {
	return bank.Pending{Key: key, Task: task, Since: time.UnixMilli(1_000), Due: time.UnixMilli(2_000)}
}

func commit(t testing.TB, s *bank.Store, exchange string, f bank.Fetched) {
	t.Helper()
	if err := s.Commit(t.Context(), exchange, f); err != nil {
		t.Fatal(err)
	}
}

func checkCounts(t testing.TB, s *bank.Store, exchange string, sources, pending int) {
	t.Helper()
	gotSources, gotPending, _, err := s.CountSources(t.Context(), exchange)
	if err != nil || gotSources != sources || gotPending != pending {
		t.Errorf("%d sources, %d pending, %v; want %d and %d", gotSources, gotPending, err, sources, pending)
	}
}

// tasks are what is pending, by key.
func tasks(t testing.TB, s *bank.Store, exchange string) map[string]string {
	t.Helper()
	list, err := s.Pending(t.Context(), exchange, time.Now().Add(time.Hour), 1000)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, p := range list {
		out[p.Key] = p.Task
	}
	return out
}

// contentOf is the number of the content with a digest in a bank, 0 if there is
// none.
func contentOf(t testing.TB, s *bank.Store, name string, seed byte) int64 {
	t.Helper()
	var id int64
	for _, m := range fresh(t, s).SHA256(digest(seed)) {
		if m.Bank.Name != name {
			continue
		}
		if id != 0 {
			t.Errorf("two contents with the digest of %d in %s", seed, name)
		}
		id = m.Content
	}
	return id
}

// TestSources walks through the life of a content that an exchange banks.
func TestSources(t *testing.T) { eachEngine(t, testSources) }

func testSources(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	createExchange(t, s, "X")
	createExchange(t, s, "Y")
	byHand := map[string]int64{}
	for _, name := range []string{"X", "Y"} {
		byHand[name] = addContent(t, s, bank.NewContent{Bank: name, Signals: pictureSignals(99)})
	}
	add := func(exchange, key string, seed byte) int64 {
		t.Helper()
		commit(t, s, exchange, bank.Fetched{Put: []bank.SourceContent{banked(key, seed)}})
		id := contentOf(t, s, exchange, seed)
		if got, err := s.Content(ctx, exchange, id); err != nil || len(got.Signals) != 4 {
			t.Errorf("%s banks %d signals, %v", key, len(got.Signals), err)
		}
		return id
	}
	remove := func(exchange string, keys ...string) {
		t.Helper()
		commit(t, s, exchange, bank.Fetched{Removed: keys})
	}
	gone := func(exchange string, id int64) {
		t.Helper()
		if _, err := s.Content(ctx, exchange, id); !errors.Is(err, bank.ErrContentNotFound) {
			t.Errorf("content %d is still there: %v", id, err)
		}
	}
	first := add("X", "mxc://a/1", 1)
	if again := add("X", "mxc://a/1", 1); again != first {
		t.Errorf("the same again: %d, want %d", again, first)
	}
	if same := add("X", "mxc://b/2", 1); same != first {
		t.Errorf("the same bytes under another key: %d, want %d", same, first)
	}
	if other := add("Y", "mxc://a/1", 1); other == first {
		t.Error("two exchanges share a content")
	}
	remove("X", "unknown")
	remove("X", "mxc://a/1")
	if contentOf(t, s, "X", 1) != first {
		t.Error("gone with the first of two sources")
	}
	remove("X", "mxc://b/2")
	gone("X", first)
	if contentOf(t, s, "Y", 1) == 0 {
		t.Error("gone from the other exchange too")
	}

	old := add("X", "mxc://c/3", 3)
	if changed := add("X", "mxc://c/3", 4); changed == old {
		t.Error("other bytes under the same number")
	}
	gone("X", old)
	shared := add("X", "mxc://d/4", 4)
	if moved := add("X", "mxc://c/3", 5); moved == shared || contentOf(t, s, "X", 4) != shared {
		t.Error("a key that changed its bytes took those of another key with it")
	}
	if joined := add("X", "mxc://d/4", 5); joined != contentOf(t, s, "X", 5) {
		t.Error("a key whose bytes became those of another does not share them")
	}
	gone("X", shared)
	remove("X", "mxc://c/3", "mxc://d/4")
	if contentOf(t, s, "X", 5) != 0 {
		t.Error("still there after both its sources")
	}

	// What people added is theirs, in an exchange's bank too.
	if mine := add("X", "mxc://e/5", 98); mine == byHand["X"] {
		t.Error("the exchange took over what was added by hand")
	}
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{banked("mxc://e/6", 99)}, Removed: []string{"mxc://e/5", "mxc://e/6"}})
	for name, id := range byHand {
		if _, err := s.Content(ctx, name, id); err != nil {
			t.Errorf("what was added to %s by hand: %v", name, err)
		}
	}
	checkCounts(t, s, "X", 0, 0)
}

// TestOneBatchMayHoldTwins banks two keys of the same bytes at once.
func TestOneBatchMayHoldTwins(t *testing.T) { eachEngine(t, testOneBatchMayHoldTwins) }

func testOneBatchMayHoldTwins(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{exactly("a", 1), banked("b", 1), exactly("c", 1)}})
	id := contentOf(t, s, "X", 1)
	if c, err := s.Content(t.Context(), "X", id); err != nil || len(c.Signals) != 4 {
		t.Errorf("%d signals, %v: the digest alone took the others away", len(c.Signals), err)
	}
	checkCounts(t, s, "X", 3, 0)
}

// TestPendingContentGetsItsSignals first banks what is known of an item that
// could not be fetched, and then the rest.
func TestPendingContentGetsItsSignals(t *testing.T) { eachEngine(t, testPendingContentGetsItsSignals) }

func testPendingContentGetsItsSignals(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	x, live := newIndexer(s)
	hashed := func(want bool) {
		t.Helper()
		if got, err := s.IsHashed(t.Context(), "X", digest(1)); err != nil || got != want {
			t.Errorf("hashed %v, %v, want %v", got, err, want)
		}
	}
	hashed(false)
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{exactly("a", 1)}, Pending: []bank.Pending{pending("a", "hash")}})
	hashed(false)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	first := load(t, live).SHA256(digest(1))
	if len(first) != 1 {
		t.Fatalf("%v", first)
	}
	if err := s.Resolve(t.Context(), "X", pending("a", "hash"), bank.Fetched{Put: []bank.SourceContent{banked("a", 1)}}); err != nil {
		t.Fatal(err)
	}
	hashed(true)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := load(t, live).MD5([]byte(pictureSignals(1)[1].Value)); len(got) != 1 || got[0].Content != first[0].Content {
		t.Errorf("%v", got)
	}
	if got := load(t, live).SHA256(digest(1)); len(got) != 1 {
		t.Errorf("%v", got)
	}
	createExchange(t, s, "Y")
	if got, err := s.IsHashed(t.Context(), "Y", digest(1)); err != nil || got {
		t.Errorf("another exchange's content counts: %v, %v", got, err)
	}
}

// TestRemovalReachesTheIndex follows the store without ever reading it anew.
func TestRemovalReachesTheIndex(t *testing.T) { eachEngine(t, testRemovalReachesTheIndex) }

func testRemovalReachesTheIndex(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{banked("a", 1), banked("b", 1), banked("c", 3)}})
	x, live := newIndexer(s)
	for _, step := range []struct {
		removed string
		left    int
	}{{"", 1}, {"a", 1}, {"b", 0}} {
		if step.removed != "" {
			commit(t, s, "X", bank.Fetched{Removed: []string{step.removed}})
		}
		if err := x.Refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		ix := load(t, live)
		if got := ix.SHA256(digest(1)); len(got) != step.left {
			t.Errorf("after %q: %v, want %d", step.removed, got, step.left)
		}
		if len(ix.SHA256(digest(3))) != 1 {
			t.Errorf("after %q the other is gone", step.removed)
		}
	}
}

// TestCommitIsAllOrNothing lets each part of a batch fail, with all others good.
func TestCommitIsAllOrNothing(t *testing.T) { eachEngine(t, testCommitIsAllOrNothing) }

func testCommitIsAllOrNothing(t *testing.T, e engine) {
	good := bank.Fetched{
		From: "1", To: "2", Recheck: "verify", Put: []bank.SourceContent{banked("b", 2)}, Removed: []string{"a", "p"},
		Pending: []bank.Pending{pending("q", "hash")}, Completed: true,
	}
	tests := map[string]struct {
		change  func(*bank.Fetched)
		trouble string // what the database does not do any more
		want    error
	}{
		"another checkpoint":      {func(f *bank.Fetched) { f.From = "0" }, "", bank.ErrCheckpoint},
		"a later checkpoint":      {func(f *bank.Fetched) { f.From = "2" }, "", bank.ErrCheckpoint},
		"another exchange's bank": {func(f *bank.Fetched) { f.Bank = 4711 }, "", bank.ErrExchangeNotFound},
		"no signals":              {func(f *bank.Fetched) { f.Put = append(f.Put, bank.SourceContent{Key: "c"}) }, "", bank.ErrMalformedSignal},
		"a malformed signal": {func(f *bank.Fetched) {
			f.Put = append(f.Put, bank.SourceContent{Key: "c", Signals: []bank.Signal{{Type: bank.SHA256, Value: "x"}}})
		}, "", bank.ErrMalformedSignal},
		"contents not written":     {nil, "BEFORE INSERT ON content", nil},
		"signals not written":      {nil, "BEFORE INSERT ON signal", nil},
		"sources not written":      {nil, "BEFORE INSERT ON source", nil},
		"removals not written":     {nil, "BEFORE INSERT ON removed", nil},
		"pending not written":      {nil, "BEFORE INSERT ON pending WHEN NEW.key = 'q'", nil},
		"pending not settled":      {nil, "BEFORE DELETE ON pending", nil},
		"checkpoint not written":   {nil, "BEFORE UPDATE ON exchange", nil},
		"recheck not written":      {nil, "BEFORE INSERT ON pending WHEN NEW.task = 'verify'", nil},
		"epoch not counted":        {nil, "BEFORE UPDATE ON meta WHEN NEW.key = 'epoch'", nil},
		"number of a content lost": {nil, "BEFORE UPDATE ON meta WHEN NEW.key = 'content_id'", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := e.newStore(t)
			createExchange(t, s, "X")
			commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}, Pending: []bank.Pending{pending("p", "hash")}})
			before, epoch := exchangeOf(t, s, "X"), epochOf(t, s)
			f := good
			if tt.change != nil {
				tt.change(&f)
			}
			if tt.trouble != "" {
				if err := s.MakeTrouble(t.Context(), tt.trouble); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Commit(t.Context(), "X", f)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(before, exchangeOf(t, s, "X"), sameSecret); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
			if got := epochOf(t, s); got != epoch {
				t.Errorf("epoch %d, was %d", got, epoch)
			}
			checkCounts(t, s, "X", 1, 1)
			if got := tasks(t, s, "X"); got["p"] != "hash" {
				t.Errorf("pending %v", got)
			}
			if contentOf(t, s, "X", 1) == 0 || contentOf(t, s, "X", 2) != 0 {
				t.Error("what is banked has changed")
			}
			if tt.trouble == "" {
				return
			}
			if err := s.EndTrouble(t.Context()); err != nil {
				t.Fatal(err)
			}
			commit(t, s, "X", good)
			if x := exchangeOf(t, s, "X"); x.Checkpoint != "2" || !x.Completed {
				t.Errorf("after the trouble: %+v", x)
			}
		})
	}
}

func TestCommitToNoExchange(t *testing.T) { eachEngine(t, testCommitToNoExchange) }

func testCommitToNoExchange(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	for _, name := range []string{"NONE", "A"} {
		if err := s.Commit(t.Context(), name, bank.Fetched{}); !errors.Is(err, bank.ErrExchangeNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOneOfTwoCommittersWins lets many commit what they fetched from the same
// checkpoint, through two stores of one database.
func TestOneOfTwoCommittersWins(t *testing.T) { eachEngine(t, testOneOfTwoCommittersWins) }

func testOneOfTwoCommittersWins(t *testing.T, e engine) {
	location := e.location(t)
	stores := []*bank.Store{openStore(t, location), openStore(t, location)}
	createExchange(t, stores[0], "X")
	const committers, rounds = 4, 8
	for round := range rounds {
		from, to := fmt.Sprint(round), fmt.Sprint(round+1)
		if round == 0 {
			from = ""
		}
		var mu sync.Mutex
		var won []int
		var all sync.WaitGroup
		for i := range committers {
			all.Go(func() {
				seed := byte(round*committers + i)
				err := stores[i%2].Commit(t.Context(), "X", bank.Fetched{
					From: from, To: to, Put: []bank.SourceContent{banked(fmt.Sprint(seed), seed)},
				})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, i)
				} else if !errors.Is(err, bank.ErrCheckpoint) {
					t.Errorf("%v, want %v", err, bank.ErrCheckpoint)
				}
			})
		}
		all.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %v have won, want one", round, won)
		}
		for i := range committers {
			if banked := contentOf(t, stores[0], "X", byte(round*committers+i)) != 0; banked != (i == won[0]) {
				t.Errorf("round %d: what %d fetched is banked: %v; %d has won", round, i, banked, won[0])
			}
		}
	}
	checkCounts(t, stores[1], "X", rounds, 0)
}

// TestOrderWithinABatch: what is put is there before anything is removed, so that
// the last key of a content can hand it over; what is pending comes last.
func TestOrderWithinABatch(t *testing.T) { eachEngine(t, testOrderWithinABatch) }

func testOrderWithinABatch(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{banked("a", 1)}, Pending: []bank.Pending{pending("a", "hash"), pending("b", "hash")}})
	id := contentOf(t, s, "X", 1)
	commit(t, s, "X", bank.Fetched{
		Put: []bank.SourceContent{exactly("b", 1)}, Removed: []string{"a"}, Pending: []bank.Pending{pending("b", "again")},
	})
	if got := contentOf(t, s, "X", 1); got != id {
		t.Errorf("content %d, want %d, handed over", got, id)
	}
	if diff := cmp.Diff(map[string]string{"b": "again"}, tasks(t, s, "X")); diff != "" {
		t.Errorf("a removed key is not pending any more (-want +got):\n%s", diff)
	}
	checkCounts(t, s, "X", 1, 1)
}

func TestRecheckMakesAllSourcesPending(t *testing.T) {
	eachEngine(t, testRecheckMakesAllSourcesPending)
}

func testRecheckMakesAllSourcesPending(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	createExchange(t, s, "Y")
	tried := pending("b", "hash")
	tried.Attempts, tried.Problem = 5, "no answer"
	commit(t, s, "X", bank.Fetched{
		To: "9", Put: []bank.SourceContent{banked("a", 1), exactly("b", 2), banked("c", 1)}, Pending: []bank.Pending{tried, pending("d", "hash")},
	})
	commit(t, s, "Y", bank.Fetched{Put: []bank.SourceContent{banked("a", 1)}})
	epoch := epochOf(t, s)
	commit(t, s, "X", bank.Fetched{From: "9", To: "0", Recheck: "verify"})
	if diff := cmp.Diff(map[string]string{"a": "verify", "b": "hash", "c": "verify", "d": "hash"}, tasks(t, s, "X")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := tasks(t, s, "Y"); len(got) != 0 {
		t.Errorf("another exchange is rechecked: %v", got)
	}
	list, err := s.Pending(t.Context(), "X", time.Now(), 10)
	if err != nil || len(list) != 4 || list[3].Key != "b" || list[3].Attempts != 5 || list[3].Problem != "no answer" {
		t.Errorf("all are due, b has been tried as before: %+v, %v", list, err)
	}
	if n, err := s.CountUntried(t.Context(), "X"); err != nil || n != 1 {
		t.Errorf("%d untried, %v, want 1: what is rechecked comes after what is new", n, err)
	}
	checkCounts(t, s, "X", 3, 4)
	if got := epochOf(t, s); got != epoch {
		t.Errorf("epoch %d, was %d: nothing is matched otherwise", got, epoch)
	}
	// What the same batch removes is not pending.
	commit(t, s, "X", bank.Fetched{From: "0", To: "0", Recheck: "verify", Removed: []string{"a", "c"}})
	if diff := cmp.Diff(map[string]string{"b": "hash", "d": "hash"}, tasks(t, s, "X")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestResolveYieldsToWhatIsNewer lets something happen to a key while work on it
// goes on. What the work has found must not count any more.
func TestResolveYieldsToWhatIsNewer(t *testing.T) { eachEngine(t, testResolveYieldsToWhatIsNewer) }

func testResolveYieldsToWhatIsNewer(t *testing.T, e engine) {
	worked := pending("a", "hash")
	worked.Attempts, worked.Problem = 2, "no answer"
	again := pending("a", "hash")
	again.Since = again.Since.Add(time.Second)
	tests := map[string]struct {
		meanwhile []bank.Fetched
		applies   bool
		pending   map[string]string // after that, if it does not apply
	}{
		"nothing":                {nil, true, nil},
		"tried by another":       {[]bank.Fetched{{Pending: []bank.Pending{pending("a", "hash")}}}, true, nil},
		"released":               {[]bank.Fetched{{Put: []bank.SourceContent{exactly("a", 1)}}, {Removed: []string{"a"}}}, false, map[string]string{}},
		"released, never banked": {[]bank.Fetched{{Removed: []string{"a"}}}, false, map[string]string{}},
		"pending anew":           {[]bank.Fetched{{Removed: []string{"a"}}, {Pending: []bank.Pending{again}}}, false, map[string]string{"a": "hash"}},
		"pending for something":  {[]bank.Fetched{{Pending: []bank.Pending{pending("a", "other")}}}, false, map[string]string{"a": "other"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := e.newStore(t)
			createExchange(t, s, "X")
			commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("b", 2)}, Pending: []bank.Pending{worked}})
			for _, f := range tt.meanwhile {
				f.From, f.To = "1", "1"
				commit(t, s, "X", f)
			}
			err := s.Resolve(t.Context(), "X", worked, bank.Fetched{
				From: "whatever", To: "nowhere", Put: []bank.SourceContent{banked("a", 1)}, Removed: []string{"b"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if applied := contentOf(t, s, "X", 1) != 0; applied != tt.applies {
				t.Errorf("put: %v, want %v", applied, tt.applies)
			}
			if applied := contentOf(t, s, "X", 2) == 0; applied != tt.applies {
				t.Errorf("removed: %v, want %v", applied, tt.applies)
			}
			if got := exchangeOf(t, s, "X").Checkpoint; got != "1" {
				t.Errorf("checkpoint %q has moved", got)
			}
			if tt.pending == nil {
				tt.pending = map[string]string{}
			}
			if diff := cmp.Diff(tt.pending, tasks(t, s, "X")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveKeepsPendingWhatFailed(t *testing.T) {
	eachEngine(t, testResolveKeepsPendingWhatFailed)
}

func testResolveKeepsPendingWhatFailed(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	p := pending("a", "hash")
	commit(t, s, "X", bank.Fetched{Pending: []bank.Pending{p}})
	for attempt := 1; attempt <= 3; attempt++ {
		p.Attempts, p.Due, p.Problem = attempt, p.Due.Add(time.Second), fmt.Sprint("problem ", attempt)
		if err := s.Resolve(t.Context(), "X", p, bank.Fetched{Pending: []bank.Pending{p}}); err != nil {
			t.Fatal(err)
		}
		list, err := s.Pending(t.Context(), "X", time.Now(), 10)
		if diff := cmp.Diff([]bank.Pending{p}, list); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if err := s.Resolve(t.Context(), "X", p, bank.Fetched{Put: []bank.SourceContent{{Key: "a"}}}); !errors.Is(err, bank.ErrMalformedSignal) {
		t.Errorf("nothing to put: %v", err)
	}
	checkCounts(t, s, "X", 0, 1)
}

func TestPendingIsListedInItsOrder(t *testing.T) { eachEngine(t, testPendingIsListedInItsOrder) }

func testPendingIsListedInItsOrder(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	createExchange(t, s, "Y")
	at := time.UnixMilli(10_000)
	var all []bank.Pending
	for _, p := range []struct {
		key      string
		attempts int
		due      time.Duration
	}{{"late", 0, 1}, {"due now", 0, 0}, {"tried often", 7, -3000}, {"tried", 1, -1000}, {"tried before", 1, -2000}, {"new", 0, -500}, {"a new", 0, -500}} {
		all = append(all, bank.Pending{Key: p.key, Task: "hash", Since: at, Due: at.Add(p.due * time.Millisecond), Attempts: p.attempts})
	}
	commit(t, s, "X", bank.Fetched{Pending: all})
	commit(t, s, "Y", bank.Fetched{Pending: all[:1]})
	list, err := s.Pending(t.Context(), "X", at, 100)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, p := range list {
		keys = append(keys, p.Key)
	}
	want := []string{"a new", "new", "due now", "tried before", "tried", "tried often"}
	if !slices.Equal(keys, want) {
		t.Errorf("%q, want %q", keys, want)
	}
	if list, err := s.Pending(t.Context(), "X", at, 2); err != nil || len(list) != 2 {
		t.Errorf("%v, %v, want the first two", list, err)
	}
	if n, err := s.CountUntried(t.Context(), "X"); err != nil || n != 4 {
		t.Errorf("%d untried, %v, want 4, the late one too", n, err)
	}
}

// TestPendingKeepsItsBeginning: news about a key that is pending does not make it
// look young.
func TestPendingKeepsItsBeginning(t *testing.T) { eachEngine(t, testPendingKeepsItsBeginning) }

func testPendingKeepsItsBeginning(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{Pending: []bank.Pending{pending("a", "hash")}})
	later := pending("a", "hash")
	later.Since, later.Attempts = later.Since.Add(time.Hour), 0
	commit(t, s, "X", bank.Fetched{Pending: []bank.Pending{later, pending("b", "hash")}})
	_, count, oldest, err := s.CountSources(t.Context(), "X")
	if err != nil || count != 2 || !oldest.Equal(time.UnixMilli(1_000)) {
		t.Errorf("%d pending since %v, %v", count, oldest, err)
	}
}

func TestSourcesTellsWhichKeysAreBanked(t *testing.T) {
	eachEngine(t, testSourcesTellsWhichKeysAreBanked)
}

func testSourcesTellsWhichKeysAreBanked(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	createExchange(t, s, "Y")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{banked("a", 1)}, Pending: []bank.Pending{pending("p", "hash")}})
	commit(t, s, "Y", bank.Fetched{Put: []bank.SourceContent{banked("b", 1)}})
	got, err := s.Sources(t.Context(), "X", []string{"a", "b", "p", ""})
	if want := (map[string]bool{"a": true, "b": false, "p": false, "": false}); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := s.Sources(t.Context(), "X", nil); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestEpochGrowsWithWhatIsMatched: every commit that changes what is matched, or
// what is awaited, is a new epoch, and bookkeeping is none.
func TestEpochGrowsWithWhatIsMatched(t *testing.T) { eachEngine(t, testEpochGrowsWithWhatIsMatched) }

func testEpochGrowsWithWhatIsMatched(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	p := pending("p", "hash")
	commitOf := func(f bank.Fetched) func() error {
		return func() error { return s.Commit(ctx, "X", f) }
	}
	resolve := func(p bank.Pending, f bank.Fetched) func() error {
		return func() error { return s.Resolve(ctx, "X", p, f) }
	}
	for _, step := range []struct {
		name  string
		do    func() error
		grows bool
	}{
		{"create", func() error { return s.CreateExchange(ctx, bank.Exchange{Name: "X", API: "api", Enabled: true}) }, true},
		{"checkpoint", commitOf(bank.Fetched{To: "1"}), false},
		{"pending", commitOf(bank.Fetched{From: "1", To: "1", Pending: []bank.Pending{p}}), false},
		{"failed attempt", resolve(p, bank.Fetched{Pending: []bank.Pending{p}}), false},
		{"put", commitOf(bank.Fetched{From: "1", To: "2", Put: []bank.SourceContent{exactly("a", 1)}}), true},
		{"recheck", commitOf(bank.Fetched{From: "2", To: "2", Recheck: "verify"}), false},
		{"resolved with nothing", resolve(p, bank.Fetched{}), false},
		{"completed", commitOf(bank.Fetched{From: "2", To: "2", Completed: true}), true},
		{"status", func() error {
			return s.SetFetchStatus(ctx, bank.Lease{}, "X", bank.FetchStatus{Finished: time.Now(), Succeeded: true})
		}, false},
		{"removed", commitOf(bank.Fetched{From: "2", To: "3", Removed: []string{"a"}}), true},
		{"refused", func() error {
			if err := s.Commit(ctx, "X", bank.Fetched{From: "2", Put: []bank.SourceContent{banked("a", 1)}}); !errors.Is(err, bank.ErrCheckpoint) {
				return fmt.Errorf("%w, want %w", err, bank.ErrCheckpoint)
			}
			return nil
		}, false},
		{"disable", func() error { return s.EnableExchange(ctx, "X", false) }, true},
		{"delete", func() error { return s.DeleteExchange(ctx, "X") }, true},
	} {
		before := epochOf(t, s)
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got, want := epochOf(t, s), before+map[bool]int64{true: 1}[step.grows]; got != want {
			t.Errorf("%s: epoch %d, want %d", step.name, got, want)
		}
	}
}

func TestFetchedIsNotCommittedAfterTheContextEnds(t *testing.T) {
	eachEngine(t, testFetchedIsNotCommittedAfterTheContextEnds)
}

func testFetchedIsNotCommittedAfterTheContextEnds(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ended, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := exchangeOf(t, s, "X").Checkpoint; got != "" || contentOf(t, s, "X", 1) != 0 {
		t.Errorf("checkpoint %q", got)
	}
}

// TestIndexFollowsAnyFetches plays random batches and compares the index with the
// set of keys, kept in the plainest way.
func TestIndexFollowsAnyFetches(t *testing.T) { eachEngine(t, testIndexFollowsAnyFetches) }

func testIndexFollowsAnyFetches(t *testing.T, e engine) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 2))
			s := e.newStore(t)
			x, live := newIndexer(s)
			names := []string{"X", "Y"}
			want := map[string]map[string]byte{} // by exchange and key: the bytes
			for _, name := range names {
				createExchange(t, s, name)
				want[name] = map[string]byte{}
			}
			for range 100 {
				name := names[rng.IntN(2)]
				var f bank.Fetched
				for range rng.IntN(3) {
					key, bytes := fmt.Sprint(rng.IntN(8)), byte(rng.IntN(5))
					f.Put = append(f.Put, []bank.SourceContent{banked(key, bytes), exactly(key, bytes)}[rng.IntN(2)])
					want[name][key] = bytes
				}
				for range rng.IntN(3) {
					key := fmt.Sprint(rng.IntN(8))
					f.Removed = append(f.Removed, key)
					delete(want[name], key)
				}
				f.From = exchangeOf(t, s, name).Checkpoint
				f.To = fmt.Sprint(rng.IntN(1000))
				commit(t, s, name, f)
				if rng.IntN(3) == 0 {
					continue // several batches in one refresh
				}
				if err := x.Refresh(t.Context(), rng.IntN(5) == 0); err != nil {
					t.Fatal(err)
				}
				checkKeys(t, load(t, live), want)
			}
			checkKeys(t, fresh(t, s), want)
			for _, name := range names {
				keys := slices.Collect(maps.Keys(want[name]))
				checkCounts(t, s, name, len(keys), 0)
				commit(t, s, name, bank.Fetched{From: exchangeOf(t, s, name).Checkpoint, Removed: keys})
			}
			if ix := fresh(t, s); ix.Len(bank.SHA256)+ix.Len(bank.MD5)+ix.Len(bank.PDQ) != 0 {
				t.Errorf("contents without a key: %d", ix.Len(bank.SHA256))
			}
		})
	}
}

// checkKeys compares which bytes are banked, once for each exchange.
func checkKeys(t *testing.T, ix *bank.Index, want map[string]map[string]byte) {
	t.Helper()
	for seed := range byte(5) {
		var names, got []string
		for name, keys := range want {
			if slices.Contains(slices.Collect(maps.Values(keys)), seed) {
				names = append(names, name)
			}
		}
		for _, m := range ix.SHA256(digest(seed)) {
			got = append(got, m.Bank.Name)
		}
		slices.Sort(names)
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Fatalf("bytes %d are banked in %v, want %v", seed, got, names)
		}
	}
}
