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
		if isTerminal(std.in) {
			if _, err := fmt.Fprintln(std.errors, "reading lines from the terminal, until Ctrl-D"); err != nil {
				return nil, err
			}
		}
		return lineUp(ctx, func(w io.Writer) error {
			_, err := io.Copy(w, std.in)
			return err
		}, std), nil
	}
	name := names[0]
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() { //nolint:gosec // the user's own file
		return lineUp(ctx, func(w io.Writer) error {
			// This waits for somebody who writes.
			f, err := os.Open(name) //nolint:gosec // as above
			if err != nil {
				return err
			}
			_, err = io.Copy(w, f)
			return errors.Join(err, f.Close())
		}, std), nil
	}
	f, err := os.Open(name) //nolint:gosec // as above
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &linesFrom{
		Reader: f, std: std, size: info.Size(), close: func() { _ = f.Close() }, // only read
		again: func() error {
			_, err := f.Seek(0, io.SeekStart)
			return err
		},
	}, nil
}

// lineUp reads from what may never have anything. The end of the context ends that, and
// the read is left behind.
func lineUp(ctx context.Context, read func(io.Writer) error, std streams) *linesFrom {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(read(w)) }() // it cannot fail
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	return &linesFrom{Reader: r, std: std, close: func() {
		stop()
		_ = r.Close() // whoever writes now is told; it cannot fail
	}}
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
	switch {
	case n.Bad == 1:
		err = errors.Join(errors.New("1 line is bad"), err)
	case n.Bad > 1:
		err = errors.Join(fmt.Errorf("%d lines are bad", n.Bad), err)
	}
	return err
}

// report says what an import would have done.
func (l *linesFrom) report(ctx context.Context, n bank.Imported, err error) error {
	err = l.problems(n, err)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("bank import: check: interrupted")
	case err != nil:
		return fmt.Errorf("bank import: would not work: %w", helped(err))
	}
	_, err = fmt.Fprintf(l.std.out, "%s\n", told(n, "would add", "skip", "leave out"))
	return err
}

// told says what became of contents, or would.
func told(n bank.Imported, add, skip, leaveOut string) string {
	out := fmt.Sprintf("%s %d contents", add, n.Added)
	if n.AddedOff > 0 {
		out += fmt.Sprintf(" (%d of them turned off)", n.AddedOff)
	}
	out += fmt.Sprintf(", %s %d that the bank has", skip, n.Skipped)
	if n.SkippedOff > 0 {
		out += fmt.Sprintf(" (%d of them turned off there)", n.SkippedOff)
	}
	if n.Others > 0 {
		out += fmt.Sprintf(", %s %d of other banks", leaveOut, n.Others)
	}
	return out
}
