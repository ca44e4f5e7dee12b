package scanner_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/scanner"
)

// client returns a client of a Redis.
func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	return logging(t, url, slog.DiscardHandler)
}

// logging returns a client that logs.
func logging(t *testing.T, url string, log slog.Handler) *redis.Client {
	t.Helper()
	c, err := redis.New(redis.Config{URL: secret.New(url), Key: secret.New(strings.Repeat("k", 32))}, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// reading returns a gate at g's homeserver that knows what was shared, and shares
// nothing. Functions may be nil.
func (g *gate) reading(t *testing.T, c *redis.Client, pool func(*media.Config), at func(*homeserver.Config)) *gate {
	t.Helper()
	other := &gate{home: g.home, clock: &clock{}}
	home := g.home.client(t, at)
	if home.HasToken() {
		if name, err := home.Name(t.Context()); name != ours || err != nil {
			t.Fatalf("the homeserver is %q, %v", name, err)
		}
	}
	other.bench = newBenchAt(t, defaults, workertest.Pool(t, func(c *media.Config) {
		patient(c)
		if pool != nil {
			pool(c)
		}
	}), home, bank.Bank{Name: "A", Ratio: 1})
	other.SetClock(other.clock)
	other.Share(c)
	return other
}

// sharing is reading, for a gate that shares what it finds out.
func (g *gate) sharing(t *testing.T, c *redis.Client, pool func(*media.Config), at func(*homeserver.Config)) *gate {
	t.Helper()
	other := g.reading(t, c, pool, at)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := other.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return other
}

// warm makes the first connection of a client.
func warm(t *testing.T, c *redis.Client) {
	t.Helper()
	eventually(t, "redis answers", func() bool {
		_, err := c.Has(t.Context(), redis.Key{Kind: redis.Item}, time.Second)
		return err == nil
	})
}

// stored waits until Redis has so many values.
func stored(t *testing.T, s *redistest.Server, n int) {
	t.Helper()
	eventually(t, strconv.Itoa(n)+" values are in Redis", func() bool { return len(s.Keys(t)) >= n })
}

// pair returns two gates at one homeserver that share, and the Redis.
func pair(t *testing.T) (a, b *gate, s *redistest.Server) {
	t.Helper()
	s = redistest.Start(t)
	g := newGate(t, nil, nil, nil)
	ca, cb := client(t, s.URL()), client(t, s.URL())
	warm(t, ca)
	warm(t, cb)
	return g.sharing(t, ca, nil, nil), g.sharing(t, cb, nil, nil), s
}

// counted adds up what a collector counts under a name, with a label if one is given.
func counted(t *testing.T, c prometheus.Collector, name string, label ...string) (sum float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			counts := len(label) == 0
			for _, l := range m.GetLabel() {
				counts = counts || l.GetName() == label[0] && l.GetValue() == label[1]
			}
			if counts {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// knows wants an outcome that another gate has shared, of an item that the gate does
// not remember, and returns how often it asked. Redis has 50 ms, which a busy machine
// can miss: who has missed it forgets, and asks again.
func (g *gate) knows(t *testing.T, item media.URI, want scanner.Outcome) (tries int) {
	t.Helper()
	eventually(t, "somebody else knows "+item.String(), func() bool {
		tries++
		g.SetClock(g.clock)
		v, err := g.Check(t.Context(), as("b", item))
		if err != nil || v.Outcome != want {
			t.Errorf("%s: %s, %v, want %s", item, v.Outcome, err, want)
		}
		return g.home.asked() == 0
	})
	return tries
}

// TestOthersKnowWhatOneFoundOut: they ask the homeserver where who remembers must ask,
// and decode nothing.
func TestOthersKnowWhatOneFoundOut(t *testing.T) {
	a, b, s := pair(t)
	picture := string(readFile(t, vectors, "formats/rgb.png"))
	a.home.put(remote("x"), picture)
	a.home.put(local("y"), "hello")
	a.home.refuse("not-b", true)
	a.expect(t, "check", as("a", remote("x")), scanner.Clean, 1)
	a.expect(t, "scan", as("a", local("y")), scanner.Opaque, 1)
	stored(t, s, 3)
	tries := b.knows(t, remote("x"), scanner.Clean)
	b.expect(t, "check", as("b", remote("x")), scanner.Clean, 0)
	b.expectError(t, "scan", as("not-b", remote("x")), homeserver.ErrUnauthorized, 1)
	b.expect(t, "scan", as("a", local("y")), scanner.Opaque, 1) // what a was let have, it was let have there
	if v, err := b.ScanItem(t.Context(), as("b", remote("x"))); v.Outcome != scanner.Clean || err != nil {
		t.Errorf("%s, %v", v.Outcome, err)
	}
	if got := b.home.taken(); len(got) != 1 || got[0].Header.Get("If-None-Match") == "" {
		t.Errorf("asked %d times, or for the bytes", len(got))
	}
	b.expect(t, "scan", as("b", remote("x")), scanner.Clean, 0)
	b.expect(t, "download", as("b", remote("x")), scanner.Clean, 1)
	if made := workertest.Hashed(t, b.pool)["screened"]; made >= tries {
		t.Errorf("%d hashes made by who need not, in %d tries", made, tries)
	}
	// Screened hashes are not told by others, either.
	if v := b.scan(t, []byte(picture)); v.Outcome != scanner.Clean || v.Signals.Screened {
		t.Errorf("bytes: %s, %+v", v.Outcome, v.Signals)
	}
	if made := workertest.Hashed(t, b.pool)["exact"]; made != 1 {
		t.Errorf("%d exact hashes", made)
	}
	b.settled(t)
}

// TestSharedSignalsAreJudgedByTheNewestIndex of whoever judges.
func TestSharedSignalsAreJudgedByTheNewestIndex(t *testing.T) {
	a, b, s := pair(t)
	a.home.put(remote("x"), "hello")
	a.home.put(remote("y"), "bye")
	a.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	id := a.ban(t, "bye")
	a.expect(t, "check", as("a", remote("y")), scanner.Blocked, 1)
	a.unban(t, id)
	stored(t, s, 2)
	b.ban(t, "hello")
	b.knows(t, remote("x"), scanner.Blocked)
	b.knows(t, remote("y"), scanner.Opaque)
}

// TestSharedItemsHoldNoLongerThanOnesOwn, by the clock of whoever reads them, and
// none are from the future.
func TestSharedItemsHoldNoLongerThanOnesOwn(t *testing.T) {
	_, a, s := pair(t)
	a.home.put(remote("x"), "hello")
	a.home.put(local("x"), "hello")
	start := time.Now()
	a.SetNow(func() time.Time { return start })
	a.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	a.expect(t, "check", as("a", local("x")), scanner.Opaque, 1)
	stored(t, s, 2)
	for name, tt := range map[string]struct {
		after         time.Duration
		remote, local bool
	}{
		"at once":                     {0, true, true},
		"just in time":                {scanner.RemoteTTL - time.Millisecond*2, true, true},
		"too late for others' media":  {scanner.RemoteTTL, false, true},
		"just in time for our own":    {scanner.LocalTTL - time.Millisecond*2, false, true},
		"too late":                    {scanner.LocalTTL, false, false},
		"clocks that are a bit apart": {-4 * time.Second, true, true},
		"tomorrow's":                  {-6 * time.Second, false, false},
	} {
		c := client(t, s.URL())
		warm(t, c)
		b := a.reading(t, c, nil, nil)
		b.SetNow(func() time.Time { return start.Add(tt.after) })
		t.Log(name)
		for item, known := range map[media.URI]bool{local("x"): tt.local, remote("x"): tt.remote} {
			if known {
				b.knows(t, item, scanner.Opaque)
			} else {
				b.expect(t, "check", as("b", item), scanner.Opaque, 1)
			}
		}
		if tt.remote { // it gets no second life
			b.knows(t, remote("x"), scanner.Opaque)
			b.clock.add(min(scanner.RemoteTTL-tt.after, scanner.RemoteTTL) - time.Millisecond*2)
			b.expect(t, "check", as("b", remote("x")), scanner.Opaque, 0)
			b.clock.add(time.Millisecond * 2)
			b.SetNow(func() time.Time { return start.Add(scanner.LocalTTL) })
			b.expect(t, "check", as("b", remote("x")), scanner.Opaque, 1)
		}
	}
}

// TestOnlyTheLikeShare: who has another homeserver, or decodes by other limits, may
// find out something else.
func TestOnlyTheLikeShare(t *testing.T) {
	a, _, s := pair(t)
	picture := string(readFile(t, vectors, "formats/rgb.png"))
	a.home.put(remote("x"), picture)
	a.expect(t, "check", as("a", remote("x")), scanner.Clean, 1)
	stored(t, s, 2)
	c := client(t, s.URL())
	warm(t, c)
	strict := a.sharing(t, c, func(c *media.Config) { c.MaxPixels = 10 }, nil)
	strict.expect(t, "check", as("b", remote("x")), scanner.Unscannable, 1)
	elsewhere := newGate(t, nil, nil, nil)
	elsewhere.home.put(remote("x"), "something else")
	there := elsewhere.sharing(t, c, nil, nil)
	there.expect(t, "check", as("b", remote("x")), scanner.Opaque, 1)
	stored(t, s, 5)
	a.knows(t, remote("x"), scanner.Clean)
	strict.knows(t, remote("x"), scanner.Unscannable)
}

// TestBusyMachinesKeepTheirRefusals to themselves.
func TestBusyMachinesKeepTheirRefusals(t *testing.T) {
	a, _, s := pair(t)
	c := client(t, s.URL())
	warm(t, c)
	busy := a.sharing(t, c, func(c *media.Config) { c.Deadline = time.Nanosecond }, nil)
	a.home.put(remote("x"), string(readFile(t, vectors, "formats/rgb.png")))
	a.home.put(remote("y"), "hello")
	busy.expect(t, "check", as("a", remote("x")), scanner.Unscannable, 1)
	busy.expect(t, "check", as("a", remote("y")), scanner.Opaque, 1)
	stored(t, s, 1)
	a.knows(t, remote("y"), scanner.Opaque)
	a.expect(t, "check", as("a", remote("x")), scanner.Clean, 1)
}

// TestNobodyWaitsForSharing: what cannot be told is dropped and counted.
func TestNobodyWaitsForSharing(t *testing.T) {
	s := redistest.Start(t)
	g := newGate(t, nil, nil, nil)
	c := client(t, s.URL())
	warm(t, c)
	g.Share(c) // and Run does not run
	const more = 5
	for i := range scanner.MaxFindings + more {
		g.home.put(remote(strconv.Itoa(i)), "hello")
		g.expect(t, "check", as("a", remote(strconv.Itoa(i))), scanner.Opaque, 1)
	}
	if n := counted(t, g, "mediagate_cache_writes_dropped_total"); n != more {
		t.Errorf("%v were dropped, want %d", n, more)
	}
	if got := s.Keys(t); len(got) > 0 {
		t.Errorf("%d values were written by nobody", len(got))
	}
}

// TestThoseWhoAskTogetherAskOnce, whoever they are. Who comes when the answer has just
// come may ask again.
func TestThoseWhoAskTogetherAskOnce(t *testing.T) {
	a, b, s := pair(t)
	a.home.put(remote("x"), "hello")
	a.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	stored(t, s, 1)
	s.Do(t, "CONFIG", "RESETSTAT")
	var wrong atomic.Int64
	wait := together(50, func(i int) answered {
		got := ask(t.Context(), b, calls["check"], as(strconv.Itoa(i), remote("x")))
		if got.err != nil || got.verdict.Outcome != scanner.Opaque {
			wrong.Add(1)
		}
		return got
	})
	wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d wrong answers", n)
	}
	stats := s.Do(t, "INFO", "commandstats")
	var asked int
	_, rest, _ := strings.Cut(stats, "cmdstat_getrange:calls=")
	if _, err := fmt.Sscanf(rest, "%d,", &asked); err != nil || asked < 1 || asked > 10 {
		t.Errorf("redis was asked %d times, %v:\n%s", asked, err, stats)
	}
}

func TestItemsAreReadAsTheyWereWritten(t *testing.T) {
	signals := media.Digest([]byte("hello"))
	now := time.UnixMilli(1_700_000_000_000)
	long := media.URI{Server: strings.Repeat("s", 255), ID: strings.Repeat("i", 255)}
	for name, item := range map[string]media.URI{"short": remote("x"), "long": long} {
		for _, etag := range []string{"", `"1"`, strings.Repeat("e", 128)} {
			raw := scanner.AppendItem(item, now, etag, signals)
			got, gotTag, left, err := scanner.ParseItem(raw, item, time.Minute, now.Add(time.Second))
			if err != nil || gotTag != etag || left != 59*time.Second || !cmp.Equal(*got, signals) {
				t.Errorf("%s, %q: %v, %q, %v left, %v", name, etag, got, gotTag, left, err)
			}
			for n := range raw {
				if _, _, _, err := scanner.ParseItem(raw[:n], item, time.Minute, now); err == nil {
					t.Errorf("%s, %q: %d of %d bytes pass", name, etag, n, len(raw))
				}
			}
			for what, other := range map[string]media.URI{
				"item": {Server: item.Server, ID: item.ID + "y"}, "server": {Server: item.Server + "y", ID: item.ID},
				"division": {Server: item.Server[:len(item.Server)-1], ID: item.Server[len(item.Server)-1:] + item.ID},
			} {
				if _, _, _, err := scanner.ParseItem(raw, other, time.Minute, now); err == nil {
					t.Errorf("%s passes as another %s", name, what)
				}
			}
		}
	}
	long128 := scanner.AppendItem(remote("x"), now, strings.Repeat("e", 129), signals)
	if _, _, _, err := scanner.ParseItem(long128, remote("x"), time.Minute, now); err == nil {
		t.Error("a tag of 129 bytes passes")
	}
	for name, change := range map[string]func(b []byte){
		"other form":        func(b []byte) { b[0]++ },
		"time below 0":      func(b []byte) { b[8] |= 0x80 },
		"end of time":       func(b []byte) { copy(b[1:], bytes.Repeat([]byte{0xff}, 7)); b[8] = 0x7f },
		"beginning of time": func(b []byte) { clear(b[1:9]) },
	} {
		raw := scanner.AppendItem(remote("x"), now, "", signals)
		change(raw)
		if _, _, _, err := scanner.ParseItem(raw, remote("x"), time.Minute, now); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// FuzzParseItem: what is read is of the item, in time, and the same if written again.
func FuzzParseItem(f *testing.F) {
	item, now := remote("x"), time.UnixMilli(1_700_000_000_000)
	f.Add(scanner.AppendItem(item, now, `"e"`, media.Digest([]byte("hello"))), int64(time.Minute), now.UnixMilli())
	f.Add(scanner.AppendItem(item, now, "", media.Signals{Kind: media.Photo, Refusal: media.RefusedTime}), int64(time.Hour), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, raw []byte, ttl, millis int64) {
		s, etag, left, err := scanner.ParseItem(raw, item, time.Duration(ttl), time.UnixMilli(millis))
		if err != nil {
			return
		}
		if s == nil || left <= 0 || left > time.Duration(ttl) || len(etag) > 128 || s.Refusal == media.RefusedTime {
			t.Errorf("%x: %+v, %q, %v left", raw, s, etag, left)
		}
		found := time.UnixMilli(int64(raw[1]) | int64(raw[2])<<8 | int64(raw[3])<<16 | int64(raw[4])<<24 | int64(raw[5])<<32 | int64(raw[6])<<40 | int64(raw[7])<<48 | int64(raw[8])<<56)
		if again := scanner.AppendItem(item, found, etag, *s); !bytes.Equal(again, raw) {
			t.Errorf("%x was read and written as %x", raw, again)
		}
	})
}
