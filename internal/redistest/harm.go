package redistest

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"sync"
)

// FlipBits changes one bit of each reply.
func FlipBits() Tamper {
	return Tamper{Reply: func(reply []byte) ([]byte, bool) {
		reply[rand.IntN(len(reply))] ^= 1 << rand.IntN(8) //nolint:gosec // any will do
		return reply, false
	}}
}

// Swallow has no request arrive.
func Swallow() Tamper {
	return Tamper{Request: func([]byte) (forward, answer []byte) { return nil, nil }}
}

// Cut ends each connection in the middle of a reply.
func Cut() Tamper {
	return Tamper{Reply: func(reply []byte) ([]byte, bool) { return reply[:len(reply)/2], true }}
}

// Answer answers every command in the server's place.
func Answer(answer string) func() Tamper {
	command := regexp.MustCompile(`(?m)^\*[0-9]+\r$`)
	return func() Tamper {
		return Tamper{Request: func(request []byte) ([]byte, []byte) {
			return nil, bytes.Repeat([]byte(answer+"\r\n"), len(command.FindAll(request, -1)))
		}}
	}
}

// Shift gives each request the reply to the one before it. The first gets one that
// belongs elsewhere: a value, if any was read before. Connections stay like this.
func Shift() func() Tamper {
	var mu sync.Mutex
	value := []byte("$5\r\nvalue\r\n")
	return func() Tamper {
		var before []byte
		return Tamper{Lasting: true, Reply: func(reply []byte) ([]byte, bool) {
			mu.Lock()
			defer mu.Unlock()
			if before == nil {
				before = value
			}
			if reply[0] == '$' && len(reply) > 100 {
				value = reply
			}
			forward := before
			before = reply
			return forward, false
		}}
	}
}

// Swap has each reading request read the value that one of the same kind asked for
// before.
func Swap() func() Tamper {
	name := regexp.MustCompile(`mediagate:([a-z]+):[0-9a-f]{32}`)
	var mu sync.Mutex
	before := make(map[string][]byte)
	return func() Tamper {
		return Tamper{Request: func(request []byte) ([]byte, []byte) {
			mu.Lock()
			defer mu.Unlock()
			if !bytes.Contains(request, []byte("getrange")) {
				return request, nil
			}
			return name.ReplaceAllFunc(request, func(found []byte) []byte {
				kind := string(name.FindSubmatch(found)[1])
				other := before[kind]
				before[kind] = bytes.Clone(found)
				if other == nil {
					return found
				}
				return other
			}), nil
		}}
	}
}
