package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Fetched is one batch of what an exchange has learnt. It is applied as a whole
// or not at all.
type Fetched struct {
	// Bank, unless it is 0, is the number of the bank that the exchange had when
	// the batch was begun. An exchange that has taken its name since has another.
	Bank int64
	// Lease, unless it is zero, is what only its holder may commit with.
	Lease Lease
	// From is the checkpoint that the batch was fetched from, and To the one
	// after it, which may be the same.
	From, To string
	// Recheck makes every source of the exchange pending with this task, before
	// all else, as if it had been tried once: what is new goes first.
	Recheck string
	Put     []SourceContent
	// Removed are keys that the exchange does not bank any more, nor will when work
	// on them ends that is going on. One that it never banked is no error.
	Removed []string
	Pending []Pending
	// Completed tells that all there was has been seen.
	Completed bool
}

// SourceContent is a content that an exchange banks under a key of its own. It
// stays while one of its keys is left. One with the SHA-256 of a content that the
// exchange has already banked becomes one more key of that content, which has
// these signals from then on beside those it had, and this metadata if there is any.
type SourceContent struct {
	Key     string
	Signals []Signal // one at least
	// Metadata is a JSON object as CheckMetadata takes it, or empty.
	Metadata string
	// Named is what is banned by a content without signals, which must be Alone.
	Named Named
	// HashedHere tells that the signals are made by this program's hasher.
	HashedHere bool
	// Alone keeps the content to this key, whatever else has the same SHA-256. If the
	// key has one already, that has these signals and this metadata from then on, and no
	// others. What an operator has decided about such contents of the bank holds for all
	// that come later, under whatever key: one with a signal of one that was dismissed is
	// disabled, and one whose signals all were confirmed is. That one is held, or disabled
	// for a while, holds for a new key with the same signals, if the old one is removed in
	// the same batch.
	Alone bool
}

// Pending is a key that an exchange has seen and not finished with.
type Pending struct {
	Key string
	// Task says what is left to be done; only the API knows its form.
	Task string
	// Since is when the key became pending, and Due when to try again.
	Since, Due time.Time
	Attempts   int
	// Problem is why the last attempt failed.
	Problem string
}

// Commit applies a batch and moves the checkpoint, in one transaction. It fails
// with [ErrLeaseLost], with [ErrExchangeNotFound], also if the exchange is another one
// by now, with [ErrCheckpoint] if the checkpoint is not From any more, and with
// [ErrText] if it holds any but in a Problem. Metadata must be as [CheckMetadata] takes it.
func (s *Store) Commit(ctx context.Context, exchange string, f Fetched) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("commit fetched: %w", err)
	}
	apply := func(tx *sql.Tx, epoch int64) error {
		x, err := f.exchange(ctx, tx, exchange)
		if err != nil {
			return err
		}
		if x.Checkpoint != f.From {
			return ErrCheckpoint
		}
		if _, err := tx.ExecContext(ctx, "UPDATE exchange SET checkpoint = $2, completed = $3 WHERE name = $1",
			exchange, f.To, bit(x.Completed || f.Completed)); err != nil {
			return err
		}
		return f.apply(ctx, tx, x, epoch)
	}
	var err error
	if len(f.Put)+len(f.Removed) > 0 || f.Completed {
		err = s.change(ctx, apply)
	} else {
		err = s.write(ctx, func(tx *sql.Tx) error { return apply(tx, 0) })
	}
	if err != nil {
		return fmt.Errorf("commit fetched: %w", err)
	}
	return nil
}

// Resolve applies how work on a pending key has ended, unless it is not pending
// any more as it was when the work began, with that task and since then: then
// something newer was decided about it. The key stays pending only if f says so.
// The checkpoint does not move. It fails with [ErrLeaseLost] and
// [ErrExchangeNotFound] as Commit does.
func (s *Store) Resolve(ctx context.Context, exchange string, p Pending, f Fetched) error {
	if err := errors.Join(f.check(), checkTexts(p.Key, p.Task)); err != nil {
		return fmt.Errorf("resolve pending: %w", err)
	}
	apply := func(tx *sql.Tx, epoch int64) error {
		x, err := f.exchange(ctx, tx, exchange)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM pending WHERE exchange = $1 AND key = $2 AND task = $3 AND since = $4",
			exchange, p.Key, p.Task, p.Since.UnixMilli())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n == 0 || err != nil {
			return err
		}
		return f.apply(ctx, tx, x, epoch)
	}
	var err error
	if len(f.Put)+len(f.Removed) > 0 {
		err = s.change(ctx, apply)
	} else {
		err = s.write(ctx, func(tx *sql.Tx) error { return apply(tx, 0) })
	}
	if err != nil {
		return fmt.Errorf("resolve pending: %w", err)
	}
	return nil
}

