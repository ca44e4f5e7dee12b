package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// nudgeGap is the least time between two nudges that are passed on.
	nudgeGap = 20 * time.Millisecond
	// listenInterval is when it is listened again after that has ended.
	listenInterval = time.Second
)

func (c *Client) channel() string { return c.sealer.name(Key{Kind: nudges}) }

// Nudge tells all who listen to Nudges that there may be something new. It says
// nothing else, and may not arrive. It fails with ErrBypassed.
func (c *Client) Nudge(ctx context.Context) error {
	_, err := c.quickly(ctx, "nudge", nudges, func(ctx context.Context, lane *lane) ([]byte, error) {
		return nil, refused(lane.client().Publish(ctx, c.channel(), "").Err())
	})
	return err
}

// Nudges returns a channel that has something to receive after one or more nudges,
// the process's own among them, and after every connection to Redis, since some may
// have been missed. Anybody who can write to Redis can send some, up to 50 a second.
// It listens until the context or the Client ends; the channel is never closed.
func (c *Client) Nudges(ctx context.Context) <-chan struct{} {
	if c == nil {
		return nil
	}
	out := make(chan struct{}, 1)
	options := c.options
	options.ReadTimeout, options.WriteTimeout = patience, patience
	c.tasks.Go(func() {
		client := connect(options)
		defer func() { _ = client.Close() }()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.ctx, cancel)()
		for ctx.Err() == nil {
			_ = c.listen(ctx, client, out) // whatever it was may pass
			wait(ctx, listenInterval)
		}
	})
	return out
}

// listen passes nudges on until it cannot, on one connection. One message at a time is
// in memory, and what waits is with Redis, which does not let it become much.
func (c *Client) listen(ctx context.Context, client goredis.UniversalClient, out chan<- struct{}) (err error) {
	subscription := client.Subscribe(ctx)
	defer func() { _ = subscription.Close() }()
	defer func() { // the library takes whatever is said here for what it expects
		if recover() != nil {
			err = errRejected
		}
	}()
	if err := subscription.Subscribe(ctx, c.channel()); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	for asked := false; ; {
		event, err := subscription.ReceiveTimeout(ctx, patience)
		if isLate(err) && !asked {
			asked = true // whether anybody is there
			if err := subscription.Ping(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			if denied(err) {
				c.notices.deafen(ctx, err)
			}
			return err
		}
		asked = false
		switch event.(type) {
		case *goredis.Pong:
			continue
		case *goredis.Subscription:
			c.notices.hear(ctx)
		}
		select {
		case out <- struct{}{}:
		default: // the last one is still there
		}
		wait(ctx, nudgeGap)
	}
}

// wait waits for some time, or for the end of the context.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
