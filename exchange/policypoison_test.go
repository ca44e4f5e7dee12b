package exchange_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/scanner"
)

// drawing is a picture like no other, of a few waves.
func drawing(t testing.TB, random *rand.Rand) []byte {
	t.Helper()
	const size = 72
	type wave struct{ x, y, phase, height float64 }
	var waves []wave
	for range 14 {
		waves = append(waves, wave{random.Float64() * .5, random.Float64() * .5, random.Float64() * 6, random.Float64()})
	}
	img := image.NewGray(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			level := 0.0
			for _, w := range waves {
				level += w.height * math.Sin(float64(x)*w.x+float64(y)*w.y+w.phase)
			}
			img.SetGray(x, y, color.Gray{uint8(128 + 30*math.Max(-4, math.Min(4, level)))})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// stripes is a page that many have, and whose hash says nothing.
func stripes(t testing.TB, width int) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 256, 256))
	for y := range 256 {
		for x := range 256 {
			if x/width%2 == 0 {
				img.SetGray(x, y, color.Gray{255})
			}
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// audience looks at pictures, as users do.
type audience struct {
	*policyBench
	scanner *scanner.Scanner
}

func newAudience(t testing.TB) *audience {
	t.Helper()
	a := &audience{policyBench: newPolicyBench(t)}
	config := scanner.Config{
		MaxDistance: 31, MinQuality: 50, Downloads: 1, DownloadsPerOrigin: 1, QueueWait: patience, CacheBytes: 64 << 20, MemoryBytes: 64 << 20,
	}
	a.scanner = scanner.New(config, a.pool, a.live, nil, slog.New(slog.DiscardHandler))
	a.scanner.Review(a.store)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = a.scanner.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return a
}

// see scans a picture.
func (a *audience) see(content []byte) scanner.Verdict {
	a.t.Helper()
	v, err := a.scanner.Scan(a.t.Context(), scanner.V1, content)
	if err != nil {
		a.t.Fatal(err)
	}
	return v
}

// primary is a picture's hash, and false if it has none that counts.
func primary(v scanner.Verdict) (string, bool) {
	for _, h := range v.Signals.Hashes {
		if h.Variant == media.Primary && h.Quality >= 50 {
			return h.PDQ.String(), true
		}
	}
	return "", false
}

// TestPoisonedListBlocksNobody: a list that blocks holds blank pictures, the operator's
// logo, and what people like to look at. Nothing of that is refused to anybody, and the
// operator is told of each entry; what else the list holds is refused.
func TestPoisonedListBlocksNobody(t *testing.T) {
	t.Parallel()
	const popular, looks = 1000, 20
	a := newAudience(t)
	random := rand.New(rand.NewPCG(1, 2))
	await(t, "there is an index", func() bool { return a.scanner.Ready() == nil })

	logo := a.see(picture(t, "misc/pen-and-coaster.png"))
	logoHash, ok := primary(logo)
	if !ok {
		t.Fatal("the logo has no hash")
	}
	if _, err := a.store.CreateBank(t.Context(), bank.Bank{Name: "HARMLESS", Ratio: 1, Allow: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.store.AddContent(t.Context(), bank.NewContent{Bank: "HARMLESS", Signals: bank.SignalsOf(logo.Signals), HashedHere: true}); err != nil {
		t.Fatal(err)
	}
	harmless := map[string][]byte{"logo": picture(t, "misc/pen-and-coaster.png")}
	listed := map[string]string{"logo": logoHash, "zero": strings.Repeat("0", 64)}
	for width := 8; width <= 64; width *= 2 {
		name := fmt.Sprint("stripes", width)
		harmless[name] = stripes(t, width)
		if h, ok := primary(a.see(harmless[name])); ok {
			listed[name] = h
		}
	}
	for n := 0; n < popular; {
		content := drawing(t, random)
		h, ok := primary(a.see(content))
		if !ok {
			continue
		}
		for range looks - 1 {
			a.see(content)
		}
		name := fmt.Sprint("popular", n)
		harmless[name], listed[name] = content, h
		n++
	}
	abuse := drawing(t, random) // nobody has seen it
	pool, err := a.pool.Decode(t.Context(), media.Digest(abuse), abuse, media.Exact)
	if err != nil {
		t.Fatal(err)
	}
	listed["abuse"], _ = primary(scanner.Verdict{Signals: pool})
	a.rooms.change(func() {
		for key, h := range listed {
			a.rooms.add(listRoom, mediaHash, key, moderator, rule(h))
		}
	})
	a.subscribe(listName, listRoom, "")
	await(t, "the list is banked", func() bool {
		x, err := a.store.Exchange(t.Context(), listName)
		return err == nil && x.Completed && a.report(listName).Entries > popular
	})
	if _, err := a.store.SetMonitor(t.Context(), listName, false); err != nil {
		t.Fatal(err)
	}
	a.sync()
	if v := a.see(abuse); v.Outcome != scanner.Blocked {
		t.Errorf("what nobody has seen before is %s", v.Outcome)
	}
	for name, content := range harmless {
		if v := a.see(content); v.Outcome != scanner.Clean {
			t.Errorf("%s is %s", name, v.Outcome)
		}
	}
	// Each entry is accounted for: refused, held for review, or in force.
	told := make(map[string]bool)
	for _, e := range a.report(listName).Examples {
		told[e.StateKey] = true
	}
	await(t, "what is held is put into review", func() bool {
		reviews, err := a.store.Reviews(t.Context(), listName)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reviews {
			parts := strings.Split(r.Key, "/")
			told[parts[1]] = r.Reason != ""
		}
		return len(reviews) >= popular
	})
	for name := range listed {
		if told[name] == (name == "abuse") {
			t.Errorf("%s is told of: %v", name, told[name])
		}
	}
}
