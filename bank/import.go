package bank

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Import says what to do with the lines of an export or a list.
type Import struct {
	// Bank is where the contents go. Of an export of several banks those of the bank
	// of that name are taken; if it is of one bank, its name is of no account.
	Bank string
	// Create makes the bank if there is none: as the export has it, or for a list as
	// a bank that is on and has MD5Enforce.
	Create bool
	// Off makes it a bank that is off, and refuses one that is there and on.
	Off bool
}

// Imported counts what became of contents.
type Imported struct {
	// AddedOff of Added are turned off, or until some time.
	Added, AddedOff int64
	// Skipped is how many the bank has already, with the same signals and no others.
	// They stay as they are: SkippedOff of them are turned off there, and not in what
	// was read. One that is both in what was read, off and on, is added as both.
	Skipped, SkippedOff int64
	// Others is how many are of other banks of the export.
	Others int64
	// Bad is how many lines cannot be read, and Problems what is wrong with the first
	// twenty of them.
	Bad      int64
	Problems []*LineError
}

const maxProblems = 20

// Errors of Import.
var (
	// ErrFed: contents of such a bank belong to the sources of the exchange.
	ErrFed = errors.New("the bank is fed by an exchange, which owns its contents")
	// ErrBankRemoved: contents were put there before.
	ErrBankRemoved = errors.New("the bank was removed meanwhile")
	// ErrOn: it was to be off.
	ErrOn = errors.New("the bank is there, and on")
	// ErrAllowed: what is harmless in one would block in the other, or the other way
	// round.
	ErrAllowed   = errors.New("of the export's bank and this one, one has pictures that are allowed, and the other one those that are not")
	errOtherBank = errors.New("it names another bank")
)

// A transaction takes as many contents, and bytes of them, as keep others who write
// waiting for a moment only.
const (
	importContents = 1000
	importBytes    = 1 << 20
)

// Validate fails with [ErrBankName] if it is to make a bank that cannot be.
func (x Import) Validate() error {
	if !x.Create {
		return nil
	}
	return Bank{Name: x.Bank}.validate()
}

// Import banks what r holds, many contents in one commit: lines as Export writes
// them, or a list in its plainest form. What it has counted as added or skipped is
// there, even if it fails later; to go on, it is done again. It ends with a
// [LineError] at the first line that is not as it must be, and with [ErrCutOff] or
// [ErrDamaged] if an export is not whole, after all that comes before is banked. It
// keeps 32 bytes of each content that is off, and else what it writes at once.
//
// It fails with [ErrNoLine], [ErrBankNotFound], [ErrBankName], [ErrFed], [ErrOn],
// [ErrAllowed] and [ErrBankRemoved].
func (s *Store) Import(ctx context.Context, r io.Reader, x Import) (Imported, error) {
	return (&importer{Import: x, put: s.putBatch}).run(ctx, r)
}

// TryImport counts what Import would do, and writes nothing. It goes on after lines
// that are bad. A content that r holds twice, far apart, counts as added twice.
func (s *Store) TryImport(ctx context.Context, r io.Reader, x Import) (Imported, error) {
	return (&importer{Import: x, put: s.tryBatch, all: true}).run(ctx, r)
}

// CheckImport is TryImport without a store to compare with: nothing is skipped.
func CheckImport(ctx context.Context, r io.Reader, x Import) (Imported, error) {
	count := func(_ context.Context, _ *target, batch []*record, n *Imported) error {
		now := time.Now()
		for _, r := range batch {
			n.count(enabledAt(r.disableUntil, now), true, false)
		}
		return nil
	}
	return (&importer{Import: x, put: count, all: true}).run(ctx, r)
}

// importer reads lines, and passes on what is for the bank.
type importer struct {
	Import
	// put banks contents, and counts them.
	put func(ctx context.Context, t *target, batch []*record, n *Imported) error
	// all lets it go on after lines that are bad.
	all   bool
	lines *lineReader
	// banks are those of the export, and from the one whose contents are taken.
	banks map[string]bool
	from  string
	n     Imported
}

func (i *importer) run(ctx context.Context, r io.Reader) (Imported, error) {
	if err := i.Validate(); err != nil {
		return i.n, fmt.Errorf("import: %w", err)
	}
	i.lines = newLineReader(r)
	for into := (*target)(nil); ; {
		batch, end := i.batch(ctx)
		// What came before a bad line is banked, and a bank made that is to be empty.
		if len(batch) > 0 || into == nil && errors.Is(end, io.EOF) {
			if into == nil { // the beginning was read
				into = i.target()
			}
			began := time.Now()
			if err := i.put(ctx, into, batch, &i.n); err != nil {
				return i.n, fmt.Errorf("import: %w", err)
			}
			// Who waits for a lock of SQLite looks now and then whether it is free.
			pause(ctx, time.Since(began)/4)
		}
		if errors.Is(end, io.EOF) {
			return i.n, nil
		}
		if end != nil {
			return i.n, fmt.Errorf("import: %w", end)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (i *importer) target() *target {
	b := Bank{Ratio: 1, MD5Enforce: true}
	if h := i.lines.header; h != nil {
		b = h.banks[slices.IndexFunc(h.banks, func(b Bank) bool { return b.Name == i.from })]
	}
	if i.Off {
		b.Ratio = 0
	}
	b.Name = i.Bank
	return &target{Bank: b, create: i.Create, off: i.Off, exported: i.lines.header != nil, turnedOff: make(map[[sha256.Size]byte]turnedOff)}
}

// batch reads contents for one commit. With an error it returns what came before,
// unless the context has ended.
func (i *importer) batch(ctx context.Context) (batch []*record, err error) {
	for size := 0; len(batch) < importContents && size < importBytes; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := i.lines.next()
		if h := i.lines.header; h != nil && i.from == "" {
			if err := i.chooseFrom(h.banks); err != nil {
				return nil, err
			}
		}
		if err == nil {
			err = i.choose(&r)
		}
		var bad *LineError
		if errors.As(err, &bad) {
			i.n.Bad++
			if len(i.n.Problems) < maxProblems {
				i.n.Problems = append(i.n.Problems, bad)
			}
			if i.all {
				continue
			}
		}
		if err != nil {
			return batch, err
		}
		if r != nil {
			batch, size = append(batch, r), size+len(r.note)+len(r.metadata)
		}
	}
	return batch, nil
}

// choose takes a content away that is not for the bank.
func (i *importer) choose(r **record) error {
	named := (*r).bank
	if i.lines.header == nil {
		if named != "" && named != i.Bank {
			return &LineError{i.lines.number, errOtherBank}
		}
		return nil
	}
	if named == "" && len(i.banks) == 1 {
		named = i.from
	}
	if !i.banks[named] {
		return &LineError{i.lines.number, errors.New("it names no bank of the export")}
	}
	if named != i.from {
		i.n.Others++
		*r = nil
	}
	return nil
}

// chooseFrom says which bank of an export is wanted.
func (i *importer) chooseFrom(banks []Bank) error {
	var names []string
	i.banks = make(map[string]bool)
	for _, b := range banks {
		if len(banks) == 1 || b.Name == i.Bank {
			i.from = b.Name
		}
		names = append(names, b.Name)
		i.banks[b.Name] = true
	}
	switch {
	case len(banks) == 0:
		return errors.New("the export holds no bank")
	case i.from == "":
		return fmt.Errorf("the export holds %s, and not %s", strings.Join(names, ", "), i.Bank)
	}
	return nil
}
