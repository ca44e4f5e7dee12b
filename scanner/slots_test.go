package scanner_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mediagate/homeserver"
	"mediagate/media"
	"mediagate/scanner"
)

// of tells requests for media of a server.
func of(server string) func(r *http.Request) bool {
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, downloads+server+"/") }
}

// asking asks for n items of a server.
func (g *gate) asking(t *testing.T, server string, n int) (wait func() []answered) {
	return together(n, func(i int) answered {
		return ask(t.Context(), g, calls["check"], as("a", media.URI{Server: server, ID: fmt.Sprint(i)}))
	})
}

// serves has the homeserver hold n items of servers.
func (g *gate) serves(n int, servers ...string) {
	for _, server := range servers {
		for i := range n {
			g.home.put(media.URI{Server: server, ID: fmt.Sprint(i)}, "hello")
		}
	}
}

func overloaded(all []answered) (n int) {
	for _, a := range all {
		if errors.Is(a.err, media.ErrOverloaded) {
			n++
		}
	}
	return n
}

// TestSlowServerTakesItsShareOnly, with some more waiting for it and the rest
// refused at once, while everybody else is served.
func TestSlowServerTakesItsShareOnly(t *testing.T) {
	g := newGate(t, func(c *scanner.Config) {
		c.Downloads, c.DownloadsPerOrigin, c.Queue, c.QueueWait = 8, 2, 16, time.Minute
	}, nil, nil)
	g.serves(20, "slow.test", "fast.test", ours)
	release, waiting := g.home.hold(t, of("slow.test"))
	first := g.asking(t, "slow.test", 2+4) // its share, and as many as may wait for it
	eventually(t, "the slow server is asked", func() bool { return waiting.Load() == 2 })
	eventually(t, "the others wait", func() bool { return g.Waiting("slow.test") == 4 })
	more := together(10, func(i int) answered {
		return ask(t.Context(), g, calls["check"], as("a", media.URI{Server: "slow.test", ID: fmt.Sprint(10 + i)}))
	})() // it would take a minute if they waited
	if n := overloaded(more); n != 10 {
		t.Errorf("%d of 10 were refused: %v", n, more)
	}
	for _, server := range []string{"fast.test", ours} {
		for i := range 20 {
			if v, err := g.Check(t.Context(), as("a", media.URI{Server: server, ID: fmt.Sprint(i)})); v.Outcome != scanner.Opaque || err != nil {
				t.Errorf("%s: %s, %v", server, v.Outcome, err)
			}
		}
	}
	if n := waiting.Load(); n != 2 {
		t.Errorf("%d downloads from the slow server at once", n)
	}
	release()
	if n := overloaded(first()); n > 0 {
		t.Errorf("%d of those who waited were refused", n)
	}
	g.settled(t)
	// Overload is not remembered.
	if v, err := g.Check(t.Context(), as("a", media.URI{Server: "slow.test", ID: "10"})); v.Outcome != scanner.Opaque || err != nil {
		t.Errorf("%s, %v", v.Outcome, err)
	}
}

// TestWaitingEnds for those who have waited too long.
func TestWaitingEnds(t *testing.T) {
	g := newGate(t, func(c *scanner.Config) {
		c.Downloads, c.DownloadsPerOrigin, c.Queue, c.QueueWait = 4, 1, 64, 50*time.Millisecond
	}, nil, nil)
	g.serves(5, "slow.test")
	release, waiting := g.home.hold(t, of("slow.test"))
	first := g.asking(t, "slow.test", 1)
	eventually(t, "the slow server is asked", func() bool { return waiting.Load() == 1 })
	late := together(4, func(i int) answered {
		return ask(t.Context(), g, calls["check"], as("a", media.URI{Server: "slow.test", ID: fmt.Sprint(1 + i)}))
	})()
	if n := overloaded(late); n != 4 {
		t.Errorf("%d of 4 were refused: %v", n, late)
	}
	release()
	if a := first()[0]; a.err != nil || a.verdict.Outcome != scanner.Opaque {
		t.Errorf("%s, %v", a.verdict.Outcome, a.err)
	}
	g.settled(t)
}

// TestRefusedGiveBackWhatTheyHad: remote items for which there is room among the
// remote ones, but none among all.
func TestRefusedGiveBackWhatTheyHad(t *testing.T) {
	g := newGate(t, func(c *scanner.Config) {
		c.Downloads, c.DownloadsPerOrigin, c.Queue, c.QueueWait = 4, 4, 64, 50*time.Millisecond
	}, nil, nil)
	g.serves(4, ours, "far.test")
	release, waiting := g.home.hold(t, of(ours))
	wait := g.asking(t, ours, 4)
	eventually(t, "all slots are taken", func() bool { return waiting.Load() == 4 })
	for range 3 {
		if n := overloaded(g.asking(t, "far.test", 4)()); n != 4 {
			t.Errorf("%d of 4 were refused", n)
		}
	}
	release()
	if n := overloaded(wait()); n > 0 {
		t.Errorf("%d of our own were refused", n)
	}
	g.settled(t)
}

