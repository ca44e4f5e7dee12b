package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile makes a file that is whole when it is there, and on the disk, for nobody
// else to read. It writes over nothing.
func writeFile(name string, write func(io.Writer) error) error {
	if _, err := os.Lstat(name); err == nil { // now, and not after all was written
		return fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	folder := filepath.Dir(name)
	f, err := os.CreateTemp(folder, ".mediagate-export-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), name) // which fails if somebody else was quicker
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return err
	}
	return syncFolder(folder)
}

// syncFolder keeps the names in a folder.
func syncFolder(name string) error {
	f, err := os.Open(name) //nolint:gosec // the user's own
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writeUntil writes to what may never take it. Then the end of the context ends that,
// and the write is left behind.
func writeUntil(ctx context.Context, out io.Writer, write func(io.Writer) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, r)
		_ = r.CloseWithError(err) // whoever writes is told; this cannot fail
		written <- err
	}()
	stop := context.AfterFunc(ctx, func() { _ = r.CloseWithError(ctx.Err()) })
	defer stop()
	if err := write(w); err != nil {
		_ = w.CloseWithError(err) // it cannot fail, and what was written so far is no whole
		return err
	}
	_ = w.Close() // likewise
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
