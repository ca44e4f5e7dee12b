package bank

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// sqliteConnections is how many readers of a file there are at once, and the
// writer.
const sqliteConnections = 16

// openSQLite opens a file, and makes one that is readable by this user only.
func openSQLite(path string) (*sql.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// SQLite gives its own files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	options := url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "busy_timeout(10000)"},
		// A transaction that may write takes the lock first: one that read and
		// then wants to write could only fail.
		"_txlock": {"immediate"},
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(sqliteConnections)
	return db, nil
}

// sqlite needs no preparations: whoever begins to write holds the file's lock.
type sqlite struct{}

func (sqlite) prepare(context.Context, *sql.Tx) error { return nil }

func (sqlite) unhurried(context.Context, *sql.Tx) error { return nil }

func (sqlite) tables(ctx context.Context, q queryer) ([]string, error) {
	return names(ctx, q, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
}

func (sqlite) spell(migration string) string { return migration }
