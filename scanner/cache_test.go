package scanner_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/scanner"
)

// expect asks and holds the answer to an outcome, and to so many requests to the
// homeserver.
func (g *gate) expect(t *testing.T, name string, r scanner.Request, want scanner.Outcome, requests int) {
	t.Helper()
	v, _, err := calls[name](t.Context(), g, r)
	if err != nil || v.Outcome != want {
		t.Errorf("%s: %s, %v, want %s", name, v.Outcome, err, want)
	}
	if n := g.home.asked(); n != requests {
		t.Errorf("%s: the homeserver was asked %d times, want %d", name, n, requests)
	}
}

// expectError is expect for what fails.
func (g *gate) expectError(t *testing.T, name string, r scanner.Request, want error, requests int) {
	t.Helper()
	v, content, err := calls[name](t.Context(), g, r)
	if !errors.Is(err, want) || content != "" || !cmp.Equal(v, scanner.Verdict{}) {
		t.Errorf("%s: %s, %q, %v, want %v", name, v.Outcome, content, err, want)
	}
	if n := g.home.asked(); n != requests {
		t.Errorf("%s: the homeserver was asked %d times, want %d", name, n, requests)
	}
}

// TestWhatIsKnownIsAskedForByWhoMustAsk: checks need nobody's word, scans that of
// the homeserver for the same credential and item, downloads the bytes.
func TestWhatIsKnownIsAskedForByWhoMustAsk(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	g.home.put(remote("x"), "hello")
	g.home.put(remote("y"), "hello")
	for _, token := range []string{"a", "b"} {
		g.home.refuse("not-"+token, true)
	}
	g.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	g.expect(t, "check", as("a", remote("x")), scanner.Opaque, 0)
	g.expect(t, "scan", as("a", remote("x")), scanner.Opaque, 0) // who has had it
	g.expect(t, "check", as("b", remote("x")), scanner.Opaque, 0)
	g.expect(t, "check", as("not-a", remote("x")), scanner.Opaque, 0)
	g.expect(t, "scan", as("b", remote("x")), scanner.Opaque, 1) // not by what a check has seen
	g.expect(t, "scan", as("b", remote("x")), scanner.Opaque, 0)
	g.expectError(t, "scan", as("not-a", remote("x")), homeserver.ErrUnauthorized, 1)
	g.expectError(t, "scan", as("not-a", remote("x")), homeserver.ErrUnauthorized, 1)
	g.expect(t, "scan", as("a", remote("y")), scanner.Opaque, 1) // another item of the same bytes
	g.expect(t, "download", as("a", remote("x")), scanner.Opaque, 1)
	g.expect(t, "download", as("a", remote("x")), scanner.Opaque, 1)
	g.expectError(t, "download", as("not-b", remote("x")), homeserver.ErrUnauthorized, 1)
	g.settled(t)
}

// TestAuthorisationIsAskedForWithoutTheBytes where the homeserver can tell that
// they are the same.
func TestAuthorisationIsAskedForWithoutTheBytes(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	g.home.put(remote("x"), "hello")
	g.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	for range 3 {
		if v, err := g.ScanItem(t.Context(), as("b", remote("x"))); v.Outcome != scanner.Opaque || err != nil {
			t.Errorf("%s, %v", v.Outcome, err)
		}
		got := g.home.taken()
		if len(got) != 1 || got[0].Header.Get("If-None-Match") != `"5"` || got[0].Header.Get("Authorization") != "Bearer b" {
			t.Errorf("asked %d times, first with %v", len(got), got[0].Header)
		}
		g.clock.add(scanner.GrantTTL - 1)
		g.expect(t, "scan", as("b", remote("x")), scanner.Opaque, 0)
		g.clock.add(1)
	}
	// Other bytes by now: those are judged.
	g.ban(t, "other bytes")
	g.home.put(remote("x"), "other bytes")
	g.expect(t, "check", as("c", remote("x")), scanner.Opaque, 0) // as it was known
	g.expect(t, "scan", as("c", remote("x")), scanner.Blocked, 1)
	g.expect(t, "check", as("c", remote("x")), scanner.Blocked, 0)
	g.settled(t)
}

