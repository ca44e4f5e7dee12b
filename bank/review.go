package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of reviews.
var (
	ErrNotInReview = errors.New("the content is not in review")
	ErrInReview    = errors.New("the content is in review, where it must be decided whether it blocks")
)

// Review is a content that does not count until somebody decides, or that was decided
// to count whatever it blocks. It ends with the content.
type Review struct {
	Content int64
	// Bank is the name of the content's, and Key what an exchange banks it under, empty
	// if none does; of several keys the first.
	Bank, Key string
	Reason    string
	Since     time.Time
	// Confirmed tells that it counts again, and cannot be held any more.
	Confirmed bool
}

// Hold keeps contents from counting until somebody decides: in lookups, snapshots and
// exports they are like any that are disabled. Those that were confirmed, are held
// already or disabled for good, or do not exist, stay as they are, and that is no error.
func (s *Store) Hold(ctx context.Context, contents []int64, reason string) error {
	err := s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		now, held := time.Now().Unix(), int64(0)
		for _, id := range contents {
			n, err := hold(ctx, tx, id, shown(reason), now, epoch)
			if err != nil {
				return err
			}
			held += n
		}
		if held == 0 {
			return errNothingNew // and no epoch
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNothingNew) {
		return fmt.Errorf("hold contents: %w", err)
	}
	return nil
}

// hold returns how many contents were held, 1 or 0.
func hold(ctx context.Context, tx *sql.Tx, id int64, reason string, now, epoch int64) (int64, error) {
	res, err := tx.ExecContext(ctx, `INSERT INTO review (content, reason, since, confirmed, disable_until)
		SELECT id, CAST($2 AS TEXT), CAST($3 AS BIGINT), 0, disable_until FROM content WHERE id = $1 AND disable_until <> $4
		ON CONFLICT (content) DO NOTHING`, id, reason, now, DisabledForever)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	if n == 0 || err != nil {
		return 0, err
	}
	return n, disable(ctx, tx, id, DisabledForever, epoch)
}

// disable changes when a content begins to count.
func disable(ctx context.Context, tx *sql.Tx, id, until, epoch int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE content SET disable_until = $2, epoch = $3 WHERE id = $1", id, until, epoch)
	return err
}

// Reviews lists what is in review of the named bank, or of all if the name is empty:
// what is to be decided first, and of each sort the oldest. It fails with
// [ErrBankNotFound].
func (s *Store) Reviews(ctx context.Context, bank string) (list []Review, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		query, args := `SELECT r.content, b.name, COALESCE((SELECT MIN(o.key) FROM source o WHERE o.content = r.content), ''), r.reason, r.since, r.confirmed
			FROM review r JOIN content c ON c.id = r.content JOIN bank b ON b.id = c.bank`, []any(nil)
		if bank != "" {
			b, err := findBank(ctx, tx, bank)
			if err != nil {
				return err
			}
			query, args = query+" WHERE b.id = $1", []any{b.ID}
		}
		rows, err := tx.QueryContext(ctx, query+" ORDER BY r.confirmed, r.since, r.content", args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // read to its end, or of no interest
		for rows.Next() {
			var r Review
			var since, confirmed int64
			if err := rows.Scan(&r.Content, &r.Bank, &r.Key, &r.Reason, &since, &confirmed); err != nil {
				return err
			}
			r.Since, r.Confirmed = time.Unix(since, 0), confirmed != 0
			list = append(list, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list reviews: %w", err)
	}
	return list, nil
}

// CountEnabled counts the contents of a bank, by its number, that count now.
func (s *Store) CountEnabled(ctx context.Context, bank int64) (n int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM content WHERE bank = $1 AND disable_until <> $2 AND disable_until <= $3",
		bank, DisabledForever, time.Now().Unix()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count contents: %w", err)
	}
	return n, nil
}

// CountHeld counts what is to be decided of a bank, by its number.
func (s *Store) CountHeld(ctx context.Context, bank int64) (n int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM review r JOIN content c ON c.id = r.content WHERE c.bank = $1 AND r.confirmed = 0", bank).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count reviews: %w", err)
	}
	return n, nil
}

// Decide ends a review of a content of the named bank. With block the content is what
// it was before it was held, and never held again: it stays among the reviews, and may
// be decided otherwise. Without, it is disabled for good, like any content that an
// operator has disabled, and no review any more. Either holds, too, when the list that
// the content is of says it again; see [SourceContent]. It fails with [ErrBankNotFound],
// [ErrContentNotFound] or [ErrNotInReview].
func (s *Store) Decide(ctx context.Context, bank string, content int64, block bool) error {
	err := s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		c, err := findContent(ctx, tx, bank, content)
		if err != nil {
			return err
		}
		var confirmed, before int64
		err = tx.QueryRowContext(ctx, "SELECT confirmed, disable_until FROM review WHERE content = $1", content).Scan(&confirmed, &before)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotInReview
		case err != nil:
			return err
		case !block:
			if err := dismiss(ctx, tx, content, epoch); err != nil {
				return err
			}
			return remember(ctx, tx, content)
		case confirmed != 0 && enabledAt(c.DisableUntil, time.Now()): // it may have been disabled since
			return errNothingNew
		}
		if _, err := tx.ExecContext(ctx, "UPDATE review SET confirmed = 1 WHERE content = $1", content); err != nil {
			return err
		}
		if err := disable(ctx, tx, content, before, epoch); err != nil {
			return err
		}
		return remember(ctx, tx, content)
	})
	if err != nil && !errors.Is(err, errNothingNew) {
		return fmt.Errorf("decide review: %w", err)
	}
	return nil
}

// dismiss ends a review with a content that is disabled.
func dismiss(ctx context.Context, tx *sql.Tx, id, epoch int64) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM review WHERE content = $1", id); err != nil {
		return err
	}
	return disable(ctx, tx, id, DisabledForever, epoch)
}

// isHeld tells whether a content is in review and not decided.
func isHeld(ctx context.Context, tx *sql.Tx, id int64) (bool, error) {
	var n int64
	err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM review WHERE content = $1 AND confirmed = 0", id).Scan(&n)
	return n > 0, err
}

// listConfirmed lists the contents that are never held again, sorted.
func listConfirmed(ctx context.Context, q queryer) ([]int64, error) {
	return column[int64](ctx, q, "SELECT content FROM review WHERE confirmed = 1 ORDER BY content")
}

// Confirmed tells whether it was decided that a content blocks, whatever it blocks.
func (ix *Index) Confirmed(content int64) bool {
	_, found := slices.BinarySearch(ix.confirmed, content)
	return found
}
