package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// After so many failures in a row, or one that says that we may not, Redis is left
// alone, and asked each interval whether it is back.
const (
	breakerFailures = 3
	probeInterval   = time.Second
)

// breaker leaves Redis alone while it fails, and tells why.
type breaker struct {
	*gobreaker.CircuitBreaker[[]byte]
	notices *notices
	last    error // the failure that was last; the CircuitBreaker has its lock wherever this is used
}

func newBreaker(n *notices) *breaker {
	b := &breaker{notices: n}
	b.CircuitBreaker = gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Timeout:      probeInterval,
		IsSuccessful: b.succeeded,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures || denied(b.last) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch {
			case to == gobreaker.StateClosed:
				n.use()
			case to == gobreaker.StateOpen && !errors.Is(b.last, context.Canceled): // nobody ends but the Client
				n.bypass(cause(b.last))
			}
		},
	})
	return b
}

func (b *breaker) succeeded(err error) bool {
	if err == nil || errors.Is(err, ErrMiss) || errors.Is(err, errRefused) {
		return true
	}
	b.last = err
	return false
}

// note counts the failure of something that the breaker does not hold up, if nothing
// else could succeed, either.
func (b *breaker) note(err error) {
	if denied(err) {
		_, _ = b.Execute(func() ([]byte, error) { return nil, err })
	}
}

// probe finds out whether Redis is back, without anybody waiting for it: it answers
// what it was asked, and in time, and lets us do all that we do.
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
			if err := c.mayWrite(ctx); err != nil {
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
		if denied(err) { // which another connection will be, too
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// mayWrite finds out whether we have the right to, with commands that change nothing.
// Who has not could read in vain: there would never be anything.
func (c *Client) mayWrite(ctx context.Context) error {
	name := c.sealer.name(Key{Kind: probes, Of: ""})
	for _, command := range [][]any{{"pexpire", name, 1}, {"unlink", name}, {"publish", name, ""}, {"set", name, "", "px", 1, "xx"}} {
		if err := refused(c.small.client().Do(ctx, command...).Err()); err != nil && !errors.Is(err, goredis.Nil) && !errors.Is(err, errRefused) {
			return err
		}
	}
	return nil
}
