package redis_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

var discard = slog.New(slog.DiscardHandler)

// hour is a life that no test outlives.
const hour = time.Hour

// connect returns a client of a Redis by a key.
func connect(t *testing.T, url, key string) *redis.Client {
	t.Helper()
	return open(t, redis.Config{URL: secret.New(url), Key: secret.New(key)})
}

func open(t *testing.T, c redis.Config) *redis.Client {
	t.Helper()
	client, err := redis.New(c, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func content(of string) redis.Key { return redis.Key{Kind: redis.Content, Of: of} }

// set stores a value, on a connection that may have to be made first.
func set(t *testing.T, c *redis.Client, k redis.Key, value string) {
	t.Helper()
	eventually(t, "a value is stored", func() bool { return c.Set(t.Context(), k, []byte(value), hour) == nil })
}

// expect wants a value, or "" for none.
func expect(t *testing.T, c *redis.Client, k redis.Key, want string) {
	t.Helper()
	var got []byte
	var err error
	eventually(t, "redis answers", func() bool {
		got, err = c.Get(t.Context(), k)
		return !errors.Is(err, redis.ErrBypassed)
	})
	if want == "" && (!errors.Is(err, redis.ErrMiss) || got != nil) || want != "" && (err != nil || string(got) != want) {
		t.Errorf("%v: %q, %v, want %q", k, got, err, want)
	}
}

// eventually polls until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}

func TestValuesAreKept(t *testing.T) {
	s := redistest.Start(t)
	for name, url := range map[string]string{"TCP": s.URL(), "socket": "unix://" + s.Socket() + "?db=1"} {
		t.Run(name, func(t *testing.T) {
			c, other := connect(t, url, key), connect(t, url, key)
			expect(t, c, content("a"), "")
			set(t, c, content("a"), "1")
			set(t, c, content("b"), "2")
			set(t, c, redis.Key{Kind: redis.Item, Of: "a"}, "3")
			for _, c := range []*redis.Client{c, other} {
				expect(t, c, content("a"), "1")
				expect(t, c, content("b"), "2")
				expect(t, c, redis.Key{Kind: redis.Item, Of: "a"}, "3")
			}
			set(t, c, content("a"), "4")
			expect(t, other, content("a"), "4")
			if err := other.Delete(t.Context(), content("a"), content("none"), redis.Key{Kind: redis.Item, Of: "a"}); err != nil {
				t.Error(err)
			}
			expect(t, c, content("a"), "")
			expect(t, c, redis.Key{Kind: redis.Item, Of: "a"}, "")
			expect(t, c, content("b"), "2")
		})
	}
}

func TestSizesAtTheLimit(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	set(t, c, content("warm"), "x")
	part := redis.Key{Kind: redis.Part, Of: "a"}
	for _, size := range []int{0, 1, redis.MaxSmall} {
		value := strings.Repeat("x", size)
		set(t, c, content("a"), value)
		if got, err := c.Get(t.Context(), content("a")); err != nil || string(got) != value {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	if err := c.Set(t.Context(), content("a"), make([]byte, redis.MaxSmall+1), hour); !errors.Is(err, redis.ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), redis.MaxLarge/16)
	for _, size := range []int{0, redis.MaxSmall + 1, redis.MaxLarge} {
		if err := c.Keep(t.Context(), part, large[:size], hour); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Load(t.Context(), part); err != nil || !bytes.Equal(got, large[:size]) {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	if err := c.Keep(t.Context(), part, append(large, 0), hour); !errors.Is(err, redis.ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
	expect(t, c, part, "") // too large for who asks for little
	if _, err := c.Load(t.Context(), part); !errors.Is(err, redis.ErrMiss) {
		t.Errorf("what was too large is still there: %v", err)
	}
}

func TestValuesExpire(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	set(t, c, content("long"), "1")
	if err := c.Set(t.Context(), content("short"), []byte("2"), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the short one is gone", func() bool {
		_, err := c.Get(t.Context(), content("short"))
		return errors.Is(err, redis.ErrMiss)
	})
	for k, want := range map[redis.Key]bool{content("long"): true, content("short"): false, content("none"): false} {
		if there, err := c.Has(t.Context(), k, time.Minute); there != want || err != nil {
			t.Errorf("%v: %v, %v", k, there, err)
		}
	}
	if there, err := c.Has(t.Context(), content("long"), time.Millisecond); !there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	eventually(t, "its life has ended", func() bool {
		_, err := c.Get(t.Context(), content("long"))
		return errors.Is(err, redis.ErrMiss)
	})
	if err := c.Set(t.Context(), content("never"), nil, 0); !errors.Is(err, redis.ErrBypassed) {
		t.Errorf("a life of 0: %v", err)
	}
	expect(t, c, content("never"), "")
}

func TestNoRedisIsBypassed(t *testing.T) {
	var none *redis.Client
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := redistest.Start(t)
	for name, c := range map[string]*redis.Client{"not configured": none, "no longer asked": connect(t, s.URL(), key)} {
		_, err := c.Get(ended, content("a"))
		_, err2 := c.Load(ended, content("a"))
		_, err3 := c.Has(ended, content("a"), hour)
		for i, err := range []error{
			err, err2, err3, c.Set(ended, content("a"), nil, hour), c.Keep(ended, content("a"), nil, hour), c.Delete(ended, content("a")), c.Nudge(ended),
		} {
			if !errors.Is(err, redis.ErrBypassed) {
				t.Errorf("%s: call %d: %v", name, i, err)
			}
		}
	}
	if none.Nudges(t.Context()) != nil {
		t.Error("there are nudges of nobody")
	}
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}
