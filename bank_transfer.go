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
	"mediagate/exchange"
)

// exportBanks writes banks to standard output or to a file.
func exportBanks(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("bank export", flag.ContinueOnError)
	all, output := flags.Bool("all", false, ""), flags.String("output", "", "")
	names, err := parseFlags(flags, args, bankUsage)
	switch {
	case err != nil:
		return err
	case *all && len(names) > 0:
		return misused(flags, "there are names beside --all", bankUsage)
	case !*all && len(names) == 0:
		return misused(flags, "it needs the names of banks, or --all", bankUsage)
	}
	if *output == "" && isTerminal(std.out) {
		return errors.New("bank export: hashes are not for the screen: name a file with --output, or - if they are")
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return fmt.Errorf("bank export: %w", interrupted(ctx, "open store", err))
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var n int64
	var failed error
	write := func(w io.Writer) error {
		n, failed = exportTo(ctx, store, w, names, std)
		return failed
	}
	toFile := *output != "" && *output != "-"
	if toFile {
		err = writeFile(*output, write)
	} else {
		err = writeUntil(ctx, std.out, write)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("bank export: interrupted")
	case failed != nil:
		return fmt.Errorf("bank %w", err) // of an export, it says itself
	case err != nil:
		return fmt.Errorf("bank export: %w", err)
	case toFile:
		_, err = fmt.Fprintf(std.out, "exported %d contents\n", n)
	}
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
	if err != nil && bar != nil {
		_ = bar.Clear() // likewise
	}
	return n, err
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
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
	switch {
	case err != nil:
		return err
	case len(rest) < 1 || len(rest) > 2:
		return misused(flags, "it needs the name of a bank, and takes one file", bankUsage)
	case *off && !*create:
		return misused(flags, "--off is for a bank that --create makes", bankUsage)
	case *create && rest[0] == exchange.HomeserverExchange:
		return fmt.Errorf("bank import: %s is the bank that the homeserver's exchange makes, and cannot if there is one: import under another name", rest[0])
	}
	into := bank.Import{Bank: rest[0], Create: *create, Off: *off}
	if err := into.Validate(); err != nil {
		return fmt.Errorf("bank import: %w", err)
	}
	from, err := openLines(ctx, rest[1:], std)
	if err != nil {
		return fmt.Errorf("bank import: %w", err)
	}
	defer from.close()
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
			n, err := bank.CheckImport(ctx, from.reader("checking"), into)
			return from.report(ctx, n, err)
		}
		store, err = bank.Open(ctx, config.DatabaseURL.Reveal())
	}
	if err != nil {
		return fmt.Errorf("bank import: %w", interrupted(ctx, "open store", err))
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if *dry {
		n, err := store.TryImport(ctx, from.reader("checking"), into)
		return from.report(ctx, n, err)
	}
	n, err := store.Import(ctx, from.reader("importing"), into)
	_ = from.bar.Clear() // nothing depends on it
	done := told(n, "added", "skipped", "left out")
	switch {
	case errors.Is(err, bank.ErrBankNotFound):
		return fmt.Errorf("bank %w", helped(err))
	case err != nil:
		return fmt.Errorf("bank %w; before that, %s", interrupted(ctx, "import", err), done)
	}
	_, err = fmt.Fprintln(std.out, done)
	return err
}

// helped says what can be done about an error of an import.
func helped(err error) error {
	if errors.Is(err, bank.ErrBankNotFound) {
		return fmt.Errorf("%w: --create makes it", err)
	}
	return err
}
