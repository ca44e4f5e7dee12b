package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mediagate/bank"
)

// The list that is measured with has a content for each of the numbers from 1, with
// the number as its id and the SHA-256 of the number as its PDQ hash: as random as
// hashes of unrelated pictures, known to all sides, and what PostgreSQL can work out
// by itself.
const listBank = "LIST"

// hashOf is the hash of a number.
func hashOf(n int64) [sha256.Size]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// nearOf is a hash that many bits from that of a number.
func nearOf(n int64, bits int) [sha256.Size]byte {
	h := hashOf(n)
	for i := range bits {
		bit := (int(n) + 37*i) % (8 * len(h)) // 37 has no part in common with 256: all differ
		h[bit/8] ^= 1 << (bit % 8)
	}
	return h
}

// absent is a hash that is in no list: numbers below 0 have no content.
func absent(i int) [sha256.Size]byte { return hashOf(-1 - int64(i)) }

// store returns the URL of a seeded store, which parts share and leave as it is: a
// database of PostgreSQL or a file of SQLite.
func (b *bench) store(ctx context.Context, engine string, hashes int) (string, error) {
	name := fmt.Sprintf("list%d", hashes)
	if engine == "postgres" {
		p, err := b.postgres(ctx)
		if err != nil {
			return "", err
		}
		if p.execute(ctx, name, "SELECT 1") == nil {
			return p.url(name), nil
		}
		b.say("seeding PostgreSQL with %d hashes", hashes)
		// Under another name first, so that a half is not taken for the whole.
		if err := p.execute(ctx, "postgres", "DROP DATABASE IF EXISTS half", "CREATE DATABASE half"); err != nil {
			return "", err
		}
		if err := seed(ctx, "pgx", p.url("half"), p.url("half"), hashes, fillPostgres); err != nil {
			return "", err
		}
		return p.url(name), p.execute(ctx, "postgres", "ALTER DATABASE half RENAME TO "+name)
	}
	dir, half := filepath.Join(b.folder(), "sqlite", name), filepath.Join(b.folder(), "sqlite", "half")
	location := "sqlite:" + filepath.Join(dir, "mediagate.db")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return location, err
	}
	b.say("seeding SQLite with %d hashes", hashes)
	if err := os.RemoveAll(half); err != nil {
		return "", err
	}
	path := filepath.Join(half, "mediagate.db")
	if err := seed(ctx, "sqlite", "sqlite:"+path, "file:"+path+"?_pragma=synchronous(OFF)&_pragma=cache_size(-262144)", hashes, fillSQLite); err != nil {
		return "", err
	}
	return location, os.Rename(half, dir)
}

// seed makes the tables of a store and fills them with the first so many numbers,
// past the program's own ways in, which take changes and not whole stores.
func seed(ctx context.Context, driver, location, source string, hashes int, fill func(context.Context, *sql.DB, int) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("seed %d hashes: %w", hashes, err)
		}
	}()
	store, err := bank.Open(ctx, location)
	if err != nil {
		return err
	}
	_, err = store.CreateBank(ctx, bank.Bank{Name: listBank, Ratio: 1})
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // settings are a connection's
	return fill(ctx, db, hashes)
}

// execAll runs statements one after the other.
func execAll(ctx context.Context, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}

const (
	dropIndex = "DROP INDEX signal_value"
	makeIndex = "CREATE INDEX signal_value ON signal (value, type)"
	nextEpoch = "UPDATE meta SET value = value + 1 WHERE key = 'epoch'"
	// ofList and ofEpoch are what a new content belongs to.
	ofList  = "(SELECT id FROM bank WHERE name = '" + listBank + "')"
	ofEpoch = "(SELECT value FROM meta WHERE key = 'epoch')"
)

// counted sets the counter of contents to the last one.
func counted(last int) string {
	return fmt.Sprintf("UPDATE meta SET value = %d WHERE key = 'content_id'", last)
}

func fillPostgres(ctx context.Context, db *sql.DB, hashes int) error {
	if err := execAll(ctx, db,
		"SET search_path = mediagate",
		"SET maintenance_work_mem = '512MB'",
		"SET session_replication_role = replica", // what is made here refers to what is made here
		dropIndex, nextEpoch,
	); err != nil {
		return err
	}
	if err := execAll(ctx, db, numbersInPostgres(1, hashes)...); err != nil {
		return err
	}
	return execAll(ctx, db, makeIndex, "VACUUM ANALYZE content", "VACUUM ANALYZE signal", "CHECKPOINT")
}

