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
	epoch    int64
	banks    []Bank
	contents []indexed
	entries  []entry // of contents
	newest   newest
	removed  []int64
	// awaiting is what Index.Awaiting returns.
	awaiting []string
	// signals is how many the store holds in all; read only for a full delta.
	signals int64
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

var kinds = []SignalType{PDQ, VideoMD5, MD5, SHA256}

func kindOf(t SignalType) (kind, error) {
	i := slices.Index(kinds, t)
	if i < 0 {
		return 0, fmt.Errorf("unknown signal type %q", t)
	}
	return kind(i), nil
}

// newest is when the newest signal of each kind was banked, in Unix seconds.
type newest [4]int64

func (n *newest) merge(other newest) {
	for k, at := range other {
		n[k] = max(n[k], at)
	}
}

// since reads, in one consistent state, what changed after an epoch.
func (s *Store) since(ctx context.Context, epoch int64) (delta, error) {
	var d delta
	err := s.read(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'epoch'").Scan(&d.epoch)
		if err != nil {
			return err
		}
		if d.banks, err = listBanks(ctx, tx); err != nil {
			return err
		}
		if d.awaiting, err = listAwaiting(ctx, tx); err != nil {
			return err
		}
		if err := d.readContents(ctx, tx, epoch); err != nil {
			return err
		}
		if epoch > 0 {
			return d.readRemoved(ctx, tx, epoch)
		}
		return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM signal").Scan(&d.signals)
	})
	if err != nil {
		return delta{}, fmt.Errorf("read changes: %w", err)
	}
	return d, nil
}

func (d *delta) readContents(ctx context.Context, tx *sql.Tx, epoch int64) (err error) {
	rows, err := tx.QueryContext(ctx, `SELECT c.id, c.bank, c.created, c.disable_until, s.type, s.variant, s.value
		FROM content c JOIN signal s ON s.content = c.id WHERE c.epoch > $1 ORDER BY c.id`, epoch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c indexed
		var e entry
		var created int64
		var signalType string
		var value sql.RawBytes
		if err := rows.Scan(&c.id, &e.ref.bank, &created, &c.disableUntil, &signalType, &e.ref.variant, &value); err != nil {
			return err
		}
		if e.ref.kind, err = kindOf(SignalType(signalType)); err != nil {
			return err
		}
		if len(value) != SignalType(signalType).size() {
			return fmt.Errorf("content %d: %w of type %s", c.id, ErrMalformedSignal, signalType)
		}
		copy(e.value[:], value)
		e.ref.content = c.id
		d.entries = append(d.entries, e)
		d.newest[e.ref.kind] = max(d.newest[e.ref.kind], created)
		if len(d.contents) == 0 || d.contents[len(d.contents)-1].id != c.id {
			d.contents = append(d.contents, c)
		}
	}
	return rows.Err()
}

func (d *delta) readRemoved(ctx context.Context, tx *sql.Tx, epoch int64) (err error) {
	rows, err := tx.QueryContext(ctx, "SELECT content FROM removed WHERE epoch > $1", epoch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		d.removed = append(d.removed, id)
	}
	return rows.Err()
}
