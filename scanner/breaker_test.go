package scanner_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/pdq"
	"mediagate/scanner"
)

// breaking is a bench with a list that breaks at 20 requests, LIST, a bank that never
// breaks, OWN, and a clock.
type breaking struct {
	*bench
	rng *rand.Rand
	now atomic.Int64 // since base
	n   int
}

func newBreaking(t *testing.T, config scanner.Config) *breaking {
	t.Helper()
	b := &breaking{rng: rand.New(rand.NewPCG(1, 5))}
	b.bench = newBench(t, config, workertest.Pool(t, patient), bank.Bank{Name: "LIST", Ratio: 1, Breaker: 20}, bank.Bank{Name: "OWN", Ratio: 1})
	base := time.Now()
	b.SetMemoryNow(func() time.Time { return base.Add(time.Duration(b.now.Load())) })
	return b
}

func (b *breaking) wait(d time.Duration) { b.now.Add(int64(d)) }

// picture is one whose bytes nothing else has.
func (b *breaking) picture(h pdq.Hash) *media.Signals {
	b.n++
	return pictured(b.n, h)
}

// ask asks for a picture so often, and returns how often it was blocked.
func (b *breaking) ask(t *testing.T, s *media.Signals, times int) (blocked int) {
	t.Helper()
	for range times {
		if b.judge(t, s).Outcome == scanner.Blocked {
			blocked++
		}
	}
	return blocked
}

// list puts hashes on a list.
func (b *breaking) list(t *testing.T, name string, hashes ...pdq.Hash) (ids []int64) {
	t.Helper()
	for _, h := range hashes {
		ids = append(ids, b.add(t, name, listed(t, h)))
	}
	b.sync(t)
	return ids
}

func (b *breaking) expect(t *testing.T, what string, s *media.Signals, times, blocked int) {
	t.Helper()
	if got := b.ask(t, s, times); got != blocked {
		t.Errorf("%s: blocked %d of %d times, want %d", what, got, times, blocked)
	}
}

// know asks for pictures so often, at least twice each, from first to last over a day.
func (b *breaking) know(t *testing.T, times int, pictures ...*media.Signals) {
	t.Helper()
	for _, s := range pictures {
		b.expect(t, "before", s, times-1, 0)
	}
	b.wait(day)
	for _, s := range pictures {
		b.expect(t, "a day later", s, 1, 0)
	}
}

const day = 24 * time.Hour

// TestPopularPictureIsNeverBlocked: its entry is held by the very decision that would
// have blocked it, from as many requests as the bank says on.
func TestPopularPictureIsNeverBlocked(t *testing.T) {
	for _, requests := range []int{19, 20, 21} {
		t.Run(strconv.Itoa(requests), func(t *testing.T) {
			b := newBreaking(t, defaults)
			s := b.picture(someHash(b.rng))
			b.know(t, requests, s)
			id := b.list(t, "LIST", apart(s.Hashes[0].PDQ, 5))[0]
			want, held := 0, map[string]float64{"LIST": 1}
			if requests < 20 {
				want, held = 3, map[string]float64{}
			}
			b.expect(t, "listed", s, 3, want)
			if diff := cmp.Diff(held, countedByBank(t, b, "mediagate_breaker_holds_total")); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
			v := b.judge(t, s)
			if len(v.Matches) != 1 || v.Matches[0].Content != id || v.Matches[0].Enforced != (requests < 20) {
				t.Errorf("matches %+v", v.Matches)
			}
			// Nothing else that it would block is blocked any more.
			b.expect(t, "another picture", b.picture(s.Hashes[0].PDQ), 2, want*2/3)
		})
	}
}

// TestManyEntriesNearOnePopularPicture are held all, more of them than are told of.
func TestManyEntriesNearOnePopularPicture(t *testing.T) {
	b := newBreaking(t, defaults)
	s := b.picture(someHash(b.rng))
	b.know(t, 20, s)
	var hashes []pdq.Hash
	for i := range 2*scanner.MaxMatches + 50 {
		hashes = append(hashes, apart(s.Hashes[0].PDQ, i%31))
	}
	b.list(t, "LIST", hashes...)
	b.expect(t, "listed", s, 1, 0)
	if n := b.Held(); n != len(hashes) {
		t.Errorf("%d are held, want %d", n, len(hashes))
	}
}