// TestUnmodifiedIsWhatWasAskedAbout: two scans share the question whether an item
// is still the first of two contents, and the second has seen the other one. What
// is confirmed is the first.
func TestUnmodifiedIsWhatWasAskedAbout(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	g.ban(t, "other bytes")
	g.home.put(remote("x"), "hello")
	g.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	release, waiting := g.home.hold(t, func(r *http.Request) bool { return r.Header.Get("If-None-Match") != "" })
	first := together(1, func(int) answered { return ask(t.Context(), g, calls["scan"], as("b", remote("x"))) })
	eventually(t, "the homeserver is asked", func() bool { return waiting.Load() == 1 })
	g.home.put(remote("x"), "other bytes")
	if v, _, err := calls["download"](t.Context(), g, as("a", remote("x"))); v.Outcome != scanner.Blocked || err != nil {
		t.Errorf("%s, %v", v.Outcome, err)
	}
	second := together(1, func(int) answered { return ask(t.Context(), g, calls["scan"], as("b", remote("x"))) })
	eventually(t, "the second has joined", func() bool { return g.Holders() == 3 })
	g.home.put(remote("x"), "hello")
	release()
	for _, a := range append(first(), second()...) {
		if a.err != nil || a.verdict.Outcome != scanner.Opaque {
			t.Errorf("%s, %v", a.verdict.Outcome, a.err)
		}
	}
	g.settled(t)
}

// TestUnmodifiedWithoutAQuestion is no answer, and nothing that a scan could fail
// on otherwise.
func TestUnmodifiedWithoutAQuestion(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	g.home.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotModified)
		return true
	})
	for name := range calls {
		g.expectError(t, name, as("a", remote("x")), homeserver.ErrUpstream, 1)
	}
	// One that is known, of a homeserver without ETags.
	g.home.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write([]byte("hello"))
		return true
	})
	g.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	g.expect(t, "scan", as("b", remote("x")), scanner.Opaque, 1)
	// One of an ETag that is not worth keeping.
	g.home.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") != "" {
			t.Error("a long tag is sent back")
		}
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("ETag", strconv.Quote(strings.Repeat("x", 200)))
		_, _ = w.Write([]byte("hello"))
		return true
	})
	g.expect(t, "check", as("a", remote("y")), scanner.Opaque, 1)
	g.expect(t, "scan", as("b", remote("y")), scanner.Opaque, 1)
}

// TestRefusalEndsAGrant: what the homeserver said before counts for nothing.
func TestRefusalEndsAGrant(t *testing.T) {
	for status, want := range map[int]error{http.StatusUnauthorized: homeserver.ErrUnauthorized, http.StatusForbidden: homeserver.ErrForbidden} {
		g := newGate(t, nil, nil, nil)
		g.home.put(remote("x"), "hello")
		g.expect(t, "scan", as("a", remote("x")), scanner.Opaque, 1)
		g.home.answers(func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, status, "M_UNKNOWN")
			return true
		})
		g.expect(t, "scan", as("a", remote("x")), scanner.Opaque, 0) // within the minute
		g.expectError(t, "download", as("a", remote("x")), want, 1)
		g.expectError(t, "scan", as("a", remote("x")), want, 1)
		g.home.answers(nil)
		g.expect(t, "scan", as("a", remote("x")), scanner.Opaque, 1)
		g.clock.add(scanner.GrantTTL)
		g.home.refuse("a", true)
		g.expectError(t, "scan", as("a", remote("x")), homeserver.ErrUnauthorized, 1)
	}
}