// numbersInPostgres add the contents of some numbers, of the present epoch.
func numbersInPostgres(from, to int) []string {
	return []string{
		fmt.Sprintf(`INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata)
			SELECT n, `+ofList+`, `+ofEpoch+`, 1700000000, %d, '', '' FROM generate_series(%d, %d) n`, bank.Enabled, from, to),
		fmt.Sprintf(`INSERT INTO signal (content, type, variant, value, quality, hasher)
			SELECT n, '%s', 0, sha256(int8send(n)), 100, NULL FROM generate_series(CAST(%d AS BIGINT), %d) n`, bank.PDQ, from, to),
		counted(to),
	}
}

// rowsAtOnce keeps statements short.
const rowsAtOnce = 1000

func fillSQLite(ctx context.Context, db *sql.DB, hashes int) error {
	if err := execAll(ctx, db, dropIndex, "BEGIN", nextEpoch); err != nil {
		return err
	}
	var list, epoch int64
	if err := db.QueryRowContext(ctx, "SELECT "+ofList+", "+ofEpoch).Scan(&list, &epoch); err != nil {
		return err
	}
	for from := 1; from <= hashes; from += rowsAtOnce {
		var contents, signals strings.Builder
		contents.WriteString("INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata) VALUES ")
		signals.WriteString("INSERT INTO signal (content, type, variant, value, quality, hasher) VALUES ")
		for n := from; n < from+rowsAtOnce && n <= hashes; n++ {
			separator := ","
			if n == from {
				separator = ""
			}
			_, _ = fmt.Fprintf(&contents, "%s(%d,%d,%d,1700000000,%d,'','')", separator, n, list, epoch, bank.Enabled)
			_, _ = fmt.Fprintf(&signals, "%s(%d,'%s',0,x'%x',100,NULL)", separator, n, bank.PDQ, hashOf(int64(n)))
		}
		if err := execAll(ctx, db, contents.String(), signals.String()); err != nil {
			return err
		}
	}
	return execAll(ctx, db, counted(hashes), "COMMIT", makeIndex, "PRAGMA wal_checkpoint(TRUNCATE)")
}

// list is a store of PostgreSQL that a part may change.
type list struct {
	server *peer
	name   string
	last   int // number
}

// changeable returns a copy of a seeded store.
func (b *bench) changeable(ctx context.Context, hashes int) (*list, error) {
	if _, err := b.store(ctx, "postgres", hashes); err != nil {
		return nil, err
	}
	l := &list{server: b.database, name: "changed", last: hashes}
	b.say("copying %d hashes", hashes)
	return l, l.server.execute(ctx, "postgres", "DROP DATABASE IF EXISTS "+l.name+" WITH (FORCE)", fmt.Sprintf("CREATE DATABASE %s TEMPLATE list%d", l.name, hashes))
}

func (l *list) url() string { return l.server.url(l.name) }

// change runs statements as one commit of a new epoch, as another process would.
func (l *list) change(ctx context.Context, statements ...string) (err error) {
	db, err := sql.Open("pgx", l.url())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := execAll(ctx, tx, append([]string{"SET LOCAL search_path = mediagate", nextEpoch}, statements...)...); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// swapSize is one more than an index takes without being built anew.
const swapSize = 10_001

// grow adds as many numbers as make an index be built anew, and returns the last.
func (l *list) grow(ctx context.Context) (last int64, err error) {
	from := l.last + 1
	l.last += swapSize
	return int64(l.last), l.change(ctx, numbersInPostgres(from, l.last)...)
}

// ban adds a content that is known by its SHA-256.
func (l *list) ban(ctx context.Context, content []byte) error {
	l.last++
	return l.change(ctx,
		fmt.Sprintf("INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata) VALUES (%d, "+ofList+", "+ofEpoch+", 1700000000, %d, '', '')", l.last, bank.Enabled),
		fmt.Sprintf(`INSERT INTO signal (content, type, variant, value, quality, hasher) VALUES (%d, '%s', 0, '\x%x', NULL, NULL)`, l.last, bank.SHA256, sha256.Sum256(content)),
		counted(l.last))
}
