package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	driver "modernc.org/sqlite" // the database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteConnections is how many readers of a file there are at once, and the
// writer.
const sqliteConnections = 16

// sqliteBusy is how long a lock is waited for.
const sqliteBusy = 10 * time.Second

// openSQLite opens a file, and makes one that is readable by this user only.
func openSQLite(ctx context.Context, path string) (*sql.DB, error) {
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
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", fmt.Sprintf("busy_timeout(%d)", sqliteBusy.Milliseconds())},
		// A transaction that may write takes the lock first: one that read and
		// then wants to write could only fail.
		"_txlock": {"immediate"},
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(sqliteConnections)
	return db, awaitSQLite(ctx, db)
}

// awaitSQLite waits until others have made a new file what they want. While one of
// them turns WAL mode on, the rest are refused, whatever busy_timeout says.
func awaitSQLite(ctx context.Context, db *sql.DB) error {
	for deadline := time.Now().Add(sqliteBusy); ; {
		err := db.PingContext(ctx)
		var refused *driver.Error
		if err == nil || !errors.As(err, &refused) || refused.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sqlite needs no preparations: whoever begins to write holds the file's lock.
type sqlite struct{}

func (sqlite) prepare(context.Context, *sql.Tx) error { return nil }

func (sqlite) unhurried(context.Context, *sql.Tx) error { return nil }

func (sqlite) tables(ctx context.Context, q queryer) ([]string, error) {
	return names(ctx, q, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
}

func (sqlite) spell(migration string) string { return migration }

func (sqlite) now() string { return "CAST(unixepoch('subsec') * 1000 AS INTEGER)" }

func (sqlite) oneWriter() bool { return true }
