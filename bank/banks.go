package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const bankColumns = "id, name, ratio, md5_enforce, monitor, allow, agree, breaker"

// row is one row of a result, alone or among others.
type row interface{ Scan(into ...any) error }

func scanBank(r row) (Bank, error) {
	var b Bank
	var flags bankFlags
	err := r.Scan(flags.into(&b)...)
	flags.set(&b)
	return b, err
}

// bankFlags are the columns of a bank that stores keep as numbers.
type bankFlags struct{ md5Enforce, monitor, allow int64 }

// into are where to scan bankColumns to, before set.
func (f *bankFlags) into(b *Bank) []any {
	return []any{&b.ID, &b.Name, &b.Ratio, &f.md5Enforce, &f.monitor, &f.allow, &b.Agree, &b.Breaker}
}

func (f *bankFlags) set(b *Bank) {
	b.MD5Enforce, b.Monitor, b.Allow = f.md5Enforce != 0, f.monitor != 0, f.allow != 0
}

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Banks lists all banks in the order they were made.
func (s *Store) Banks(ctx context.Context) ([]Bank, error) { return listBanks(ctx, s.db) }

func listBanks(ctx context.Context, q queryer) (banks []Bank, err error) {
	rows, err := q.QueryContext(ctx, "SELECT "+bankColumns+" FROM bank ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("list banks: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		b, err := scanBank(rows)
		if err != nil {
			return nil, fmt.Errorf("list banks: %w", err)
		}
		banks = append(banks, b)
	}
	return banks, rows.Err()
}

// Bank returns the bank of that name, or [ErrBankNotFound].
func (s *Store) Bank(ctx context.Context, name string) (Bank, error) {
	return findBank(ctx, s.db, name)
}

func findBank(ctx context.Context, q queryer, name string) (Bank, error) {
	if !isText(name) {
		return Bank{}, ErrBankNotFound
	}
	b, err := scanBank(q.QueryRowContext(ctx, "SELECT "+bankColumns+" FROM bank WHERE name = $1", name))
	if errors.Is(err, sql.ErrNoRows) {
		return Bank{}, ErrBankNotFound
	}
	if err != nil {
		return Bank{}, fmt.Errorf("find bank: %w", err)
	}
	return b, nil
}

// CreateBank makes an empty bank and returns it with its number. It fails with
// [ErrBankName], [ErrRatio], [ErrSettings] or [ErrBankExists].
func (s *Store) CreateBank(ctx context.Context, b Bank) (Bank, error) {
	if err := b.validate(); err != nil {
		return Bank{}, err
	}
	err := s.change(ctx, func(tx *sql.Tx, _ int64) error {
		return insertBank(ctx, tx, &b)
	})
	if err != nil {
		return Bank{}, fmt.Errorf("create bank: %w", err)
	}
	return b, nil
}

// insertBank gives a bank its number.
func insertBank(ctx context.Context, tx *sql.Tx, b *Bank) error {
	var err error
	if b.ID, err = count(ctx, tx, "bank_id"); err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, "INSERT INTO bank ("+bankColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
		b.ID, b.Name, b.Ratio, bit(b.MD5Enforce), bit(b.Monitor), bit(b.Allow), b.Agree, b.Breaker)
	if err != nil {
		return err
	}
	return oneRow(res, ErrBankExists)
}

// Settings holds the properties of a bank to change; nil ones stay.
type Settings struct {
	Name       *string
	Ratio      *float64
	MD5Enforce *bool
	Monitor    *bool
	Allow      *bool
	Agree      *int
	Breaker    *int
}

// Change returns a bank with them.
func (u Settings) Change(b Bank) Bank {
	set(&b.Name, u.Name)
	set(&b.Ratio, u.Ratio)
	set(&b.MD5Enforce, u.MD5Enforce)
	set(&b.Monitor, u.Monitor)
	set(&b.Allow, u.Allow)
	set(&b.Agree, u.Agree)
	set(&b.Breaker, u.Breaker)
	return b
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// UpdateBank changes a bank and returns what it became. It fails with
// [ErrBankNotFound], with [ErrNeverRead] as SetMonitor does, or as CreateBank does.
func (s *Store) UpdateBank(ctx context.Context, name string, u Settings) (Bank, error) {
	var b Bank
	err := s.change(ctx, func(tx *sql.Tx, _ int64) error {
		var err error
		if b, err = findBank(ctx, tx, name); err != nil {
			return err
		}
		if u.Name != nil && *u.Name != b.Name {
			if _, err := findBank(ctx, tx, *u.Name); err == nil {
				return ErrBankExists
			} else if !errors.Is(err, ErrBankNotFound) {
				return err
			}
		}
		monitored := b.Monitor
		b = u.Change(b)
		if err := b.validate(); err != nil {
			return err
		}
		if monitored && !b.Monitor {
			x, err := queryExchange(ctx, tx, " WHERE b.name = $1", name)
			if err == nil {
				err = x.mayBlock()
			}
			if err != nil && !errors.Is(err, ErrExchangeNotFound) {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE bank SET name = $2, ratio = $3, md5_enforce = $4, monitor = $5, allow = $6, agree = $7, breaker = $8
			WHERE id = $1`, b.ID, b.Name, b.Ratio, bit(b.MD5Enforce), bit(b.Monitor), bit(b.Allow), b.Agree, b.Breaker)
		return err
	})
	if err != nil {
		return Bank{}, fmt.Errorf("update bank: %w", err)
	}
	return b, nil
}

// DeleteBank removes a bank with all its contents. A bank that does not exist
// is no error.
func (s *Store) DeleteBank(ctx context.Context, name string) error {
	if !isText(name) {
		return nil
	}
	err := s.change(ctx, func(tx *sql.Tx, _ int64) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM bank WHERE name = $1", name)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete bank: %w", err)
	}
	return nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// oneRow returns none if a statement changed no row.
func oneRow(res sql.Result, none error) error {
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}
