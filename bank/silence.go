package bank

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// silent is a server that takes connections and says nothing on them. It is a
// net.Error with a time-out: of others the driver tells only that a connection was
// closed.
type silent struct{}

func (silent) Error() string   { return "the database server does not answer" }
func (silent) Timeout() bool   { return true }
func (silent) Temporary() bool { return true }

// lost is why a connection has ended, other than by us. The driver passes on what it
// is told in the middle of an answer, and what would be of any connection is told
// apart by this. It is no io.EOF, which is the orderly end of rows.
type lost struct{ cause error }

func (l lost) Error() string {
	if errors.Is(l.cause, io.EOF) {
		return "the database server has ended the connection"
	}
	return l.cause.Error()
}

// sslRequest is the shortest question that every PostgreSQL server answers, with
// one byte, before it asks who is there.
var sslRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}

// patience gives up servers that are there and do not answer, as one that was
// stopped, or whose disk hangs: its system goes on to acknowledge what is sent, so
// that no time-out of TCP notices. How long a statement takes does not matter, as
// long as the server still answers others.
type patience struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// quiet is how long a connection says nothing before the server is asked on
	// another one, and answer how long it may take for that.
	quiet, answer time.Duration
	// pause is how long a server that did not answer is not connected to: whoever
	// waits for connections is told so at once, and not one after the other.
	pause time.Duration

	mu     sync.Mutex
	silent map[string]time.Time // when servers last did not answer, by address
}

func newPatience(dial func(ctx context.Context, network, address string) (net.Conn, error)) *patience {
	return &patience{dial: dial, quiet: 5 * time.Second, answer: 5 * time.Second, pause: 2 * time.Second, silent: make(map[string]time.Time)}
}

// connect is dial with connections that end when the server falls silent.
func (p *patience) connect(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	pausing := time.Since(p.silent[address]) < p.pause
	p.mu.Unlock()
	if pausing {
		return nil, silent{}
	}
	conn, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watched{Conn: conn, patience: p, network: network, address: address}, nil
}

// answers asks a server for nothing, on a connection of its own.
func (p *patience) answers(network, address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), p.answer)
	defer cancel()
	conn, err := p.dial(ctx, network, address)
	if err == nil {
		defer func() { _ = conn.Close() }() // nobody needs it
		deadline, _ := ctx.Deadline()
		if err = conn.SetDeadline(deadline); err == nil {
			_, err = conn.Write(sslRequest)
		}
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent[address] = time.Now()
	return false
}

// watched is a connection that is read from by one goroutine at a time.
type watched struct {
	net.Conn
	patience         *patience
	network, address string
	// reads is odd while somebody waits, and another number for each who does.
	reads  atomic.Int64
	silent atomic.Bool
}

// Read implements net.Conn.
func (c *watched) Read(b []byte) (int, error) {
	this := c.reads.Add(1)
	timer := time.AfterFunc(c.patience.quiet, func() { c.ask(this) })
	n, err := c.Conn.Read(b)
	c.reads.Add(1)
	timer.Stop()
	var waited net.Error
	switch {
	case err == nil:
	case c.silent.Load():
		err = silent{}
	case errors.As(err, &waited) && waited.Timeout(), errors.Is(err, net.ErrClosed): // the driver's own doing
	default:
		err = lost{err}
	}
	return n, err
}

// ask ends the connection if the server does not answer, and comes again later if
// it does, until this read has ended.
func (c *watched) ask(this int64) {
	if c.reads.Load() != this {
		return
	}
	answers := c.patience.answers(c.network, c.address)
	switch {
	case c.reads.Load() != this:
	case answers:
		time.AfterFunc(c.patience.quiet, func() { c.ask(this) })
	default:
		c.silent.Store(true)
		_ = c.Close() // whoever reads is told
	}
}
