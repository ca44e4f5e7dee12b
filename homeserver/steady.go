package homeserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

var errTooSlow = fmt.Errorf("%w: it came too slowly", ErrBroken)

// steadyBody is a body that must keep up a rate, and whose end is one.
type steadyBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // that of the request which the body belongs to
	giveUp context.CancelCauseFunc
	got    atomic.Int64 // since the rate was last looked at
	least  int64        // bytes in a window
	window time.Duration
	timer  atomic.Pointer[time.Timer]
	closed atomic.Bool
}

func newSteadyBody(ctx context.Context, body io.ReadCloser, config Config, giveUp context.CancelCauseFunc) *steadyBody {
	b := &steadyBody{
		ReadCloser: body, ctx: ctx, giveUp: giveUp, window: config.RateWindow,
		least: int64(float64(config.MinRate) * config.RateWindow.Seconds()),
	}
	b.watch()
	return b
}

// watch looks at the rate at the end of each window.
func (b *steadyBody) watch() {
	b.timer.Store(time.AfterFunc(b.window, func() {
		switch {
		case b.closed.Load():
		case b.got.Swap(0) < b.least:
			b.giveUp(errTooSlow)
		default:
			b.watch()
		}
	}))
}

func (b *steadyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.got.Add(int64(n))
	switch {
	case err == nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, err
	case errors.Is(b.ctx.Err(), context.Canceled) && !errors.Is(context.Cause(b.ctx), errTooSlow):
		return n, b.ctx.Err()
	case errors.Is(context.Cause(b.ctx), errTooSlow):
		return n, errTooSlow
	default:
		return n, fmt.Errorf("%w before its end", ErrBroken)
	}
}

func (b *steadyBody) Close() error {
	b.closed.Store(true)
	b.timer.Load().Stop()
	return b.ReadCloser.Close()
}
