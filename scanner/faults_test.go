package scanner_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redistest"
	"mediagate/media"
	"mediagate/scanner"
)

// back is within which what was found out is shared again once Redis is back.
const back = 10 * time.Second

// mixed puts items of every outcome before a homeserver, and returns them with their
// outcomes as a gate without Redis finds them. ban bans what is banned.
func mixed(t *testing.T, g *gate, ban func(g *gate)) map[media.URI]scanner.Outcome {
	t.Helper()
	picture, other := readFile(t, vectors, "formats/rgb.png"), readFile(t, vectors, "png/q0122.png")
	contents := []string{"hello", "banned", string(picture), string(other), string(picture[:len(picture)/2])}
	want := make(map[media.URI]scanner.Outcome)
	ban(g)
	for i := range 30 {
		item := remote("item" + strconv.Itoa(i))
		if i%2 == 0 {
			item.Server = ours
		}
		g.home.put(item, contents[i%len(contents)])
		v, err := g.Check(t.Context(), as("a", item))
		if err != nil {
			t.Fatal(err)
		}
		want[item] = v.Outcome
	}
	seen := make(map[scanner.Outcome]int)
	for _, o := range want {
		seen[o]++
	}
	if seen[scanner.Clean] == 0 || seen[scanner.Blocked] == 0 || seen[scanner.Opaque] == 0 || seen[scanner.Unscannable] == 0 {
		t.Fatalf("outcomes: %v", seen)
	}
	return want
}

// load asks a gate for items, as fast as it answers, and remembers none: what it does
// not find in Redis it finds out.
type load struct {
	g     *gate
	asked atomic.Int64
	stop  func()
}

func newLoad(t *testing.T, g *gate, want map[media.URI]scanner.Outcome) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{g: g}
	var asking sync.WaitGroup
	l.stop = sync.OnceFunc(func() {
		cancel()
		asking.Wait()
	})
	t.Cleanup(l.stop)
	for i := range 4 {
		asking.Go(func() {
			name := []string{"check", "scan", "check", "download"}[i]
			for ctx.Err() == nil {
				for item, outcome := range want {
					g.clock.add(scanner.LocalTTL)
					// What has begun ends: it is what has no error that counts.
					v, _, err := calls[name](context.WithoutCancel(ctx), g, as("a", item))
					if err != nil || v.Outcome != outcome {
						t.Errorf("%s %s: %s, %v, want %s", name, item, v.Outcome, err, outcome)
					}
					l.asked.Add(1)
					if ctx.Err() != nil {
						break
					}
				}
			}
		})
	}
	return l
}

// shared counts what was found in Redis.
func (l *load) shared(t *testing.T) float64 {
	t.Helper()
	return counted(t, l.g, "mediagate_cache_lookups_total", "outcome", "shared")
}

// goesOn waits until so many more requests are answered.
func (l *load) goesOn(t *testing.T, n int64) {
	t.Helper()
	from := l.asked.Load()
	eventually(t, fmt.Sprint(n, " requests are answered"), func() bool { return l.asked.Load() >= from+n })
}

// shares waits until what one request finds out another finds in Redis.
func (l *load) shares(t *testing.T, what string) {
	t.Helper()
	from := l.shared(t)
	for end := time.Now().Add(back); l.shared(t) < from+10; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: nothing is shared %v later", what, back)
		}
	}
}

// lasts has a fault last while requests are answered.
func lasts(fault func(t *testing.T), end func(t *testing.T)) func(*testing.T, *load) {
	return func(t *testing.T, l *load) {
		fault(t)
		l.goesOn(t, 200)
		end(t)
	}
}

