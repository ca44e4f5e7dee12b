package bank

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

var errNothingNew = errors.New("nothing is new")

// putBatch banks the contents that the bank does not have, and counts all.
func (s *Store) putBatch(ctx context.Context, t *target, batch []*record, n *Imported) error {
	var sum Imported
	var there Bank
	err := s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		created := false
		var err error
		there, err = t.find(ctx, tx)
		if errors.Is(err, ErrBankNotFound) && t.create {
			there, created = t.Bank, true
			if err = there.validate(); err == nil {
				err = insertBank(ctx, tx, &there)
			}
		}
		if err != nil {
			return err
		}
		fresh, err := t.unknown(ctx, tx, there, batch, &sum)
		if err != nil {
			return err
		}
		if len(fresh) == 0 && !created {
			return errNothingNew // and no epoch
		}
		return insertRecords(ctx, tx, there, fresh, epoch)
	})
	if err != nil && !errors.Is(err, errNothingNew) {
		return err
	}
	t.ID = there.ID
	n.add(sum)
	return nil
}

// tryBatch counts what putBatch would do.
func (s *Store) tryBatch(ctx context.Context, t *target, batch []*record, n *Imported) error {
	var sum Imported
	err := s.read(ctx, func(tx *sql.Tx) error {
		there, err := t.find(ctx, tx)
		if errors.Is(err, ErrBankNotFound) && t.create {
			there, err = Bank{}, t.validate() // it has no contents
		}
		if err != nil {
			return err
		}
		t.ID = there.ID
		_, err = t.unknown(ctx, tx, there, batch, &sum)
		return err
	})
	if err != nil {
		return err
	}
	n.add(sum)
	return nil
}

func (n *Imported) add(sum Imported) {
	n.Added += sum.Added
	n.AddedOff += sum.AddedOff
	n.Skipped += sum.Skipped
	n.SkippedOff += sum.SkippedOff
}

// known is what a bank has of one identity.
type known struct {
	on bool // one of them is
	// contents is how many, and created when the first was banked, 0 if nobody knows.
	contents int
	created  int64
}

// and adds a content.
func (k known) and(r *record, now time.Time) known {
	if k.contents == 0 {
		k.created = r.created
	}
	k.contents++
	k.on = k.on || enabledAt(r.disableUntil, now)
	return k
}

// knownOf returns what the bank has of identities, those of a batch and perhaps others.
func knownOf(ctx context.Context, tx *sql.Tx, b Bank, batch []*record) (map[string]known, error) {
	ids, err := alike(ctx, tx, batch)
	if err != nil {
		return nil, err
	}
	there := make(map[string]known)
	now := time.Now()
	err = eachPart(ids, func(part []any, in string) error {
		// The sum keeps engines from reading all of the bank.
		rows, err := tx.QueryContext(ctx, fmt.Sprintf(`SELECT c.id, c.created, c.disable_until, s.type, s.variant, s.value
			FROM content c JOIN signal s ON s.content = c.id WHERE c.id IN (%s) AND c.bank + 0 = $%d ORDER BY c.id`, in, len(part)+1), append(part, b.ID)...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // read to its end, or of no interest
		var r record
		note := func() {
			if r.id != 0 {
				identity := r.identity()
				there[identity] = there[identity].and(&r, now)
			}
		}
		for rows.Next() {
			var next record
			var s madeSignal
			var value []byte
			if err := rows.Scan(&next.id, &next.created, &next.disableUntil, &s.Type, &s.Variant, &value); err != nil {
				return err
			}
			if next.id != r.id {
				note()
				r = next
			}
			s.Value = string(value)
			r.signals = append(r.signals, s)
		}
		note()
		return rows.Err()
	})
	return there, err
}

// alike returns the numbers of all contents that have a signal in common with a
// batch.
func alike(ctx context.Context, tx *sql.Tx, batch []*record) (ids []any, err error) {
	wanted := make(map[SignalType]map[string]bool)
	values := make(map[SignalType][]any)
	for _, r := range batch {
		rarest := r.rarest()
		if wanted[rarest.Type] == nil {
			wanted[rarest.Type] = make(map[string]bool)
		}
		if !wanted[rarest.Type][rarest.Value] {
			wanted[rarest.Type][rarest.Value] = true
			values[rarest.Type] = append(values[rarest.Type], []byte(rarest.Value))
		}
	}
	found := make(map[int64]bool)
	for kind, values := range values {
		err := eachPart(values, func(part []any, in string) error {
			// Without the type, a PostgreSQL that has no statistics yet reads all signals.
			rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT content FROM signal WHERE value IN (%s) AND type = $%d", in, len(part)+1), append(part, string(kind))...)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }() // as above
			for rows.Next() {
				var id int64
				if err := rows.Scan(&id); err != nil {
					return err
				}
				if !found[id] {
					found[id] = true
					ids = append(ids, id)
				}
			}
			return rows.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// rarest is the signal that the fewest contents should have in common.
func (r *record) rarest() madeSignal {
	order := []SignalType{SHA256, MD5, VideoMD5, PDQ}
	return slices.MinFunc(r.signals, func(a, b madeSignal) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Type), slices.Index(order, b.Type)), cmp.Compare(a.Variant, b.Variant))
	})
}

// identity is the same for contents of the same signals, whoever made them.
func (r *record) identity() string {
	parts := make([]string, len(r.signals))
	for i, s := range r.signals {
		parts[i] = string(s.Type) + " " + string(rune('0'+s.Variant)) + s.Value
	}
	slices.Sort(parts)
	return strings.Join(parts, "")
}

// insertRecords banks contents, with the next numbers.
func insertRecords(ctx context.Context, tx *sql.Tx, b Bank, batch []*record, epoch int64) error {
	if len(batch) == 0 {
		return nil
	}
	var last int64
	if err := tx.QueryRowContext(ctx, "UPDATE meta SET value = value + $1 WHERE key = 'content_id' RETURNING value", len(batch)).Scan(&last); err != nil {
		return err
	}
	now := time.Now().Unix()
	contents, signals := make([]any, 0, 8*len(batch)), make([]any, 0, 6*len(batch))
	for n, r := range batch {
		id, created := last-int64(len(batch)-1-n), now
		if r.created != 0 {
			created = min(r.created, now)
		}
		contents = append(contents, id, b.ID, epoch, created, r.disableUntil, r.note, r.metadata, 1)
		for _, s := range r.signals {
			quality, hasher := any(s.Quality), any(s.hasher)
			if s.Quality == NoQuality {
				quality = nil
			}
			if s.hasher == 0 {
				hasher = nil
			}
			signals = append(signals, id, string(s.Type), int64(s.Variant), []byte(s.Value), quality, hasher)
		}
	}
	err := newInsertion("content", []string{"id", "bank", "epoch", "created", "disable_until", "note", "metadata", "imported"}).exec(ctx, tx, contents)
	if err != nil {
		return err
	}
	return newInsertion("signal", []string{"content", "type", "variant", "value", "quality", "hasher"}).exec(ctx, tx, signals)
}

// eachPart divides values among statements. in are the names of as many parameters.
func eachPart(values []any, do func(part []any, in string) error) error {
	for part := range slices.Chunk(values, batchParameters) {
		names := make([]string, len(part))
		for i := range names {
			names[i] = fmt.Sprintf("$%d", i+1)
		}
		if err := do(slices.Clone(part), strings.Join(names, ", ")); err != nil {
			return err
		}
	}
	return nil
}
