package scanner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"

	"mediagate/media"
)

// errPanicked is what those who wait get if the work they joined panics.
var errPanicked = errors.New("panic in a scan")

// flights joins callers who ask for the same thing with the same credential: one
// does the work, all get what it ends in. Nobody gets what another credential
// was good for.
type flights struct {
	mu      sync.Mutex
	running map[flightKey]*flight
}

// flightKey says what is asked for. need is part of it, because a flight that
// found out less would not do.
type flightKey struct {
	item media.URI
	as   [sha256.Size]byte
	need need
}

// need is what a caller wants to know.
type need uint8

const (
	needSignals    need = iota // what the item is, from whoever knows
	needPermission             // whether the homeserver lets the caller have what is known already
	needBoth                   // what the item is, and whether the caller may have it
	needBytes                  // that, and the bytes
)

// fetched is what a flight ends in. It is shared and must not be changed.
type fetched struct {
	signals *media.Signals
	content []byte      // only where the bytes were wanted
	header  http.Header // the homeserver's
	release func()      // of content; nil if there is none
}

// flight is work that several may wait for.
type flight struct {
	done chan struct{} // closed when result and err are set
	// holders are those who may still use result, the worker among them.
	holders int
	result  fetched
	err     error
}

// do returns what work ends in, or what work already under way ends in. The
// caller must call leave when it does not need the result any more. The work goes
// on if the caller's context ends: whoever asks again finds it done.
func (g *flights) do(ctx context.Context, key flightKey, work func() (fetched, error)) (result fetched, leave func(), joined bool, err error) {
	g.mu.Lock()
	f := g.running[key]
	if joined = f != nil; !joined {
		f = &flight{done: make(chan struct{}), holders: 1}
		g.running[key] = f
		go g.run(key, f, work)
	}
	f.holders++
	g.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		g.leave(f)
		return fetched{}, nil, joined, ctx.Err()
	}
	if f.err != nil {
		g.leave(f)
		return fetched{}, nil, joined, f.err
	}
	return f.result, sync.OnceFunc(func() { g.leave(f) }), joined, nil
}

func (g *flights) run(key flightKey, f *flight, work func() (fetched, error)) {
	defer func() {
		if v := recover(); v != nil {
			f.err = fmt.Errorf("%w: %v\n%s", errPanicked, v, debug.Stack())
		}
		g.mu.Lock()
		delete(g.running, key)
		close(f.done)
		g.mu.Unlock()
		g.leave(f)
	}()
	f.result, f.err = work()
}

// leave gives the result's bytes up once nobody holds them.
func (g *flights) leave(f *flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.holders--
	if f.holders == 0 && f.result.release != nil {
		f.result.release()
	}
}
