package redis_test

import (
	"bytes"
	"testing"

	"mediagate/internal/redis"
	"mediagate/internal/secret"
)

// FuzzOpen: nothing opens but what was sealed, as it is and under its name.
func FuzzOpen(f *testing.F) {
	c, err := redis.New(redis.Config{URL: secret.New("redis://127.0.0.1:1"), Key: secret.New(key)}, discard)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	name, sealed := c.Seal(content("a"), []byte("value"))
	other, otherSealed := c.Seal(content("b"), nil)
	f.Add(name, sealed)
	f.Add(name, otherSealed)
	f.Add(other, sealed)
	f.Add(other, otherSealed)
	f.Add(name, sealed[:len(sealed)-1])
	f.Add("", []byte{1})
	f.Fuzz(func(t *testing.T, under string, raw []byte) {
		before := bytes.Clone(raw)
		value, ok := c.Open(under, raw)
		if !bytes.Equal(raw, before) {
			t.Error("what was read was written to")
		}
		if !ok {
			return
		}
		if want, ours := map[string]string{name: "value", other: ""}[under]; !ours || string(value) != want {
			t.Errorf("%q under %q: %q", raw, under, value)
		}
		for i := range raw {
			raw[i] ^= 1 << (i % 8)
			if _, ok := c.Open(under, raw); ok {
				t.Errorf("%q opens, and was changed", raw)
			}
			raw[i] = before[i]
		}
	})
}

// FuzzConfig: whatever the URL is, it is read or refused, and a client can be made of
// what is read.
func FuzzConfig(f *testing.F) {
	for _, url := range []string{
		"redis://host", "rediss://user:pass@[::1]:1/3", "unix://u@/a?db=1", "redis://a?master_name=m&addr=b", "redis://a?cluster=true&addr=b:2", "redis:// ", "%", "redis://a/1#",
	} {
		f.Add(url, "")
		f.Add(url, "password")
	}
	f.Fuzz(func(t *testing.T, url, password string) {
		config := redis.Config{URL: secret.New(url), Password: secret.New(password), Key: secret.New(key)}
		if config.Validate() != nil || !config.Configured() {
			return
		}
		c, err := redis.New(config, discard)
		if err != nil {
			t.Fatalf("%q is valid, and: %v", url, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	})
}
