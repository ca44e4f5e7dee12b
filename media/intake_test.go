package media_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"mediagate/internal/workertest"
	"mediagate/media"
)

func TestReadAtAndPastItsLimits(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) { c.MaxBytes, c.TotalBytes, c.MaxDecodeBytes = 10, 10, 10 })
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		r        io.Reader
		declared int64
		want     error
	}{
		"at the limit":       {strings.NewReader("0123456789"), 10, nil},
		"undeclared":         {strings.NewReader("0123456789"), -1, nil},
		"empty":              {strings.NewReader(""), 0, nil},
		"less than declared": {strings.NewReader("01"), 10, nil},
		"past the limit":     {strings.NewReader("0123456789a"), 11, media.ErrTooLarge},
		"past, undeclared":   {strings.NewReader("0123456789a"), -1, media.ErrTooLarge},
		"more than declared": {strings.NewReader("012"), 2, media.ErrTooLarge},
		"endless":            {iotest.DataErrReader(neverEnding{}), -1, media.ErrTooLarge},
		"broken off":         {io.MultiReader(strings.NewReader("01"), iotest.ErrReader(broken)), -1, broken},
	} {
		content, release, err := p.Read(t.Context(), tt.r, tt.declared)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if err == nil {
			release()
		} else if content != nil {
			t.Errorf("%s: bytes beside an error", name)
		}
	}
	// Whatever happened above, all of the room is free again.
	_, release, err := p.Read(t.Context(), bytes.NewReader(make([]byte, 10)), 10)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// TestAnnouncementsTakeNoRoom opens many large uploads that send nothing: a
// small one goes through between them.
func TestAnnouncementsTakeNoRoom(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) {
		c.MaxBytes, c.TotalBytes, c.QueueWait = 100<<20, 100<<20, 50*time.Millisecond
	})
	var uploads sync.WaitGroup
	defer uploads.Wait()
	for range 50 {
		idle, sender := io.Pipe()
		defer func() { _ = sender.CloseWithError(io.ErrClosedPipe) }() // before the wait
		uploads.Go(func() {
			if _, _, err := p.Read(t.Context(), idle, 100<<20); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%v", err)
			}
		})
		if _, err := sender.Write([]byte("x")); err != nil { // it is being read
			t.Fatal(err)
		}
	}
	_, release, err := p.Read(t.Context(), strings.NewReader("small"), 5)
	if err != nil {
		t.Fatal(err)
	}
	release()
	large := make([]byte, 60<<20)
	content, release, err := p.Read(t.Context(), bytes.NewReader(large), int64(len(large)))
	if err != nil || !bytes.Equal(content, large) {
		t.Fatal(len(content), err)
	}
	release()
}

func TestReadWaitsForRoom(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) {
		c.MaxBytes, c.TotalBytes, c.QueueWait = 10, 15, 20*time.Millisecond
	})
	_, release, err := p.Read(t.Context(), strings.NewReader("0123456789"), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Read(t.Context(), strings.NewReader("0123456789"), 10); !errors.Is(err, media.ErrOverloaded) {
		t.Errorf("%v, want ErrOverloaded", err)
	}
	release()
	_, release, err = p.Read(t.Context(), strings.NewReader("0123456789"), 10)
	if err != nil {
		t.Fatal(err)
	}
	release()
}
