package media

import (
	"bytes"
	"context"
	"io"
	"time"
)

// Occupy takes a worker out of the pool until the function returned is called.
func (p *Pool) Occupy(ctx context.Context) (release func()) {
	w, err := p.acquire(ctx, false)
	if err != nil {
		panic(err)
	}
	return func() { p.release(w, nil) }
}

// WorkerPID returns the process of an idle worker, which must exist.
func (p *Pool) WorkerPID() int {
	w := <-p.free
	defer func() { p.free <- w }()
	return w.cmd.Process.Pid
}

// HashPicture is what runs in a worker. It returns nothing for what is refused.
func HashPicture(content []byte, c Config, how Hashing) []Hash {
	p, refusal := probe(content, c.limits())
	if refusal != "" {
		return nil
	}
	hashes, _, _ := hashPicture(content, p, how)
	return hashes
}

// ReadReply reads what a worker sends that was asked for one way of hashing.
func ReadReply(raw []byte, c Config, how Hashing) (hashes []Hash, exact, screened int, err error) {
	r, err := readReply(bytes.NewReader(raw), request{Hashing: how, Limits: c.limits()})
	return r.hashes, r.made.exact, r.made.screened, err
}

// Serve is the worker's loop.
func Serve(r io.Reader, w io.Writer) error { return serve(r, w) }

// LieAboutMemory makes workers believe that they may use any amount, while the
// kernel's limit stays what it was.
func (p *Pool) LieAboutMemory() { p.limits.Memory = 1 << 40 }

// OccupyMemory takes all of the memory for pictures until the function returned
// is called.
func (p *Pool) OccupyMemory(ctx context.Context) (release func()) {
	if err := p.memory.Acquire(ctx, p.config.TotalMemory); err != nil {
		panic(err)
	}
	return func() { p.memory.Release(p.config.TotalMemory) }
}

// FullRange and Stretch are what is done to lossy WebP.
var (
	FullRange = fullRange
	Stretch   = stretch
)

// ExtraTime is what a picture gets beside the deadline.
func (p *Pool) ExtraTime(width, height int) time.Duration {
	return p.extraTime(result{width: width, height: height})
}
