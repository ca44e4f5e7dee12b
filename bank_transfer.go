package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"mediagate/bank"
)

// exportBanks writes banks to standard output or to a file, which is whole when it
// is there.
func exportBanks(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("bank export", flag.ContinueOnError)
	all, output := flags.Bool("all", false, ""), flags.String("output", "", "")
	names, err := parseFlags(flags, args, bankUsage)
	if err != nil || *all == (len(names) > 0) {
		return errors.New(bankUsage)
	}
	if f, ok := std.out.(*os.File); ok && *output == "" && isatty.IsTerminal(f.Fd()) {
		return errors.New("bank export: hashes are not for the screen: name a file with --output, or - if they are")
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return fmt.Errorf("bank export: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if *output == "" || *output == "-" {
		_, err = exportTo(ctx, store, std.out, names, std)
		return err
	}
	// Nothing is written over, and nobody else may read it.
	f, err := os.OpenFile(*output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("bank export: %w", err)
	}
	n, err := exportTo(ctx, store, f, names, std)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(*output))
	}
	_, err = fmt.Fprintf(std.out, "exported %d contents\n", n)
	return err
}

func exportTo(ctx context.Context, store *bank.Store, w io.Writer, names []string, std streams) (int64, error) {
	var bar *progressbar.ProgressBar
	n, err := store.Export(ctx, w, names, func(done, all int64) {
		if bar == nil {
			bar = progress(all, "exporting", "contents", std.errors)
		}
		_ = bar.Set64(done) // the export is what counts
	})
	if err != nil {
		return 0, fmt.Errorf("bank %w", interrupted(ctx, "export", err))
	}
	return n, nil
}

// interrupted says what the end of a context is to a user.
func interrupted(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: interrupted", doing)
	}
	return err
}

// importBank banks the lines of a file, or of standard input. A file is read through
// before anything of it is banked.
func importBank(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("bank import", flag.ContinueOnError)
	dry, create, off := flags.Bool("dry-run", false, ""), flags.Bool("create", false, ""), flags.Bool("off", false, "")
	rest, err := parseFlags(flags, args, bankUsage)
	if err != nil || len(rest) < 1 || len(rest) > 2 || *off && !*create {
		return errors.New(bankUsage)
	}
	from, err := openLines(ctx, rest[1:], std)
	if err != nil {
		return fmt.Errorf("bank import: %w", err)
	}
	defer from.close()
	into := bank.Import{Bank: rest[0], Create: *create, Off: *off}
	if from.again != nil && !*dry {
		n, err := bank.CheckImport(ctx, from.reader("checking"), into)
		if err = from.problems(n, err); err != nil {
			return fmt.Errorf("bank import: nothing is imported: %w", interrupted(ctx, "check", err))
		}
		if err := from.again(); err != nil {
			return fmt.Errorf("bank import: %w", err)
		}
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if errors.Is(err, bank.ErrNoStore) && *create {
		if *dry { // what is not there has nothing
			return from.report(bank.CheckImport(ctx, from.reader("checking"), into))
		}
		store, err = bank.Open(ctx, config.DatabaseURL.Reveal())
	}
	if err != nil {
		return fmt.Errorf("bank import: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if *dry {
		return from.report(store.TryImport(ctx, from.reader("checking"), into))
	}
	n, err := store.Import(ctx, from.reader("importing"), into)
	_ = from.bar.Clear() // nothing depends on it
	done := told(n, "added", "skipped", "left out")
	switch {
	case errors.Is(err, bank.ErrBankNotFound):
		return fmt.Errorf("bank %w: --create makes it", err)
	case err != nil:
		return fmt.Errorf("bank %w; before that, %s", interrupted(ctx, "import", err), done)
	}
	_, err = fmt.Fprintln(std.out, done)
	return err
}

// told says what became of contents, or would.
func told(n bank.Imported, add, skip, leaveOut string) string {
	out := fmt.Sprintf("%s %d contents, %s %d that the bank has", add, n.Added, skip, n.Skipped)
	if n.SkippedOff > 0 {
		out += fmt.Sprintf(" (%d of them turned off there)", n.SkippedOff)
	}
	if n.Others > 0 {
		out += fmt.Sprintf(", %s %d of other banks", leaveOut, n.Others)
	}
	return out
}
