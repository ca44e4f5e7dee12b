package redis_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

// journal is what a client has logged.
type journal struct{ redistest.Journal }

// lines are the messages, each with its cause or count.
func (j *journal) lines(t *testing.T) (lines []string) {
	t.Helper()
	for raw := range strings.Lines(j.String()) {
		var line struct {
			Msg   string `json:"msg"`
			Err   string `json:"err"`
			Count int    `json:"count"`
		}
		if err := json.Unmarshal([]byte(raw), &line); err != nil {
			t.Fatal(err)
		}
		switch {
		case line.Err != "":
			line.Msg += ": " + line.Err
		case line.Count > 0:
			line.Msg += fmt.Sprint(": ", line.Count)
		}
		lines = append(lines, line.Msg)
	}
	return lines
}

func (j *journal) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := j.lines(t); !slices.Equal(got, want) {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func openLogging(t *testing.T, c redis.Config) (*redis.Client, *journal) {
	t.Helper()
	j := new(journal)
	client, err := redis.New(c, slog.New(slog.NewJSONHandler(j, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client, j
}

// echoing repeats what it is told behind something, line by line.
func echoing(t *testing.T, behind string) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for in := bufio.NewScanner(c); in.Scan(); {
					if _, err := fmt.Fprintf(c, "%s%s\r\n", behind, in.Text()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestCauseOfABypassIsTold once, with no password in it, however it is found out.
func TestCauseOfABypassIsTold(t *testing.T) {
	const canary = "canary-p4ssword"
	s, open, gone := redistest.Start(t), redistest.Start(t), redistest.Start(t)
	gone.Kill(t)
	s.Do(t, "ACL", "SETUSER", "reader", "on", ">"+canary, "~mediagate:*", "&mediagate:*", "+getrange", "+unlink", "+pexpire", "+publish", "+subscribe", "+echo", "+ping", "+select")
	s.Do(t, "ACL", "SETUSER", "silent", "on", ">"+canary, "~mediagate:*", "&mediagate:*", "+getrange", "+set", "+unlink", "+pexpire", "+subscribe", "+echo", "+ping", "+select")
	s.Do(t, "ACL", "SETUSER", "elsewhere", "on", ">"+canary, "~other:*", "+@all")
	s.Do(t, "ACL", "SETUSER", "default", "resetpass", ">s3cret")
	old := redistest.Start(t, `rename-command HELLO ""`, `rename-command AUTH ""`)
	loading := redistest.NewProxy(t, open)
	loading.Set(redistest.Answer("-LOADING Redis is loading the dataset in memory"))
	foreign, err := issue()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		url, password, want string
	}{
		"wrong password":   {"redis://" + s.Address(), canary, "redis answers WRONGPASS"},
		"wrong user":       {"redis://nobody@" + s.Address(), canary, "redis answers WRONGPASS"},
		"no password":      {"redis://" + s.Address(), "", "redis answers NOAUTH"},
		"may not write":    {"redis://reader@" + s.Address(), canary, "redis answers NOPERM"},
		"may not nudge":    {"redis://silent@" + s.Address(), canary, "redis answers NOPERM"},
		"other names":      {"redis://elsewhere@" + s.Address(), canary, "redis answers NOPERM"},
		"unknown commands": {"redis://" + old.Address(), canary, "redis answers unknown command"},
		"repeats errors":   {"redis://" + echoing(t, "-ERR what is "), canary, "redis answers with an error"},
		"repeats lines":    {"redis://" + echoing(t, "500 what is "), canary, "what answers is not Redis, or of another version"},
		"wrong database":   {"redis://" + open.Address() + "/99", "", "redis answers DB index is out of range"},
		"loading":          {loading.URL(), "", "redis answers LOADING"},
		"down":             {"redis://" + gone.Address(), canary, "connect: dial tcp " + gone.Address() + ": connect: connection refused"},
		"TLS to none":      {"rediss://" + open.Address(), canary, "no answer to TLS in time"},
		"none to TLS":      {"redis://" + secured(t, open, certificate), canary, "the connection was closed"},
		"other authority":  {"rediss://" + secured(t, open, foreign), canary, "connect: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"no such socket":   {"unix:///nowhere/socket", canary, "connect: dial unix /nowhere/socket: connect: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			var c *redis.Client
			var j *journal
			// A machine that is too busy to get an answer within the budget has not found
			// out: another process tries.
			eventually(t, "the cause is told", func() bool {
				c, j = openLogging(t, redis.Config{URL: secret.New(tt.url), Password: secret.New(tt.password), Key: secret.New(key)})
				for range 10 {
					// Reading may succeed each time.
					for _, err := range []error{
						c.Set(t.Context(), content("a"), nil, hour), c.Nudge(t.Context()), func() error { _, err := c.Get(t.Context(), content("a")); return err }(),
					} {
						if err != nil && strings.Contains(err.Error(), canary) {
							t.Errorf("the password is in an error: %v", err)
						}
					}
					if metric(t, c, "mediagate_redis_bypassed") == 1 {
						break
					}
				}
				lines := j.lines(t)
				return len(lines) > 0 && (strings.HasSuffix(lines[0], tt.want) || !strings.HasSuffix(lines[0], " in time"))
			})
			// It is asked whether it is back meanwhile.
			for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
				_, _ = c.Get(t.Context(), content("a"))
				_ = c.Nudge(t.Context())
				_ = c.Set(t.Context(), content("a"), nil, hour)
			}
			if lines := j.lines(t); len(lines) != 1 || !strings.HasPrefix(lines[0], "redis is bypassed: "+tt.want) {
				t.Errorf("logged: %q, want %q", lines, tt.want)
			}
			if strings.Contains(j.String(), canary) {
				t.Errorf("the password is in the log: %s", j.String())
			}
			if metric(t, c, "mediagate_redis_bypassed") != 1 {
				t.Error("it is not bypassed any more")
			}
		})
	}
}

// TestRightsThatAreGrantedAreUsed: who is denied asks until he is not.
func TestRightsThatAreGrantedAreUsed(t *testing.T) {
	s := redistest.Start(t)
	s.Do(t, "ACL", "SETUSER", "gate", "on", ">s3cret", "~mediagate:*", "&mediagate:*", "+@all", "-set")
	c, j := openLogging(t, redis.Config{URL: secret.New("redis://gate:s3cret@" + s.Address()), Key: secret.New(key)})
	eventually(t, "it is bypassed", func() bool {
		_, _ = c.Get(t.Context(), content("a"))
		_ = c.Set(t.Context(), content("a"), nil, hour)
		return metric(t, c, "mediagate_redis_bypassed") == 1
	})
	s.Do(t, "ACL", "SETUSER", "gate", "+set")
	recovers(t, c, "when it may write")
	if lines := j.lines(t); lines[len(lines)-1] != "redis is used again" {
		t.Errorf("%q", lines)
	}
}

// TestLargeValuesThatAreDeniedAreTold although they do not wait for others.
func TestLargeValuesThatAreDeniedAreTold(t *testing.T) {
	s := redistest.Start(t, "requirepass s3cret")
	c, j := openLogging(t, redis.Config{URL: secret.New("redis://" + s.Address()), Password: secret.New("other"), Key: secret.New(key)})
	for range 10 {
		if err := c.Keep(t.Context(), content("a"), nil, hour); !errors.Is(err, redis.ErrBypassed) {
			t.Error(err)
		}
	}
	if metric(t, c, "mediagate_redis_bypassed") != 1 {
		t.Error("it is not bypassed")
	}
	j.expect(t, "redis is bypassed: redis answers WRONGPASS")
}

// TestRefusedWritesAreTold when they begin, and when they have ended for some time.
func TestRefusedWritesAreTold(t *testing.T) {
	s := redistest.Start(t, "maxmemory-policy noeviction")
	c, j := openLogging(t, redis.Config{URL: secret.New(s.URL()), Key: secret.New(key)})
	recovers(t, c, "at first")
	before := j.lines(t) // of a busy machine
	refusedUntil := func(refused bool) {
		t.Helper()
		s.Set(t, "maxmemory", map[bool]string{true: "1", false: "0"}[refused])
		for range 5 {
			if err := c.Set(t.Context(), content("a"), nil, hour); (err != nil) != refused {
				t.Errorf("refused: %v, %v", refused, err)
			}
		}
	}
	for range 3 { // it is at the limit
		refusedUntil(true)
		refusedUntil(false)
	}
	begin := append(before, "redis refuses to write: redis answers OOM")
	j.expect(t, begin...)
	if metric(t, c, "mediagate_redis_bypassed") != 0 {
		t.Error("it is bypassed")
	}
	c.SetLogInterval(0)
	refusedUntil(false)
	ended := append(begin, "redis writes again")
	j.expect(t, ended...)
	s.Do(t, "REPLICAOF", "127.0.0.1", "1")
	for range 5 {
		_ = c.Set(t.Context(), content("a"), nil, hour)
		_ = c.Delete(t.Context(), content("a"))
		_, _ = c.Has(t.Context(), content("a"), hour)
	}
	j.expect(t, append(ended, "redis refuses to write: redis answers READONLY")...)
}

// TestRejectedValuesDoNotFillTheLog: anybody who may write can have values rejected, and
// Redis bypassed by that, again and again.
func TestRejectedValuesDoNotFillTheLog(t *testing.T) {
	s := redistest.Start(t)
	c, j := openLogging(t, redis.Config{URL: secret.New(s.URL()), Key: secret.New(key)})
	c.SetLogInterval(hour)
	set(t, c, content("a"), "x")
	name, _ := stored(t, s, nil)
	forge := func() {
		t.Helper()
		plant(t, s, name, []byte("forged"))
		expect(t, c, content("a"), "")
	}
	told := func(beginning string) (n int) {
		t.Helper()
		for _, line := range j.lines(t) {
			if strings.HasPrefix(line, beginning) {
				n++
			}
		}
		return n
	}
	for range 20 {
		forge()
	}
	if lines := j.lines(t); told("values in redis are rejected") != 1 || told("redis is bypassed") != 1 || told("redis is used again") != 1 || len(lines) != 3 {
		t.Errorf("%q", lines)
	}
	if n := rejected(t, c); n != 20 {
		t.Errorf("%v of 20 are counted", n)
	}
	c.SetLogInterval(0)
	forge()
	if lines := j.lines(t); told("values in redis are rejected: 20") != 1 {
		t.Errorf("%q", lines)
	}
}
