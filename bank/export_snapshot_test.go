package bank

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"mediagate/internal/redis"
)

// Eager lets the writer write of indexes of any size, and as soon as they change, and
// renew its lease before each part.
func (w *SnapshotWriter) Eager() *SnapshotWriter {
	w.least, w.restValue, w.restMin, w.renewal = 0, 0, 0, 0
	return w
}

// Needing lets the writer write of indexes of so many signals at least.
func (w *SnapshotWriter) Needing(least int) *SnapshotWriter {
	w.least = least
	return w
}

// Resting lets the writer rest after each value, and keep a snapshot at least so long.
func (w *SnapshotWriter) Resting(value, least time.Duration) *SnapshotWriter {
	w.restValue, w.restMin = value, least
	return w
}

// Awake ends the writer's rest, and returns how much of it was left.
func (w *SnapshotWriter) Awake() time.Duration {
	left := time.Until(w.rested)
	w.rested = time.Time{}
	return left
}

// RestMost is the longest rest after attempts in vain.
const RestMost = restMost

// Write writes a snapshot if one is due.
func (w *SnapshotWriter) Write(ctx context.Context) error { return w.writeIfDue(ctx) }

// Tend does what Run does each time. Each value is followed by a rest.
func (w *SnapshotWriter) Tend(ctx context.Context, rest time.Duration) {
	w.restValue = rest
	w.tend(ctx)
}

var errKilled = errors.New("killed")

// WriteAndDie writes so many values and then does nothing more, as a process that is
// killed.
func (w *SnapshotWriter) WriteAndDie(ctx context.Context, values int) error {
	ix := w.live.p.Load()
	keep := func(key redis.Key, value []byte) error {
		if values--; values < 0 {
			return errKilled
		}
		return w.shared.Keep(ctx, key, value, snapshotTTL)
	}
	h, err := encodeSnapshot(ix, func(h *snapshotHead, part int, value []byte) error { return keep(h.partKey(part), value) })
	if err == nil {
		raw := h.encode()
		err = keep(nameOf(h, raw).headKey(), raw)
	}
	if errors.Is(err, errKilled) {
		return nil
	}
	return err
}

// RawSnapshot is a snapshot as it is in Redis.
type RawSnapshot struct {
	Head    []byte
	HeadKey redis.Key
	Parts   [][]byte
	Keys    []redis.Key
	Epoch   int64
}

// RawSnapshot returns the one that the store names.
func (s *Store) RawSnapshot(ctx context.Context, shared *redis.Client) (raw RawSnapshot, err error) {
	n, there, err := s.namedSnapshot(ctx)
	if err != nil || !there {
		return raw, errors.Join(err, errors.New("no snapshot is named"))
	}
	raw.HeadKey, raw.Epoch = n.headKey(), n.epoch
	if raw.Head, err = shared.Load(ctx, raw.HeadKey); err != nil {
		return raw, err
	}
	h, err := decodeHead(raw.Head)
	if err != nil {
		return raw, err
	}
	for part := range h.parts {
		raw.Keys = append(raw.Keys, h.partKey(part))
		value, err := shared.Load(ctx, h.partKey(part))
		if err != nil {
			return raw, fmt.Errorf("part %d: %w", part, err)
		}
		raw.Parts = append(raw.Parts, value)
	}
	return raw, nil
}

// Name lets a head be loaded, with no lease, whatever is in it.
func (s *Store) Name(ctx context.Context, epoch int64, head []byte) (redis.Key, error) {
	n := nameOf(&snapshotHead{epoch: epoch}, head)
	_, err := s.db.ExecContext(ctx, "UPDATE snapshot SET epoch = $1, digest = $2", n.epoch, n.digest)
	return n.headKey(), err
}

// NameWith names a snapshot of the store's past as a writer does that has a lease.
func (s *Store) NameWith(ctx context.Context, l Lease, epoch int64) error {
	var mark int64
	if err := s.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(mark), 0) FROM past WHERE epoch = $1", epoch).Scan(&mark); err != nil {
		return err
	}
	return s.nameSnapshot(ctx, l, namedSnapshot{epoch, make([]byte, 32)}, mark)
}

// CatchUp goes on from a snapshot that has been received, and returns why it is refused.
func (s *Store) CatchUp(ctx context.Context, raw RawSnapshot) (reason string, err error) {
	ix, err := DecodeSnapshot(raw.Head, raw.Parts)
	if err != nil {
		return "", err
	}
	_, err = s.catchUp(ctx, ix, nameOf(&snapshotHead{epoch: raw.Epoch}, raw.Head))
	var r *refusal
	if errors.As(err, &r) {
		return string(r.reason), nil
	}
	return "", err
}

// Impatient has so much patience with Redis for one part, and for each beside one.
func (x *Indexer) Impatient(part, each time.Duration) { x.limits = limits{part, each} }

// PartsPatience is that for so many parts.
func PartsPatience(parts int) time.Duration { return loadLimits.all(parts) }

// CountEntries counts one more entry than so many, and returns what there are then.
func CountEntries(n int64) (int64, error) {
	h := snapshotHead{entries: [sections]int64{n}}
	err := h.count(0)
	return h.entries[0], err
}

// SectionMax is the most of a section that a head may say.
const SectionMax = sectionMax

// SnapshotLease is the name of the lease.
const SnapshotLease = snapshotLease

// Redigest writes the digests of parts into a head, whatever else is in it.
func Redigest(head []byte, parts [][]byte) []byte {
	head = slices.Clone(head)
	for i, at := 0, len(head)-len(parts)*sha256.Size; at > 0 && i < len(parts); i++ {
		digest := sha256.Sum256(parts[i])
		copy(head[at+i*sha256.Size:], digest[:])
	}
	return head
}

// Where the fields of a head are.
const (
	VersionAt = len(snapshotMagic)
	EpochAt   = VersionAt + 4 + snapshotIDSize
	EntriesAt = EpochAt + 8
)

// DecodeSnapshot reads a head and, as if they were the ones it names, parts.
func DecodeSnapshot(head []byte, parts [][]byte) (*Index, error) {
	h, err := decodeHead(head)
	if err != nil {
		return nil, err
	}
	if len(parts) < len(h.parts) {
		return nil, errMalformedSnapshot
	}
	for i := range h.parts {
		h.parts[i] = sha256.Sum256(parts[i])
	}
	r := newReceived(h)
	for i := range h.parts {
		if err := r.put(i, parts[i]); err != nil {
			return nil, err
		}
	}
	return r.index()
}

// EncodeSnapshot is the inverse of DecodeSnapshot, but for the head's id.
func (ix *Index) EncodeSnapshot() (head []byte, parts [][]byte) {
	h, err := encodeSnapshot(ix, func(_ *snapshotHead, _ int, value []byte) error {
		parts = append(parts, append([]byte(nil), value...))
		return nil
	})
	if err != nil {
		panic(err)
	}
	return h.encode(), parts
}
