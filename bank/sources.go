package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// putSource banks a content under a key. decided is what decisions has found.
func putSource(ctx context.Context, tx *sql.Tx, x Exchange, c SourceContent, decided map[string]int64, epoch int64) error {
	find := adopt
	if c.Alone {
		find = own
	}
	id, err := find(ctx, tx, x, c, epoch)
	if err != nil {
		return err
	}
	switch {
	case id == 0:
		id, err = insertContent(ctx, tx, x.Bank, NewContent{Metadata: c.Metadata}, epoch)
		if from, ok := decided[identityOf(c.Signals, c.Named)]; ok && c.Alone && err == nil {
			err = inherit(ctx, tx, from, id)
		}
	case c.Alone:
		err = replaceContent(ctx, tx, id, c, epoch)
	default:
		_, err = tx.ExecContext(ctx, "UPDATE content SET epoch = $2, metadata = CASE CAST($3 AS TEXT) WHEN '' THEN metadata ELSE CAST($3 AS TEXT) END WHERE id = $1",
			id, epoch, c.Metadata)
	}
	if err != nil {
		return err
	}
	if err := putSignals(ctx, tx, id, c.Signals, c.HashedHere); err != nil {
		return err
	}
	if c.Alone {
		if err := c.Named.put(ctx, tx, id); err != nil {
			return err
		}
		if err := recall(ctx, tx, x.Bank.ID, id, c, epoch); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO source (exchange, key, content, alone) VALUES ($1, $2, $3, $4)
		ON CONFLICT (exchange, key) DO UPDATE SET content = excluded.content, alone = excluded.alone`, x.Name, c.Key, id, bit(c.Alone))
	return err
}

// replaceContent empties a content that is to have other signals, and gives it other
// metadata. That it blocks for good was decided about the signals that it had; that it
// does not block stays: who writes a list must not be able to undo it.
func replaceContent(ctx context.Context, tx *sql.Tx, id int64, c SourceContent, epoch int64) error {
	if _, err := tx.ExecContext(ctx, "UPDATE content SET metadata = $2 WHERE id = $1", id, c.Metadata); err != nil {
		return err
	}
	has, err := signalsOf(ctx, tx, id)
	if err != nil {
		return err
	}
	named, err := namedBy(ctx, tx, id)
	if err != nil || identityOf(has, named) == identityOf(c.Signals, c.Named) {
		return err
	}
	for _, statement := range []string{"DELETE FROM signal WHERE content = $1", "DELETE FROM review WHERE content = $1 AND confirmed = 1"} {
		if _, err := tx.ExecContext(ctx, statement, id); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE content SET epoch = $2 WHERE id = $1", id, epoch)
	return err
}

// own finds the content that a key has to itself, and returns 0 if there is none. One
// that it shares with others is theirs.
func own(ctx context.Context, tx *sql.Tx, x Exchange, c SourceContent, epoch int64) (id int64, err error) {
	var keys int64
	err = tx.QueryRowContext(ctx, `SELECT content, (SELECT COUNT(*) FROM source o WHERE o.content = s.content) FROM source s
		WHERE exchange = $1 AND key = $2`, x.Name, c.Key).Scan(&id, &keys)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil || keys == 1 {
		return id, err
	}
	return 0, dropSource(ctx, tx, x.Name, c.Key, epoch)
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
			WHERE s.value = $1 AND s.type = $2 AND c.bank = $3 AND o.exchange = $4 AND o.alone = 0 LIMIT 1`,
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

// SourceKeys lists all keys that an exchange banks something under, sorted. An
// exchange that does not exist has none.
func (s *Store) SourceKeys(ctx context.Context, exchange string) ([]string, error) {
	if !isText(exchange) {
		return nil, nil
	}
	keys, err := names(ctx, s.db, "SELECT key FROM source WHERE exchange = $1", exchange)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	slices.Sort(keys)
	return keys, nil
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
