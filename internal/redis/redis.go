// Package redis shares, between the processes that use one Redis, what each of them
// could find out by itself: nothing is there that must not be lost, and nothing that
// comes from there is believed.
//
// Make a [Client] with [New]. Small values are read and written with [Client.Get] and
// [Client.Set], which take no longer than 50 ms whatever Redis does, and large ones
// with [Client.Load] and [Client.Keep]. [ErrMiss] and [ErrBypassed] mean that the
// caller goes on as if there were no Redis.
//
// Values are encrypted and authenticated, each under its name, by a key that Redis
// does not know, and names are keyed digests: who reads or writes Redis learns
// nothing, and can bring nothing about but misses. What it cannot tell is age: of the
// values that a name had, one can be put in the place of another, and callers that
// mind must put into the value what tells.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// The largest values that Set and Keep take.
const (
	MaxSmall = 64 << 10
	MaxLarge = 4 << 20
)

var (
	// ErrMiss is what Redis has no value for, or one that cannot be trusted.
	ErrMiss = errors.New("not in Redis")
	// ErrBypassed is what Redis did not do in time, or at all, or was not asked for
	// because it has not answered before.
	ErrBypassed = errors.New("redis is bypassed")
	// ErrTooLarge is a value that is larger than Set or Keep takes.
	ErrTooLarge = errors.New("too large for Redis")
)

// errRejected is a reply that is nothing of ours.
var errRejected = errors.New("the reply cannot be trusted")

// errRefused is what Redis answers if it does not want to write. It is there, and can
// be read.
var errRefused = errors.New("redis refuses to write")

// Client is Redis. It is safe for concurrent use. A nil Client is one that is not
// configured: everything is bypassed.
type Client struct {
	sealer       sealer
	small, large *lane
	options      goredis.UniversalOptions
	dialer       *dialer
	breaker      *breaker
	notices      *notices
	metrics      metrics
	probing      atomic.Bool
	// tasks are what Close waits for, and ends by closing.
	tasks   sync.WaitGroup
	ctx     context.Context
	closing context.CancelFunc
}

// New returns a Client of a configuration that is valid and has a URL. It connects
// when there is something to do.
func New(c Config, log *slog.Logger) (*Client, error) {
	options, problems := c.options()
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	sealer, err := newSealer(c.Key.Reveal())
	if err != nil {
		return nil, err
	}
	logging.Disable() // it writes lines of its own to stderr; what matters comes back as errors
	r := &Client{sealer: sealer, notices: &notices{log: log, interval: logInterval}, metrics: newMetrics()}
	r.breaker = newBreaker(r.notices)
	r.ctx, r.closing = context.WithCancel(context.Background())
	r.dialer = &dialer{ctx: r.ctx, tls: options.TLSConfig}
	options.TLSConfig = nil
	options.Dialer = r.dialer.within(limitsOf(options, MaxSmall))
	small, large := options, options
	small.PoolSize, small.ReadTimeout, small.WriteTimeout = 16, budget, budget
	large.PoolSize, large.ReadTimeout, large.WriteTimeout = 2, patience, patience
	large.Dialer = r.dialer.within(limitsOf(options, MaxLarge))
	r.small, r.large, r.options = newLane(small), newLane(large), options
	return r, nil
}

// Close ends what is under way and closes all connections. Nothing may be called
// after it.
func (c *Client) Close() error {
	if c == nil {
		return nil
	}
	c.closing()
	err := errors.Join(c.small.close(), c.large.close())
	c.tasks.Wait()
	return err
}

// Get returns a small value. It fails with ErrMiss or ErrBypassed.
func (c *Client) Get(ctx context.Context, k Key) ([]byte, error) {
	return c.quickly(ctx, "get", k.Kind, func(ctx context.Context, lane *lane) ([]byte, error) {
		return c.read(ctx, lane, k, MaxSmall)
	})
}

