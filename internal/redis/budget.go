package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// budget is what an operation on small values may take, with connecting and waiting
// for a connection.
const budget = 50 * time.Millisecond

// patience is what one on large values may take.
const patience = 5 * time.Second

// quickly does something within the budget, unless Redis has failed of late. It does
// not end with the caller's context: what was asked on a connection and not waited
// for costs the connection.
func (c *Client) quickly(ctx context.Context, operation string, kind Kind, do func(context.Context, *lane) ([]byte, error)) ([]byte, error) {
	if c == nil || ctx.Err() != nil {
		return nil, ErrBypassed
	}
	defer c.metrics.timed(operation)()
	if state := c.breaker.State(); state != gobreaker.StateClosed {
		if state == gobreaker.StateHalfOpen {
			c.probe()
		}
		return nil, c.outcome(operation, kind, gobreaker.ErrOpenState)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	value, err := c.breaker.Execute(func() ([]byte, error) {
		value, err := do(ctx, c.small)
		return value, c.dialer.stage(err)
	})
	return value, c.outcome(operation, kind, err)
}

// patiently does something that takes its time. It ends with the context, which the
// library does not.
func (c *Client) patiently(ctx context.Context, operation string, kind Kind, do func(context.Context, *lane) ([]byte, error)) ([]byte, error) {
	if c == nil || ctx.Err() != nil {
		return nil, ErrBypassed
	}
	defer c.metrics.timed(operation)()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	type result struct {
		value []byte
		err   error
	}
	done := make(chan result, 1)
	c.tasks.Go(func() {
		value, err := do(ctx, c.large)
		done <- result{value, err}
	})
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	c.breaker.note(r.err)
	return r.value, c.outcome(operation, kind, r.err)
}

// outcome counts how an operation ended, and is the error that callers get. It can be
// logged.
func (c *Client) outcome(operation string, kind Kind, err error) error {
	outcome := "failure"
	switch {
	case err == nil:
		outcome = "success"
	case errors.Is(err, ErrMiss):
		outcome = "miss"
	case errors.Is(err, errRejected):
		outcome, err = "rejected", ErrMiss
	case errors.Is(err, errRefused):
		outcome = "refused"
		c.notices.refuse(context.Background(), err)
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		outcome = "bypassed"
	case isLate(err):
		outcome = "timeout"
	}
	c.metrics.operations.WithLabelValues(operation, string(kind), outcome).Inc()
	if err == nil || errors.Is(err, ErrMiss) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBypassed, cause(err))
}