// TestMissingIsRememberedForWhoAsked and for a short time.
func TestMissingIsRememberedForWhoAsked(t *testing.T) {
	for _, asking := range []string{"check", "scan", "download"} {
		g := newGate(t, nil, nil, nil)
		g.expectError(t, asking, as("a", remote("x")), homeserver.ErrNotFound, 1)
		for name := range calls {
			g.expectError(t, name, as("a", remote("x")), homeserver.ErrNotFound, 0)
		}
		g.home.put(remote("x"), "hello") // it has come
		g.clock.add(scanner.MissingTTL - 1)
		for name := range calls {
			g.expectError(t, name, as("a", remote("x")), homeserver.ErrNotFound, 0)
		}
		g.expect(t, "scan", as("b", remote("x")), scanner.Opaque, 1)
		g.expect(t, "check", as("a", remote("x")), scanner.Opaque, 0) // by what is known from b
		g.expectError(t, "scan", as("a", remote("x")), homeserver.ErrNotFound, 0)
		g.clock.add(1)
		g.expect(t, "scan", as("a", remote("x")), scanner.Opaque, 1)
		// It goes again.
		g.clock.add(scanner.GrantTTL)
		g.home.answers(func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusNotFound, "M_NOT_FOUND")
			return true
		})
		g.expectError(t, "scan", as("a", remote("x")), homeserver.ErrNotFound, 1)
		g.home.answers(nil)
		g.expectError(t, "scan", as("a", remote("x")), homeserver.ErrNotFound, 0)
		g.settled(t)
	}
}

// TestFailuresAreForgotten: the next caller asks again, and has it.
func TestFailuresAreForgotten(t *testing.T) {
	answer := func(status int, code string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "60")
			refuse(w, status, code)
			return true
		}
	}
	aborting := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write([]byte("he"))
		_ = http.NewResponseController(w).Flush() // or it would not begin
		panic(http.ErrAbortHandler)
	}
	tests := map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		want   error
	}{
		"401":       {answer(401, "M_UNKNOWN_TOKEN"), homeserver.ErrUnauthorized},
		"403":       {answer(403, "M_FORBIDDEN"), homeserver.ErrForbidden},
		"410":       {answer(410, "M_UNKNOWN"), homeserver.ErrUpstream},
		"429":       {answer(429, "M_LIMIT_EXCEEDED"), homeserver.ErrUpstream},
		"500":       {answer(500, "M_UNKNOWN"), homeserver.ErrUpstream},
		"502":       {answer(502, ""), homeserver.ErrUpstream},
		"504":       {answer(504, "M_NOT_YET_UPLOADED"), homeserver.ErrUpstream},
		"page":      {answer(200, "M_UNKNOWN"), homeserver.ErrUpstream},
		"cut":       {aborting, homeserver.ErrBroken},
		"hangs":     {func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, homeserver.ErrUnreachable},
		"no answer": {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, homeserver.ErrUnreachable},
		"too large": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<20+1)))
			return true
		}, media.ErrTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hangs := name == "hangs"
			g := newGate(t, nil, small, func(c *homeserver.Config) {
				if hangs {
					c.FirstByteTimeout = time.Second // which is also what a good answer gets
				}
			})
			g.home.put(remote("check"), "hello")
			g.home.put(remote("scan"), "hello")
			g.home.put(remote("download"), "hello")
			for name := range calls {
				g.home.answers(tt.answer)
				g.expectError(t, name, as("a", remote(name)), tt.want, 1)
				if !hangs {
					g.expectError(t, name, as("a", remote(name)), tt.want, 1)
				}
				g.home.answers(nil)
				g.expect(t, name, as("a", remote(name)), scanner.Opaque, 1)
				if hangs {
					break // one is enough to wait for
				}
			}
			g.settled(t)
		})
	}
}

