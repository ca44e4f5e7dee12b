package scanner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/media"
	"mediagate/scanner"
)

// answered is what one of many callers got.
type answered struct {
	verdict scanner.Verdict
	content string
	err     error
}

// together makes n calls at once. The function that it returns waits for them.
func together(n int, call func(i int) answered) (wait func() []answered) {
	out := make([]answered, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { out[i] = call(i) })
	}
	return func() []answered {
		all.Wait()
		return out
	}
}

func ask(ctx context.Context, g *gate, c call, r scanner.Request) answered {
	v, content, err := c(ctx, g, r)
	return answered{v, content, err}
}

// TestCallersOfOneCredentialShareADownload has fifty ask at once.
func TestCallersOfOneCredentialShareADownload(t *testing.T) {
	const content = "hello"
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil, small, nil)
			g.home.put(remote("x"), content)
			release, _ := g.home.hold(t, nil)
			wait := together(50, func(int) answered { return ask(t.Context(), g, call, as("user", remote("x"))) })
			eventually(t, "all have joined", func() bool { return g.Holders() == 50+1 })
			release()
			for _, a := range wait() {
				if a.err != nil || a.verdict.Outcome != scanner.Opaque || name == "download" && a.content != content {
					t.Errorf("%s, %q, %v", a.verdict.Outcome, a.content, a.err)
				}
			}
			if n := g.home.asked(); n != 1 {
				t.Errorf("asked %d times", n)
			}
			g.settled(t)
		})
	}
}

// TestNobodyGetsWhatAnotherCredentialIsGoodFor has fifty callers ask at once, and
// again when all is known, of which the homeserver refuses every third.
func TestNobodyGetsWhatAnotherCredentialIsGoodFor(t *testing.T) {
	const content = "hello"
	g := newGate(t, func(c *scanner.Config) { c.Queue, c.QueueWait = 1000, time.Minute }, small, nil)
	g.home.put(remote("x"), content)
	who := func(i int) string { return fmt.Sprintf("user-%d", i/2) } // two of each
	refused := func(i int) bool { return i/2%3 == 0 }
	for i := range 50 {
		g.home.refuse(who(i), refused(i))
	}
	for round := range 3 {
		for name, call := range calls {
			if name == "check" && round == 0 {
				continue // what it may know from others is known only later
			}
			for i, a := range together(50, func(i int) answered { return ask(t.Context(), g, call, as(who(i), remote("x"))) })() {
				switch {
				case name == "check": // whose callers the homeserver judges itself
					if a.err != nil || a.verdict.Outcome != scanner.Opaque {
						t.Errorf("round %d, %s: caller %d: %s, %v", round, name, i, a.verdict.Outcome, a.err)
					}
				case refused(i):
					if !errors.Is(a.err, homeserver.ErrUnauthorized) || a.content != "" || !cmp.Equal(a.verdict, scanner.Verdict{}) {
						t.Errorf("round %d, %s: caller %d is refused and gets %s, %q, %v", round, name, i, a.verdict.Outcome, a.content, a.err)
					}
				case a.err != nil || a.verdict.Outcome != scanner.Opaque || name == "download" && a.content != content:
					t.Errorf("round %d, %s: caller %d: %s, %q, %v", round, name, i, a.verdict.Outcome, a.content, a.err)
				}
			}
		}
	}
	g.settled(t)
	_, err := g.ScanItem(t.Context(), scanner.Request{Item: remote("x"), As: homeserver.Legacy(false)})
	if !errors.Is(err, homeserver.ErrNotFound) {
		t.Errorf("by a route on which there is nothing: %v", err)
	}
}

