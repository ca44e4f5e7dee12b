package main_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/internal/postgrestest"
)

// balancer is a client that takes turns among servers, those that say they are
// ready, as a load balancer would.
type balancer struct {
	replicas []*instance
	ready    []atomic.Bool
	next     atomic.Uint64
	client   *http.Client
	answered []atomic.Int64
}

func newBalancer(t *testing.T, replicas ...*instance) *balancer {
	t.Helper()
	b := &balancer{
		replicas: replicas, ready: make([]atomic.Bool, len(replicas)), answered: make([]atomic.Int64, len(replicas)),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: patience},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range replicas {
		b.look(ctx, i)
		all.Go(func() {
			for ctx.Err() == nil {
				b.look(ctx, i)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() { cancel(); all.Wait(); b.client.CloseIdleConnections() })
	return b
}

// look asks one server whether it is ready.
func (b *balancer) look(ctx context.Context, i int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.replicas[i].api+"/readyz", nil)
	if err != nil {
		return
	}
	res, err := b.client.Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	b.ready[i].Store(err == nil && res.StatusCode == http.StatusOK)
}

// send sends a request to the next server that is ready, and nowhere else if that
// fails.
func (b *balancer) send(ctx context.Context, method, path, body string) error {
	turn := int(b.next.Add(1) % uint64(len(b.replicas)))
	for k := range b.replicas {
		i := (turn + k) % len(b.replicas)
		if !b.ready[i].Load() {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, method, b.replicas[i].api+path, io.NopCloser(strings.NewReader(body))) // a body that cannot be sent twice
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := b.client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		b.answered[i].Add(1)
		return nil
	}
	return fmt.Errorf("nobody is ready")
}

// TestNoRequestIsLostWhileOneOfTwoDrains: a client that honours readiness notices
// nothing when one of two replicas is restarted.
func TestNoRequestIsLostWhileOneOfTwoDrains(t *testing.T) {
	t.Parallel()
	env := map[string]string{"MEDIAGATE_DATABASE_URL": postgrestest.Start(t).NewDatabase(t), "MEDIAGATE_SHUTDOWN_DELAY": "3s"}
	leaving, staying := launch(t, env), start(t, env)
	leaving.awaitReady(t)
	staying.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"A"}`), http.StatusCreated)
	b := newBalancer(t, leaving, staying)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	for n := range 6 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var err error
				switch (n + i) % 3 {
				case 0:
					err = b.send(t.Context(), http.MethodPost, "/v1/scan", "nothing known")
				case 1:
					err = b.send(t.Context(), http.MethodGet, "/m/raw_lookup?signal_type=video_md5&signal=0123456789abcdef0123456789abcdef", "")
				default:
					err = b.send(t.Context(), http.MethodPost, "/c/bank/A/signal", fmt.Sprintf(`{"video_md5":"%032x"}`, n*1_000_000+i))
				}
				if err != nil {
					t.Errorf("request %d of client %d: %v", i, n, err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	enough := func(i int) func() bool {
		from := b.answered[i].Load()
		return func() bool { return b.answered[i].Load() > from+100 }
	}
	leaving.await(t, "it is sent requests", enough(0))
	leaving.signal(t)
	if err := leaving.wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	staying.await(t, "the other is sent all", enough(1))
	cancel()
	clients.Wait()
	if lines := leaving.printed.lines("requests were cut off"); len(lines) > 0 {
		t.Errorf("%v", lines)
	}
}

// TestDrainingServerSendsItsClientsAway, one by one, as each is answered.
func TestDrainingServerSendsItsClientsAway(t *testing.T) {
	t.Parallel()
	s := launch(t, map[string]string{"MEDIAGATE_SHUTDOWN_DELAY": "1h"})
	s.awaitReady(t)
	closes := func(path string) bool {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.api+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		return res.Close
	}
	paths := []string{"/healthz", "/none", "/readyz", "/m/lookup", "/_matrix/x", "/c//banks"}
	for _, path := range paths {
		if closes(path) {
			t.Errorf("%s: the connection is closed", path)
		}
	}
	s.signal(t)
	s.await(t, "it is not ready", func() bool { return s.readiness(t) == http.StatusServiceUnavailable })
	for _, path := range paths {
		if !closes(path) {
			t.Errorf("%s: the connection is kept", path)
		}
	}
}
