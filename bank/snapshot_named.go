package bank

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"mediagate/internal/redis"
)

// namedSnapshot is the one that the store says may be loaded: of which epoch it is,
// and the SHA-256 of its head. A store that is restored from a backup names one of
// that time again, and none that was written since.
type namedSnapshot struct {
	epoch  int64
	digest []byte
}

// nameOf names a snapshot by its head, which is also given as it is written.
func nameOf(h *snapshotHead, raw []byte) namedSnapshot {
	digest := sha256.Sum256(raw)
	return namedSnapshot{h.epoch, digest[:]}
}

// headKey is where the head of the named snapshot is.
func (n namedSnapshot) headKey() redis.Key {
	return redis.Key{Kind: redis.Snapshot, Of: fmt.Sprintf("%x", n.digest)}
}

// partKey is where a part of a snapshot is. Parts of two snapshots have nothing in
// common, so that either can be deleted.
func (h *snapshotHead) partKey(part int) redis.Key {
	return redis.Key{Kind: redis.Part, Of: fmt.Sprintf("%x/%d", h.id, part)}
}

// keys are those of all values of a snapshot.
func (h *snapshotHead) keys(n namedSnapshot) []redis.Key {
	keys := []redis.Key{n.headKey()}
	for part := range h.parts {
		keys = append(keys, h.partKey(part))
	}
	return keys
}

// namedSnapshot returns the snapshot that may be loaded, and false if there is none.
func (s *Store) namedSnapshot(ctx context.Context) (namedSnapshot, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, epochPatience)
	defer cancel()
	n, ok, err := findSnapshot(ctx, s.db)
	if err != nil {
		return namedSnapshot{}, false, fmt.Errorf("find snapshot: %w", err)
	}
	return n, ok, nil
}

func findSnapshot(ctx context.Context, q queryer) (n namedSnapshot, ok bool, err error) {
	err = q.QueryRowContext(ctx, "SELECT epoch, digest FROM snapshot WHERE id = 1").Scan(&n.epoch, &n.digest)
	if errors.Is(err, sql.ErrNoRows) {
		return namedSnapshot{}, false, nil
	}
	return n, err == nil, err
}

// errOtherPast: an index was made of a store that has gone back since.
var errOtherPast = errors.New("the store has another past")

// nameSnapshot lets a snapshot be loaded, instead of the one before. It fails with
// [ErrLeaseLost] unless the lease is good. From then on nobody need ask whether it is
// of the store's past: a store that goes back forgets the name, too.
func (s *Store) nameSnapshot(ctx context.Context, l Lease, n namedSnapshot, mark int64) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := l.holds(ctx, tx); err != nil {
			return err
		}
		_, is, err := isPast(ctx, tx, moment{n.epoch, mark})
		if err != nil {
			return err
		}
		if !is {
			return errOtherPast
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO snapshot (id, epoch, digest) VALUES (1, $1, $2)
			ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, digest = excluded.digest`, n.epoch, n.digest)
		return err
	})
	if err != nil {
		return fmt.Errorf("name snapshot: %w", err)
	}
	return nil
}

// forgetSnapshot lets a snapshot not be loaded any more, if it is the one that may be.
func (s *Store) forgetSnapshot(ctx context.Context, n namedSnapshot) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM snapshot WHERE digest = $1", n.digest)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget snapshot: %w", err)
	}
	return nil
}

// changedSince counts the contents that have changed since an epoch, up to a number.
// Those of banks that were removed are not among them.
func (s *Store) changedSince(ctx context.Context, epoch, most int64) (n int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM content WHERE epoch > $1 LIMIT $2) AS changed)
		+ (SELECT COUNT(*) FROM (SELECT 1 FROM removed WHERE epoch > $1 LIMIT $2) AS gone)`, epoch, most).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count changes: %w", err)
	}
	return min(n, most), nil
}

// behindMin is how many changes are read whatever the size of the index.
const behindMin = 100_000

// isFarBehind tells whether so much has changed since an epoch that to read it takes
// as long as to begin with a newer state, for an index of so many signals.
func (s *Store) isFarBehind(ctx context.Context, epoch, signals int64) (bool, error) {
	few := max(behindMin, signals/2)
	n, err := s.changedSince(ctx, epoch, few+1)
	return n > few, err
}
