package redis

import (
	"net"
	"time"
)

// Seal is what Redis gets to keep of a value, and under which name.
func (c *Client) Seal(k Key, value []byte) (name string, sealed []byte) {
	name = c.sealer.name(k)
	return name, c.sealer.seal(name, value)
}

// Open reads that.
func (c *Client) Open(name string, sealed []byte) ([]byte, bool) { return c.sealer.open(name, sealed) }

// SetLogInterval changes the least time between two lines of the same kind.
func (c *Client) SetLogInterval(d time.Duration) {
	c.notices.mu.Lock()
	defer c.notices.mu.Unlock()
	c.notices.interval = d
}

// Checked is a connection whose replies have limits.
func Checked(conn net.Conn, bytes, values int) net.Conn {
	return &checked{Conn: conn, replies: replies{limits: limits{bytes, values}}, release: func() bool { return true }}
}

// Follow goes on with what has come in pieces, and tells whether a reply is begun.
func Follow(bytes, values int, chunks ...[]byte) (within bool, err error) {
	r := replies{limits: limits{bytes, values}}
	for _, chunk := range chunks {
		if err := r.follow(chunk); err != nil {
			return false, err
		}
	}
	return r.within(), nil
}

// The bounds that are the same for all replies.
const (
	MaxLine  = maxLine
	MaxDepth = maxDepth
)