// TestSlowServersTogetherLeaveRoomForOurs: a quarter of all, and not less than
// one remote download.
func TestSlowServersTogetherLeaveRoomForOurs(t *testing.T) {
	for all, remote := range map[int]int64{1: 1, 4: 3, 16: 12} {
		t.Run(fmt.Sprint(all), func(t *testing.T) {
			g := newGate(t, func(c *scanner.Config) {
				c.Downloads, c.DownloadsPerOrigin, c.Queue, c.QueueWait = all, 1, 64, time.Minute
			}, nil, nil)
			g.serves(3, ours)
			far := func(r *http.Request) bool { return !of(ours)(r) }
			release, waiting := g.home.hold(t, far)
			wait := together(20, func(i int) answered {
				server := fmt.Sprintf("slow-%d.test", i)
				g.home.put(media.URI{Server: server, ID: "x"}, "hello")
				return ask(t.Context(), g, calls["check"], as("a", media.URI{Server: server, ID: "x"}))
			})
			eventually(t, "all that may are asked", func() bool { return waiting.Load() == remote && g.Origins() == 20 })
			if all > 1 { // with one there is no room left
				for i := range 3 {
					if v, err := g.Check(t.Context(), as("a", local(fmt.Sprint(i)))); v.Outcome != scanner.Opaque || err != nil {
						t.Errorf("our own: %s, %v", v.Outcome, err)
					}
				}
			}
			if n := waiting.Load(); n != remote {
				t.Errorf("%d remote downloads at once, want %d", n, remote)
			}
			release()
			for i, a := range wait() {
				if a.err != nil || a.verdict.Outcome != scanner.Opaque {
					t.Errorf("%d: %s, %v", i, a.verdict.Outcome, a.err)
				}
			}
			g.settled(t)
		})
	}
}

// TestFullQueueRefusesAtOnce, our own media too, and one of no length everybody
// who would have to wait.
func TestFullQueueRefusesAtOnce(t *testing.T) {
	for queue, name := range map[int]string{0: "none", 2: "two"} {
		t.Run(name, func(t *testing.T) {
			for _, server := range []string{ours, "far.test"} {
				g := newGate(t, func(c *scanner.Config) {
					c.Downloads, c.DownloadsPerOrigin, c.Queue, c.QueueWait = 1, 1, queue, time.Minute
				}, nil, nil)
				g.serves(20, server)
				release, waiting := g.home.hold(t, nil)
				may := queue
				if server != ours {
					may = min(queue, 1) // a quarter of the queue, and not less than one
				}
				wait := g.asking(t, server, 1)
				eventually(t, "the homeserver is asked", func() bool { return waiting.Load() == 1 })
				queued := together(may, func(i int) answered {
					return ask(t.Context(), g, calls["check"], as("a", media.URI{Server: server, ID: fmt.Sprint(1 + i)}))
				})
				eventually(t, "some wait", func() bool { return g.Waiting(server) == int64(may) || server == ours && g.Waiting("") == int64(may) })
				more := together(5, func(i int) answered {
					return ask(t.Context(), g, calls["check"], as("a", media.URI{Server: server, ID: fmt.Sprint(10 + i)}))
				})()
				if n := overloaded(more); n != 5 {
					t.Errorf("%s: %d of 5 were refused: %v", server, n, more)
				}
				release()
				if n := overloaded(append(wait(), queued()...)); n > 0 {
					t.Errorf("%s: %d of those who waited were refused", server, n)
				}
				g.settled(t)
			}
		})
	}
}

// TestSlotsAreFreedByFailures of every kind, many times over.
func TestSlotsAreFreedByFailures(t *testing.T) {
	g := newGate(t, func(c *scanner.Config) {
		c.Downloads, c.DownloadsPerOrigin, c.Queue, c.QueueWait = 2, 1, 64, time.Minute
	}, nil, func(c *homeserver.Config) { c.FirstByteTimeout = 50 * time.Millisecond })
	g.home.answers(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path[len(r.URL.Path)-1] {
		case '0':
			refuse(w, http.StatusInternalServerError, "M_UNKNOWN")
		case '1':
			<-r.Context().Done()
		default:
			panic(http.ErrAbortHandler)
		}
		return true
	})
	for _, server := range []string{"a.test", "b.test", ours} {
		for i, a := range g.asking(t, server, 9)() {
			if a.err == nil || errors.Is(a.err, media.ErrOverloaded) {
				t.Errorf("%s %d: %s, %v", server, i, a.verdict.Outcome, a.err)
			}
		}
	}
	g.settled(t)
}