// TestBroadEntryIsHeldAsItsSumIsReached by pictures that were asked for three times each.
func TestBroadEntryIsHeldAsItsSumIsReached(t *testing.T) {
	b := newBreaking(t, defaults)
	centre := someHash(b.rng)
	var pictures []*media.Signals
	for range 10 {
		s := b.picture(apart(centre, b.rng.IntN(20)))
		pictures = append(pictures, s)
	}
	b.know(t, 3, pictures...)
	b.list(t, "LIST", centre)
	for i, s := range pictures {
		want := 0
		if 3*(i+1) < 20 {
			want = 2
		}
		b.expect(t, strconv.Itoa(i), s, 2, want)
	}
	b.expect(t, "the first again", pictures[0], 2, 0)
}

// TestWhatIsSeenOnlyLatelyTripsNothing, however often it is asked for.
func TestWhatIsSeenOnlyLatelyTripsNothing(t *testing.T) {
	t.Run("an hour before", func(t *testing.T) {
		b := newBreaking(t, defaults)
		s := b.picture(someHash(b.rng))
		b.ask(t, s, 10_000)
		b.wait(time.Hour)
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.expect(t, "listed", s, 1000, 1000)
	})
	t.Run("in an hour, and nothing for days", func(t *testing.T) {
		b := newBreaking(t, defaults)
		s := b.picture(someHash(b.rng))
		b.ask(t, s, 5_000)
		b.wait(time.Hour)
		b.ask(t, s, 5_000)
		b.list(t, "LIST", s.Hashes[0].PDQ)
		for range 3 {
			b.expect(t, "listed", s, 3, 3)
			b.wait(day)
		}
	})
	t.Run("a moment short of a day", func(t *testing.T) {
		b := newBreaking(t, defaults)
		s := b.picture(someHash(b.rng))
		b.ask(t, s, 20)
		b.wait(day - 1)
		b.ask(t, s, 1)
		id := b.list(t, "LIST", s.Hashes[0].PDQ)[0]
		b.expect(t, "listed", s, 3, 3)
		b.wait(day)
		b.expect(t, "a day later", s, 3, 3)
		if _, err := b.store.DeleteContent(t.Context(), "LIST", id); err != nil {
			t.Fatal(err)
		}
		b.sync(t)
		b.expect(t, "not listed", s, 1, 0)
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.expect(t, "listed, and asked for over a day", s, 3, 0)
	})
	t.Run("made anew from a picture that is listed", func(t *testing.T) {
		b := newBreaking(t, defaults)
		bad := someHash(b.rng)
		b.list(t, "LIST", bad)
		for range 500 {
			b.expect(t, "new bytes", b.picture(apart(bad, b.rng.IntN(10))), 20, 20)
		}
		b.wait(2 * day)
		for i := range 500 {
			b.n = i
			b.expect(t, "days later", b.picture(apart(bad, 3)), 2, 2)
		}
	})
	t.Run("at once", func(t *testing.T) {
		config := defaults
		config.KnownAfter = 0
		b := newBreaking(t, config)
		s := b.picture(someHash(b.rng))
		b.ask(t, s, 20)
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.expect(t, "listed", s, 3, 0)
	})
}

