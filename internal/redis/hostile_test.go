package redis_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
)

// hostile are answers that no Redis gives.
func hostile() map[string]string {
	answers := map[string]string{
		"value that no machine holds":  "$4611686018427387904\r\n",
		"largest value":                "$9223372036854775807\r\n",
		"value that may be held":       "$2147483647\r\n",
		"value of more than was asked": "$4300000\r\n" + strings.Repeat("x", 4300000) + "\r\n",
		"value below nothing":          "$-2\r\n",
		"array that no machine holds":  "*4611686018427387904\r\n",
		"array that may be held":       "*2147483647\r\n",
		"array of many":                "*1000000\r\n" + strings.Repeat(":1\r\n", 1e6),
		"array below nothing":          "*-2\r\n",
		"arrays in arrays":             strings.Repeat("*1\r\n", 1e6),
		"wide arrays in arrays":        strings.Repeat("*65536\r\n", 1e5),
		"line without an end":          "+" + strings.Repeat("a", 16<<20),
		"length without an end":        "$" + strings.Repeat("1", 16<<20),
		"length with a sign":           "$+4611686018427387904\r\n",
		"length in another system":     "*0x40000000\r\n",
		"lone end of a line":           "\n",
		"empty line":                   "\r\n",
		"other service":                "HTTP/1.1 400 Bad Request\r\n\r\n",
		"array of nothing":             "*0\r\n",
		"array that is none":           "*-1\r\n",
		"array of numbers":             "*3\r\n:1\r\n:1\r\n:1\r\n",
		"address without a port":       "*1\r\n$9\r\n127.0.0.1\r\n",
		"half a subscription":          "*1\r\n$9\r\nsubscribe\r\n",
		"subscription to a number":     "*3\r\n$9\r\nsubscribe\r\n:1\r\n$1\r\na\r\n",
		"message of numbers":           "*3\r\n$7\r\nmessage\r\n:1\r\n:1\r\n",
		"master that moves nowhere":    "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$1\r\nm\r\n",
		"moved nowhere":                "-MOVED\r\n",
		"moved to nobody":              "-MOVED 1 \r\n",
		"asked of a port":              "-ASK 1 :\r\n",
		"slots of nobody":              "*1\r\n*2\r\n:-1\r\n:99999\r\n",
		"slots backwards":              "*1\r\n*3\r\n:16383\r\n:0\r\n*2\r\n$0\r\n\r\n:-1\r\n",
	}
	for name, kind := range map[string]string{"map": "%", "set": "~", "push": ">", "attribute": "|", "text": "=", "error": "!"} {
		answers[name+" that no machine holds"] = kind + "4611686018427387904\r\n"
		answers[name+" in "+name] = strings.Repeat(kind+"1\r\n", 1e6)
	}
	return answers
}

// TestHostileAnswersAreBypassed: what answers in the place of Redis, or of a Sentinel or
// a node of a Cluster, can neither end the process nor have it take memory, whatever it
// says and when.
func TestHostileAnswersAreBypassed(t *testing.T) {
	s := redistest.Start(t)
	for kind, parameters := range map[string]string{"single": "", "Sentinel": "?master_name=m", "Cluster": "?cluster=true"} {
		t.Run(kind, func(t *testing.T) {
			for name, answer := range hostile() {
				proxy := redistest.NewProxy(t, s)
				harm := func() redistest.Tamper {
					return redistest.Tamper{Reply: func([]byte) ([]byte, bool) { return []byte(answer), false }}
				}
				if kind != "single" { // which is not what it is
					proxy.Set(harm)
				}
				c := connect(t, proxy.URL()+parameters, key)
				nudges := c.Nudges(t.Context())
				if kind == "single" {
					recovers(t, c, "before "+name)
					<-nudges
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				proxy.Set(harm)
				// Those who listen are told, too.
				_ = connect(t, s.URL(), key).Nudge(t.Context())
				_, err := c.Load(t.Context(), content("a"))
				_, err2 := c.Get(t.Context(), content("a"))
				_, err3 := c.Has(t.Context(), content("a"), hour)
				for i, err := range []error{
					err, err2, err3, c.Keep(t.Context(), content("a"), nil, hour), c.Set(t.Context(), content("a"), nil, hour),
					c.Delete(t.Context(), content("a"), content("b")), c.Nudge(t.Context()),
				} {
					if err != nil && !errors.Is(err, redis.ErrBypassed) && !errors.Is(err, redis.ErrMiss) {
						t.Errorf("%s: call %d: %v", name, i, err)
					}
				}
				runtime.ReadMemStats(&after)
				if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 256 {
					t.Errorf("%s: %d MiB were taken", name, took)
				}
			}
		})
	}
}

// TestEndlessAnswersAreNotRead: not even what could be thrown away.
func TestEndlessAnswersAreNotRead(t *testing.T) {
	for name, endless := range map[string]string{"line": "a", "replies": "*2\r\n$1\r\na\r\n:1\r\n", "arrays": "*1\r\n"} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		written := make(chan int64, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = l.Close()
			n, _ := io.Copy(conn, io.LimitReader(forever(endless), 1<<40))
			written <- n
		}()
		c := connect(t, "redis://"+l.Addr().String(), key)
		if _, err := c.Load(t.Context(), content("a")); !errors.Is(err, redis.ErrBypassed) {
			t.Errorf("%s: %v", name, err)
		}
		if n := <-written >> 20; n > 64 { // what fits between the two
			t.Errorf("%s: %d MiB were read", name, n)
		}
	}
}

// forever repeats something.
type forever string

func (f forever) Read(p []byte) (n int, err error) {
	for len(p)-n >= len(f) {
		n += copy(p[n:], f)
	}
	return n, nil
}
