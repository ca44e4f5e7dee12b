package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
)

func isLoaded(live *bank.Live) bool {
	_, err := live.Load()
	return err == nil
}

func isStale(live *bank.Live, maxAge time.Duration) bool {
	return maxAge > 0 && live.Age() > maxAge
}

// healthz tells that the process serves. An orchestrator restarts it otherwise.
func (s *Server) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz tells whether requests should be sent here, and else why not. It asks for
// no more than the process's roles need: an index to compare with, or the store, or
// nothing, for hashing.
func (s *Server) readyz(c echo.Context) error {
	roles := s.config.Roles
	switch {
	case s.draining.Load():
		return c.String(http.StatusServiceUnavailable, "shutting down\n")
	case roles.Match() && !isLoaded(s.live):
		return c.String(http.StatusServiceUnavailable, "index not loaded\n")
	case roles.Match() && isStale(s.live, s.config.IndexMaxAge):
		return c.String(http.StatusServiceUnavailable, "index stale: the bank store cannot be read\n")
	case roles.Has(Scanner|Gate) && s.scanner.Ready() != nil:
		return c.String(http.StatusServiceUnavailable, "an exchange has not been fetched once\n")
	case !roles.Match() && roles.Has(Curator|Cron) && s.reach.err(s.store) != nil:
		return c.String(http.StatusServiceUnavailable, "the bank store cannot be read\n")
	default:
		return c.String(http.StatusOK, "ready\n")
	}
}

const (
	// reachPatience is how long the store may take to answer who asks for health,
	// and reachAge how long that answer counts: anybody may ask, as often as they like.
	reachPatience = 2 * time.Second
	reachAge      = time.Second
)

// reachable remembers whether the store could be read.
type reachable struct {
	mu   sync.Mutex
	at   time.Time
	last error
}

func (r *reachable) err(store *bank.Store) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) > reachAge {
		// Not the caller's context: the answer is for others as well.
		ctx, cancel := context.WithTimeout(context.Background(), reachPatience)
		defer cancel()
		_, r.last = store.Epoch(ctx)
		r.at = time.Now()
	}
	return r.last
}
