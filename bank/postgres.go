package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"
)

const (
	// postgresSchema keeps our tables apart from those of others: HMA's own, which
	// this program takes the place of, have some of their names.
	postgresSchema = "mediagate"
	// postgresConnections is how many a process has at most. A server as it is
	// installed has 100 for all.
	postgresConnections = 8
	// connectPatience is how long one address may take to answer, and deadPeer how
	// long what was sent to it may stay unacknowledged.
	connectPatience, deadPeer = 5 * time.Second, 15 * time.Second
)

// postgresLimits are settings of each connection, unless the URL has others.
var postgresLimits = map[string]string{
	// Writers wait for one another, all others for nobody.
	"lock_timeout": "10s",
	// A process that was stopped in the middle of writing keeps the others waiting.
	"idle_in_transaction_session_timeout": "10s",
	// Enough to remove a bank of millions.
	"statement_timeout": "10min",
}

// postgresSession is what each connection begins with. What was committed must
// survive a crash of the server, and what nobody waits for any more must end, which
// not every server can find out.
const postgresSession = `SELECT set_config('search_path', '` + postgresSchema + `', false),
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END,
	CASE WHEN CAST(current_setting('server_version_num') AS INTEGER) >= 140000 AND version() LIKE '%linux%'
		THEN set_config('client_connection_check_interval', '5s', false) END`

// sessionStatement sets the limits, too. Sent along with the password they would be
// refused by poolers.
func sessionStatement(given map[string]string) string {
	statement := postgresSession
	for _, name := range slices.Sorted(maps.Keys(postgresLimits)) {
		if _, ok := given[name]; !ok {
			statement += ", set_config('" + name + "', '" + postgresLimits[name] + "', false)"
		}
	}
	return statement
}

// postgresConfig reads a URL. What is wrong with one is not told: whatever cannot
// be read may be part of a password.
func postgresConfig(location string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(location)
	if err != nil {
		return nil, errors.New("the PostgreSQL URL cannot be read: is a parameter wrong, or a character other than letters and digits not written as %XX?")
	}
	if _, given := config.RuntimeParams["search_path"]; given {
		return nil, fmt.Errorf("the PostgreSQL URL must not set search_path: the tables are in schema %s", postgresSchema)
	}
	if _, given := config.RuntimeParams["application_name"]; !given {
		config.RuntimeParams["application_name"] = "mediagate"
	}
	config.DialFunc = newPatience((&net.Dialer{
		Timeout:         connectPatience,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadPeer, Interval: 5 * time.Second, Count: 3},
		Control:         limitSilence,
	}).DialContext).connect
	return config, nil
}

// limitSilence ends connections to a machine that is gone. By default the system
// goes on sending to it for a quarter of an hour.
func limitSilence(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	controlled := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadPeer.Milliseconds()))
	})
	return errors.Join(controlled, err)
}

func openPostgres(location string) (*sql.DB, error) {
	config, err := postgresConfig(location)
	if err != nil {
		return nil, err
	}
	session := sessionStatement(config.RuntimeParams)
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		if encoding := c.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
			return fmt.Errorf("the database has the encoding %s, and must have UTF8", encoding)
		}
		_, err := c.Exec(ctx, session)
		return err
	}))
	db.SetMaxOpenConns(postgresConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

type postgres struct{}

var textType = regexp.MustCompile(`\bTEXT\b`)

// migrationLock is a number that nobody else should have thought of.
const migrationLock = 0x6d65646961676174

// prepare takes a lock of its own, because creating a schema that is being
// created fails.
func (p postgres) prepare(ctx context.Context, tx *sql.Tx) error {
	if err := p.unhurried(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return err
	}
	// Read from the table: what functions say may be remembered from before the
	// lock, and wrong since.
	var schemas int64
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM pg_namespace WHERE nspname = $1", postgresSchema).Scan(&schemas); err != nil || schemas > 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, "CREATE SCHEMA "+postgresSchema); err != nil {
		return fmt.Errorf("create schema %s, which an administrator can do with CREATE SCHEMA %s AUTHORIZATION and this user: %w", postgresSchema, postgresSchema, err)
	}
	return nil
}

func (postgres) unhurried(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
	return err
}

func (postgres) tables(ctx context.Context, q queryer) ([]string, error) {
	return names(ctx, q, "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = '"+postgresSchema+"' AND relkind <> 'i' ORDER BY relname")
}

// spell lets texts be ordered by their bytes, as SQLite does. The order of a
// locale may change with the system's libraries, and then indexes are wrong.
func (postgres) spell(migration string) string {
	return textType.ReplaceAllString(migration, `TEXT COLLATE "C"`)
}

// now is the time at which it is asked for, and not that at which the transaction or
// the statement began: either may have waited.
func (postgres) now() string {
	return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
}

func (postgres) oneWriter() bool { return false }
