package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// unconnected is why there is no connection. Nobody has been told anything then.
type unconnected struct{ error }

func (u unconnected) Unwrap() error { return u.error }

var (
	errLate      = errors.New("no answer in time")
	errHandshake = errors.New("no answer to TLS in time")
)

// dialTimeout is what connecting may take, with TLS.
const dialTimeout = time.Second

// dialer connects, or fails with unconnected. The library's own would not end with the
// context where there is TLS, and connects without any end when it reconnects.
type dialer struct {
	ctx     context.Context // all connections end with it
	tls     *tls.Config     // nil for none
	shaking atomic.Int32
}

// within returns a function that makes connections of which replies have limits.
func (d *dialer) within(most limits) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		defer context.AfterFunc(d.ctx, cancel)()
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, unconnected{err}
		}
		c := &checked{Conn: conn, replies: replies{limits: most}, release: context.AfterFunc(d.ctx, func() { _ = conn.Close() })}
		if d.tls != nil {
			if c.Conn, err = d.shake(ctx, conn, address); err != nil {
				return nil, errors.Join(unconnected{err}, c.Close())
			}
			return c, nil
		}
		if direct, ok := conn.(syscall.Conn); ok { // by which the library finds out whether it is closed
			return struct {
				*checked
				syscall.Conn
			}{c, direct}, nil
		}
		return c, nil
	}
}

// shake speaks TLS on a connection, which it returns if that fails.
func (d *dialer) shake(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	d.shaking.Add(1)
	defer d.shaking.Add(-1)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return conn, err
	}
	config := d.tls.Clone()
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return conn, err
	}
	return secure, nil
}

// stage makes more of an error of who did not wait until there was a connection: what
// does not know TLS may wait for more of it, too.
func (d *dialer) stage(err error) error {
	if isLate(err) && d.shaking.Load() > 0 {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	return err
}

func isLate(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