// TestFirstCallerMayLeave while others wait, and alone: the work goes on, and who
// asks again finds it done.
func TestFirstCallerMayLeave(t *testing.T) {
	for name, call := range calls {
		for _, others := range []int{0, 10} {
			t.Run(fmt.Sprintf("%s/others=%d", name, others), func(t *testing.T) {
				g := newGate(t, nil, small, nil)
				g.home.put(remote("x"), "hello")
				release, waiting := g.home.hold(t, nil)
				ctx, cancel := context.WithCancel(t.Context())
				first := together(1, func(int) answered { return ask(ctx, g, call, as("user", remote("x"))) })
				eventually(t, "the homeserver is asked", func() bool { return waiting.Load() == 1 })
				wait := together(others, func(int) answered { return ask(t.Context(), g, call, as("user", remote("x"))) })
				eventually(t, "the others have joined", func() bool { return g.Holders() == 2+others })
				cancel()
				if a := first()[0]; !errors.Is(a.err, context.Canceled) {
					t.Errorf("the first: %v", a.err)
				}
				// Who is late joins what the first has begun.
				late := together(1, func(int) answered { return ask(t.Context(), g, call, as("user", remote("x"))) })
				eventually(t, "the late one has joined", func() bool { return g.Holders() == 2+others })
				release()
				for _, a := range append(wait(), late()...) {
					if a.err != nil || a.verdict.Outcome != scanner.Opaque {
						t.Errorf("%s, %v", a.verdict.Outcome, a.err)
					}
				}
				g.settled(t)
				for _, again := range []string{"check", "scan"} {
					if a := ask(t.Context(), g, calls[again], as("user", remote("x"))); a.err != nil || a.verdict.Outcome != scanner.Opaque {
						t.Errorf("%s again: %s, %v", again, a.verdict.Outcome, a.err)
					}
				}
				if n := g.home.asked(); n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		}
	}
}

// TestAllMayLeave and the work is finished for whoever asks next.
func TestAllMayLeave(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil, small, nil)
			g.home.put(remote("x"), "hello")
			release, waiting := g.home.hold(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			wait := together(5, func(int) answered { return ask(ctx, g, call, as("user", remote("x"))) })
			eventually(t, "the homeserver is asked", func() bool { return waiting.Load() == 1 })
			cancel()
			for _, a := range wait() {
				if !errors.Is(a.err, context.Canceled) {
					t.Error(a.err)
				}
			}
			release()
			g.settled(t)
			if v, err := g.ScanItem(t.Context(), as("user", remote("x"))); v.Outcome != scanner.Opaque || err != nil {
				t.Errorf("%s, %v", v.Outcome, err)
			}
			if n := g.home.asked(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestPanicIsAnErrorForAll and costs no room.
func TestPanicIsAnErrorForAll(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil, small, nil)
			g.home.put(remote("x"), strings.Repeat("x", 600<<10)) // two do not fit
			g.BreakCache()
			for range 3 {
				release, _ := g.home.hold(t, nil)
				wait := together(10, func(int) answered { return ask(t.Context(), g, call, as("user", remote("x"))) })
				eventually(t, "all have joined", func() bool { return g.Holders() == 10+1 })
				release()
				for _, a := range wait() {
					if !errors.Is(a.err, scanner.ErrPanicked) || a.content != "" || !cmp.Equal(a.verdict, scanner.Verdict{}) {
						t.Errorf("%s, %q, %v", a.verdict.Outcome, a.content, a.err)
					}
				}
			}
			if n := g.home.asked(); n != 3 {
				t.Errorf("asked %d times: a panic is remembered", n)
			}
			g.settled(t)
		})
	}
}

