package bank_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/pdq"
)

func newIndexer(s *bank.Store) (*bank.Indexer, *bank.Live) {
	live := bank.NewLive()
	return bank.NewIndexer(s, live, nil, slog.New(slog.DiscardHandler)), live
}

func load(t testing.TB, live *bank.Live) *bank.Index {
	t.Helper()
	ix, err := live.Load()
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func TestNothingIsAnsweredBeforeTheFirstIndex(t *testing.T) {
	eachEngine(t, testNothingIsAnsweredBeforeTheFirstIndex)
}

func testNothingIsAnsweredBeforeTheFirstIndex(t *testing.T, e engine) {
	s := e.newStore(t)
	x, live := newIndexer(s)
	if ix, err := live.Load(); ix != nil || err == nil {
		t.Fatalf("%v, %v", ix, err)
	}
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	// A readable store that is empty makes a valid index.
	if ix := load(t, live); ix.Len(bank.PDQ) != 0 || len(ix.PrimaryWithin(pdq.Hash{}, 256)) != 0 {
		t.Error("an empty store gives matches")
	}
}

func TestUnreadableStoreKeepsTheLastIndex(t *testing.T) {
	eachEngine(t, testUnreadableStoreKeepsTheLastIndex)
}

func testUnreadableStoreKeepsTheLastIndex(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	before := load(t, live)
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2)})
	if err := s.Corrupt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := x.Refresh(t.Context(), false); err == nil || load(t, live) != before {
		t.Errorf("a damaged store is indexed: %v", err)
	}
	fresh, live := newIndexer(s)
	if err := fresh.Refresh(t.Context(), false); err == nil {
		t.Error("a damaged store is indexed from nothing")
	}
	if _, err := live.Load(); err == nil {
		t.Error("and answers")
	}
}

// model is what an index must answer, kept in the plainest way.
type model struct {
	banks    map[string]bool
	contents map[int64]modelContent
}

type modelContent struct {
	bank    string
	seed    byte
	enabled bool
}

func (m model) matches(seed byte) []string {
	var out []string
	for id, c := range m.contents {
		if c.seed == seed {
			out = append(out, fmt.Sprint(id, " ", c.bank, " ", c.enabled))
		}
	}
	slices.Sort(out)
	return out
}

func texts(matches []bank.Match) []string {
	var out []string
	for _, m := range matches {
		out = append(out, fmt.Sprint(m.Content, " ", m.Bank.Name, " ", m.Enabled))
	}
	slices.Sort(out)
	return out
}

// TestIndexFollowsAnyHistory plays random histories and compares with the model
// after every refresh, with merges at random moments.
func TestIndexFollowsAnyHistory(t *testing.T) { eachEngine(t, testIndexFollowsAnyHistory) }

func testIndexFollowsAnyHistory(t *testing.T, e engine) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			s := e.newStore(t)
			x, live := newIndexer(s)
			m := model{map[string]bool{}, map[int64]modelContent{}}
			for range 150 {
				step(t, rng, s, m)
				if rng.IntN(3) == 0 {
					continue // several changes in one refresh
				}
				if err := x.Refresh(t.Context(), rng.IntN(5) == 0); err != nil {
					t.Fatal(err)
				}
				ix := load(t, live)
				count := 0
				for b := range byte(8) {
					want := m.matches(b)
					count += len(want)
					signals := pictureSignals(b)
					for _, signal := range signals {
						got := lookUp(t, ix, signal, 0)
						if !slices.Equal(texts(got), want) {
							t.Fatalf("%s of %d: %v, want %v", signal.Type, b, texts(got), want)
						}
					}
				}
				if ix.Len(bank.PDQ) != count || ix.Len(bank.MD5) != count {
					t.Fatalf("%d and %d signals, want %d", ix.Len(bank.PDQ), ix.Len(bank.MD5), count)
				}
			}
		})
	}
}

