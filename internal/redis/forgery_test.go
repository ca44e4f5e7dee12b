package redis_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
)

// plant writes to Redis what Redis knows a value by, in place of what is there.
func plant(t *testing.T, s *redistest.Server, name string, value []byte) {
	t.Helper()
	command := []string{"EVAL", "return redis.call('SET', KEYS[1], string.char(unpack(ARGV)))", "1", name}
	for _, b := range value { // arguments of programs have no zeros
		command = append(command, strconv.Itoa(int(b)))
	}
	s.Do(t, command...)
}

// stored returns the only name that a value is stored under that was not there before,
// and the value in Redis.
func stored(t *testing.T, s *redistest.Server, before []string) (name string, value []byte) {
	t.Helper()
	for _, name := range s.Keys(t) {
		if !slices.Contains(before, name) {
			var raw []byte
			for _, n := range strings.Fields(s.Do(t, "EVAL", "local out = {} for c in redis.call('GET', KEYS[1]):gmatch('.') do out[#out+1] = c:byte() end return out", "1", name)) {
				b, err := strconv.ParseUint(n, 10, 8)
				if err != nil {
					t.Fatal(err)
				}
				raw = append(raw, byte(b))
			}
			return name, raw
		}
	}
	t.Fatal("nothing is stored")
	return "", nil
}

// TestWhatWasChangedIsAMiss, is deleted, and counted.
func TestWhatWasChangedIsAMiss(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	victim, other := content("victim"), content("other")
	set(t, c, victim, "harmful")
	name, sealed := stored(t, s, nil)
	set(t, c, other, "harmless")
	_, otherSealed := stored(t, s, []string{name})
	set(t, c, redis.Key{Kind: redis.Item, Of: "victim"}, "harmless")
	foreign := connect(t, s.URL(), strings.Repeat("f", 32))
	names := s.Keys(t)
	set(t, foreign, victim, "harmless")
	foreignName, foreignSealed := stored(t, s, names)
	if foreignName == name {
		t.Error("another key file makes the same names")
	}
	changed := map[string][]byte{
		"other value": otherSealed, "of another key file": foreignSealed, "empty but for the format": sealed[:1],
		"later format": append([]byte{sealed[0] + 1}, sealed[1:]...), "earlier format": append([]byte{0}, sealed[1:]...),
		"longer": append(slices.Clone(sealed), 0), "twice": append(slices.Clone(sealed), sealed...), "text": []byte("OK"), "number": []byte("1"),
		"in clear": []byte("harmless"),
	}
	for _, n := range []int{1, 2, 24, 25, 26, 40, 41, len(sealed) - 1} {
		changed["cut to "+strconv.Itoa(n)] = sealed[:n]
	}
	for i := 0; i < len(sealed); i += 5 {
		flipped := slices.Clone(sealed)
		flipped[i] ^= 1 << (i % 8)
		changed["bit in "+strconv.Itoa(i)] = flipped
	}
	for what, value := range changed {
		plant(t, s, name, value)
		before := rejected(t, c)
		expect(t, c, victim, "")
		if n := rejected(t, c) - before; n != 1 {
			t.Errorf("%s: counted %v times", what, n)
		}
		eventually(t, what+" is deleted", func() bool { return !slices.Contains(s.Keys(t), name) })
	}
	plant(t, s, name, sealed)
	expect(t, c, victim, "harmful")
	for _, command := range [][]string{
		{"RPUSH", name, "a", "b"}, {"HSET", name, "a", "b"}, {"SADD", name, "a"}, {"ZADD", name, "1", "a"}, {"XADD", name, "*", "a", "b"},
		{"SETRANGE", name, "536870000", "x"}, // 512 MiB, which nobody must read
	} {
		s.Do(t, "DEL", name)
		s.Do(t, command...)
		before := rejected(t, c)
		expect(t, c, victim, "")
		if n := rejected(t, c) - before; n != 1 {
			t.Errorf("%s: counted %v times", command[0], n)
		}
		eventually(t, command[0]+" is deleted", func() bool { return !slices.Contains(s.Keys(t), name) })
		set(t, c, victim, "harmful")
		expect(t, c, victim, "harmful")
	}
	expect(t, c, other, "harmless")
}

func rejected(t *testing.T, c *redis.Client) float64 {
	t.Helper()
	return metric(t, c, "mediagate_redis_rejected_total")
}

// TestRedisLearnsNothing: neither from what it is told nor from what it saves.
func TestRedisLearnsNothing(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	const canary, of = "canary-value", "mxc://canary.example/of"
	set(t, c, content(of), canary)
	if err := c.Keep(t.Context(), redis.Key{Kind: redis.Part, Of: of}, bytes.Repeat([]byte(canary), 1000), hour); err != nil {
		t.Fatal(err)
	}
	expect(t, c, content(of), canary)
	if err := c.Nudge(t.Context()); err != nil {
		t.Error(err)
	}
	s.Do(t, "SAVE")
	dump, err := os.ReadFile(s.Dump())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{canary, "canary", of, "mxc:", key[:8]} {
		if bytes.Contains(dump, []byte(secret)) {
			t.Errorf("the dump has %q", secret)
		}
	}
	if !bytes.Contains(dump, []byte("mediagate:content:")) {
		t.Error("the dump has no names of ours, either")
	}
	// The same again looks otherwise.
	name, first := stored(t, s, slices.DeleteFunc(s.Keys(t), func(name string) bool { return strings.Contains(name, "content") }))
	set(t, c, content(of), canary)
	_, second := stored(t, s, slices.DeleteFunc(s.Keys(t), func(n string) bool { return n == name }))
	if bytes.Equal(first, second) {
		t.Error("a value that is stored again is the same")
	}
}

// TestOldValuesComeBack is what the package does not prevent, and says so.
func TestOldValuesComeBack(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	set(t, c, content("a"), "old")
	name, old := stored(t, s, nil)
	set(t, c, content("a"), "new")
	plant(t, s, name, old)
	expect(t, c, content("a"), "old")
	if err := c.Delete(t.Context(), content("a")); err != nil && !errors.Is(err, redis.ErrBypassed) {
		t.Error(err)
	}
}
