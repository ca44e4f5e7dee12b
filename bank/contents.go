package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mediagate/media"
)

// Source says on whose behalf a content is banked: an exchange, and the key
// that the exchange knows it by.
type Source struct{ Exchange, Key string }

// NewContent is a content to be banked.
type NewContent struct {
	Bank     string
	Signals  []Signal // one at least
	Note     string
	Metadata string // a JSON object, or empty
	// Source is nil for contents that people add: they stay until they are
	// removed. Contents of an exchange stay while one of its sources is left,
	// and one with the SHA-256 of a content that the exchange has already banked
	// becomes one more source of that content, which has these signals from then
	// on beside those it had.
	Source *Source
	// HashedHere tells that the signals are made by this program's hasher.
	HashedHere bool
}

// AddContent banks a content and returns its number. It fails with
// [ErrBankNotFound].
func (s *Store) AddContent(ctx context.Context, c NewContent) (id int64, err error) {
	if len(c.Signals) == 0 {
		return 0, fmt.Errorf("add content: %w: there is none", ErrMalformedSignal)
	}
	type place struct {
		kind    SignalType
		variant media.Variant
	}
	taken := make(map[place]bool)
	for _, signal := range c.Signals {
		if n := signal.Type.size(); n == 0 || n != len(signal.Value) {
			return 0, fmt.Errorf("add content: %w of type %s", ErrMalformedSignal, signal.Type)
		}
		at := place{signal.Type, signal.Variant}
		if taken[at] {
			return 0, fmt.Errorf("add content: %w: two of type %s", ErrMalformedSignal, signal.Type)
		}
		taken[at] = true
	}
	err = s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		b, err := findBank(ctx, tx, c.Bank)
		if err != nil {
			return err
		}
		if c.Source != nil {
			if id, err = adopt(ctx, tx, b, c, epoch); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE content SET epoch = $2 WHERE id = $1", id, epoch); err != nil {
				return err
			}
		}
		if id == 0 {
			if id, err = insertContent(ctx, tx, b, c, epoch); err != nil {
				return err
			}
		}
		if err := putSignals(ctx, tx, id, c); err != nil {
			return err
		}
		if c.Source == nil {
			return nil
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO source (exchange, key, content) VALUES ($1, $2, $3)
			ON CONFLICT (exchange, key) DO UPDATE SET content = excluded.content`, c.Source.Exchange, c.Source.Key, id)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("add content: %w", err)
	}
	return id, nil
}

// adopt finds the content of the exchange with the same bytes, and returns 0 if
// there is none. The key's earlier content, if it is another one, loses it.
func adopt(ctx context.Context, tx *sql.Tx, b Bank, c NewContent, epoch int64) (int64, error) {
	var same, earlier int64
	for _, signal := range c.Signals {
		if signal.Type != SHA256 {
			continue
		}
		err := tx.QueryRowContext(ctx, `SELECT c.id FROM signal s JOIN content c ON c.id = s.content JOIN source o ON o.content = c.id
			WHERE s.value = $1 AND s.type = $2 AND c.bank = $3 AND o.exchange = $4 LIMIT 1`,
			[]byte(signal.Value), string(SHA256), b.ID, c.Source.Exchange).Scan(&same)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
	}
	err := tx.QueryRowContext(ctx, "SELECT content FROM source WHERE exchange = $1 AND key = $2", c.Source.Exchange, c.Source.Key).Scan(&earlier)
	if errors.Is(err, sql.ErrNoRows) || err == nil && earlier == same {
		return same, nil
	}
	if err != nil {
		return 0, err
	}
	_, err = dropSource(ctx, tx, *c.Source, epoch)
	return same, err
}

func insertContent(ctx context.Context, tx *sql.Tx, b Bank, c NewContent, epoch int64) (int64, error) {
	id, err := count(ctx, tx, "content_id")
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, id, b.ID, epoch, time.Now().Unix(), Enabled, c.Note, c.Metadata)
	return id, err
}

// putSignals stores the signals of a content, over those it has.
func putSignals(ctx context.Context, tx *sql.Tx, id int64, c NewContent) error {
	for _, signal := range c.Signals {
		quality, hasher := any(signal.Quality), any(nil)
		if signal.Quality == NoQuality {
			quality = nil
		}
		if c.HashedHere {
			hasher = media.HasherVersion
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO signal (content, type, variant, value, quality, hasher) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (content, type, variant) DO UPDATE SET value = excluded.value, quality = excluded.quality, hasher = excluded.hasher`,
			id, string(signal.Type), int64(signal.Variant), []byte(signal.Value), quality, hasher)
		if err != nil {
			return err
		}
	}
	return nil
}

