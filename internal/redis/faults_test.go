package redis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
)

// back is within which Redis is used again when it is.
const back = 10 * time.Second

// recovers waits until values are stored and read again.
func recovers(t *testing.T, c *redis.Client, when string) {
	t.Helper()
	for end := time.Now().Add(back); ; time.Sleep(5 * time.Millisecond) {
		if err := c.Set(t.Context(), content("back"), []byte("x"), hour); err == nil {
			if got, err := c.Get(t.Context(), content("back")); err == nil && string(got) == "x" {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not used again within %v", when, back)
		}
	}
}

// TestFailingRedisIsLeftAlone: after a few operations that waited, nobody waits any
// more, and who asks whether it is back is nobody's request.
func TestFailingRedisIsLeftAlone(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s)
	c := connect(t, proxy.URL(), key)
	recovers(t, c, "at first")
	proxy.Set(redistest.Swallow)
	for range 3 {
		if _, err := c.Get(t.Context(), content("a")); !errors.Is(err, redis.ErrBypassed) {
			t.Errorf("nobody answers: %v", err)
		}
	}
	const operations = "mediagate_redis_operations_total"
	if n := metric(t, c, operations, "operation", "get", "outcome", "timeout"); n != 3 {
		t.Errorf("%v of 3 waited", n)
	}
	if metric(t, c, "mediagate_redis_bypassed") != 1 {
		t.Error("it is not bypassed")
	}
	waited := metric(t, c, operations, "outcome", "timeout")
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		_, err := c.Get(t.Context(), content("a"))
		if err2 := c.Set(t.Context(), content("a"), nil, hour); !errors.Is(err, redis.ErrBypassed) || !errors.Is(err2, redis.ErrBypassed) {
			t.Fatalf("%v, %v", err, err2)
		}
	}
	if n := metric(t, c, operations, "outcome", "timeout"); n != waited {
		t.Errorf("%v more have waited", n-waited)
	}
	proxy.Set(nil)
	recovers(t, c, "when it is back")
	if metric(t, c, "mediagate_redis_bypassed") != 0 {
		t.Error("it is still bypassed")
	}
}

// TestRepliesThatCameTooLateAreNobodys: a connection on which somebody stopped waiting
// is not used again.
func TestRepliesThatCameTooLateAreNobodys(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	for _, name := range []string{"a", "b", "c"} {
		set(t, c, content(name), strings.Repeat(name, 1000))
	}
	for range 5 {
		s.Pause(t)
		for range 2 { // a third would have Redis left alone
			if _, err := c.Get(t.Context(), content("a")); !errors.Is(err, redis.ErrBypassed) {
				t.Errorf("redis has stopped: %v", err)
			}
		}
		s.Resume(t)
		for _, name := range []string{"b", "c"} {
			expect(t, c, content(name), strings.Repeat(name, 1000))
		}
	}
	if n := rejected(t, c); n > 0 {
		t.Errorf("%v replies went to somebody else", n)
	}
}

// TestPartedConnectionsAreGivenUp: where questions and answers have parted, and each
// answer is of the right type, the library has nothing to object to.
func TestPartedConnectionsAreGivenUp(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s)
	c := connect(t, proxy.URL(), key)
	set(t, c, content("a"), "1")
	set(t, c, content("b"), "2")
	proxy.Set(func() redistest.Tamper {
		before := []byte("$5\r\nvalue\r\n")
		return redistest.Tamper{Lasting: true, Reply: func(reply []byte) ([]byte, bool) {
			if reply[0] == '$' {
				reply, before = before, reply
			}
			return reply, false
		}}
	})
	for _, name := range []string{"a", "b", "a"} {
		if value, err := c.Get(t.Context(), content(name)); !errors.Is(err, redis.ErrMiss) {
			t.Errorf("%s: %q, %v", name, value, err)
		}
	}
	proxy.Set(nil)
	recovers(t, c, "on connections that are as they were")
}

