package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// tables are all that a store keeps, those that others refer to first. The
// version of the schema is not data: the program that reads a store makes it. Nor is
// what processes tell one another while they run, in lease and snapshot: another
// store has other processes, and a snapshot of its own. Its past is the same, up to
// here: its epochs go on from there, and mean what they meant.
var tables = []string{"meta", "bank", "decision", "content", "signal", "named", "review", "source", "removed", "past", "exchange", "pending", "credential", "publication"}

// Errors of Copy.
var (
	ErrNoStore  = errors.New("there is no store")
	ErrNotEmpty = errors.New("the store is not empty")
)

// Copy copies all that one store holds, as it is at one moment, into another that
// holds nothing, and returns how many rows that were. progress is told how many of
// how many are done, from time to time. It copies all or nothing: with an error, and
// when it is interrupted, the target is what it was.
//
// It fails with [ErrNoStore] and [ErrNotEmpty], and with [ErrText] if the source
// holds such a text from before those were refused. Errors tell no password.
func Copy(ctx context.Context, from, to string, progress func(done, all int64)) (rows int64, err error) {
	source, err := openSource(ctx, from)
	if err != nil {
		return 0, fmt.Errorf("open the store to copy from: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	created, err := isNewFile(to)
	if err != nil {
		return 0, fmt.Errorf("open the store to copy to: %w", err)
	}
	target, err := connect(ctx, to)
	if err != nil {
		return 0, fmt.Errorf("open the store to copy to: %w", err)
	}
	err = source.read(ctx, func(in *sql.Tx) error {
		if err := source.engine.unhurried(ctx, in); err != nil {
			return err
		}
		return target.transact(ctx, func(out *sql.Tx) error {
			if err := target.migrateIn(ctx, out); err != nil {
				return fmt.Errorf("open the store to copy to: %w", err)
			}
			rows, err = copyTables(ctx, in, out, progress)
			return err
		})
	})
	err = errors.Join(err, target.Close())
	if err != nil && created {
		err = errors.Join(err, removeFiles(to))
	}
	return rows, err
}

// openSource opens a store that is there, and of this program's version. It is not
// written to.
func openSource(ctx context.Context, location string) (*Store, error) {
	if missing, err := isNewFile(location); err != nil {
		return nil, err
	} else if missing {
		return nil, ErrNoStore
	}
	s, err := connect(ctx, location)
	if err != nil {
		return nil, err
	}
	version, err := s.version(ctx, s.db)
	switch {
	case err != nil:
	case version == 0:
		err = ErrNoStore
	case version < len(migrations):
		err = fmt.Errorf("its schema has version %d and not %d: serve it with this program once", version, len(migrations))
	default:
		return s, nil
	}
	return nil, errors.Join(err, s.Close())
}

// isNewFile tells whether a URL names a file that is not there.
func isNewFile(location string) (bool, error) {
	path, isFile := strings.CutPrefix(location, sqliteScheme)
	if !isFile {
		return false, CheckLocation(location)
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, CheckLocation(location)
	}
	return false, err
}

// removeFiles deletes a file that was made in vain, and what SQLite puts beside it.
func removeFiles(location string) (err error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if e := os.Remove(strings.TrimPrefix(location, sqliteScheme) + suffix); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func copyTables(ctx context.Context, in, out *sql.Tx, progress func(done, all int64)) (rows int64, err error) {
	if err := lock(ctx, out); err != nil {
		return 0, err
	}
	counts := make(map[string]int64)
	var all int64
	for _, table := range tables {
		there, err := countRows(ctx, out, table)
		if err != nil {
			return 0, err
		}
		if there > 0 && table != "meta" {
			return 0, ErrNotEmpty
		}
		if counts[table], err = countRows(ctx, in, table); err != nil {
			return 0, err
		}
		all += counts[table]
	}
	// A store that was used and emptied has given numbers that must not be given
	// again: somebody may know them.
	var used int64
	if err := out.QueryRowContext(ctx, "SELECT COUNT(*) FROM meta WHERE value > 0").Scan(&used); err != nil {
		return 0, err
	}
	if used > 0 {
		return 0, ErrNotEmpty
	}
	for _, table := range tables {
		if err := copyTable(ctx, in, out, table, func(n int) { rows += int64(n); progress(rows, all) }); err != nil {
			return 0, fmt.Errorf("copy table %s: %w", table, err)
		}
	}
	for _, table := range tables {
		there, err := countRows(ctx, out, table)
		if err != nil {
			return 0, err
		}
		if there != counts[table] {
			return 0, fmt.Errorf("copy table %s: %d rows have become %d", table, counts[table], there)
		}
	}
	return rows, nil
}

func countRows(ctx context.Context, q queryer, table string) (n int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&n)
	return n, err
}

// copyTable writes all rows of a table, many at once.
func copyTable(ctx context.Context, in, out *sql.Tx, table string, wrote func(rows int)) (err error) {
	rows, err := in.QueryContext(ctx, "SELECT * FROM "+table) //nolint:gosec // one of ours
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	insert := newInsertion(table, columns)
	values := make([]any, 0, insert.most*len(columns))
	write := func() error {
		n := len(values) / len(columns)
		if n == 0 {
			return nil
		}
		if err := insert.exec(ctx, out, values); err != nil {
			return err
		}
		values = values[:0]
		wrote(n)
		return nil
	}
	row := make([]any, len(columns))
	for rows.Next() {
		values = append(values, row...) // room for one more
		into := values[len(values)-len(columns):]
		for i := range into {
			row[i] = &into[i]
		}
		if err := rows.Scan(row...); err != nil {
			return err
		}
		clear(row)
		for i, value := range into {
			if text, ok := value.(string); ok && !isText(text) {
				if columns[i] != "problem" {
					return fmt.Errorf("column %s: %w", columns[i], ErrText)
				}
				into[i] = shown(text)
			}
		}
		if len(values) == cap(values) {
			if err := write(); err != nil {
				return err
			}
		}
	}
	return errors.Join(rows.Err(), write())
}