// TestRedisChangesNoOutcome whatever happens to it: no request fails, each outcome is
// as it is without Redis, and when it is back, signals are shared again.
func TestRedisChangesNoOutcome(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s)
	plain := newGate(t, nil, nil, nil)
	ban := func(g *gate) {
		g.ban(t, "banned")
		g.add(t, "A", listed(t, signalsOf(t, g.pool, readFile(t, vectors, "png/q0122.png")).Hashes[0].PDQ))
		g.sync(t)
	}
	want := mixed(t, plain, ban)
	c := client(t, proxy.URL())
	warm(t, c)
	g := plain.sharing(t, c, nil, nil)
	ban(g)
	l := newLoad(t, g, want)
	l.shares(t, "at first")

	harm := func(tamper func() redistest.Tamper) func(*testing.T, *load) {
		return lasts(func(*testing.T) { proxy.Set(tamper) }, func(*testing.T) { proxy.Set(nil) })
	}
	// In this order: what comes last leaves the least behind.
	for _, fault := range []struct {
		name  string
		cause func(t *testing.T, l *load)
	}{
		{"bits are flipped", harm(redistest.FlipBits)},
		{"values are swapped", harm(redistest.Swap())},
		{"replies are shifted", harm(redistest.Shift())},
		{"replies are cut", harm(redistest.Cut)},
		{"requests are swallowed", harm(redistest.Swallow)},
		{"LOADING", harm(redistest.Answer("-LOADING Redis is loading the dataset in memory"))},
		{"READONLY", harm(redistest.Answer("-READONLY You can't write against a read only replica."))},
		{"NOAUTH", func(t *testing.T, l *load) {
			proxy.Set(redistest.Answer("-NOAUTH Authentication required."))
			defer proxy.Set(nil)
			l.goesOn(t, 200)
			eventually(t, "redis is bypassed", func() bool { return counted(t, c, "mediagate_redis_bypassed") == 1 })
			eventually(t, "a process that begins tells the cause", func() bool {
				var told redistest.Journal
				begun := plain.reading(t, logging(t, proxy.URL(), slog.NewTextHandler(&told, nil)), nil, nil)
				for item := range want {
					if _, err := begun.Check(t.Context(), as("a", item)); err != nil {
						t.Error(err)
					}
				}
				return strings.Contains(told.String(), `msg="redis is bypassed" err="redis answers NOAUTH"`)
			})
		}},
		{"OOM", harm(redistest.Answer("-OOM command not allowed when used memory > 'maxmemory'."))},
		{"MOVED", harm(redistest.Answer("-MOVED 1 127.0.0.1:1"))},
		{"nothing is anywhere", harm(redistest.Answer("$-1"))},
		{"everything is OK", harm(redistest.Answer("+OK"))},
		{"endless value", harm(redistest.Answer("$536870912"))},
		{"value that no machine holds", harm(redistest.Answer("$4611686018427387904"))},
		{"no Redis at all", harm(redistest.Answer("HTTP/1.1 400 Bad Request\r\n"))},
		{"flushed", func(t *testing.T, _ *load) { s.Flush(t) }},
		{"flushed all the time", func(t *testing.T, l *load) {
			for range 20 {
				s.Flush(t)
				l.goesOn(t, 10)
			}
		}},
		{"stopped for 5 s", func(t *testing.T, l *load) {
			s.Pause(t)
			time.Sleep(5 * time.Second)
			s.Resume(t)
		}},
		{"paused for 5 s", func(t *testing.T, l *load) {
			s.Do(t, "CLIENT", "PAUSE", "5000", "ALL")
			time.Sleep(5 * time.Second)
		}},
		{"wrong types", func(t *testing.T, l *load) {
			for i := range 10 {
				command := []string{"LPUSH", "SADD", "XADD", "HSET"}[i%4]
				s.Do(t, "EVAL", `for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k)
					if ARGV[1] == 'XADD' then redis.call('XADD', k, '*', 'a', 'b') elseif ARGV[1] == 'HSET' then redis.call('HSET', k, 'a', 'b')
					else redis.call(ARGV[1], k, 'a') end end`, "0", command)
				l.goesOn(t, 20)
			}
			s.Flush(t)
		}},
		{"no memory", lasts(func(t *testing.T) {
			s.Set(t, "maxmemory-policy", "noeviction")
			s.Set(t, "maxmemory", "1")
		}, func(t *testing.T) { s.Set(t, "maxmemory", "0") })},
		{"memory filled", lasts(func(t *testing.T) {
			s.Flush(t)
			s.Set(t, "maxmemory", "3mb")
			s.Do(t, "EVAL", "for i = 1, 100000 do local ok = redis.pcall('SET', 'filler' .. i, string.rep('x', 1000)) if ok.err then return i end end return 'never full'", "0")
		}, func(t *testing.T) {
			s.Set(t, "maxmemory", "0")
			s.Flush(t)
		})},
		{"killed", lasts(func(t *testing.T) { s.Kill(t) }, func(t *testing.T) { s.Restart(t) })},
		{"replaced by an old dump", func(t *testing.T, l *load) {
			s.Do(t, "SAVE")
			dump, err := os.ReadFile(s.Dump())
			if err != nil {
				t.Fatal(err)
			}
			l.goesOn(t, 100)
			s.Kill(t)
			if err := os.WriteFile(s.Dump(), dump, 0o600); err != nil {
				t.Fatal(err)
			}
			s.Restart(t)
		}},
	} {
		fault.cause(t, l)
		l.goesOn(t, 20)
		l.shares(t, fault.name)
		t.Logf("%s: %d requests so far, %.0f values rejected", fault.name, l.asked.Load(), counted(t, c, "mediagate_redis_rejected_total"))
	}
	l.stop()
	g.settled(t)
	if n := counted(t, c, "mediagate_redis_rejected_total"); n == 0 {
		t.Error("nothing was rejected: was there any harm?")
	}
}

