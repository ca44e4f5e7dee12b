package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"

	"mediagate/bank"
)

const storeUsage = "usage: mediagate store copy --from URL --to URL"

// storeCommand runs what can be done with stores as a whole. It reads no
// configuration, and repeats no argument: URLs may hold passwords.
func storeCommand(ctx context.Context, args []string, std streams) error {
	if len(args) == 0 || args[0] != "copy" {
		return errors.New(storeUsage)
	}
	flags := flag.NewFlagSet("store copy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	from := flags.String("from", "", "")
	to := flags.String("to", "", "")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 || *from == "" || *to == "" {
		return errors.New(storeUsage)
	}
	for _, side := range []struct{ name, location string }{{"--from", *from}, {"--to", *to}} {
		if err := bank.CheckLocation(side.location); err != nil {
			return fmt.Errorf("store copy: %s: %w", side.name, err)
		}
	}
	var bar *progressbar.ProgressBar
	rows, err := bank.Copy(ctx, *from, *to, func(done, all int64) {
		if bar == nil {
			bar = progress(all, "copying", "rows", std.errors)
		}
		_ = bar.Set64(done) // the copy is what counts
	})
	if err != nil {
		return fmt.Errorf("store copy: nothing is copied: %w", err)
	}
	_, err = fmt.Fprintf(std.out, "copied %d rows\n", rows)
	return err
}
