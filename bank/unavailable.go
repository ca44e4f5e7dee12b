package bank

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// passingClasses and passingStates are what PostgreSQL says of itself and not of the
// question: it is about to end or not there yet, has no room, or may not write; and
// of a question that somebody else's stood in the way of.
var (
	passingClasses = []string{"08", "53", "58"}
	passingStates  = []string{"25006", "25P03", "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05"}
)

// IsLocked tells whether an error of a Store is that somebody else's transaction has
// not ended for as long as locks are waited for.
func IsLocked(err error) bool {
	var told *pgconn.PgError
	var file *sqlitedriver.Error
	return errors.As(err, &told) && told.Code == "55P03" || errors.As(err, &file) && file.Code()&0xff == sqlite3.SQLITE_BUSY
}

// IsUnavailable tells whether an error of a Store is about the database, which
// cannot be asked or written to now, and not about what it was asked. The same may
// succeed later. It is false for errors of anything else, those of other
// connections too.
func IsUnavailable(err error) bool {
	var told *pgconn.PgError
	var file *sqlitedriver.Error
	var connection interface{ SafeToRetry() bool } // all of pgconn's errors that the server has not told
	var connect *pgconn.ConnectError
	var ended lost
	switch {
	case errors.As(err, &told): // also of a connection that was refused for another reason
		return slices.Contains(passingStates, told.Code) || len(told.Code) == 5 && slices.Contains(passingClasses, told.Code[:2])
	case errors.As(err, &file):
		code := file.Code() & 0xff
		return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_FULL
	case errors.Is(err, context.Canceled):
		return false
	default:
		return errors.As(err, &connection) || errors.As(err, &ended) || errors.As(err, &connect) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed)
	}
}
