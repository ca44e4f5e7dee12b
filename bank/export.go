package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// OpenExisting opens a store that is there, and of this program's version: it makes
// no store, and changes no schema. It fails with [ErrNoStore], or as [Open] does.
func OpenExisting(ctx context.Context, location string) (*Store, error) {
	s, err := openSource(ctx, location)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

// exportStep is how many contents are written between two reports of progress.
const exportStep = 1000

// Export writes the contents of the named banks, or of all if there is no name, as
// lines that Import reads, in the order of their numbers, and returns how many. They
// are those of one moment, however long it takes, and what is held of them does not
// grow with their number. progress is told how many of how many are done.
//
// What was written before an error has no last line, by which it is told from a whole
// export. It fails with [ErrBankNotFound]. Contents that name items or servers, and
// have no signals, are left out: there is no line for them. A note or metadata that earlier programs took
// and Import does not is written as a text in the metadata.
func (s *Store) Export(ctx context.Context, w io.Writer, names []string, progress func(done, all int64)) (contents int64, err error) {
	out := newLineWriter(w)
	err = s.read(ctx, func(tx *sql.Tx) error {
		if err := s.engine.unhurried(ctx, tx); err != nil {
			return err
		}
		banks, err := chooseBanks(ctx, tx, names)
		if err != nil {
			return err
		}
		if err := out.begin(banks); err != nil {
			return err
		}
		return exportBanks(ctx, tx, out, banks, progress)
	})
	if err == nil {
		err = out.end()
	}
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	return out.records, nil
}

// chooseBanks returns the named banks, or all, each once, in the order of their
// numbers.
func chooseBanks(ctx context.Context, tx *sql.Tx, names []string) ([]Bank, error) {
	all, err := listBanks(ctx, tx)
	if err != nil || len(names) == 0 {
		return all, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(b Bank) bool { return b.Name == name }) {
			return nil, fmt.Errorf("%w: %q", ErrBankNotFound, name)
		}
	}
	return slices.DeleteFunc(all, func(b Bank) bool { return !slices.Contains(names, b.Name) }), nil
}

func exportBanks(ctx context.Context, tx *sql.Tx, out *lineWriter, banks []Bank, progress func(done, all int64)) error {
	if len(banks) == 0 {
		return nil
	}
	byID := make(map[int64]string)
	var ids []string
	for _, b := range banks {
		byID[b.ID] = b.Name
		ids = append(ids, fmt.Sprint(b.ID))
	}
	in := strings.Join(ids, ", ")
	var all int64
	if err := tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT COUNT(*) FROM content c WHERE c.bank IN (%s)
		AND NOT EXISTS (SELECT 1 FROM named n WHERE n.content = c.id)`, in)).Scan(&all); err != nil {
		return err
	}
	// The sum keeps engines from using the index of the banks, and sorting.
	rows, err := tx.QueryContext(ctx, fmt.Sprintf(`SELECT c.id, c.bank, c.created, c.disable_until, c.note, c.metadata, s.type, s.variant, s.value, s.quality, s.hasher
		FROM content c JOIN signal s ON s.content = c.id WHERE c.bank + 0 IN (%s) ORDER BY c.id, s.type, s.variant`, in))
	if err != nil {
		return err
	}
	err = eachRecord(rows, byID, func(r *record) error {
		if err := out.record(r); err != nil {
			return err
		}
		if out.records%exportStep == 0 || out.records == all {
			progress(out.records, all)
		}
		return nil
	})
	if err = errors.Join(err, rows.Close()); err != nil {
		return err
	}
	if out.records != all {
		return fmt.Errorf("%d contents have become %d", all, out.records)
	}
	return nil
}

// eachRecord puts rows together that are of one content.
func eachRecord(rows *sql.Rows, banks map[int64]string, do func(*record) error) error {
	var r record
	for rows.Next() {
		var next record
		var inBank int64
		var s madeSignal
		var value []byte
		var quality, hasher sql.NullInt64
		if err := rows.Scan(&next.id, &inBank, &next.created, &next.disableUntil, &next.note, &next.metadata,
			&s.Type, &s.Variant, &value, &quality, &hasher); err != nil {
			return err
		}
		if next.id != r.id {
			if r.id != 0 {
				if err := do(&r); err != nil {
					return err
				}
			}
			next.bank = banks[inBank]
			r = next
		}
		s.Value, s.Quality, s.hasher = string(value), NoQuality, hasher.Int64
		if quality.Valid {
			s.Quality = int(quality.Int64)
		}
		r.signals = append(r.signals, s)
	}
	if err := rows.Err(); err != nil || r.id == 0 {
		return err
	}
	return do(&r)
}