// TestDeadAddressIsBypassed, whatever is there instead of Redis.
func TestDeadAddressIsBypassed(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	s := redistest.Start(t)
	s.Kill(t)
	for name, url := range map[string]string{
		"silent": "redis://" + silent.Addr().String(), "closed": s.URL(), "no socket": "unix://" + s.Socket() + "x", "no name": "redis://nowhere.invalid",
		"silent, with TLS": "rediss://" + silent.Addr().String(), "silent Sentinel": "redis://" + silent.Addr().String() + "?master_name=m",
		"silent Cluster": "redis://" + silent.Addr().String() + "?cluster=true", "closed Cluster": s.URL() + "?cluster=true",
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, url, key)
			for i := range 10 {
				start := time.Now()
				_, err := c.Get(t.Context(), content("a"))
				if !errors.Is(err, redis.ErrBypassed) {
					t.Errorf("call %d: %v", i, err)
				}
				// Far from what it may take, and from what the library would wait.
				if took := time.Since(start); took > time.Second {
					t.Errorf("call %d took %v", i, took)
				}
			}
			if metric(t, c, "mediagate_redis_bypassed") != 1 {
				t.Error("it is asked again and again")
			}
		})
	}
	s.Restart(t)
	c := connect(t, s.URL(), key)
	s.Kill(t)
	_ = c.Set(t.Context(), content("a"), nil, hour)
	s.Restart(t)
	recovers(t, c, "that was not there at first")
}

// TestFullRedisIsRead: what refuses to be written can be read, and is no reason to
// leave it alone.
func TestFullRedisIsRead(t *testing.T) {
	s := redistest.Start(t, "maxmemory-policy noeviction")
	c := connect(t, s.URL(), key)
	set(t, c, content("a"), "x")
	s.Set(t, "maxmemory", "1")
	for range 10 {
		if err := c.Set(t.Context(), content("b"), []byte("y"), hour); !errors.Is(err, redis.ErrBypassed) {
			t.Errorf("a full Redis takes more: %v", err)
		}
	}
	if got, err := c.Get(t.Context(), content("a")); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if n := metric(t, c, "mediagate_redis_operations_total", "operation", "set", "outcome", "refused"); n != 10 {
		t.Errorf("%v of 10 are counted", n)
	}
	s.Set(t, "maxmemory", "0")
	if err := c.Set(t.Context(), content("b"), []byte("y"), hour); err != nil {
		t.Error(err)
	}
}

// TestLargeValuesHoldNothingUp, and are not had from a Redis that is broken.
func TestLargeValuesHoldNothingUp(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s)
	c := connect(t, proxy.URL(), key)
	part := redis.Key{Kind: redis.Part, Of: "a"}
	if err := c.Keep(t.Context(), part, make([]byte, redis.MaxLarge), hour); err != nil {
		t.Fatal(err)
	}
	recovers(t, c, "at first")
	for name, tamper := range map[string]func() redistest.Tamper{"bits": redistest.FlipBits, "cut": redistest.Cut, "nonsense": redistest.Answer("+OK")} {
		proxy.Set(tamper)
		if value, err := c.Load(t.Context(), part); value != nil || !errors.Is(err, redis.ErrMiss) && !errors.Is(err, redis.ErrBypassed) {
			t.Errorf("%s: %d bytes, %v", name, len(value), err)
		}
	}
	swallowed := make(chan struct{})
	swallow := sync.OnceFunc(func() { close(swallowed) })
	proxy.Set(func() redistest.Tamper {
		return redistest.Tamper{Lasting: true, Request: func([]byte) (forward, answer []byte) {
			swallow()
			return nil, nil
		}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	loading := make(chan error, 1)
	go func() {
		_, err := c.Load(ctx, part)
		loading <- err
	}()
	<-swallowed
	proxy.Set(nil)
	recovers(t, c, "while something large is waited for")
	cancel()
	if err := <-loading; !errors.Is(err, redis.ErrBypassed) {
		t.Error(err)
	}
	eventually(t, "large values are kept again", func() bool { return c.Keep(t.Context(), part, make([]byte, redis.MaxLarge), hour) == nil })
	if value, err := c.Load(t.Context(), part); err != nil || len(value) != redis.MaxLarge {
		t.Errorf("%d bytes, %v", len(value), err)
	}
}
