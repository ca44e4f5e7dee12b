package bank

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"
)

// target is the bank that contents are for, and what one import knows about it.
type target struct {
	// Bank is what it is to be, if there is none. It has its number since contents were
	// put there: whatever has that name later is not it.
	Bank
	create bool // if there is none
	off    bool // it must be
	// exported tells that contents come from a bank with these settings, and not a list.
	exported bool
	// turnedOff has the digests of identities of which something that was read is off.
	turnedOff map[[sha256.Size]byte]turnedOff
}

// turnedOff is a content that is off in what is imported.
type turnedOff struct {
	added   bool  // by this import
	created int64 // 0 if nobody told
}

// find finds the bank, unless nothing may be imported into it.
func (t *target) find(ctx context.Context, tx *sql.Tx) (b Bank, err error) {
	if t.ID == 0 {
		b, err = findBank(ctx, tx, t.Name)
	} else if b, err = scanBank(tx.QueryRowContext(ctx, "SELECT "+bankColumns+" FROM bank WHERE id = $1", t.ID)); errors.Is(err, sql.ErrNoRows) {
		err = ErrBankRemoved
	}
	if err != nil {
		return Bank{}, err
	}
	var fed int64
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM exchange WHERE bank = $1", b.ID).Scan(&fed); err != nil {
		return Bank{}, err
	}
	switch {
	case fed > 0:
		return Bank{}, ErrFed
	case t.off && b.Ratio > 0:
		return Bank{}, ErrOn
	case t.exported && t.Allow != b.Allow:
		return Bank{}, ErrAllowed
	}
	return b, nil
}

// unknown returns the contents that the bank does not have, each once, and counts all.
func (t *target) unknown(ctx context.Context, tx *sql.Tx, b Bank, batch []*record, n *Imported) (fresh []*record, err error) {
	there, err := knownOf(ctx, tx, b, batch)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, r := range batch {
		identity, on := r.identity(), enabledAt(r.disableUntil, now)
		has := there[identity]
		add := has.contents == 0 || on && !has.on && t.explains(identity, has)
		if !on {
			t.remember(identity, turnedOff{add, r.created})
		}
		if add {
			there[identity] = has.and(r, now)
			fresh = append(fresh, r)
		}
		n.count(on, add, has.on)
	}
	return fresh, nil
}

// count counts a content that is on or not, and was added or not to a bank that has
// one that is on or not.
func (n *Imported) count(on, added, isOn bool) {
	switch {
	case added && on:
		n.Added++
	case added:
		n.Added, n.AddedOff = n.Added+1, n.AddedOff+1
	case on && !isOn:
		n.Skipped, n.SkippedOff = n.Skipped+1, n.SkippedOff+1
	default:
		n.Skipped++
	}
}

// remember keeps the first content of an identity that is off: it is the one that is
// banked, if the bank has none.
func (t *target) remember(identity string, off turnedOff) {
	digest := sha256.Sum256([]byte(identity))
	if _, again := t.turnedOff[digest]; !again {
		t.turnedOff[digest] = off
	}
}

// explains tells whether what the bank has of an identity, which is off, comes from
// what is imported: from this import, or one that was broken off. If so, one that is on
// there, too, was banked anew where it comes from. Otherwise it was turned off here.
func (t *target) explains(identity string, has known) bool {
	off, there := t.turnedOff[sha256.Sum256([]byte(identity))]
	return there && (off.added || has.contents == 1 && has.created == off.created && off.created != 0)
}