// Content returns a content of the named bank with its signals. It fails with
// [ErrBankNotFound] or [ErrContentNotFound], the latter also for a content of
// another bank.
func (s *Store) Content(ctx context.Context, bank string, id int64) (Content, error) {
	var c Content
	err := s.read(ctx, func(tx *sql.Tx) error {
		var err error
		c, err = findContent(ctx, tx, bank, id)
		return err
	})
	if err != nil {
		return Content{}, fmt.Errorf("find content: %w", err)
	}
	return c, nil
}

func findContent(ctx context.Context, q queryer, bank string, id int64) (c Content, err error) {
	if c.Bank, err = findBank(ctx, q, bank); err != nil {
		return Content{}, err
	}
	c.ID = id
	err = q.QueryRowContext(ctx, "SELECT disable_until, note, metadata FROM content WHERE id = $1 AND bank = $2", id, c.Bank.ID).
		Scan(&c.DisableUntil, &c.Note, &c.Metadata)
	if errors.Is(err, sql.ErrNoRows) {
		return Content{}, ErrContentNotFound
	}
	if err != nil {
		return Content{}, err
	}
	rows, err := q.QueryContext(ctx, "SELECT type, variant, value, quality FROM signal WHERE content = $1 ORDER BY type, variant", id)
	if err != nil {
		return Content{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var signal Signal
		var value []byte
		var quality sql.NullInt64
		if err := rows.Scan(&signal.Type, &signal.Variant, &value, &quality); err != nil {
			return Content{}, err
		}
		signal.Value, signal.Quality = string(value), NoQuality
		if quality.Valid {
			signal.Quality = int(quality.Int64)
		}
		c.Signals = append(c.Signals, signal)
	}
	return c, rows.Err()
}

// ContentUpdate holds the properties of a content to change; nil ones stay.
type ContentUpdate struct {
	DisableUntil *int64
	Note         *string
}

// UpdateContent changes a content of the named bank and returns what it became.
// It fails as Content does.
func (s *Store) UpdateContent(ctx context.Context, bank string, id int64, u ContentUpdate) (c Content, err error) {
	update := func(tx *sql.Tx, epoch int64) error {
		if c, err = findContent(ctx, tx, bank, id); err != nil {
			return err
		}
		if u.Note != nil {
			c.Note = *u.Note
			if _, err := tx.ExecContext(ctx, "UPDATE content SET note = $2 WHERE id = $1", id, c.Note); err != nil {
				return err
			}
		}
		if u.DisableUntil == nil {
			return nil
		}
		c.DisableUntil = *u.DisableUntil
		_, err := tx.ExecContext(ctx, "UPDATE content SET disable_until = $2, epoch = $3 WHERE id = $1", id, c.DisableUntil, epoch)
		return err
	}
	if u.DisableUntil != nil {
		err = s.change(ctx, update)
	} else {
		err = s.write(ctx, func(tx *sql.Tx) error { return update(tx, 0) })
	}
	if err != nil {
		return Content{}, fmt.Errorf("update content: %w", err)
	}
	return c, nil
}

// DeleteContent removes a content of the named bank, whatever its sources, and
// tells whether there was one. It fails with [ErrBankNotFound].
func (s *Store) DeleteContent(ctx context.Context, bank string, id int64) (deleted bool, err error) {
	err = s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		b, err := findBank(ctx, tx, bank)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM content WHERE id = $1 AND bank = $2", id, b.ID)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if deleted = n > 0; !deleted || err != nil {
			return err
		}
		return recordRemoval(ctx, tx, id, epoch)
	})
	if err != nil {
		return false, fmt.Errorf("delete content: %w", err)
	}
	return deleted, nil
}

// RemoveSource takes back what an exchange banked under a key. The content goes
// with its last source; removed tells whether it went. A key that is not known is
// no error.
func (s *Store) RemoveSource(ctx context.Context, source Source) (removed bool, err error) {
	err = s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		var err error
		removed, err = dropSource(ctx, tx, source, epoch)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("remove source: %w", err)
	}
	return removed, nil
}

// dropSource deletes a source, and its content if that was the last one, and
// tells whether the content went.
func dropSource(ctx context.Context, tx *sql.Tx, source Source, epoch int64) (bool, error) {
	var id int64
	err := tx.QueryRowContext(ctx, "DELETE FROM source WHERE exchange = $1 AND key = $2 RETURNING content", source.Exchange, source.Key).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, "DELETE FROM content WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM source WHERE content = $1)", id)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return false, err
	}
	return true, recordRemoval(ctx, tx, id, epoch)
}

func recordRemoval(ctx context.Context, tx *sql.Tx, id, epoch int64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO removed (content, epoch) VALUES ($1, $2)", id, epoch)
	return err
}