// TestAnOldDumpDoesNotBringBackWhatItemsWere: somebody else's media was changed since.
func TestAnOldDumpDoesNotBringBackWhatItemsWere(t *testing.T) {
	s := redistest.Start(t)
	plain := newGate(t, nil, nil, nil)
	c := client(t, s.URL())
	warm(t, c)
	before := plain.sharing(t, c, nil, nil)
	then := time.Now().Add(-scanner.RemoteTTL)
	before.SetNow(func() time.Time { return then })
	before.home.put(remote("x"), "hello")
	before.expect(t, "check", as("a", remote("x")), scanner.Opaque, 1)
	stored(t, s, 1)
	s.Do(t, "SAVE")
	s.Kill(t)
	before.home.put(remote("x"), "banned by now")
	s.Restart(t)
	if keys := s.Keys(t); len(keys) != 1 || !strings.HasPrefix(keys[0], "mediagate:item:") {
		t.Fatalf("what came back: %q", keys)
	}
	c = client(t, s.URL())
	warm(t, c)
	now := plain.reading(t, c, nil, nil)
	now.ban(t, "banned by now")
	now.expect(t, "check", as("b", remote("x")), scanner.Blocked, 1)
}

// TestRedisLearnsNothingOfItems: neither hashes nor names, by what it is told and what
// it saves.
func TestRedisLearnsNothingOfItems(t *testing.T) {
	a, _, s := pair(t)
	picture := readFile(t, vectors, "png/q0122.png")
	signals := signalsOf(t, a.pool, picture)
	a.add(t, "A", only(bank.PDQ, bank.SignalsOf(signals))...)
	a.sync(t)
	item := media.URI{Server: "canary.example", ID: "canary"}
	a.home.put(item, string(picture))
	a.expect(t, "check", as("a", item), scanner.Blocked, 1)
	stored(t, s, 2)
	s.Do(t, "SAVE")
	dump, err := os.ReadFile(s.Dump())
	if err != nil {
		t.Fatal(err)
	}
	hash := signals.Hashes[0].PDQ.Bytes()
	for what, secret := range map[string]string{
		"hash": string(hash[:8]), "hash in hex": signals.Hashes[0].PDQ.String()[:16], "SHA-256": string(signals.SHA256[:8]), "MD5": string(signals.MD5[:8]),
		"name": "canary", "type": signals.Type, "key": "kkkkkkkk", "homeserver": strings.TrimPrefix(a.home.url, "http://"),
	} {
		if strings.Contains(string(dump), secret) {
			t.Errorf("the dump has the %s", what)
		}
	}
	if n := strings.Count(string(dump), "mediagate:"); n != 2 {
		t.Errorf("the dump has %d names", n)
	}
}