// TestRoomIsGivenBack takes every way that a download can end, many times, with
// room for one item only.
func TestRoomIsGivenBack(t *testing.T) {
	g := newGate(t, nil, small, nil)
	clean, banned := strings.Repeat("x", 600<<10), strings.Repeat("y", 600<<10)
	half := readFile(t, vectors, "formats/rgb.png")
	g.ban(t, banned)
	g.home.put(remote("clean"), clean)
	g.home.put(remote("banned"), banned)
	g.home.put(remote("half"), string(half[:len(half)/2]))
	g.home.put(remote("large"), strings.Repeat("x", 1<<20+1))
	odd := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "image/png")
		switch r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] {
		case "cut":
			w.Header().Set("Content-Length", "700000")
			_, _ = w.Write([]byte(clean))
			panic(http.ErrAbortHandler)
		case "chunks":
			for range 2 {
				_, _ = w.Write([]byte(clean))
			}
		case "cut-chunks":
			_, _ = w.Write([]byte(clean))
			panic(http.ErrAbortHandler)
		case "500":
			refuse(w, http.StatusInternalServerError, "M_UNKNOWN")
		case "page":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(clean))
		default:
			return false
		}
		return true
	}
	want := map[string]string{
		"clean": "opaque", "banned": "blocked", "half": "unscannable", "large": "too large", "cut": "broken", "chunks": "too large",
		"cut-chunks": "broken", "500": "upstream", "page": "upstream", "none": "not found",
	}
	for round := range 5 {
		for name, call := range calls {
			g.home.answers(odd)
			for id, want := range want {
				v, content, err := call(t.Context(), g, as(fmt.Sprint("user", round), remote(id)))
				got := v.Outcome.String()
				switch {
				case errors.Is(err, media.ErrTooLarge):
					got = "too large"
				case errors.Is(err, homeserver.ErrBroken):
					got = "broken"
				case errors.Is(err, homeserver.ErrNotFound):
					got = "not found"
				case errors.Is(err, homeserver.ErrUpstream):
					got = "upstream"
				case err != nil:
					got = err.Error()
				}
				if got != want || (content != "") != (name == "download" && id == "clean") {
					t.Errorf("%s of %s: %s and %d bytes, want %s", name, id, got, len(content), want)
				}
			}
			// Who leaves in the middle.
			ctx, cancel := context.WithCancel(t.Context())
			release, waiting := g.home.hold(t, nil)
			wait := together(1, func(int) answered {
				return ask(ctx, g, call, as(fmt.Sprint("leaver", round, name), remote("left"+name+fmt.Sprint(round))))
			})
			eventually(t, "the homeserver is asked", func() bool { return waiting.Load() == 1 })
			cancel()
			release()
			wait()
			g.settled(t)
		}
	}
}

// TestHeldBytesTakeRoom until they are released, by all who hold them.
func TestHeldBytesTakeRoom(t *testing.T) {
	g := newGate(t, nil, func(c *media.Config) {
		small(c)
		c.QueueWait = 50 * time.Millisecond
	}, nil)
	g.home.put(remote("x"), strings.Repeat("x", 1<<20))
	g.home.put(remote("y"), strings.Repeat("y", 1<<20))
	release, _ := g.home.hold(t, nil)
	items := make(chan *scanner.Item, 2)
	wait := together(2, func(int) answered {
		i, err := g.Download(t.Context(), as("user", remote("x")))
		if err == nil {
			items <- i
		}
		return answered{err: err}
	})
	eventually(t, "both have joined", func() bool { return g.Holders() == 2+1 })
	release()
	for _, a := range wait() {
		if a.err != nil {
			t.Fatal(a.err)
		}
	}
	for range 2 {
		if _, err := g.Download(t.Context(), as("user", remote("y"))); !errors.Is(err, media.ErrOverloaded) {
			t.Errorf("there is no room, and yet: %v", err)
		}
		i := <-items
		if len(i.Content) != 1<<20 {
			t.Errorf("%d bytes are held", len(i.Content))
		}
		i.Release()
		i.Release() // once too often is no harm
	}
	i, err := g.Download(t.Context(), as("user", remote("y")))
	if err != nil {
		t.Fatalf("overload is remembered, or room is lost: %v", err)
	}
	i.Release()
	g.settled(t)
}