// TestWhatIsListedIsNotOfOld however long it was let pass: because its list is watched,
// needs others to agree, or has it held.
func TestWhatIsListedIsNotOfOld(t *testing.T) {
	t.Run("watched", func(t *testing.T) {
		b := newBreaking(t, defaults)
		b.set(t, "LIST", bank.Settings{Monitor: new(true)})
		h := someHash(b.rng)
		b.list(t, "LIST", h)
		s := b.picture(h)
		b.know(t, 1000, s)
		if p, err := b.Predict(t.Context(), "LIST"); p.Contents != 1 || p.Requests != 1000 || err != nil {
			t.Errorf("predicted %+v, %v", p, err)
		}
		b.set(t, "LIST", bank.Settings{Monitor: new(false)})
		b.expect(t, "in force", s, 3, 3)
		b.expect(t, "a copy", b.picture(apart(h, 2)), 3, 3)
		if b.Held() != 0 || b.Accounts() != 0 {
			t.Errorf("%d held, %d accounts", b.Held(), b.Accounts())
		}
	})
	t.Run("watched by another list", func(t *testing.T) {
		b := newBreaking(t, defaults)
		if _, err := b.store.CreateBank(t.Context(), bank.Bank{Name: "FIRST", Ratio: 1, Monitor: true, Breaker: 1000}); err != nil {
			t.Fatal(err)
		}
		s := b.picture(someHash(b.rng))
		b.list(t, "FIRST", s.Hashes[0].PDQ)
		b.know(t, 1000, s)
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.expect(t, "in force", s, 3, 3)
	})
	t.Run("nobody agrees", func(t *testing.T) {
		b := newBreaking(t, defaults)
		b.set(t, "LIST", bank.Settings{Agree: new(1)})
		s := b.picture(someHash(b.rng))
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.know(t, 1000, s)
		b.set(t, "LIST", bank.Settings{Agree: new(0)})
		b.expect(t, "in force", s, 3, 3)
	})
	t.Run("held", func(t *testing.T) {
		b := newBreaking(t, defaults)
		popular := b.picture(someHash(b.rng))
		b.know(t, 20, popular)
		b.list(t, "LIST", popular.Hashes[0].PDQ)
		b.expect(t, "popular", popular, 1, 0)
		s := b.picture(apart(popular.Hashes[0].PDQ, 20))
		b.know(t, 1000, s)
		b.list(t, "LIST", apart(popular.Hashes[0].PDQ, 50)) // far from what is popular
		bad := b.picture(apart(popular.Hashes[0].PDQ, 50))
		b.expect(t, "near both", s, 3, 3)
		b.expect(t, "near the second", bad, 3, 3)
	})
	t.Run("at once", func(t *testing.T) {
		config := defaults
		config.KnownAfter = 0
		b := newBreaking(t, config)
		b.set(t, "LIST", bank.Settings{Monitor: new(true)})
		s := b.picture(someHash(b.rng))
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.ask(t, s, 1000)
		b.set(t, "LIST", bank.Settings{Monitor: new(false)})
		b.expect(t, "in force", s, 3, 3)
		if n := b.Accounts(); n != 0 {
			t.Errorf("%d accounts", n)
		}
	})
	t.Run("only the time before and after counts", func(t *testing.T) {
		b := newBreaking(t, defaults)
		s := b.picture(someHash(b.rng))
		b.ask(t, s, 10)
		b.set(t, "LIST", bank.Settings{Monitor: new(true)})
		id := b.list(t, "LIST", s.Hashes[0].PDQ)[0]
		b.know(t, 1000, s)
		b.set(t, "LIST", bank.Settings{Monitor: new(false)})
		b.expect(t, "in force", s, 3, 3)
		if _, err := b.store.DeleteContent(t.Context(), "LIST", id); err != nil {
			t.Fatal(err)
		}
		b.sync(t)
		b.expect(t, "not listed", s, 9, 0)
		b.list(t, "LIST", s.Hashes[0].PDQ)
		b.expect(t, "after 19 requests", s, 3, 3)
	})
}

// TestAskingForWhatIsBlockedAddsNothing: what was asked for of old is added once, and what
// is blocked is not counted.
func TestAskingForWhatIsBlockedAddsNothing(t *testing.T) {
	b := newBreaking(t, defaults)
	s := b.picture(someHash(b.rng))
	b.know(t, 10, s)
	id := b.list(t, "LIST", s.Hashes[0].PDQ)[0]
	b.expect(t, "listed", s, 100, 100)
	b.wait(scanner.AccountTTL - 1)
	b.expect(t, "a month later", s, 100, 100)
	b.wait(1)
	b.expect(t, "in an account of another month", s, 100, 100)
	if n := b.Requests(s); n != 10 {
		t.Errorf("let pass %d times, want 10", n)
	}
	// It is as it was when it is not listed any more.
	if _, err := b.store.DeleteContent(t.Context(), "LIST", id); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
	b.expect(t, "not listed", s, 9, 0)
	b.list(t, "LIST", s.Hashes[0].PDQ)
	b.expect(t, "asked for 19 times", s, 1, 1)
	b.set(t, "LIST", bank.Settings{Monitor: new(true)})
	b.expect(t, "watched", s, 1, 0)
	b.set(t, "LIST", bank.Settings{Monitor: new(false)})
	b.expect(t, "added once is added", s, 2, 2)
	b.set(t, "LIST", bank.Settings{Breaker: new(19)})
	b.expect(t, "at what the bank says now", s, 1, 0)
}

