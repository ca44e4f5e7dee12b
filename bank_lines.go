package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"

	"mediagate/bank"
)

// linesFrom is what is imported.
type linesFrom struct {
	io.Reader
	std  streams
	size int64 // 0 if it is not known
	// again goes back to the beginning; nil if nothing can.
	again func() error
	close func()
	bar   *progressbar.ProgressBar
}

// openLines opens a file, or standard input if none or - is named.
func openLines(ctx context.Context, names []string, std streams) (*linesFrom, error) {
	if len(names) == 0 || names[0] == "-" {
		// A read that nobody answers must not keep the program from ending.
		r, w := io.Pipe()
		go func() {
			_, err := io.Copy(w, std.in)
			_ = w.CloseWithError(err) // it cannot fail
		}()
		stop := context.AfterFunc(ctx, func() { _ = r.CloseWithError(ctx.Err()) })
		return &linesFrom{Reader: r, std: std, close: func() { stop() }}, nil
	}
	f, err := os.Open(names[0])
	if err != nil {
		return nil, err
	}
	from := &linesFrom{Reader: f, std: std, close: func() { _ = f.Close() }} // only read
	info, err := f.Stat()
	if err != nil {
		from.close()
		return nil, err
	}
	if info.Mode().IsRegular() {
		from.size = info.Size()
		from.again = func() error {
			_, err := f.Seek(0, io.SeekStart)
			return err
		}
	}
	return from, nil
}

// reader reads from it, and shows how far if that can be told.
func (l *linesFrom) reader(doing string) io.Reader {
	l.bar = progress(l.size, doing, "bytes", l.std.errors)
	if l.size == 0 {
		return l.Reader
	}
	r := progressbar.NewReader(l.Reader, l.bar)
	return &r
}

// problems prints what is wrong with lines.
func (l *linesFrom) problems(n bank.Imported, err error) error {
	_ = l.bar.Clear() // nothing depends on it
	for _, p := range n.Problems {
		if _, err := fmt.Fprintln(l.std.errors, p); err != nil {
			return err
		}
	}
	if more := n.Bad - int64(len(n.Problems)); more > 0 {
		if _, err := fmt.Fprintf(l.std.errors, "and %d more\n", more); err != nil {
			return err
		}
	}
	if n.Bad > 0 {
		err = errors.Join(fmt.Errorf("%d lines are bad", n.Bad), err)
	}
	return err
}

// report says what an import would have done.
func (l *linesFrom) report(n bank.Imported, err error) error {
	if err := l.problems(n, err); err != nil {
		return fmt.Errorf("bank import: would not work: %w", err)
	}
	_, err = fmt.Fprintf(l.std.out, "%s\n", told(n, "would add", "skip", "leave out"))
	return err
}
