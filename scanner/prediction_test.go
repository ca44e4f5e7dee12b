package scanner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/scanner"
)

// TestPredictionIsWhatIsBlockedThen: random banks watch one another, allow and agree; one
// is turned from monitor on, and all is asked for again.
func TestPredictionIsWhatIsBlockedThen(t *testing.T) {
	pool := workertest.Pool(t, patient)
	predicted := 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 9))
		b := newBench(t, defaults, pool,
			bank.Bank{Name: "LIST", Ratio: 1, Monitor: true, Agree: rng.IntN(2), Breaker: 1},
			bank.Bank{Name: "OTHER", Ratio: 1, Monitor: true}, bank.Bank{Name: "ON", Ratio: 1},
			bank.Bank{Name: "NEEDS", Ratio: 1, Agree: 1}, bank.Bank{Name: "GOOD", Ratio: 1, Allow: true})
		centre := someHash(rng)
		for _, to := range []string{"LIST", "LIST", "LIST", "OTHER", "ON", "NEEDS", "NEEDS", "GOOD"} {
			h := centre
			h[1] ^= (1<<rng.IntN(25) - 1) << rng.IntN(20)
			b.add(t, to, listed(t, h))
		}
		items := make([]*media.Signals, 80)
		for i := range items {
			h := centre
			h[1] ^= (1<<rng.IntN(30) - 1) << rng.IntN(20)
			if i%4 == 0 {
				h[3] = ^h[3]
			}
			items[i] = pictured(i, h)
		}
		b.add(t, "LIST", digestOf(bank.SHA256, items[0]))
		b.sync(t)
		before := time.Now()
		passed := make(map[int]int64)
		want := scanner.Prediction{}
		for i, s := range items {
			for range 1 + rng.IntN(5) {
				if b.judge(t, s).Outcome == scanner.Clean {
					passed[i]++
					want.SeenRequests++
				}
			}
		}
		want.Seen = int64(len(passed))
		got, err := b.Predict(t.Context(), "LIST")
		if err != nil {
			t.Fatal(err)
		}
		b.set(t, "LIST", bank.Settings{Monitor: new(false)})
		for i, s := range items {
			if b.judge(t, s).Outcome == scanner.Blocked && passed[i] > 0 {
				want.Contents++
				want.Requests += passed[i]
			}
		}
		if got.Since.Before(before) || got.Since.After(time.Now()) {
			t.Errorf("since %s", got.Since)
		}
		got.Since = time.Time{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("seed %d (-want +got):\n%s", seed, diff)
		}
		predicted += int(want.Contents)
		// In force, it is told what is blocked for the bank's sake, and in monitor again what
		// was.
		for _, monitor := range []bool{false, true} {
			b.set(t, "LIST", bank.Settings{Monitor: new(monitor)})
			again, err := b.Predict(t.Context(), "LIST")
			if err != nil || again.Contents != want.Contents || again.Requests != want.Requests {
				t.Errorf("seed %d, monitor %v: %+v, %v, want %+v", seed, monitor, again, err, want)
			}
		}
	}
	if predicted < 20 {
		t.Errorf("%d contents were predicted in all: the banks are too much alike", predicted)
	}
}

// TestPredictionOfFilesAndItems goes by what was asked for in every way.
func TestPredictionOfFilesAndItems(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	if _, err := g.store.CreateBank(t.Context(), bank.Bank{Name: "LIST", Ratio: 1, Monitor: true}); err != nil {
		t.Fatal(err)
	}
	picture, near, other := readFile(t, vectors, "formats/rgb.png"), readFile(t, vectors, "formats/q30.jpg"), readFile(t, vectors, "png/q0122.png")
	g.add(t, "LIST", only(bank.PDQ, bank.SignalsOf(signalsOf(t, g.pool, picture)))...)
	g.sync(t)
	g.home.put(remote("near"), string(near))
	g.home.put(remote("other"), string(other))
	g.home.put(local("copy"), string(near))
	for name, call := range calls {
		for _, item := range []media.URI{remote("near"), remote("other"), local("copy")} {
			for range 2 {
				if v, _, err := call(t.Context(), g, as("a", item)); v.Outcome != scanner.Clean || err != nil {
					t.Fatalf("%s: %s, %v", name, v.Outcome, err)
				}
			}
		}
	}
	g.scan(t, picture)
	g.scan(t, []byte("hello"))
	g.scan(t, picture[:len(picture)/2]) // not let pass
	want := scanner.Prediction{Seen: 4, SeenRequests: 18 + 2, Contents: 2, Requests: 12 + 1}
	got, err := g.Predict(t.Context(), "LIST")
	got.Since = time.Time{}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	g.set(t, "LIST", bank.Settings{Monitor: new(false)})
	for _, item := range []media.URI{remote("near"), local("copy")} {
		if v, err := g.Check(t.Context(), as("a", item)); v.Outcome != scanner.Blocked || err != nil {
			t.Errorf("%s, %v", v.Outcome, err)
		}
	}
}

