package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// budget is what an operation on small values may take, with connecting and waiting
// for a connection.
const budget = 50 * time.Millisecond

// patience is what one on large values may take.
const patience = 5 * time.Second

// After so many failures in a row Redis is left alone, and asked each interval
// whether it is back.
const (
	breakerFailures = 3
	probeInterval   = time.Second
)

// errRejected is a reply that is nothing of ours.
var errRejected = errors.New("the reply cannot be trusted")

// errRefused is what Redis answers if it does not want to write. It is there, and can
// be read.
var errRefused = errors.New("redis refuses to write")

// refused tells answers to writes from failures.
func refused(err error) error {
	var answer goredis.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

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
	value, err := c.breaker.Execute(func() ([]byte, error) { return do(ctx, c.small) })
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
	return r.value, c.outcome(operation, kind, r.err)
}

// outcome counts how an operation ended, and is the error that callers get.
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
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		outcome = "bypassed"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		outcome = "timeout"
	}
	c.metrics.operations.WithLabelValues(operation, string(kind), outcome).Inc()
	if err == nil || errors.Is(err, ErrMiss) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBypassed, err)
}

// probe finds out whether Redis is back, without anybody waiting for it: it answers
// what it was asked, and in time.
func (c *Client) probe() {
	if c.ctx.Err() != nil || !c.probing.CompareAndSwap(false, true) {
		return
	}
	c.tasks.Go(func() {
		defer c.probing.Store(false)
		_, _ = c.breaker.Execute(func() ([]byte, error) {
			ctx, cancel := context.WithTimeout(c.ctx, probeInterval)
			defer cancel()
			if err := c.contact(ctx); err != nil {
				return nil, err
			}
			ctx, cancel = context.WithTimeout(ctx, budget)
			defer cancel()
			_, err := c.read(ctx, c.small, Key{Kind: probes, Of: ""}, MaxSmall)
			return nil, err
		})
	})
}

// contact gets a connection on which questions have their answers. Those that were
// closed meanwhile are used up.
func (c *Client) contact(ctx context.Context) error {
	for {
		client, nonce := c.small.client(), rand.Text()
		said, err := client.Echo(ctx, nonce).Result()
		if err == nil && said == nonce {
			return nil
		}
		if err == nil {
			c.small.renew(client)
			err = errRejected
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
