package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// versionTable tells stores from databases of others.
const versionTable = "schema_version"

var errForeign = errors.New("it holds tables, and they are not mediagate's")

// migrate brings the schema to this program's version. Versions above it were
// written by a newer program and are refused. A store that needs nothing is not
// written to.
func (s *Store) migrate(ctx context.Context) error {
	version, err := s.version(ctx, s.db)
	if err != nil || version == len(migrations) {
		return err
	}
	return s.transact(ctx, func(tx *sql.Tx) error { return s.migrateIn(ctx, tx) })
}

// migrateIn is migrate in a transaction. Of several processes that begin at once
// one does the work.
func (s *Store) migrateIn(ctx context.Context, tx *sql.Tx) error {
	if err := s.engine.prepare(ctx, tx); err != nil {
		return err
	}
	version, err := s.version(ctx, tx)
	if err != nil {
		return err
	}
	if version == 0 {
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+versionTable+" (version BIGINT NOT NULL)"); err != nil {
			return err
		}
	}
	for ; version < len(migrations); version++ {
		if _, err := tx.ExecContext(ctx, s.engine.spell(migrations[version])); err != nil {
			return fmt.Errorf("migrate schema to version %d: %w", version+1, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+versionTable+" (version) VALUES ($1)", version+1); err != nil {
			return err
		}
	}
	return nil
}

// version returns the version of the schema, and 0 if there is none. It refuses
// what this program must not touch.
func (s *Store) version(ctx context.Context, q queryer) (int, error) {
	tables, err := s.engine.tables(ctx, q)
	if err != nil || len(tables) == 0 {
		return 0, err
	}
	if !slices.Contains(tables, versionTable) {
		return 0, errForeign
	}
	version := 0
	if err := q.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM "+versionTable).Scan(&version); err != nil {
		return 0, err
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("its schema has version %d, this program knows %d: use a newer mediagate", version, len(migrations))
	}
	return version, nil
}