// TestWhatIsKnownHolds for a day of our own media and for minutes of others'.
func TestWhatIsKnownHolds(t *testing.T) {
	for item, ttl := range map[media.URI]time.Duration{local("x"): scanner.LocalTTL, remote("x"): scanner.RemoteTTL} {
		g := newGate(t, nil, nil, nil)
		g.home.put(item, "hello")
		for range 2 {
			g.expect(t, "check", as("a", item), scanner.Opaque, 1)
			g.clock.add(ttl - 1)
			g.expect(t, "check", as("a", item), scanner.Opaque, 0)
			g.clock.add(1)
		}
		// That the homeserver lets others have it does not make it hold longer:
		// Synapse says of everything that it is not modified.
		g.expect(t, "check", as("a", item), scanner.Opaque, 1)
		g.clock.add(ttl - 1)
		g.expect(t, "scan", as("b", item), scanner.Opaque, 1)
		g.clock.add(1)
		g.expect(t, "check", as("a", item), scanner.Opaque, 1)
	}
}

// TestLocalIsWhatTheHomeserverSaysItIs: without a token nobody knows, and what is
// known holds for the shorter time.
func TestLocalIsWhatTheHomeserverSaysItIs(t *testing.T) {
	g := newGate(t, nil, nil, func(c *homeserver.Config) { c.Token = secret.String{} })
	g.home.put(local("x"), "hello")
	g.expect(t, "check", as("a", local("x")), scanner.Opaque, 1)
	g.clock.add(scanner.RemoteTTL)
	g.expect(t, "check", as("a", local("x")), scanner.Opaque, 1)
}

// TestCostlyPicturesAreTriedAgain, and no others.
func TestCostlyPicturesAreTriedAgain(t *testing.T) {
	picture := string(readFile(t, vectors, "formats/rgb.png"))
	tests := map[string]struct {
		limits  func(*media.Config)
		content string
		refusal media.Refusal
		ttl     time.Duration
	}{
		"time":       {func(c *media.Config) { c.Deadline = time.Nanosecond }, picture, media.RefusedTime, scanner.RefusedTTL},
		"pixels":     {func(c *media.Config) { c.MaxPixels = 10 }, picture, media.RefusedPixels, scanner.LocalTTL},
		"unreadable": {nil, picture[:len(picture)/2], media.RefusedUnreadable, scanner.LocalTTL},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil, tt.limits, nil)
			g.home.put(local("x"), tt.content)
			for range 2 {
				v, err := g.Check(t.Context(), as("a", local("x")))
				if err != nil || v.Outcome != scanner.Unscannable || v.Signals.Refusal != tt.refusal {
					t.Fatalf("%s, refusal %q, %v", v.Outcome, v.Signals.Refusal, err)
				}
				if n := g.home.asked(); n != 1 {
					t.Errorf("asked %d times", n)
				}
				g.clock.add(tt.ttl - 1)
				g.expect(t, "check", as("a", local("x")), scanner.Unscannable, 0)
				g.clock.add(1)
			}
		})
	}
}

// TestNewIndexJudgesWhatIsKnown at once, and asks nobody.
func TestNewIndexJudgesWhatIsKnown(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	picture := string(readFile(t, vectors, "formats/rgb.png"))
	g.home.put(remote("text"), "hello")
	g.home.put(local("picture"), picture)
	g.expect(t, "scan", as("a", remote("text")), scanner.Opaque, 1)
	g.expect(t, "scan", as("a", local("picture")), scanner.Clean, 1)
	for range 3 {
		text := g.ban(t, "hello")
		hash := g.add(t, "A", listed(t, signalsOf(t, g.pool, []byte(picture)).Hashes[0].PDQ))
		g.sync(t)
		for _, name := range []string{"check", "scan"} {
			g.expect(t, name, as("a", remote("text")), scanner.Blocked, 0)
			g.expect(t, name, as("a", local("picture")), scanner.Blocked, 0)
		}
		g.expect(t, "download", as("a", local("picture")), scanner.Blocked, 1)
		g.unban(t, text)
		g.unban(t, hash)
		for _, name := range []string{"check", "scan"} {
			g.expect(t, name, as("a", remote("text")), scanner.Opaque, 0)
			g.expect(t, name, as("a", local("picture")), scanner.Clean, 0)
		}
		g.expect(t, "download", as("a", local("picture")), scanner.Clean, 1)
	}
	g.settled(t)
}