// Set stores a small value for some time, of milliseconds at least. It fails with
// ErrBypassed or ErrTooLarge.
func (c *Client) Set(ctx context.Context, k Key, value []byte, ttl time.Duration) error {
	if len(value) > MaxSmall {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(value))
	}
	_, err := c.quickly(ctx, "set", k.Kind, func(ctx context.Context, lane *lane) ([]byte, error) {
		name := c.sealer.name(k)
		return nil, c.write(ctx, lane, name, c.sealer.seal(name, value), ttl)
	})
	return err
}

// Load returns a value that Keep has stored. It fails as Get does, later.
func (c *Client) Load(ctx context.Context, k Key) ([]byte, error) {
	return c.patiently(ctx, "load", k.Kind, func(ctx context.Context, lane *lane) ([]byte, error) {
		return c.read(ctx, lane, k, MaxLarge)
	})
}

// Keep stores a large value for some time, of milliseconds at least. It fails as Set
// does, later.
func (c *Client) Keep(ctx context.Context, k Key, value []byte, ttl time.Duration) error {
	if len(value) > MaxLarge {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(value))
	}
	if c == nil {
		return ErrBypassed
	}
	name := c.sealer.name(k)
	sealed := c.sealer.seal(name, value) // before the caller has the value back
	_, err := c.patiently(ctx, "keep", k.Kind, func(ctx context.Context, lane *lane) ([]byte, error) {
		return nil, c.write(ctx, lane, name, sealed, ttl)
	})
	return err
}

// Has tells whether a value is there, whatever it is, and keeps it for the time from
// now.
func (c *Client) Has(ctx context.Context, k Key, ttl time.Duration) (bool, error) {
	_, err := c.quickly(ctx, "has", k.Kind, func(ctx context.Context, lane *lane) ([]byte, error) {
		there, err := lane.client().PExpire(ctx, c.sealer.name(k), ttl).Result()
		if err == nil && !there {
			err = ErrMiss
		}
		return nil, refused(err)
	})
	if errors.Is(err, ErrMiss) {
		return false, nil
	}
	return err == nil, err
}

// Delete removes values, of which some may not be there.
func (c *Client) Delete(ctx context.Context, keys ...Key) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := c.quickly(ctx, "delete", keys[0].Kind, func(ctx context.Context, lane *lane) ([]byte, error) {
		// One by one: in a Cluster they are in different places.
		_, err := lane.client().Pipelined(ctx, func(p goredis.Pipeliner) error {
			for _, k := range keys {
				p.Unlink(ctx, c.sealer.name(k))
			}
			return nil
		})
		return nil, refused(err)
	})
	return err
}

// read returns a value, or ErrMiss, or errRejected. It never asks for more bytes than
// the value may have.
func (c *Client) read(ctx context.Context, lane *lane, k Key, most int) ([]byte, error) {
	client, name := lane.client(), c.sealer.name(k)
	most += sealedOverhead
	sealed, err := client.GetRange(ctx, name, 0, int64(most)).Bytes() // one more than may be there
	switch {
	case goredis.HasErrorPrefix(err, "WRONGTYPE"):
	case err != nil:
		return nil, err
	case len(sealed) == 0: // a value has some
		return nil, ErrMiss
	case len(sealed) <= most:
		if value, ok := c.sealer.open(name, sealed); ok {
			return value, nil
		}
	}
	// It may be that of another question, and so may all that come after it.
	lane.renew(client)
	c.metrics.rejected.WithLabelValues(string(k.Kind)).Inc()
	c.notices.reject(ctx, k.Kind)
	_ = lane.client().Unlink(ctx, name).Err() // whoever finds it the next time tries again
	return nil, errRejected
}

func (c *Client) write(ctx context.Context, lane *lane, name string, sealed []byte, ttl time.Duration) error {
	// Not Set, which makes something else of durations that Redis would refuse.
	err := refused(lane.client().Do(ctx, "set", name, sealed, "px", ttl.Milliseconds()).Err())
	if err == nil {
		c.notices.accept(ctx)
	}
	return err
}
