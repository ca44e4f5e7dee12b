package redistest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
)

// Proxy stands between clients and a server, and may do harm. What arrives at once
// it handles at once: a request, or the reply to one, as long as both are small.
type Proxy struct {
	to string
	l  net.Listener

	mu     sync.Mutex
	tamper func() Tamper // nil for none
	epoch  int           // of tamper
	conns  map[net.Conn]bool
	ending sync.WaitGroup
}

// Tamper is what is done on one connection. Functions may be nil.
type Tamper struct {
	// Request returns what is sent on to the server and what is answered at once.
	Request func(request []byte) (forward, answer []byte)
	// Reply returns what is sent on to the client, and whether the connection ends
	// with that.
	Reply func(reply []byte) (forward []byte, end bool)
	// Lasting has connections stay as they are when the Proxy does no more harm to
	// others.
	Lasting bool
}

// NewProxy returns a Proxy before a server that does no harm yet.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{to: s.Address(), l: l, conns: make(map[net.Conn]bool)}
	p.ending.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // it is of no use any more
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.ending.Wait()
	})
	return p
}

// URL names the server behind the proxy.
func (p *Proxy) URL() string { return "redis://" + p.l.Addr().String() }

// Set has all connections tampered with from now on, each by a Tamper of its own. nil
// ends that.
func (p *Proxy) Set(tamper func() Tamper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tamper = tamper
	p.epoch++
}

func (p *Proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		c := &proxied{proxy: p, client: client, server: server}
		p.ending.Go(func() { c.copy(client, c.request) })
		p.ending.Go(func() { c.copy(server, c.reply) })
	}
}

// proxied is one connection.
type proxied struct {
	proxy          *Proxy
	client, server net.Conn

	mu     sync.Mutex
	tamper Tamper
	epoch  int
}

var errEnd = errors.New("the connection was ended")

func (c *proxied) copy(from net.Conn, handle func(chunk []byte) error) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if n > 0 && handle(append([]byte(nil), buf[:n]...)) != nil || err != nil {
			_, _ = c.client.Close(), c.server.Close() // the other direction ends, too
			c.proxy.mu.Lock()
			delete(c.proxy.conns, from)
			c.proxy.mu.Unlock()
			return
		}
	}
}

// current is what is done to the connection now.
func (c *proxied) current() Tamper {
	c.proxy.mu.Lock()
	tamper, epoch := c.proxy.tamper, c.proxy.epoch
	c.proxy.mu.Unlock()
	if epoch != c.epoch && (tamper != nil || !c.tamper.Lasting) {
		c.tamper, c.epoch = Tamper{}, epoch
		if tamper != nil {
			c.tamper = tamper()
		}
	}
	return c.tamper
}

func (c *proxied) request(chunk []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.current(); t.Request != nil {
		forward, answer := t.Request(chunk)
		if _, err := c.client.Write(answer); err != nil {
			return err
		}
		chunk = forward
	}
	_, err := c.server.Write(chunk)
	return err
}

func (c *proxied) reply(chunk []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := false
	if t := c.current(); t.Reply != nil {
		chunk, end = t.Reply(chunk)
	}
	_, err := c.client.Write(chunk)
	if end {
		return errEnd
	}
	return err
}
