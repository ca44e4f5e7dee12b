package redis

import (
	"bytes"
	"errors"
	"net"
	"strconv"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// maxLine is the longest line that Redis sends: an error, which repeats little.
	maxLine = 4 << 10
	// maxDepth is how deep arrays are in arrays. A Cluster tells of its nodes in four.
	maxDepth = 8
)

// limits are how much one reply may be.
type limits struct {
	bytes  int
	values int // in all its arrays together
}

// limitsOf are those of replies to who asks for values of a size, and for one byte more
// to see that they are no larger. A Cluster tells at once where all of it is.
func limitsOf(o goredis.UniversalOptions, value int) limits {
	most := limits{bytes: maxLine + sealedOverhead + value + 1, values: 1 << 10}
	if o.IsClusterMode {
		most = limits{bytes: max(most.bytes, 4<<20), values: 1 << 16}
	}
	return most
}

// errReply is that of what is no reply of Redis to anything of ours.
var errReply = errors.New("no reply of Redis")

// checked is a connection from which nothing comes that is no reply, or one that is
// larger than its limits. The library takes the memory that a peer says it needs, and
// goes as deep as a peer goes, which ends the process if that is too much.
type checked struct {
	net.Conn
	replies replies
	bad     error       // why nothing comes any more
	release func() bool // of what closes the connection with the Client
}

// Read implements net.Conn. What is wrong, and all that has come with it, is not
// passed on.
func (c *checked) Read(p []byte) (int, error) {
	if c.bad != nil {
		return 0, c.bad
	}
	n, err := c.Conn.Read(p)
	if c.bad = c.replies.follow(p[:n]); c.bad != nil {
		return 0, c.bad
	}
	if err != nil && c.replies.within() {
		c.bad = err // who stops waiting in the middle may take the rest for something else
	}
	return n, err
}

// Close implements net.Conn. It never fails: nothing depends on how a connection ends,
// which has ended with the Client before.
func (c *checked) Close() error {
	c.release()
	_ = c.Conn.Close()
	return nil
}

// replies follows what a peer answers, in version 2 of the protocol, without keeping
// it. It reads lengths as the library does, or refuses them.
type replies struct {
	limits, left limits
	line         []byte // what has come of a line
	skip         int    // what has to come of a value, with the end of its line
	open         []int  // how many values have to come of each array, the innermost last
}

// within tells whether a reply has begun and not ended.
func (r *replies) within() bool { return len(r.line) > 0 || r.skip > 0 || len(r.open) > 0 }

// follow goes on with what has come. It fails with errReply.
func (r *replies) follow(chunk []byte) error {
	for len(chunk) > 0 {
		if r.skip > 0 {
			n := min(r.skip, len(chunk))
			chunk = chunk[n:]
			if r.skip -= n; r.skip == 0 {
				r.end()
			}
			continue
		}
		n, complete := len(chunk), false
		if i := bytes.IndexByte(chunk, '\n'); i >= 0 {
			n, complete = i+1, true
		}
		if len(r.line)+n > maxLine {
			return errReply
		}
		r.line = append(r.line, chunk[:n]...)
		chunk = chunk[n:]
		if complete {
			if err := r.begin(r.line); err != nil {
				return err
			}
			r.line = r.line[:0]
		}
	}
	return nil
}

// begin reads the line that a value begins with, or is.
func (r *replies) begin(line []byte) error {
	text, terminated := bytes.CutSuffix(line, []byte("\r\n"))
	if !terminated || len(text) == 0 {
		return errReply
	}
	if len(r.open) == 0 {
		r.left = r.limits
	}
	kind, length := text[0], string(text[1:])
	r.left.bytes -= len(line)
	switch {
	case r.left.bytes < 0:
		return errReply
	case kind == '+', kind == '-', kind == ':', (kind == '$' || kind == '*') && length == "-1": // the last is none
		r.end()
		return nil
	case kind != '$' && kind != '*':
		return errReply
	}
	n, err := strconv.ParseUint(length, 10, 31)
	switch size := int(n); {
	case err != nil:
		return errReply
	case kind == '$' && size <= r.left.bytes:
		r.left.bytes -= size
		r.skip = size + len("\r\n")
	case kind == '*' && size <= r.left.values && len(r.open) < maxDepth:
		r.left.values -= size
		if size == 0 {
			r.end()
		} else {
			r.open = append(r.open, size)
		}
	default:
		return errReply
	}
	return nil
}

// end is that of a value, and of the arrays that it is the last of.
func (r *replies) end() {
	for n := len(r.open) - 1; n >= 0; n-- {
		if r.open[n]--; r.open[n] > 0 {
			return
		}
		r.open = r.open[:n]
	}
}