// step changes store and model in the same way.
func step(t *testing.T, rng *rand.Rand, s *bank.Store, m model) {
	name := string(rune('A' + rng.IntN(3)))
	if !m.banks[name] {
		createBank(t, s, name)
		m.banks[name] = true
	}
	switch rng.IntN(10) {
	case 0:
		if err := s.DeleteBank(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		delete(m.banks, name)
		for id, c := range m.contents {
			if c.bank == name {
				delete(m.contents, id)
			}
		}
	case 1, 2:
		for id, c := range m.contents {
			if deleted, err := s.DeleteContent(t.Context(), c.bank, id); err != nil || !deleted {
				t.Fatal(deleted, err)
			}
			delete(m.contents, id)
			break
		}
	case 3, 4:
		for id, c := range m.contents {
			until := []int64{bank.DisabledForever, bank.Enabled, time.Now().Unix() + 1000, time.Now().Unix() - 1000}[rng.IntN(4)]
			if _, err := s.UpdateContent(t.Context(), c.bank, id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
				t.Fatal(err)
			}
			c.enabled = until != bank.DisabledForever && until <= time.Now().Unix()
			m.contents[id] = c
			break
		}
	default:
		seed := byte(rng.IntN(8))
		m.contents[addContent(t, s, bank.NewContent{Bank: name, Signals: pictureSignals(seed)})] = modelContent{name, seed, true}
	}
}

// TestCommittedContentIsMatchedSoon runs the real loop: what a commit returned
// is live when Wait says so, for one process and for a second one on the same
// database.
func TestCommittedContentIsMatchedSoon(t *testing.T) {
	eachEngine(t, testCommittedContentIsMatchedSoon)
}

func testCommittedContentIsMatchedSoon(t *testing.T, e engine) {
	t.Parallel()
	location := e.location(t)
	writer, reader := openStore(t, location), openStore(t, location)
	createBank(t, writer, "A")
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	var lives []*bank.Live
	for _, s := range []*bank.Store{writer, reader} {
		x, live := newIndexer(s)
		lives = append(lives, live)
		run.Go(func() {
			if err := x.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range byte(5) {
		id := addContent(t, writer, bank.NewContent{Bank: "A", Signals: pictureSignals(i)})
		epoch, err := writer.Epoch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for n, live := range lives {
			wait, stop := context.WithTimeout(ctx, 5*time.Second)
			if err := live.Wait(wait, epoch); err != nil {
				t.Fatalf("reader %d: %v", n, err)
			}
			stop()
			if got := load(t, live).SHA256([]byte(pictureSignals(i)[0].Value)); len(got) != 1 || got[0].Content != id {
				t.Errorf("reader %d: %v, want content %d", n, got, id)
			}
		}
	}
	short, stop := context.WithTimeout(ctx, 10*time.Millisecond)
	defer stop()
	if err := lives[0].Wait(short, 1<<40); err == nil {
		t.Error("an epoch that never comes was waited for in vain, without an error")
	}
}

// TestReadersSeeWholeContents looks while contents come and go: each is there
// with all its signals, or with none.
func TestReadersSeeWholeContents(t *testing.T) { eachEngine(t, testReadersSeeWholeContents) }

func testReadersSeeWholeContents(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	run.Go(func() { _ = x.Run(ctx) })
	signals := pictureSignals(3)
	run.Go(func() {
		for ctx.Err() == nil {
			ix := load(t, live)
			bySHA, byMD5 := ix.SHA256([]byte(signals[0].Value)), ix.MD5([]byte(signals[1].Value))
			if !slices.Equal(texts(bySHA), texts(byMD5)) {
				t.Errorf("one epoch shows %v and %v", texts(bySHA), texts(byMD5))
				return
			}
		}
	})
	for range 30 {
		id := addContent(t, s, bank.NewContent{Bank: "A", Signals: signals})
		if _, err := s.DeleteContent(t.Context(), "A", id); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOverlayIsMergedPastItsLimit(t *testing.T) {
	if bank.UnmergedWith(10_000) || !bank.UnmergedWith(10_001) {
		t.Error("10,000 is not the most that an overlay may hold")
	}
}

// TestMergeFromBeforeARestoreIsDropped folds in an index of a store that was
// replaced by an older copy meanwhile.
func TestMergeFromBeforeARestoreIsDropped(t *testing.T) {
	eachEngine(t, testMergeFromBeforeARestoreIsDropped)
}

func testMergeFromBeforeARestoreIsDropped(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	older := e.newStore(t)
	createBank(t, older, "A")
	if err := x.RefreshFrom(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	if got := load(t, live).SHA256([]byte(pictureSignals(1)[0].Value)); len(got) != 0 {
		t.Errorf("the older store does not hold %v", got)
	}
}

// TestRemovedBankIsMergedAway waits for the merge that a removed bank makes due.
func TestRemovedBankIsMergedAway(t *testing.T) { eachEngine(t, testRemovedBankIsMergedAway) }

func testRemovedBankIsMergedAway(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	createBank(t, s, "GONE")
	addContent(t, s, bank.NewContent{Bank: "GONE", Signals: pictureSignals(1)})
	kept := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	x, live := newIndexer(s)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	run.Go(func() { _ = x.Run(ctx) })
	if err := live.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBank(ctx, "GONE"); err != nil { // makes a merge due
		t.Fatal(err)
	}
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2)})
	epoch, err := s.Epoch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for ; ; time.Sleep(5 * time.Millisecond) {
		if ix, err := live.Load(); err == nil && ix.Epoch() == epoch && !ix.Unmerged() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the index is never merged")
		}
	}
	ix := load(t, live)
	if got := texts(ix.SHA256([]byte(pictureSignals(1)[0].Value))); !slices.Equal(got, []string{fmt.Sprint(kept, " A true")}) {
		t.Errorf("%v", got)
	}
	if ix.Len(bank.SHA256) != 2 {
		t.Errorf("%d contents, want 2", ix.Len(bank.SHA256))
	}
}

func TestPrimaryLookupsLeaveViewsOut(t *testing.T) { eachEngine(t, testPrimaryLookupsLeaveViewsOut) }

func testPrimaryLookupsLeaveViewsOut(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(5)})
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	ix := load(t, live)
	upright := pdq.Hash{0, 5 << 32, 9}
	if got := ix.PrimaryWithin(upright, 0); len(got) != 0 {
		t.Errorf("a primary lookup finds a view: %v", got)
	}
	got := ix.Within(media.Hash{PDQ: upright, Variant: media.White}, 0)
	if len(got) != 1 || got[0].Stored != media.Upright || got[0].Looked != media.White {
		t.Errorf("%+v", got)
	}
	if got := ix.PrimaryWithin(pdq.Hash{5<<40 | 1, 0, 7}, 1); len(got) != 1 || got[0].Distance != 1 {
		t.Errorf("%+v", got)
	}
}

func TestNewest(t *testing.T) { eachEngine(t, testNewest) }

func testNewest(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if at, ok := load(t, live).Newest(bank.PDQ); ok {
		t.Errorf("newest of nothing: %v", at)
	}
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if at, ok := load(t, live).Newest(bank.PDQ); !ok || time.Since(at).Abs() > time.Hour {
		t.Errorf("newest: %v, %v", at, ok)
	}
	if _, ok := load(t, live).Newest(bank.VideoMD5); ok {
		t.Error("there is no video")
	}
}

func FuzzParseSignal(f *testing.F) {
	f.Add("pdq", strings.Repeat("a", 64))
	f.Add("video_md5", strings.Repeat("a", 32))
	f.Fuzz(func(t *testing.T, kind, text string) {
		signal, err := bank.ParseSignal(bank.SignalType(kind), text)
		if err == nil && signal.Text() != strings.ToLower(strings.TrimSpace(text)) {
			t.Errorf("%q is read as %q", text, signal.Text())
		}
	})
}

// lookUp returns what matches a signal of any type.
func lookUp(t testing.TB, ix *bank.Index, signal bank.Signal, threshold int) []bank.Match {
	t.Helper()
	switch signal.Type {
	case bank.SHA256:
		return ix.SHA256([]byte(signal.Value))
	case bank.MD5:
		return ix.MD5([]byte(signal.Value))
	default:
		h, err := pdq.Parse(signal.Text())
		if err != nil {
			t.Fatal(err)
		}
		return ix.Within(media.Hash{PDQ: h, Variant: signal.Variant}, threshold)
	}
}
