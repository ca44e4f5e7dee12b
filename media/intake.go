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
	var held int64
	content, err = p.fill(ctx, r, most, &held)
	if err != nil {
		p.intake.Release(held)
		return nil, nil, err
	}
	return content, func() { p.intake.Release(held) }, nil
}

// fill reads all of r, at most so many bytes, and counts in held what it has
// reserved for them. Room is taken for what has come and as much again, not for
// what is announced: whoever announces much and sends little keeps nobody out.
func (p *Pool) fill(ctx context.Context, r io.Reader, most int64, held *int64) ([]byte, error) {
	content := make([]byte, 0, 1)
	for {
		if int64(len(content)) >= *held && *held < most {
			more := min(max(*held, firstRead), most-*held)
			if err := p.reserve(ctx, more); err != nil {
				return nil, err
			}
			*held += more
			// One byte more than there is room for tells that there are more.
			content = append(make([]byte, 0, *held+1), content...)
		}
		n, err := r.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		switch {
		case int64(len(content)) > most:
			return nil, fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, most)
		case errors.Is(err, io.EOF):
			return content, nil
		case err != nil:
			return nil, err
		}
	}
}

// firstRead is the room that every content gets at once.
const firstRead = 256 << 10

// reserve waits for room for n more bytes.
func (p *Pool) reserve(ctx context.Context, n int64) error {
	wait, cancel := context.WithTimeout(ctx, p.config.QueueWait)
	defer cancel()
	if err := p.intake.Acquire(wait, n); err != nil {
		return waitError(ctx)
	}
	return nil
}

// MaxBytes is the largest content that Read takes.
func (p *Pool) MaxBytes() int64 { return p.config.MaxBytes }
