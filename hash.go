package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"mediagate/media"
)

// fileSignals is one line of the hash command.
type fileSignals struct {
	File     string        `json:"file"`
	PDQ      *string       `json:"pdq"`     // null for what is no picture
	Quality  *int          `json:"quality"` // likewise
	MD5      string        `json:"md5"`
	SHA256   string        `json:"sha256"`
	Width    int           `json:"width"`
	Height   int           `json:"height"`
	Type     string        `json:"type"`
	Variants []fileVariant `json:"variants"`
}

type fileVariant struct {
	Variant string `json:"variant"`
	PDQ     string `json:"pdq"`
	Quality int    `json:"quality"`
}

// hashFiles prints the signals of files in their order, and fails in the end if
// one of them failed, with its name.
func hashFiles(ctx context.Context, config Config, files []string, stdout, stderr io.Writer) error {
	if len(files) == 0 {
		return errors.New("hash: name the files to hash")
	}
	config.Media.QueueWait = time.Hour // nobody else waits for a batch
	pool := newPool(config)
	defer pool.Close()
	bar := progress(int64(len(files)), "hashing", "files", stderr)
	workers := config.Media.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	type outcome struct {
		signals media.Signals
		err     error
	}
	// One slot a file, so that lines come in the order of the arguments; as many
	// in work as there are decoders.
	results := make([]chan outcome, len(files))
	slots := make(chan struct{}, workers)
	for i := range files {
		results[i] = make(chan outcome, 1)
	}
	go func() {
		for i, file := range files {
			slots <- struct{}{}
			go func() {
				s, err := hashFile(ctx, pool, file)
				results[i] <- outcome{s, err}
				<-slots
			}()
		}
	}()
	failed := 0
	out := json.NewEncoder(stdout)
	out.SetEscapeHTML(false)
	for i, file := range files {
		r := <-results[i]
		if err := bar.Add(1); err != nil {
			return fmt.Errorf("hash: show progress: %w", err)
		}
		if r.err != nil {
			failed++
			if _, err := fmt.Fprintf(stderr, "%s: %v\n", file, r.err); err != nil {
				return fmt.Errorf("hash: %w", err)
			}
			continue
		}
		if err := out.Encode(newFileSignals(file, r.signals)); err != nil {
			return fmt.Errorf("hash: print: %w", err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("hash: %d of %d files failed", failed, len(files))
	}
	return nil
}

// progress is a bar on a terminal when there is enough to wait for, and nothing
// otherwise.
func progress(all int64, doing, what string, stderr io.Writer) *progressbar.ProgressBar {
	f, ok := stderr.(*os.File)
	if !ok || all < 10 || !isatty.IsTerminal(f.Fd()) {
		return progressbar.DefaultSilent(all)
	}
	return progressbar.NewOptions64(all, progressbar.OptionSetWriter(stderr), progressbar.OptionSetDescription(doing),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(what), progressbar.OptionClearOnFinish())
}

func hashFile(ctx context.Context, pool *media.Pool, file string) (media.Signals, error) {
	f, err := os.Open(file) //nolint:gosec // the user's own files
	if err != nil {
		return media.Signals{}, err
	}
	defer func() { _ = f.Close() }() // only read
	content, release, err := pool.Read(ctx, f, -1)
	if err != nil {
		return media.Signals{}, err
	}
	defer release()
	s, err := pool.Signals(ctx, content)
	if err == nil && s.Refusal != "" {
		err = fmt.Errorf("the picture cannot be decoded: %s", s.Refusal)
	}
	return s, err
}

func newFileSignals(file string, s media.Signals) fileSignals {
	out := fileSignals{
		File: file, MD5: hex.EncodeToString(s.MD5[:]), SHA256: hex.EncodeToString(s.SHA256[:]),
		Width: s.Width, Height: s.Height, Type: s.Type, Variants: []fileVariant{},
	}
	for i, h := range s.Hashes {
		text := h.PDQ.String()
		if i == 0 {
			out.PDQ, out.Quality = &text, &h.Quality
		}
		out.Variants = append(out.Variants, fileVariant{Variant: h.Variant.String(), PDQ: text, Quality: h.Quality})
	}
	return out
}
