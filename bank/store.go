package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// Store keeps banks durably. What a method has returned without error survives
// a crash of the process and of the machine; what it has not returned is there
// wholly or not at all. It is safe for concurrent use.
type Store struct {
	db *sql.DB
	// writing holds the one right to write. Writers of other processes are waited
	// for by the database, which is not fair among many.
	writing chan struct{}
	// committed has room for one notice that the epoch has grown.
	committed chan struct{}
}

// maxConnections is how many readers there are at once, and the writer.
const maxConnections = 16

const sqliteScheme = "sqlite:"

// CheckLocation tells whether Open knows what a URL means. The error does not
// repeat it: it may hold a password.
func CheckLocation(location string) error {
	if path, ok := strings.CutPrefix(location, sqliteScheme); !ok || path == "" {
		return errors.New("the URL must be sqlite: and a path")
	}
	return nil
}

// Open opens the store at a URL, sqlite: and a path, and creates it if there is
// none, readable by this user only.
func Open(ctx context.Context, location string) (*Store, error) {
	if err := CheckLocation(location); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path := strings.TrimPrefix(location, sqliteScheme)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// SQLite gives its own files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's path
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	options := url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "busy_timeout(10000)"},
		// A transaction that may write takes the lock first: one that read and
		// then wants to write could only fail.
		"_txlock": {"immediate"},
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db.SetMaxOpenConns(maxConnections)
	s := &Store{db: db, writing: make(chan struct{}, 1), committed: make(chan struct{}, 1)}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), db.Close())
	}
	return s, nil
}

// Close waits for running calls and closes the store.
func (s *Store) Close() error { return s.db.Close() }

// migrate brings the schema to this program's version. Versions above it were
// written by a newer program and are refused.
func (s *Store) migrate(ctx context.Context) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)"); err != nil {
			return err
		}
		version := 0
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_version").Scan(&version); err != nil {
			return err
		}
		if version > len(migrations) {
			return fmt.Errorf("its schema has version %d, this program knows %d: use a newer mediagate", version, len(migrations))
		}
		for ; version < len(migrations); version++ {
			if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
				return fmt.Errorf("migrate schema to version %d: %w", version+1, err)
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES ($1)", version+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// write runs do in a transaction that nobody else writes beside.
func (s *Store) write(ctx context.Context, do func(tx *sql.Tx) error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// read runs do in a transaction that sees one state throughout.
func (s *Store) read(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	return errors.Join(do(tx), tx.Rollback())
}

// change is write for what changes matching: it counts the epoch up, first, so
// that the epoch's row is the lock on every engine, and notifies the Indexer.
func (s *Store) change(ctx context.Context, do func(tx *sql.Tx, epoch int64) error) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		epoch, err := count(ctx, tx, "epoch")
		if err != nil {
			return err
		}
		return do(tx, epoch)
	})
	if err != nil {
		return err
	}
	select {
	case s.committed <- struct{}{}:
	default: // one notice is enough for all
	}
	return nil
}

// count adds one to a counter of table meta and returns it.
func count(ctx context.Context, tx *sql.Tx, key string) (int64, error) {
	var n int64
	err := tx.QueryRowContext(ctx, "UPDATE meta SET value = value + 1 WHERE key = $1 RETURNING value", key).Scan(&n)
	return n, err
}

// Epoch returns the number of the last commit that changed matching. What was
// committed before the call is matched from that epoch on; see [Live.Wait].
func (s *Store) Epoch(ctx context.Context) (int64, error) {
	var epoch int64
	if err := s.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'epoch'").Scan(&epoch); err != nil {
		return 0, fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}
