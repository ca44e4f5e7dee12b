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
// these signals from then on beside those it had.
type SourceContent struct {
	Key     string
	Signals []Signal // one at least
	// HashedHere tells that the signals are made by this program's hasher.
	HashedHere bool
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
// [ErrText] if it holds any but in a Problem.
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

// check refuses what no store takes.
func (f Fetched) check() error {
	texts := append([]string{f.To, f.Recheck}, f.Removed...)
	for _, c := range f.Put {
		if err := checkSignals(c.Signals); err != nil {
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
	for _, c := range f.Put {
		if err := putSource(ctx, tx, x, c, epoch); err != nil {
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

// putSource banks a content under a key.
func putSource(ctx context.Context, tx *sql.Tx, x Exchange, c SourceContent, epoch int64) error {
	id, err := adopt(ctx, tx, x, c, epoch)
	if err != nil {
		return err
	}
	if id == 0 {
		id, err = insertContent(ctx, tx, x.Bank, NewContent{}, epoch)
	} else {
		_, err = tx.ExecContext(ctx, "UPDATE content SET epoch = $2 WHERE id = $1", id, epoch)
	}
	if err != nil {
		return err
	}
	if err := putSignals(ctx, tx, id, c.Signals, c.HashedHere); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO source (exchange, key, content) VALUES ($1, $2, $3)
		ON CONFLICT (exchange, key) DO UPDATE SET content = excluded.content`, x.Name, c.Key, id)
	return err
}

// adopt finds the content of the exchange with the same bytes, and returns 0 if
// there is none. The key's earlier content, if it is another one, loses it.
func adopt(ctx context.Context, tx *sql.Tx, x Exchange, c SourceContent, epoch int64) (int64, error) {
	var same, earlier int64
	for _, signal := range c.Signals {
		if signal.Type != SHA256 {
			continue
		}
		err := tx.QueryRowContext(ctx, `SELECT c.id FROM signal s JOIN content c ON c.id = s.content JOIN source o ON o.content = c.id
			WHERE s.value = $1 AND s.type = $2 AND c.bank = $3 AND o.exchange = $4 LIMIT 1`,
			[]byte(signal.Value), string(SHA256), x.Bank.ID, x.Name).Scan(&same)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
	}
	err := tx.QueryRowContext(ctx, "SELECT content FROM source WHERE exchange = $1 AND key = $2", x.Name, c.Key).Scan(&earlier)
	if errors.Is(err, sql.ErrNoRows) || err == nil && earlier == same {
		return same, nil
	}
	if err != nil {
		return 0, err
	}
	return same, dropSource(ctx, tx, x.Name, c.Key, epoch)
}

// dropSource deletes a key, and its content if that was the last one.
func dropSource(ctx context.Context, tx *sql.Tx, exchange, key string, epoch int64) error {
	var id int64
	err := tx.QueryRowContext(ctx, "DELETE FROM source WHERE exchange = $1 AND key = $2 RETURNING content", exchange, key).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, "DELETE FROM content WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM source WHERE content = $1)", id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return err
	}
	return recordRemoval(ctx, tx, id, epoch)
}

// Sources tells which of some keys an exchange banks something under.
func (s *Store) Sources(ctx context.Context, exchange string, keys []string) (map[string]bool, error) {
	known := make(map[string]bool)
	err := s.read(ctx, func(tx *sql.Tx) error {
		for _, key := range keys {
			if known[key] = false; !isText(key) {
				continue
			}
			var found int64
			err := tx.QueryRowContext(ctx, "SELECT 1 FROM source WHERE exchange = $1 AND key = $2", exchange, key).Scan(&found)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			known[key] = err == nil
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find sources: %w", err)
	}
	return known, nil
}

// CountSources counts the keys that an exchange banks something under, and those
// that are pending, with when the oldest became so.
func (s *Store) CountSources(ctx context.Context, exchange string) (sources, pending int, oldest time.Time, err error) {
	var since sql.NullInt64
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM source WHERE exchange = $1),
		(SELECT COUNT(*) FROM pending WHERE exchange = $1), (SELECT MIN(since) FROM pending WHERE exchange = $1)`, exchange).
		Scan(&sources, &pending, &since)
	if err != nil {
		return 0, 0, time.Time{}, fmt.Errorf("count sources: %w", err)
	}
	if since.Valid {
		oldest = time.UnixMilli(since.Int64)
	}
	return sources, pending, oldest, nil
}

// IsHashed tells whether an exchange has banked the content with that SHA-256 by
// more than that.
func (s *Store) IsHashed(ctx context.Context, exchange string, sha256 []byte) (bool, error) {
	var n int64
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM signal s JOIN source o ON o.content = s.content
		WHERE o.exchange = $1 AND s.value = $2 AND s.type = $3
		AND EXISTS (SELECT 1 FROM signal h WHERE h.content = s.content AND h.type = $4)`,
		exchange, sha256, string(SHA256), string(MD5)).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("find content: %w", err)
	}
	return n > 0, nil
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