// TestBanksWithoutBreakerAreNotHeld, nor what blocks what they block.
func TestBanksWithoutBreakerAreNotHeld(t *testing.T) {
	b := newBreaking(t, defaults)
	own, both := b.picture(someHash(b.rng)), b.picture(someHash(b.rng))
	b.know(t, 1000, own, both)
	b.list(t, "OWN", own.Hashes[0].PDQ)
	b.list(t, "LIST", both.Hashes[0].PDQ)
	b.list(t, "OWN", apart(both.Hashes[0].PDQ, 20))
	b.expect(t, "of its own bank", own, 100, 100)
	b.expect(t, "of both", both, 100, 100)
	if b.Held() != 0 || b.Accounts() != 0 {
		t.Errorf("%d held, %d accounts", b.Held(), b.Accounts())
	}
	// Many entries of the list that are nearer do not hide that it is of both.
	var hashes []pdq.Hash
	for range scanner.MaxMatches + 20 {
		hashes = append(hashes, both.Hashes[0].PDQ)
	}
	b.list(t, "LIST", hashes...)
	b.expect(t, "of both, and many", both, 10, 10)
	if b.Held() != 0 || b.Accounts() != 0 {
		t.Errorf("%d held, %d accounts", b.Held(), b.Accounts())
	}
}

// TestAccountsAreBounded and one that was closed can be filled again.
func TestAccountsAreBounded(t *testing.T) {
	b := newBreaking(t, defaults)
	centre := someHash(b.rng)
	first, second := b.picture(centre), b.picture(apart(centre, 3))
	b.know(t, 15, first, second)
	b.list(t, "LIST", centre)
	b.expect(t, "first", first, 5, 5)
	b.OpenAccounts(scanner.MaxAccounts)
	if n := b.Accounts(); n != scanner.MaxAccounts {
		t.Errorf("%d accounts, want %d", n, scanner.MaxAccounts)
	}
	b.expect(t, "second, in another account", second, 5, 5)
	b.expect(t, "first again", first, 1, 0)

	b = newBreaking(t, defaults)
	first, second = b.picture(centre), b.picture(apart(centre, 3))
	b.know(t, 15, first, second)
	b.list(t, "LIST", centre)
	b.expect(t, "first", first, 5, 5)
	b.OpenAccounts(scanner.MaxAccounts - 1)
	b.expect(t, "second, in the same account", second, 1, 0)
}

// TestManyAskAtOnceForAPopularPicture and nobody of them is blocked.
func TestManyAskAtOnceForAPopularPicture(t *testing.T) {
	b := newBreaking(t, defaults)
	var pictures []*media.Signals
	var hashes []pdq.Hash
	for range 10 {
		s := b.picture(someHash(b.rng))
		pictures, hashes = append(pictures, s), append(hashes, s.Hashes[0].PDQ)
	}
	b.know(t, 20, pictures...)
	b.set(t, "LIST", bank.Settings{Monitor: new(true)})
	b.list(t, "LIST", hashes...)
	var asking sync.WaitGroup
	var blocked atomic.Int64
	stop := make(chan struct{})
	for range 8 {
		asking.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				v, err := b.Judge(t.Context(), pictures[i%len(pictures)])
				if err != nil || v.Outcome != scanner.Clean {
					blocked.Add(1)
				}
			}
		})
	}
	asking.Go(func() {
		for range 5 {
			if _, err := b.Predict(t.Context(), "LIST"); err != nil {
				t.Error(err)
			}
		}
	})
	b.set(t, "LIST", bank.Settings{Monitor: new(false)})
	eventually(t, "all are held", func() bool { return b.Held() == len(pictures) })
	close(stop)
	asking.Wait()
	if n := blocked.Load(); n > 0 {
		t.Errorf("%d were blocked", n)
	}
	if diff := cmp.Diff(map[string]float64{"LIST": 10}, countedByBank(t, b, "mediagate_breaker_holds_total")); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

// reviewer is a store that cannot be written to at first.
type reviewer struct {
	*bank.Store
	fails atomic.Int64
	mu    sync.Mutex
	told  []int64
}

func (r *reviewer) Hold(ctx context.Context, contents []int64, reason string) error {
	if r.fails.Add(-1) >= 0 {
		return errors.New("no")
	}
	r.mu.Lock()
	r.told = append(r.told, contents...)
	r.mu.Unlock()
	return r.Store.Hold(ctx, contents, reason)
}

func (r *reviewer) toldOf() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(r.told)))
}

