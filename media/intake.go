package media

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrTooLarge is a content of more bytes than are taken in at all. It was not
// looked at, not even by digest.
var ErrTooLarge = errors.New("content is too large")

// Read takes a content into memory, within the limit for one and the limit for
// all that are in memory together. declared is how many bytes the reader is said
// to hold, -1 if nobody says; more are not read. It fails with [ErrTooLarge],
// [ErrOverloaded], or what the reader reports. The caller must call release when
// the bytes are not needed any more.
func (p *Pool) Read(ctx context.Context, r io.Reader, declared int64) (content []byte, release func(), err error) {
	most := p.config.MaxBytes
	if declared > most {
		return nil, nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, declared, most)
	}
	if declared >= 0 {
		most = declared
	}
	wait, cancel := context.WithTimeout(ctx, p.config.QueueWait)
	defer cancel()
	if err := p.intake.Acquire(wait, most); err != nil {
		return nil, nil, waitError(ctx)
	}
	release = func() { p.intake.Release(most) }
	content, err = io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, most)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return content, release, nil
}

// MaxBytes is the largest content that Read takes.
func (p *Pool) MaxBytes() int64 { return p.config.MaxBytes }
