package redis_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

func await(t *testing.T, nudges <-chan struct{}, when string) {
	t.Helper()
	select {
	case <-nudges:
	case <-time.After(30 * time.Second):
		t.Fatalf("no nudge %s", when)
	}
}

func TestNudgesArrive(t *testing.T) {
	s := redistest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, other := connect(t, s.URL(), key), connect(t, s.URL(), key)
	arrived := c.Nudges(ctx)
	await(t, arrived, "when it begins to listen")
	nudge := func(c *redis.Client) {
		t.Helper()
		eventually(t, "a nudge is sent", func() bool { return c.Nudge(t.Context()) == nil })
	}
	nudge(other)
	await(t, arrived, "from another process")
	nudge(c)
	await(t, arrived, "from its own")
	for range 1000 {
		nudge(other)
	}
	await(t, arrived, "of many")
	s.Kill(t)
	s.Restart(t)
	await(t, arrived, "when Redis is back")
	nudge(other)
	await(t, arrived, "after that")
	cancel()
	eventually(t, "nobody listens", func() bool { return strings.Count(s.Do(t, "CLIENT", "LIST", "TYPE", "pubsub"), "id=") == 0 })
}

// onlyOnce speaks for a server to who connects first, with TLS if there is a config,
// until it is told to end, and says nothing to anybody after that.
func onlyOnce(t *testing.T, s *redistest.Server, config *tls.Config) (address string, end func(), again <-chan struct{}) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	connected := make(chan struct{}, 100)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = client.Close() })
			if ctx.Err() != nil {
				connected <- struct{}{}
				continue
			}
			context.AfterFunc(ctx, func() { _ = client.Close() })
			if config != nil {
				client = tls.Server(client, config)
			}
			server, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address())
			if err != nil {
				t.Error(err)
				return
			}
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
		}
	}()
	return l.Addr().String(), cancel, connected
}

// TestClosingWaitsForNobody: not for who accepts a connection and says nothing.
func TestClosingWaitsForNobody(t *testing.T) {
	s := redistest.Start(t)
	for name, tt := range map[string]struct {
		scheme string
		config *tls.Config
	}{
		"TLS":    {"rediss://", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}},
		"no TLS": {"redis://", nil},
	} {
		address, end, again := onlyOnce(t, s, tt.config)
		c, err := redis.New(redis.Config{URL: secret.New(tt.scheme + address), Key: secret.New(key)}, discard)
		if err != nil {
			t.Fatal(err)
		}
		await(t, c.Nudges(t.Context()), "when it begins to listen")
		end()
		<-again
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: a Client that connects again is not closed after 20 s", name)
		}
	}
}

// TestListeningGoesOn elsewhere when nothing is heard any more, and nobody says why.
func TestListeningGoesOn(t *testing.T) {
	t.Parallel() // it waits
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s)
	c, other := connect(t, proxy.URL(), key), connect(t, s.URL(), key)
	nudges := c.Nudges(t.Context())
	await(t, nudges, "when it begins to listen")
	lost := make(chan struct{})
	lose := sync.OnceFunc(func() { close(lost) })
	proxy.Set(func() redistest.Tamper {
		return redistest.Tamper{
			Lasting: true, Request: func([]byte) (forward, answer []byte) { return nil, nil },
			Reply: func([]byte) (forward []byte, end bool) { lose(); return nil, false },
		}
	})
	eventually(t, "a nudge is sent", func() bool { return other.Nudge(t.Context()) == nil })
	<-lost
	proxy.Set(nil)
	await(t, nudges, "on another connection")
	eventually(t, "a nudge is sent", func() bool { return other.Nudge(t.Context()) == nil })
	await(t, nudges, "after that")
}

// TestMessagesOfOthersTakeNoMemory: who may send nudges may send anything.
func TestMessagesOfOthersTakeNoMemory(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, s.URL(), key)
	nudges := c.Nudges(t.Context())
	await(t, nudges, "when it begins to listen")
	channel := s.Do(t, "PUBSUB", "CHANNELS")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 40 {
		s.Do(t, "EVAL", "return redis.call('PUBLISH', KEYS[1], string.rep('x', ARGV[1]))", "1", channel, "8000000")
	}
	await(t, nudges, "when it listens again")
	runtime.GC()
	runtime.ReadMemStats(&after)
	if taken := int64(after.HeapInuse-before.HeapInuse) >> 20; taken > 32 {
		t.Errorf("%d MiB are taken", taken)
	}
	if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 64 {
		t.Errorf("%d MiB were taken", taken)
	}
	for range 1000 {
		eventually(t, "a nudge is sent", func() bool { return c.Nudge(t.Context()) == nil })
	}
	await(t, nudges, "of its own")
}

// TestUnheardNudgesAreTold: to who may do all but listen, once, and when he may.
func TestUnheardNudgesAreTold(t *testing.T) {
	s := redistest.Start(t)
	s.Do(t, "ACL", "SETUSER", "gate", "on", ">s3cret", "~mediagate:*", "&mediagate:*", "+@all", "-subscribe")
	c, j := openLogging(t, redis.Config{URL: secret.New("redis://gate:s3cret@" + s.Address()), Key: secret.New(key)})
	recovers(t, c, "as a user")
	nudges := c.Nudges(t.Context())
	const told = "redis does not tell of changes: redis answers NOPERM"
	eventually(t, "it is told", func() bool { return strings.Contains(strings.Join(j.lines(t), "\n"), told) })
	// It asks again meanwhile.
	eventually(t, "it has asked again", func() bool { return strings.Contains(s.Do(t, "ACL", "LOG"), "count\n3") })
	if n := strings.Count(strings.Join(j.lines(t), "\n"), told); n != 1 {
		t.Errorf("told %d times: %q", n, j.lines(t))
	}
	select {
	case <-nudges:
		t.Error("a nudge is heard")
	default:
	}
	if err := c.Nudge(t.Context()); err != nil {
		t.Errorf("all else is not used: %v", err)
	}
	s.Do(t, "ACL", "SETUSER", "gate", "+subscribe")
	await(t, nudges, "when it may listen")
	if lines := j.lines(t); lines[len(lines)-1] != "redis tells of changes again" {
		t.Errorf("%q", lines)
	}
}
