package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mediagate/media"
)

// NewContent is a content to be banked.
type NewContent struct {
	Bank     string
	Signals  []Signal // one at least
	Note     string
	Metadata string // a JSON object, or empty
	// HashedHere tells that the signals are made by this program's hasher.
	HashedHere bool
}

// AddContent banks a content and returns its number. It stays until it is
// removed. It fails with [ErrBankNotFound], [ErrText] or [ErrNote], or as
// [CheckMetadata] does.
func (s *Store) AddContent(ctx context.Context, c NewContent) (id int64, err error) {
	if err := errors.Join(checkSignals(c.Signals), CheckNote(c.Note), CheckMetadata(c.Metadata)); err != nil {
		return 0, fmt.Errorf("add content: %w", err)
	}
	err = s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		b, err := findBank(ctx, tx, c.Bank)
		if err != nil {
			return err
		}
		if id, err = insertContent(ctx, tx, b, c, epoch); err != nil {
			return err
		}
		return putSignals(ctx, tx, id, c.Signals, c.HashedHere)
	})
	if err != nil {
		return 0, fmt.Errorf("add content: %w", err)
	}
	return id, nil
}

// checkSignals refuses signals that a content cannot have.
func checkSignals(signals []Signal) error {
	if len(signals) == 0 {
		return fmt.Errorf("%w: there is none", ErrMalformedSignal)
	}
	type place struct {
		kind    SignalType
		variant media.Variant
	}
	taken := make(map[place]bool)
	for _, signal := range signals {
		if n := signal.Type.size(); n == 0 || n != len(signal.Value) {
			return fmt.Errorf("%w of type %s", ErrMalformedSignal, signal.Type)
		}
		at := place{signal.Type, signal.Variant}
		if taken[at] {
			return fmt.Errorf("%w: two of type %s", ErrMalformedSignal, signal.Type)
		}
		taken[at] = true
	}
	return nil
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
func putSignals(ctx context.Context, tx *sql.Tx, id int64, signals []Signal, hashedHere bool) error {
	for _, signal := range signals {
		quality, hasher := any(signal.Quality), any(nil)
		if signal.Quality == NoQuality {
			quality = nil
		}
		if hashedHere {
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
	if err == nil {
		c.Signals, err = signalsOf(ctx, q, id)
	}
	if err != nil {
		return Content{}, err
	}
	return c, nil
}

// signalsOf returns the signals of a content.
func signalsOf(ctx context.Context, q queryer, id int64) (signals []Signal, err error) {
	rows, err := q.QueryContext(ctx, "SELECT type, variant, value, quality FROM signal WHERE content = $1 ORDER BY type, variant", id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var signal Signal
		var value []byte
		var quality sql.NullInt64
		if err := rows.Scan(&signal.Type, &signal.Variant, &value, &quality); err != nil {
			return nil, err
		}
		signal.Value, signal.Quality = string(value), NoQuality
		if quality.Valid {
			signal.Quality = int(quality.Int64)
		}
		signals = append(signals, signal)
	}
	return signals, rows.Err()
}

// ContentUpdate holds the properties of a content to change; nil ones stay.
type ContentUpdate struct {
	DisableUntil *int64
	Note         *string
}

// UpdateContent changes a content of the named bank and returns what it became. To
// disable one for good that is in review dismisses it; otherwise only [Store.Decide]
// changes when such a content counts. It fails as Content does, or with [ErrText],
// [ErrNote] or [ErrInReview].
func (s *Store) UpdateContent(ctx context.Context, bank string, id int64, u ContentUpdate) (c Content, err error) {
	update := func(tx *sql.Tx, epoch int64) error {
		if c, err = findContent(ctx, tx, bank, id); err != nil {
			return err
		}
		if u.Note != nil {
			if err := CheckNote(*u.Note); err != nil {
				return err
			}
			c.Note = *u.Note
			if _, err := tx.ExecContext(ctx, "UPDATE content SET note = $2 WHERE id = $1", id, c.Note); err != nil {
				return err
			}
		}
		if u.DisableUntil == nil {
			return nil
		}
		held, err := isHeld(ctx, tx, id)
		c.DisableUntil = *u.DisableUntil
		switch {
		case err != nil:
			return err
		case held && c.DisableUntil == DisabledForever:
			err = dismiss(ctx, tx, id, epoch)
		case held:
			return ErrInReview
		default:
			err = disable(ctx, tx, id, c.DisableUntil, epoch)
		}
		if err != nil {
			return err
		}
		return remember(ctx, tx, id)
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

func recordRemoval(ctx context.Context, tx *sql.Tx, id, epoch int64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO removed (content, epoch) VALUES ($1, $2)", id, epoch)
	return err
}
