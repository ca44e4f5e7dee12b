package bank

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// engine is what differs between the databases. All else is one SQL text.
type engine interface {
	// prepare makes a transaction the only one that changes the schema, gives it
	// all the time it needs, and makes room for tables if there is none.
	prepare(ctx context.Context, tx *sql.Tx) error
	// unhurried lets a transaction that reads take its time.
	unhurried(ctx context.Context, tx *sql.Tx) error
	// tables names the tables, and whatever else takes their names.
	tables(ctx context.Context, q queryer) ([]string, error)
	// spell makes the engine's statements of a migration.
	spell(migration string) string
	// now is an expression: the database's clock, in Unix milliseconds.
	now() string
	// oneWriter tells whether all who write wait for one another, whatever they write.
	oneWriter() bool
}

const sqliteScheme = "sqlite:"

var postgresSchemes = []string{"postgres://", "postgresql://"}

// CheckLocation tells whether Open knows what a URL means. The error does not
// repeat it: it may hold a password.
func CheckLocation(location string) error {
	if path, ok := strings.CutPrefix(location, sqliteScheme); ok && path != "" {
		return nil
	}
	if isPostgres(location) {
		_, err := postgresConfig(location)
		return err
	}
	return errors.New("the URL must be sqlite: and a path, or postgres:// with a server and a database")
}

func isPostgres(location string) bool {
	return slices.ContainsFunc(postgresSchemes, func(scheme string) bool { return strings.HasPrefix(location, scheme) })
}

// AddPassword puts a password into a URL for Open that has none. Files hold no
// password that could be asked for: with theirs it fails.
func AddPassword(location, password string) (string, error) {
	if !isPostgres(location) {
		return "", errors.New("only the URL of a PostgreSQL server can have a password")
	}
	_, rest, _ := strings.Cut(location, "://")
	rest, query, hasQuery := strings.Cut(rest, "?")
	user, _, _ := strings.Cut(rest, "@")
	parameters, err := url.ParseQuery(query)
	if err != nil || strings.Contains(rest, "@") && strings.Contains(user, ":") || parameters.Has("password") {
		return "", errors.New("the URL has a password already")
	}
	separator := "?"
	if hasQuery {
		separator = "&"
	}
	return location + separator + "password=" + strings.ReplaceAll(url.QueryEscape(password), "+", "%20"), nil
}

// names reads a column of them.
func names(ctx context.Context, q queryer, query string, args ...any) ([]string, error) {
	return column[string](ctx, q, query, args...)
}

// column reads one of few values.
func column[T int64 | string](ctx context.Context, q queryer, query string, args ...any) (list []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var value T
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, rows.Err()
}
