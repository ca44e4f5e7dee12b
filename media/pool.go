package media

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/sync/semaphore"
)

// ErrOverloaded means that an item could not be looked at because too many
// others are. Trying again later is right.
var ErrOverloaded = errors.New("overloaded: all decoders are busy")

// errClosed is what a Pool answers after Close.
var errClosed = errors.New("media: the pool is closed")

// Pool decodes pictures in child processes, some at once, a few more waiting,
// the rest refused. It is safe for concurrent use, and every picture of the
// process should go through the same one: its limits have no way round.
type Pool struct {
	command []string
	config  Config
	// free holds one entry for each worker that may run: an idle one, or nil
	// for one to be started.
	free    chan *worker
	waiting atomic.Int64
	memory  *semaphore.Weighted
	intake  *semaphore.Weighted
	closed  atomic.Bool
	limits  limits
	metrics metrics
}

// NewPool returns a pool whose workers run command, which must call
// [DecodeWorker]; normally that is /proc/self/exe with [WorkerCommand]. Workers
// start when first needed. The config must have passed Validate.
func NewPool(command []string, config Config) *Pool {
	if config.Workers == 0 {
		config.Workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{
		command: command,
		config:  config,
		free:    make(chan *worker, config.Workers),
		memory:  semaphore.NewWeighted(config.TotalMemory),
		intake:  semaphore.NewWeighted(config.TotalBytes),
		limits:  config.limits(),
		metrics: newMetrics(),
	}
	for range config.Workers {
		p.free <- nil
	}
	return p
}

// Fingerprint tells pools apart that may say different things of one content: by
// their limits, and by HasherVersion. It belongs into the key of whatever keeps signals
// for others.
func (p *Pool) Fingerprint() string {
	return fmt.Sprintf("%d %d %d %+v", HasherVersion, p.config.MaxBytes, p.config.MaxDecodeBytes, p.limits)
}

// Close ends all workers once their pictures are done. Later calls of Signals
// fail.
func (p *Pool) Close() {
	if p.closed.Swap(true) {
		return
	}
	for range p.config.Workers {
		if w := <-p.free; w != nil {
			w.stop()
		}
	}
}

// Signals returns the signals of a content, with [Exact] hashes. A picture that
// cannot be decoded is no error: its digests come with the reason in Refusal. An
// error means that nobody knows what the content is: [ErrOverloaded], the
// context's end while waiting, or a worker that cannot run at all.
//
// The context bounds the wait. A picture in work is finished, within the
// deadline, even if nobody waits for it any more.
func (p *Pool) Signals(ctx context.Context, content []byte) (Signals, error) {
	return p.Decode(ctx, Digest(content), content, Exact)
}

// Decode is Signals for a content whose digests are known already, hashed as the
// caller wants: it adds what only decoding tells.
func (p *Pool) Decode(ctx context.Context, s Signals, content []byte, how Hashing) (Signals, error) {
	if s.Kind != Photo {
		return s, nil
	}
	if s.Size > p.config.MaxDecodeBytes {
		s.Refusal = RefusedSize
		p.metrics.decoded(s)
		return s, nil
	}
	ctx, span := otel.Tracer("mediagate/media").Start(ctx, "media.decode")
	defer span.End()
	start := time.Now()
	r, err := p.picture(ctx, content, how)
	if err != nil {
		return Signals{}, err
	}
	p.metrics.seconds.Observe(time.Since(start).Seconds())
	s.Width, s.Height, s.Hashes, s.Refusal = r.width, r.height, r.hashes, r.refusal
	s.Screened = r.made.screened > 0
	p.metrics.decoded(s)
	p.metrics.hashed(r.made, how)
	span.SetAttributes(attribute.String("type", s.Type), attribute.String("refusal", string(s.Refusal)))
	return s, nil
}

// picture decodes in a worker, and once more in a new one if the first may have
// failed for another reason than the picture. If a second one was ended from
// outside, nothing is known.
func (p *Pool) picture(ctx context.Context, content []byte, how Hashing) (result, error) {
	for fresh := false; ; fresh = true {
		r, err := p.attempt(ctx, content, how, fresh)
		var f *failure
		if !errors.As(err, &f) {
			return r, err
		}
		p.metrics.workerEnds.WithLabelValues(string(f.refusal)).Inc()
		switch {
		case f.innocent && !fresh:
		case f.outside:
			return result{}, fmt.Errorf("decode: %w", err)
		default:
			return result{refusal: f.refusal}, nil
		}
	}
}

// attempt has one worker look at a picture, a new one if fresh.
func (p *Pool) attempt(ctx context.Context, content []byte, how Hashing, fresh bool) (result, error) {
	w, err := p.acquire(ctx, fresh)
	if err != nil {
		return result{}, err
	}
	r, err := p.run(ctx, w, content, how)
	p.release(w, err)
	return r, err
}

// run has a worker look at a picture. After an error the worker is spent.
func (p *Pool) run(ctx context.Context, w *worker, content []byte, how Hashing) (result, error) {
	start := time.Now()
	asked := request{Size: int64(len(content)), Hashing: how, Limits: p.limits}
	r, err := w.header(content, asked, p.config.Deadline)
	if err != nil || r.refusal != "" {
		return r, err
	}
	left := max(p.config.Deadline+p.extraTime(r)-time.Since(start), time.Millisecond)
	need := r.estimate + int64(len(content)) + memoryOverhead
	waitCtx, cancel := context.WithTimeout(ctx, p.config.QueueWait)
	defer cancel()
	if err := p.memory.Acquire(waitCtx, need); err != nil {
		return result{}, waitError(ctx)
	}
	defer p.memory.Release(need)
	return w.decode(asked, left)
}

// timePerPixel is what a picture gets, beside the deadline, for each pixel that
// only a baseline JPEG may have. Its cost grows with its pixels and with nothing
// that its sender chooses.
const timePerPixel = 50 * time.Nanosecond

func (p *Pool) extraTime(r result) time.Duration {
	return timePerPixel * time.Duration(max(0, int64(r.width)*int64(r.height)-p.config.MaxPixels))
}

// acquire waits for a worker, and replaces one that has worked if it must be
// fresh.
func (p *Pool) acquire(ctx context.Context, fresh bool) (*worker, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	var w *worker
	select {
	case w = <-p.free:
	default:
		defer p.waiting.Add(-1)
		if p.waiting.Add(1) > int64(p.config.Queue) {
			return nil, ErrOverloaded
		}
		timer := time.NewTimer(p.config.QueueWait)
		defer timer.Stop()
		select {
		case w = <-p.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return nil, ErrOverloaded
		}
	}
	if w != nil && (!fresh || w.spent == 0) {
		return w, nil
	}
	if w != nil {
		w.stop()
	}
	w, err := startWorker(p.command, p.config.WorkerMemory)
	if err != nil {
		p.free <- nil
		return nil, err
	}
	return w, nil
}

// release gives a worker back, or makes room for a new one.
func (p *Pool) release(w *worker, err error) {
	w.spent++
	if err != nil || w.worn() {
		w.stop()
		w = nil
	}
	p.free <- w
}

// waitError tells a caller that gave up from a pool that is too busy.
func waitError(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrOverloaded
}

// SelfTest decodes a picture whose hash is known, and one that must be refused.
// A pool that fails it is not fit to say what any picture is.
func (p *Pool) SelfTest(ctx context.Context) error {
	known, hash := knownPicture()
	s, err := p.Signals(ctx, known)
	if err != nil {
		return fmt.Errorf("test decoder: %w", err)
	}
	if s.Refusal != "" || len(s.Hashes) == 0 || s.Hashes[0].PDQ.String() != hash {
		return fmt.Errorf("test decoder: a known picture was misread (refusal %q, %d hashes)", s.Refusal, len(s.Hashes))
	}
	s, err = p.Signals(ctx, known[:len(known)/2])
	if err != nil {
		return fmt.Errorf("test decoder: %w", err)
	}
	if s.Refusal == "" {
		return errors.New("test decoder: half a picture was taken for a whole one")
	}
	return nil
}