// TestBytesThatWereSeenAreNotDecodedAgain under whatever name they come.
func TestBytesThatWereSeenAreNotDecodedAgain(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	picture := string(readFile(t, vectors, "formats/rgb.png"))
	g.home.put(remote("x"), picture)
	g.expect(t, "check", as("a", remote("x")), scanner.Clean, 1)
	if v := g.scan(t, []byte(picture)); v.Outcome != scanner.Clean { // by exact hashes
		t.Errorf("bytes: %s", v.Outcome)
	}
	g.pool.Close() // what is not known cannot be decoded any more
	g.home.put(remote("y"), picture)
	g.expect(t, "check", as("a", remote("y")), scanner.Clean, 1)
	g.expect(t, "download", as("a", remote("y")), scanner.Clean, 1)
	if v, err := g.Scan(t.Context(), scanner.V1, []byte(picture)); v.Outcome != scanner.Clean || err != nil {
		t.Errorf("bytes: %s, %v", v.Outcome, err)
	}
	g.home.put(remote("z"), string(readFile(t, vectors, "png/q0122.png")))
	if v, err := g.Check(t.Context(), as("a", remote("z"))); err == nil {
		t.Errorf("%s by a pool that is closed", v.Outcome)
	}
	g.settled(t)
}

// TestScreenedSignalsAreNotShown: hashes of items are only looked up, and those of
// bytes are told to whoever sent them. The former never stand in for the latter.
func TestScreenedSignalsAreNotShown(t *testing.T) {
	picture := string(readFile(t, vectors, "formats/rgb.png"))
	for _, name := range []string{"check", "scan", "download"} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil, nil, nil)
			g.home.put(remote("x"), picture)
			counted := func(when string, want map[string]int) {
				t.Helper()
				if diff := cmp.Diff(want, workertest.Hashed(t, g.pool)); diff != "" {
					t.Errorf("%s, hashes:\n%s", when, diff)
				}
			}
			bytes := func() {
				t.Helper()
				v := g.scan(t, []byte(picture))
				if v.Outcome != scanner.Clean || len(v.Signals.Hashes) == 0 || v.Signals.Screened {
					t.Errorf("bytes: %s, %+v", v.Outcome, v.Signals)
				}
			}
			g.expect(t, name, as("a", remote("x")), scanner.Clean, 1)
			counted("an item", map[string]int{"screened": 1})
			bytes()
			counted("its bytes", map[string]int{"screened": 1, "exact": 1})
			bytes()
			g.home.put(remote("y"), picture)
			g.expect(t, name, as("a", remote("y")), scanner.Clean, 1)
			counted("both again", map[string]int{"screened": 1, "exact": 1})
			g.settled(t)
		})
	}
}

// TestUnscreenablePicturesAreNotHashedAgain: what was hashed exactly after all is
// as good as if it had been asked for.
func TestUnscreenablePicturesAreNotHashedAgain(t *testing.T) {
	g := newGate(t, nil, nil, nil)
	picture := string(readFile(t, vectors, "formats/rgb16.png"))
	g.home.put(remote("x"), picture)
	if v, _, err := calls["check"](t.Context(), g, as("a", remote("x"))); v.Outcome != scanner.Clean || err != nil {
		t.Errorf("%s, %v", v.Outcome, err)
	}
	g.scan(t, []byte(picture))
	if diff := cmp.Diff(map[string]int{"fallback": 1}, workertest.Hashed(t, g.pool)); diff != "" {
		t.Errorf("hashes:\n%s", diff)
	}
	g.settled(t)
}
