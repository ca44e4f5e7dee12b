package redis

import "time"

// SetLogInterval changes the least time between two lines of the same kind.
func (c *Client) SetLogInterval(d time.Duration) {
	c.notices.mu.Lock()
	defer c.notices.mu.Unlock()
	c.notices.interval = d
}
