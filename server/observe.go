package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// observe names each request by its route, never by its path or query, which
// may hold hashes and names: in the span, the metrics and the log.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		route, method := s.routeOf(c), methodOf(c.Request().Method)
		if span := trace.SpanFromContext(c.Request().Context()); span.IsRecording() {
			span.SetName(method + " " + route)
			// The instrumentation has recorded what the client wrote; this overwrites it.
			span.SetAttributes(attribute.String("http.route", route), attribute.String("url.path", route),
				attribute.String("http.request.method_original", method), attribute.String("server.address", ""),
				attribute.String("user_agent.original", ""), attribute.String("client.address", ""))
		}
		if err := next(c); err != nil {
			c.Error(err)
		}
		status, seconds := c.Response().Status, time.Since(start).Seconds()
		s.seconds.WithLabelValues(route, method, strconv.Itoa(status)).Observe(seconds)
		level := slog.LevelDebug
		if status >= http.StatusInternalServerError {
			level = slog.LevelWarn
		}
		if ctx := c.Request().Context(); s.log.Enabled(ctx, level) {
			s.log.Log(ctx, level, "request", "route", route, "method", method, "status", status, "seconds", seconds)
		}
		return nil
	}
}

// routeOf is the pattern that matched, or a constant for paths that match none.
func (s *Server) routeOf(c echo.Context) string {
	if _, exists := s.owners[c.Path()]; !exists {
		return "none"
	}
	return c.Path()
}

// methodOf keeps labels a closed set.
func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return method
	default:
		return "other"
	}
}

// errPanic is an error that has been logged.
var errPanic = errors.New("panic")

// recovered reports a broken invariant; the request is answered with status 500.
func (s *Server) recovered(c echo.Context, err error, stack []byte) error {
	s.log.ErrorContext(c.Request().Context(), "panic", "route", s.routeOf(c), "err", err, "stack", string(stack))
	return fmt.Errorf("%w: %w", errPanic, err)
}
