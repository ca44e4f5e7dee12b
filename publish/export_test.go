package publish

import (
	"context"

	"mediagate/bank"
	"mediagate/homeserver"
)

// SetMost bounds how many pictures of one bank are published.
func (p *Publisher) SetMost(n int) { p.most = n }

// PreviewMost is [Preview] of what is published, with such a bound.
func PreviewMost(ctx context.Context, store *bank.Store, home *homeserver.Client, p bank.Publication, most int) (Plan, error) {
	return preview(ctx, store, home, p, most)
}
