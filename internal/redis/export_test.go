package redis

import "time"

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
