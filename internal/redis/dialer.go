package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// unconnected is why there is no connection. Nobody has been told anything then.
type unconnected struct{ error }

func (u unconnected) Unwrap() error { return u.error }

var (
	errLate      = errors.New("no answer in time")
	errHandshake = errors.New("no answer to TLS in time")
)

// dialer connects, or fails with unconnected. The library's own would not end with the
// context where there is TLS.
type dialer struct {
	tls     *tls.Config // nil for none
	shaking atomic.Int32
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, unconnected{err}
	}
	if d.tls == nil {
		return conn, nil
	}
	d.shaking.Add(1)
	defer d.shaking.Add(-1)
	config := d.tls.Clone()
	if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
		return nil, errors.Join(unconnected{err}, conn.Close())
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // it is of no use
		return nil, unconnected{err}
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
