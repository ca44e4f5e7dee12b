package redis

import (
	"context"
	"time"
)

// nudgeGap is the least time between two nudges that are passed on.
const nudgeGap = 20 * time.Millisecond

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
		subscription := client.Subscribe(ctx, c.channel())
		defer func() { _ = subscription.Close() }()
		events := subscription.ChannelWithSubscriptions()
		for {
			select {
			case <-ctx.Done():
				return
			case <-events:
			}
			select {
			case out <- struct{}{}:
			default: // the last one is still there
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(nudgeGap):
			}
		}
	})
	return out
}