// check refuses what bans nothing.
func (c SourceContent) check() error {
	if c.Named == (Named{}) {
		return checkSignals(c.Signals)
	}
	if len(c.Signals) > 0 || !c.Alone {
		return ErrNamed
	}
	return c.Named.check()
}

// check refuses what no store takes.
func (f Fetched) check() error {
	texts := append([]string{f.To, f.Recheck}, f.Removed...)
	for _, c := range f.Put {
		if err := errors.Join(c.check(), CheckMetadata(c.Metadata)); err != nil {
			return err
		}
		texts = append(texts, c.Key)
	}
	for _, p := range f.Pending {
		texts = append(texts, p.Key, p.Task)
	}
	return checkTexts(texts...)
}

// exchange finds the exchange that the batch is for, once it is sure that the batch
// may be applied.
func (f Fetched) exchange(ctx context.Context, tx *sql.Tx, name string) (Exchange, error) {
	if err := f.Lease.holdsIfAny(ctx, tx); err != nil {
		return Exchange{}, err
	}
	x, err := findExchange(ctx, tx, name)
	if err == nil && f.Bank != 0 && f.Bank != x.Bank.ID {
		err = ErrExchangeNotFound
	}
	return x, err
}

func (f Fetched) apply(ctx context.Context, tx *sql.Tx, x Exchange, epoch int64) error {
	if f.Recheck != "" {
		_, err := tx.ExecContext(ctx, `INSERT INTO pending (exchange, key, task, since, attempts, due, problem)
			SELECT exchange, key, CAST($2 AS TEXT), CAST($3 AS BIGINT), 1, CAST($3 AS BIGINT), '' FROM source WHERE exchange = $1 ON CONFLICT (exchange, key) DO NOTHING`,
			x.Name, f.Recheck, time.Now().UnixMilli())
		if err != nil {
			return err
		}
	}
	decided, err := decisions(ctx, tx, x, f)
	if err != nil {
		return err
	}
	for _, c := range f.Put {
		if err := putSource(ctx, tx, x, c, decided, epoch); err != nil {
			return err
		}
	}
	for _, key := range f.Removed {
		if err := dropSource(ctx, tx, x.Name, key, epoch); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM pending WHERE exchange = $1 AND key = $2", x.Name, key); err != nil {
			return err
		}
	}
	for _, p := range f.Pending {
		_, err := tx.ExecContext(ctx, `INSERT INTO pending (exchange, key, task, since, attempts, due, problem) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (exchange, key) DO UPDATE SET task = excluded.task, since = excluded.since, attempts = excluded.attempts, due = excluded.due, problem = excluded.problem`,
			x.Name, p.Key, p.Task, p.Since.UnixMilli(), p.Attempts, p.Due.UnixMilli(), shown(p.Problem))
		if err != nil {
			return err
		}
	}
	return nil
}

// CountUntried counts the pending keys of an exchange that nothing has been tried
// about.
func (s *Store) CountUntried(ctx context.Context, exchange string) (int, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM pending WHERE exchange = $1 AND attempts = 0", exchange).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count pending: %w", err)
	}
	return n, nil
}

// Pending lists what is due at a time, at most so many: what was not tried before
// first, then the longest due.
func (s *Store) Pending(ctx context.Context, exchange string, at time.Time, most int) (list []Pending, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT key, task, since, attempts, due, problem FROM pending
		WHERE exchange = $1 AND due <= $2 ORDER BY attempts, due, key LIMIT $3`, exchange, at.UnixMilli(), most)
	if err != nil {
		return nil, fmt.Errorf("list pending: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p Pending
		var since, due int64
		if err := rows.Scan(&p.Key, &p.Task, &since, &p.Attempts, &due, &p.Problem); err != nil {
			return nil, fmt.Errorf("list pending: %w", err)
		}
		p.Since, p.Due = time.UnixMilli(since), time.UnixMilli(due)
		list = append(list, p)
	}
	return list, rows.Err()
}
