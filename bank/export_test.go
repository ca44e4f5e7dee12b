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