// TestBytesAreThoseThatWereJudged has the homeserver send one of two contents,
// now this, now that, of which one is banned.
func TestBytesAreThoseThatWereJudged(t *testing.T) {
	const good, bad = "good content", "bad content"
	g := newGate(t, func(c *scanner.Config) { c.Queue, c.QueueWait, c.DownloadsPerOrigin = 1000, time.Minute, 16 }, nil, nil)
	g.ban(t, bad)
	var n atomic.Int64
	g.home.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		content := good
		if n.Add(1)%2 == 0 {
			content = bad
		}
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("X-Content", content)
		w.Header().Set("ETag", `"1"`)
		_, _ = w.Write([]byte(content))
		return true
	})
	var served, blocked atomic.Int64
	wait := together(200, func(i int) answered {
		item, err := g.Download(t.Context(), as(fmt.Sprint("user", i/2), remote("x")))
		if err != nil {
			t.Error(err)
			return answered{}
		}
		defer item.Release()
		switch {
		case item.Outcome == scanner.Blocked && item.Content == nil && item.Header == nil:
			blocked.Add(1)
		case item.Outcome == scanner.Opaque && string(item.Content) == good && item.Header.Get("X-Content") == good && item.Signals.Size == int64(len(good)):
			served.Add(1)
		default:
			t.Errorf("%s with %q", item.Outcome, item.Content)
		}
		return answered{}
	})
	wait()
	if served.Load() == 0 || blocked.Load() == 0 || served.Load()+blocked.Load() != 200 {
		t.Errorf("%d served, %d blocked", served.Load(), blocked.Load())
	}
	g.settled(t)
}

// TestOnlyAllowedItemsHaveBytes: clean ones and opaque ones.
func TestOnlyAllowedItemsHaveBytes(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	picture, other := string(readFile(t, vectors, "formats/rgb.png")), string(readFile(t, vectors, "png/q0122.png"))
	g.ban(t, other)
	g.ban(t, "banned text")
	tests := map[string]struct {
		content string
		want    scanner.Outcome
	}{
		"clean": {picture, scanner.Clean}, "blocked": {other, scanner.Blocked}, "text": {"text", scanner.Opaque}, "banned": {"banned text", scanner.Blocked},
		"half": {picture[:len(picture)/2], scanner.Unscannable}, "nothing": {"", scanner.Unscannable},
	}
	for id, tt := range tests {
		g.home.put(remote(id), tt.content)
		for name, call := range calls {
			v, content, err := call(t.Context(), g, as("user", remote(id)))
			if err != nil || v.Outcome != tt.want {
				t.Errorf("%s of %s: %s, %v", name, id, v.Outcome, err)
			}
			if wanted := name == "download" && tt.want.Allowed(); wanted && content != tt.content || !wanted && content != "" {
				t.Errorf("%s of %s: %d bytes", name, id, len(content))
			}
		}
	}
	for outcome, allowed := range map[scanner.Outcome]bool{
		scanner.Unknown: false, scanner.Clean: true, scanner.Blocked: false, scanner.Opaque: true, scanner.Unscannable: false,
	} {
		if outcome.Allowed() != allowed {
			t.Errorf("%s is allowed: %v", outcome, outcome.Allowed())
		}
	}
	g.settled(t)
}

// TestHomeserverIsToldWhoAsks and nothing of it is logged.
func TestHomeserverIsToldWhoAsks(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	g.home.put(remote("x"), "banned")
	g.ban(t, "banned")
	var log bytes.Buffer
	s := scanner.New(defaults, g.pool, g.live, g.home.client(t, nil), slog.New(slog.NewTextHandler(&log, nil)))
	r := as("c4n4ry", remote("x"))
	r.For = netip.MustParseAddr("192.0.2.7")
	for range 2 {
		if v, err := s.Check(t.Context(), r); v.Outcome != scanner.Blocked || err != nil {
			t.Errorf("%s, %v", v.Outcome, err)
		}
	}
	got := g.home.taken()
	if len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer c4n4ry" || got[0].Header.Get("X-Forwarded-For") != "192.0.2.7" {
		t.Errorf("asked %d times, with %v", len(got), got[0].Header)
	}
	text := log.String() + fmt.Sprintf("%v %+v %#v", r, r, r)
	if strings.Count(text, "msg=blocked") != 2 || !strings.Contains(text, "mxc="+remote("x").String()) {
		t.Errorf("what is blocked is not logged: %s", text)
	}
	if strings.Contains(text, "c4n4ry") {
		t.Errorf("the token is told: %s", text)
	}
}

