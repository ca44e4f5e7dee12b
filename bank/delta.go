package bank

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"mediagate/media"
)

// delta is everything that changed in a store after an epoch; after epoch 0
// that is all it holds.
type delta struct {
	moment
	banks []Bank
	// contents are those that were added or changed, with all their signals. When
	// that is everything only those are listed that are disabled.
	contents []indexed
	signals  signals
	newest   newest
	removed  []int64
	// exchanges are the names of all, and awaiting is what Index.Awaiting returns.
	exchanges, awaiting []string
	// confirmed are the contents that are never held again, all of them, sorted.
	confirmed []int64
	// named is all that contents name.
	named namings
	// held is how many signals the store holds in all, of each kind; read only for
	// a full delta.
	held counts
}

// indexed is what an index remembers of a content besides its signals.
type indexed struct{ id, disableUntil int64 }

// entry is one signal on its way into an index, and in it. Shorter values are
// filled up with zeros.
type entry struct {
	value [sha256.Size]byte
	ref   ref
}

// ref says where a signal belongs. Millions of them are held.
type ref struct {
	content int64
	bank    int32
	kind    kind
	variant media.Variant
}

// kind numbers the signal types.
type kind uint8

// kinds have the numbers that snapshots have them by: whoever changes them changes
// snapshotVersion. So with how many there are, in counts and newest.
var kinds = []SignalType{PDQ, VideoMD5, MD5, SHA256}

func kindOf(t SignalType) (kind, error) {
	i := slices.Index(kinds, t)
	if i < 0 {
		return 0, fmt.Errorf("unknown signal type %q", t)
	}
	return kind(i), nil
}

// counts are numbers of signals, of each kind.
type counts [4]int64

// total is that of all kinds.
func (c counts) total() (n int64) {
	for _, of := range c {
		n += of
	}
	return n
}

// kindColumn is the number of a signal's kind in a query, and -1 for a type that
// this program does not know.
var kindColumn = func() string {
	column := "CASE s.type"
	for k, t := range kinds {
		column += fmt.Sprintf(" WHEN '%s' THEN %d", t, k)
	}
	return column + " ELSE -1 END"
}()

// newest is when the newest signal of each kind was banked, in Unix seconds.
type newest [4]int64

func (n *newest) merge(other newest) {
	for k, at := range other {
		n[k] = max(n[k], at)
	}
}

// changes reads, in one consistent state, what changed after an epoch, and then more of
// the same state.
func (s *Store) changes(ctx context.Context, epoch int64, more func(tx *sql.Tx) error) (delta, error) {
	var d delta
	err := s.read(ctx, func(tx *sql.Tx) error {
		var err error
		if d.moment, err = newestMoment(ctx, tx); err != nil {
			return err
		}
		if d.banks, err = listBanks(ctx, tx); err != nil {
			return err
		}
		if d.exchanges, err = names(ctx, tx, "SELECT name FROM exchange ORDER BY name"); err != nil {
			return err
		}
		if d.awaiting, err = listAwaiting(ctx, tx); err != nil {
			return err
		}
		if d.confirmed, err = listConfirmed(ctx, tx); err != nil {
			return err
		}
		if d.named, err = listNamed(ctx, tx); err != nil {
			return err
		}
		if epoch == 0 {
			if d.held, err = countSignals(ctx, tx); err != nil {
				return err
			}
			d.signals = newSignals(d.held)
		}
		if err := d.readContents(ctx, tx, epoch); err != nil {
			return err
		}
		if epoch > 0 {
			d.removed, err = column[int64](ctx, tx, "SELECT content FROM removed WHERE epoch > $1", epoch)
			if err != nil {
				return err
			}
		}
		return more(tx)
	})
	if err != nil {
		return delta{}, fmt.Errorf("read changes: %w", err)
	}
	d.signals.sort()
	return d, nil
}

// countColumns count a query's signals: all, and those of each kind.
var countColumns = func() string {
	columns := "COUNT(*)"
	for _, t := range kinds {
		columns += fmt.Sprintf(", COUNT(CASE s.type WHEN '%s' THEN 1 END)", t)
	}
	return columns
}()

// countSignals counts what the store holds.
func countSignals(ctx context.Context, q queryer) (held counts, err error) {
	var all int64
	into := []any{&all}
	for k := range held {
		into = append(into, &held[k])
	}
	if err := q.QueryRowContext(ctx, "SELECT "+countColumns+" FROM signal s").Scan(into...); err != nil {
		return counts{}, err
	}
	if unknown := all - held.total(); unknown > 0 {
		return counts{}, fmt.Errorf("%d signals are of a type that this program does not know", unknown)
	}
	return held, nil
}

// readContents streams: of everything, rows must not be in memory twice.
func (d *delta) readContents(ctx context.Context, tx *sql.Tx, epoch int64) (err error) {
	//nolint:gosec // constants
	rows, err := tx.QueryContext(ctx, "SELECT c.id, c.bank, c.created, c.disable_until, "+kindColumn+`, s.variant, s.value
		FROM content c JOIN signal s ON s.content = c.id WHERE c.epoch > $1 ORDER BY c.id`, epoch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for last := int64(0); rows.Next(); {
		var c indexed
		var r ref
		var created, k int64
		var value sql.RawBytes
		if err := rows.Scan(&c.id, &r.bank, &created, &c.disableUntil, &k, &r.variant, &value); err != nil {
			return err
		}
		if k < 0 {
			return fmt.Errorf("content %d has a signal of a type that this program does not know", c.id)
		}
		if len(value) != kinds[k].size() {
			return fmt.Errorf("content %d: %w of type %s", c.id, ErrMalformedSignal, kinds[k])
		}
		r.content, r.kind = c.id, kind(k)
		d.signals.add(value, r)
		d.newest[k] = max(d.newest[k], created)
		if c.id != last && (epoch > 0 || c.disableUntil != Enabled) {
			d.contents = append(d.contents, c)
		}
		last = c.id
	}
	return rows.Err()
}
