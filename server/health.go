package server

import (
	"net/http"
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

// readyz tells whether requests should be sent here, and else why not.
func (s *Server) readyz(c echo.Context) error {
	switch {
	case s.draining.Load():
		return c.String(http.StatusServiceUnavailable, "shutting down\n")
	case !isLoaded(s.live):
		return c.String(http.StatusServiceUnavailable, "index not loaded\n")
	case isStale(s.live, s.config.IndexMaxAge):
		return c.String(http.StatusServiceUnavailable, "index stale: the bank store cannot be read\n")
	case s.scanner.Ready() != nil:
		return c.String(http.StatusServiceUnavailable, "an exchange has not been fetched once\n")
	default:
		return c.String(http.StatusOK, "ready\n")
	}
}
