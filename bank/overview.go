package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Census is a bank, and how much is in it.
type Census struct {
	Bank
	Contents int64
	// Signals counts those of each type that there are of, all variants.
	Signals map[SignalType]int64
	// Exchange is the name of the one that feeds it, empty for none.
	Exchange string
}

// CountBanks lists all banks in the order they were made, with what they hold at one
// moment. It looks at every signal.
func (s *Store) CountBanks(ctx context.Context) (list []Census, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		if err := s.engine.unhurried(ctx, tx); err != nil {
			return err
		}
		banks, err := listBanks(ctx, tx)
		if err != nil {
			return err
		}
		places := make(map[int64]*Census)
		list = make([]Census, len(banks))
		for i, b := range banks {
			list[i] = Census{Bank: b, Signals: make(map[SignalType]int64)}
			places[b.ID] = &list[i]
		}
		for _, query := range []string{
			"SELECT bank, '', COUNT(*) FROM content GROUP BY bank",
			"SELECT c.bank, s.type, COUNT(*) FROM content c JOIN signal s ON s.content = c.id GROUP BY c.bank, s.type",
		} {
			if err := countInto(ctx, tx, query, places); err != nil {
				return err
			}
		}
		return feedersInto(ctx, tx, places)
	})
	if err != nil {
		return nil, fmt.Errorf("count banks: %w", err)
	}
	return list, nil
}

// countInto reads numbers by bank and type; those of no type are of contents.
func countInto(ctx context.Context, tx *sql.Tx, query string, banks map[int64]*Census) (err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id, n int64
		var kind SignalType
		if err := rows.Scan(&id, &kind, &n); err != nil {
			return err
		}
		if kind == "" {
			banks[id].Contents = n
		} else {
			banks[id].Signals[kind] = n
		}
	}
	return rows.Err()
}

func feedersInto(ctx context.Context, tx *sql.Tx, banks map[int64]*Census) (err error) {
	rows, err := tx.QueryContext(ctx, "SELECT bank, name FROM exchange")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		banks[id].Exchange = name
	}
	return rows.Err()
}