// TestNothingIsJudgedTooEarly nor asked for: without an index, and while an
// exchange has not been through once.
func TestNothingIsJudgedTooEarly(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	g.home.put(remote("x"), "hello")
	g.home.put(remote("cached"), "hello")
	if _, err := g.Check(t.Context(), as("user", remote("cached"))); err != nil {
		t.Fatal(err)
	}
	g.home.asked()
	notReady := func(s *scanner.Scanner, why string) {
		t.Helper()
		other := &gate{bench: &bench{Scanner: s}}
		for name, call := range calls {
			for _, id := range []string{"x", "cached"} {
				v, content, err := call(t.Context(), other, as("user", remote(id)))
				if !errors.Is(err, bank.ErrNotReady) || content != "" || !cmp.Equal(v, scanner.Verdict{}) {
					t.Errorf("%s: %s of %s: %s, %q, %v", why, name, id, v.Outcome, content, err)
				}
			}
		}
		if _, err := s.Scan(t.Context(), scanner.V1, []byte("hello")); !errors.Is(err, bank.ErrNotReady) {
			t.Errorf("%s: bytes: %v", why, err)
		}
		if err := s.Ready(); !errors.Is(err, bank.ErrNotReady) {
			t.Errorf("%s: ready: %v", why, err)
		}
		if n := g.home.asked(); n > 0 {
			t.Errorf("%s: the homeserver was asked %d times", why, n)
		}
	}
	notReady(scanner.New(defaults, g.pool, bank.NewLive(), g.home.client(t, nil), slog.New(slog.DiscardHandler)), "no index")

	change := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		g.sync(t)
	}
	change(g.store.CreateExchange(t.Context(), bank.Exchange{Name: "OFF", API: "x", Config: "{}"}))
	if err := g.Ready(); err != nil {
		t.Errorf("an exchange that is off is waited for: %v", err)
	}
	change(g.store.CreateExchange(t.Context(), bank.Exchange{Name: "ON", API: "x", Config: "{}", Enabled: true, Credential: secret.New("c4n4ry")}))
	notReady(g.Scanner, "an exchange is awaited")
	if err := g.Ready(); !strings.Contains(err.Error(), "ON") || strings.Contains(err.Error(), "OFF") || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("it does not say which: %v", err)
	}
	alone := scanner.New(defaults, g.pool, g.live, nil, slog.New(slog.DiscardHandler))
	if v, err := alone.Scan(t.Context(), scanner.V1, []byte("hello")); !errors.Is(err, bank.ErrNotReady) {
		t.Errorf("without a homeserver of its own: %s, %v", v.Outcome, err)
	}
	change(g.store.Commit(t.Context(), "ON", bank.Fetched{Completed: true}))
	for name, call := range calls {
		if v, _, err := call(t.Context(), g, as("user", remote("x"))); v.Outcome != scanner.Opaque || err != nil {
			t.Errorf("ready, %s: %s, %v", name, v.Outcome, err)
		}
	}
	g.home.asked()
	change(g.store.CreateExchange(t.Context(), bank.Exchange{Name: "NEW", API: "x", Config: "{}", Enabled: true}))
	notReady(g.Scanner, "a new exchange is awaited")
	change(g.store.DeleteExchange(t.Context(), "NEW"))
	if err := g.Ready(); err != nil {
		t.Errorf("one that is gone is waited for: %v", err)
	}
	expecting := scanner.New(defaults, g.pool, g.live, g.home.client(t, nil), slog.New(slog.DiscardHandler))
	expecting.Expect("GONE")
	notReady(expecting, "an exchange that there must be was deleted")
	expecting.Expect("ON")
	if err := expecting.Ready(); err != nil {
		t.Errorf("one that is there is waited for: %v", err)
	}
	g.settled(t)
}

// TestItemsNeedAHomeserver and without one say so.
func TestItemsNeedAHomeserver(t *testing.T) {
	g := &gate{bench: newBench(t, defaults, nil)}
	for name, call := range calls {
		v, content, err := call(t.Context(), g, as("user", remote("x")))
		if err == nil || content != "" || !cmp.Equal(v, scanner.Verdict{}) {
			t.Errorf("%s: %s, %q, %v", name, v.Outcome, content, err)
		}
	}
}