// run runs the scanner until stop is called.
func (b *bench) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestHeldContentsAreReviewed in the store, where somebody decides about them.
func TestHeldContentsAreReviewed(t *testing.T) {
	var logged bytes.Buffer
	b := newBreaking(t, defaults)
	r := &reviewer{Store: b.store}
	r.fails.Store(2)
	b.Scanner = scanner.New(defaults, b.pool, b.live, nil, slog.New(slog.NewJSONHandler(&logged, nil)))
	base := time.Now()
	b.SetMemoryNow(func() time.Time { return base.Add(time.Duration(b.now.Load())) })
	b.Review(r)
	s, other := b.picture(someHash(b.rng)), b.picture(someHash(b.rng))
	b.know(t, 20, s, other)
	stop := b.run(t)
	ids := b.list(t, "LIST", s.Hashes[0].PDQ, apart(s.Hashes[0].PDQ, 9), other.Hashes[0].PDQ)
	b.expect(t, "listed", s, 2, 0)
	eventually(t, "the store knows", func() bool {
		reviews, err := b.store.Reviews(t.Context(), "LIST")
		return err == nil && len(reviews) == 2
	})
	if diff := cmp.Diff(ids[:2], r.toldOf()); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
	eventually(t, "the index alone knows", func() bool { return b.Held() == 0 })
	b.expect(t, "in review", s, 2, 0)

	// Who blocks it blocks it, however often it was asked for; a second one that is near
	// is still held.
	if err := b.store.Decide(t.Context(), "LIST", ids[0], true); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
	b.expect(t, "confirmed", s, 3, 3)
	if err := b.store.Decide(t.Context(), "LIST", ids[0], false); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
	b.expect(t, "dismissed", s, 3, 0)

	// What is held at the end is told of at the end.
	r.fails.Store(0)
	b.expect(t, "the other", other, 1, 0)
	stop()
	if diff := cmp.Diff(ids, r.toldOf()); diff != "" {
		t.Errorf("told of at the end (-want +got):\n%s", diff)
	}
	for _, id := range ids {
		if want := `"level":"WARN","msg":"content is held: it would block what was let pass for long","bank":"LIST","content_id":` + strconv.FormatInt(id, 10); strings.Count(logged.String(), want) != 1 {
			t.Errorf("content %d is not logged once: %s", id, logged.String())
		}
	}
}

// TestConfirmedBeforeItIsKnownToBeHeld: what this process still holds blocks as soon as
// somebody says so.
func TestConfirmedBeforeItIsKnownToBeHeld(t *testing.T) {
	b := newBreaking(t, defaults)
	s := b.picture(someHash(b.rng))
	b.know(t, 20, s)
	id := b.list(t, "LIST", s.Hashes[0].PDQ)[0]
	b.expect(t, "listed", s, 2, 0) // nobody reviews: it stays held here
	b.lookedUp(t, s, b.judge(t, s))
	if err := b.store.Hold(t.Context(), []int64{id}, "another process"); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Decide(t.Context(), "LIST", id, true); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
	b.expect(t, "confirmed", s, 3, 3)
	b.lookedUp(t, s, b.judge(t, s))
	if b.Held() != 1 {
		t.Errorf("%d are held", b.Held())
	}
}

// TestAccountsEnd and what was added to them is added to the next one when it is asked
// for again.
func TestAccountsEnd(t *testing.T) {
	b := newBreaking(t, defaults)
	centre := someHash(b.rng)
	first, second := b.picture(centre), b.picture(apart(centre, 3))
	b.know(t, 15, first, second)
	b.list(t, "LIST", centre)
	b.expect(t, "first", first, 1, 1)
	b.wait(scanner.AccountTTL)
	b.expect(t, "second, a month later", second, 1, 1)
	b.expect(t, "first again", first, 1, 0)
}

// TestPredictionLeavesOutWhatIsBlockedAnyway by now.
func TestPredictionLeavesOutWhatIsBlockedAnyway(t *testing.T) {
	b := newBreaking(t, defaults)
	b.set(t, "LIST", bank.Settings{Monitor: new(true)})
	s := b.picture(someHash(b.rng))
	b.ask(t, s, 3)
	b.list(t, "LIST", s.Hashes[0].PDQ)
	for _, want := range []int64{3, 0} {
		if p, err := b.Predict(t.Context(), "LIST"); p.Requests != want || err != nil {
			t.Errorf("%d requests, want %d, %v", p.Requests, want, err)
		}
		b.list(t, "OWN", s.Hashes[0].PDQ)
	}
}