func TestPredictionErrors(t *testing.T) {
	b := newBench(t, defaults, workertest.Pool(t, patient), bank.Bank{Name: "OFF", Monitor: true}, bank.Bank{Name: "GOOD", Ratio: 1, Allow: true})
	s := pictured(1, someHash(rand.New(rand.NewPCG(1, 1))))
	for _, to := range []string{"OFF", "GOOD"} {
		b.add(t, to, listed(t, s.Hashes[0].PDQ))
	}
	b.sync(t)
	for _, name := range []string{"OFF", "GOOD"} {
		if p, err := b.Predict(t.Context(), name); p != (scanner.Prediction{}) || err != nil {
			t.Errorf("%s, nothing seen: %+v, %v", name, p, err)
		}
	}
	b.judge(t, s)
	for _, name := range []string{"OFF", "GOOD"} {
		if p, err := b.Predict(t.Context(), name); p.Seen != 1 || p.Contents != 0 || err != nil {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if p, err := b.Predict(t.Context(), "NONE"); !errors.Is(err, bank.ErrBankNotFound) || p != (scanner.Prediction{}) {
		t.Errorf("no such bank: %+v, %v", p, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := b.Predict(ctx, "OFF"); !errors.Is(err, context.Canceled) || p != (scanner.Prediction{}) {
		t.Errorf("cancelled: %+v, %v", p, err)
	}
	none := scanner.New(defaults, b.pool, bank.NewLive(), nil, slog.New(slog.DiscardHandler))
	if _, err := none.Predict(t.Context(), "OFF"); !errors.Is(err, bank.ErrNotReady) {
		t.Errorf("no index: %v", err)
	}
}

// TestMemoryIsBounded keeps what is asked for often while much else is asked for once, and
// counts what lists add to it.
func TestMemoryIsBounded(t *testing.T) {
	config := defaults
	config.MemoryBytes = 1 << 20
	b := newBench(t, config, workertest.Pool(t, patient))
	rng := rand.New(rand.NewPCG(1, 1))
	popular := pictured(0, someHash(rng))
	for i := range 20_000 {
		b.judge(t, pictured(1+i, someHash(rng)))
		if i%20 == 0 {
			b.judge(t, popular)
		}
	}
	b.SettleMemory()
	if n, contents := b.Remembered(); n > 1<<20 || contents < 1000 {
		t.Errorf("%d bytes, %d contents", n, contents)
	}
	if n := b.Requests(popular); n != 1000 {
		t.Errorf("the popular one was let pass %d times, want 1000", n)
	}
}

// TestWhatListsAddToTheMemoryIsWeighed by the number of accounts.
func TestWhatListsAddToTheMemoryIsWeighed(t *testing.T) {
	b := newBreaking(t, defaults)
	s := b.picture(someHash(b.rng))
	b.know(t, 2, s)
	b.SettleMemory()
	before, _ := b.Remembered()
	b.list(t, "LIST", s.Hashes[0].PDQ, apart(s.Hashes[0].PDQ, 1), apart(s.Hashes[0].PDQ, 2))
	b.expect(t, "listed", s, 5, 5)
	b.SettleMemory()
	if after, _ := b.Remembered(); after != before+3*16 {
		t.Errorf("%d bytes, before %d", after, before)
	}
}

// BenchmarkPass counts a request for what is remembered, from all processors at once.
func BenchmarkPass(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("contents=%d", n), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			s := scanner.New(defaults, nil, bank.NewLive(), nil, slog.New(slog.DiscardHandler))
			items := make([]*media.Signals, n)
			for i := range items {
				items[i] = pictured(i, someHash(rng))
				s.Pass(items[i])
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					s.Pass(items[i%n])
				}
			})
		})
	}
}
