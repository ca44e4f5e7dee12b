package bank

import (
	"context"
	"database/sql"
	"errors"

	"mediagate/media"
)

// CreateVersion makes a store as a program of an earlier schema left it, and
// fills it.
func CreateVersion(ctx context.Context, path string, version int, fill string) (err error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE schema_version (version BIGINT NOT NULL)"); err != nil {
		return err
	}
	for n, statements := range migrations[:version] {
		if _, err := db.ExecContext(ctx, statements); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES ($1)", n+1); err != nil {
			return err
		}
	}
	_, err = db.ExecContext(ctx, fill)
	return err
}

// Exec does something to the database behind the program's back.
func (s *Store) Exec(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	return err
}

// SetSchemaVersion pretends that another program wrote the store.
func (s *Store) SetSchemaVersion(ctx context.Context, version int) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES ($1)", version)
	return err
}

// Corrupt changes a signal's length behind the program's back.
func (s *Store) Corrupt(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "UPDATE signal SET value = x'00'")
	return err
}

// Refresh runs one round of the Indexer; with merge it folds the overlay in.
func (x *Indexer) Refresh(ctx context.Context, merge bool) error {
	if ix := x.live.p.Load(); merge && ix != nil {
		return x.refresh(ctx, ix.merged())
	}
	return x.refresh(ctx, nil)
}

// Unmerged tells whether the overlay is due to be folded in.
func (ix *Index) Unmerged() bool { return ix.unmerged() }

// UnmergedWith tells whether an index with so many hidden contents is due.
func UnmergedWith(hidden int) bool {
	ix := &Index{hidden: make(map[int64]struct{}), overlay: newPart(signals{})}
	for id := range int64(hidden) {
		ix.hidden[id] = struct{}{}
	}
	return ix.unmerged()
}

// RefreshFrom goes on with another store, and then with a merge that was begun
// on the first.
func (x *Indexer) RefreshFrom(ctx context.Context, other *Store) error {
	merged := x.live.p.Load().merged()
	x.store = other
	if err := x.refresh(ctx, nil); err != nil {
		return err
	}
	return x.refresh(ctx, merged)
}

// HashContent is a content as an index sees it.
type HashContent struct {
	ID           int64
	Bank         int64
	DisableUntil int64
	Hashes       []media.Hash
}

func deltaOf(epoch int64, banks []Bank, contents []HashContent) delta {
	d := delta{epoch: epoch, banks: banks}
	for _, c := range contents {
		d.contents = append(d.contents, indexed{c.ID, c.DisableUntil})
		for _, h := range c.Hashes {
			d.entries = append(d.entries, entry{value: h.PDQ.Bytes(), ref: ref{content: c.ID, bank: int32(c.Bank), variant: h.Variant}})
		}
	}
	d.signals = int64(len(d.entries))
	return d
}

// IndexOf makes an index as the first that is loaded.
func IndexOf(banks []Bank, contents ...HashContent) (*Index, error) {
	return newIndex(deltaOf(1, banks, contents))
}

// With is the index that follows when contents are added or changed.
func (ix *Index) With(banks []Bank, contents ...HashContent) *Index {
	return ix.with(deltaOf(ix.epoch+1, banks, contents))
}

// Merged folds the overlay in.
func (ix *Index) Merged() *Index { return ix.merged() }

// Swap publishes an index, as only an Indexer may.
func (l *Live) Swap(ix *Index) { l.swap(ix) }

// Loading returns what a first load does after it has read the store.
func Loading(banks []Bank, contents []HashContent) func() error {
	d := deltaOf(1, banks, contents)
	return func() error {
		_, err := newIndex(d)
		return err
	}
}
