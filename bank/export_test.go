package bank

import "context"

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
	ix := &Index{hidden: make(map[int64]struct{}), overlay: newPart(nil)}
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
