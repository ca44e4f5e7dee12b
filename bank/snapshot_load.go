package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"mediagate/internal/redis"
	"mediagate/pdq"
)

const (
	// headPatience is how long Redis may take to begin.
	headPatience = time.Second
	// loaders are how many parts are asked for at once.
	loaders = 2
)

// limits are how long Redis may take for parts, after which the store is read. As long
// as some arrive it is mostly that others begin, too, and the store would be as busy; but
// in all it may not take much longer than the store does.
type limits struct {
	part time.Duration // for one
	each time.Duration // in all, beside one: for each, what the store takes for its entries
}

var loadLimits = limits{part: 4 * time.Second, each: 300 * time.Millisecond}

// all is for so many parts.
func (l limits) all(parts int) time.Duration { return l.part + time.Duration(parts)*l.each }

// reason is why a snapshot was not used. It is a closed set.
type reason string

const (
	isMissing     reason = "missing"     // Redis does not have it, or not all of it
	isUnreachable reason = "unreachable" // Redis did not answer, or not in time
	isOther       reason = "other"       // not what the store names
	isMalformed   reason = "malformed"
	isUnknown     reason = "version"
	isAhead       reason = "ahead"    // of an epoch that the store has not come to
	isOutdated    reason = "outdated" // to read what has changed since takes as long as to read everything
	isReplaced    reason = "replaced" // while it was loaded
	isIncomplete  reason = "count"    // with all changes since, it has not as many signals as the store
)

// isLasting tells whether the same snapshot will be refused again by whoever loads it.
// It looks as it should to those who keep it there, unless it is deleted.
func (r reason) isLasting() bool {
	return r == isOther || r == isMalformed || r == isAhead || r == isIncomplete
}

// refusal is an error of a snapshot that is not used.
type refusal struct {
	reason reason
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

func refuse(reason reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// refused makes a refusal of an error from Redis or from decoding.
func refused(err error) error {
	var already *refusal
	switch {
	case err == nil || errors.As(err, &already):
		return err
	case errors.Is(err, redis.ErrMiss):
		return &refusal{isMissing, err}
	case errors.Is(err, errMalformedSnapshot):
		return &refusal{isMalformed, err}
	case errors.Is(err, errOlderSnapshot), errors.Is(err, errNewerSnapshot):
		return &refusal{isUnknown, err}
	default:
		return &refusal{isUnreachable, err}
	}
}

// loadSnapshot makes an index of the snapshot that the store names, as it is in
// Redis, and of what has changed since. It returns nil if there is none, and a
// refusal if there is one that cannot be used.
func loadSnapshot(ctx context.Context, s *Store, shared *redis.Client, l limits) (*Index, error) {
	if shared == nil {
		return nil, nil
	}
	for retried := false; ; retried = true {
		n, ok, err := s.namedSnapshot(ctx)
		if err != nil || !ok {
			return nil, err
		}
		ix, err := loadNamed(ctx, s, shared, n, l)
		var r *refusal
		if errors.As(err, &r) && r.reason.isLasting() {
			_ = shared.Delete(ctx, n.headKey()) // or the next one who loads it
		}
		if err == nil || retried {
			return ix, err
		}
		// Whoever has written a new one has deleted this one.
		if now, ok, findErr := s.namedSnapshot(ctx); findErr != nil || !ok || string(now.digest) == string(n.digest) {
			return nil, err
		}
	}
}

func loadNamed(ctx context.Context, s *Store, shared *redis.Client, n namedSnapshot, l limits) (*Index, error) {
	h, err := receiveHead(ctx, shared, n)
	if err != nil {
		return nil, err
	}
	if behind, err := s.isFarBehind(ctx, h.epoch, h.signals()); err != nil {
		return nil, err
	} else if behind {
		return nil, refuse(isOutdated, "too much has changed since epoch %d", h.epoch)
	}
	r, err := receiveParts(ctx, shared, h, l)
	if err != nil {
		return nil, refused(err)
	}
	ix, err := r.index()
	if err != nil {
		return nil, refused(err)
	}
	return s.catchUp(ctx, ix, n)
}

// receiveHead returns the head of the named snapshot.
func receiveHead(ctx context.Context, shared *redis.Client, n namedSnapshot) (*snapshotHead, error) {
	ctx, cancel := context.WithTimeout(ctx, headPatience)
	defer cancel()
	raw, err := shared.Load(ctx, n.headKey())
	if err != nil {
		return nil, refused(err)
	}
	if !isDigestOf(n.digest, raw) {
		return nil, refuse(isOther, "the head is not the one that the store names")
	}
	h, err := decodeHead(raw)
	if err != nil {
		return nil, refused(err)
	}
	if h.epoch != n.epoch {
		return nil, refuse(isOther, "it is of epoch %d and not %d", h.epoch, n.epoch)
	}
	return h, nil
}

// receiveParts reads all parts, some at a time.
func receiveParts(ctx context.Context, shared *redis.Client, h *snapshotHead, l limits) (*received, error) {
	ctx, cancel := context.WithTimeout(ctx, l.all(len(h.parts)))
	defer cancel()
	r := newReceived(h)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	for part := range h.parts {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, l.part)
			defer cancel()
			raw, err := shared.Load(ctx, h.partKey(part))
			if err != nil {
				return err
			}
			return r.put(part, raw)
		})
	}
	return r, g.Wait()
}

// received is a snapshot on its way into an index.
type received struct {
	head     *snapshotHead
	extents  []extent
	signals  signals
	disabled []indexed
}

func newReceived(h *snapshotHead) *received {
	n := h.entries
	return &received{
		head: h, extents: h.extents(), disabled: make([]indexed, n[disabledSection]),
		signals: signals{
			hashes: make([]pdq.Hash, n[pdqSection]), refs: make([]ref, n[pdqSection]),
			sha256: make(digests, n[sha256Section]), md5: make(digests, n[md5Section]),
		},
	}
}

// put takes a part. Different ones may be put at once.
func (r *received) put(part int, raw []byte) error {
	at := r.extents[part]
	if int64(len(raw)) != at.n*int64(at.section.entrySize()) || !isDigestOf(r.head.parts[part][:], raw) {
		return refuse(isOther, "part %d is not the one that the head names", part)
	}
	switch at.section {
	case pdqSection:
		hashes, refs := r.signals.hashes[at.from:], r.signals.refs[at.from:]
		return decodeEntries(raw, at.section, func(i int, e *entry) { hashes[i], refs[i] = pdq.FromBytes(e.value), e.ref })
	case sha256Section:
		into := r.signals.sha256[at.from:]
		return decodeEntries(raw, at.section, func(i int, e *entry) { into[i] = *e })
	case md5Section:
		into := r.signals.md5[at.from:]
		return decodeEntries(raw, at.section, func(i int, e *entry) { into[i] = *e })
	default:
		into := r.disabled[at.from:]
		return decodeDisabled(raw, func(i int, c indexed) { into[i] = c })
	}
}

// index makes an index of all parts. Of its banks only the numbers are known, and its
// mark is not.
func (r *received) index() (*Index, error) {
	if !r.signals.sha256.isSorted() || !r.signals.md5.isSorted() {
		return nil, fmt.Errorf("%w: its digests are not in order", errMalformedSnapshot)
	}
	banks := make(map[int32]Bank)
	var last int32
	r.signals.eachRef(func(r ref) {
		if r.bank != last {
			last = r.bank
			banks[last] = Bank{}
		}
	})
	ix := &Index{
		moment: moment{epoch: r.head.epoch}, banks: banks, newest: r.head.newest,
		base: newPart(r.signals), overlay: newPart(signals{}), disabled: make(map[int64]int64, len(r.disabled)),
	}
	for i, c := range r.disabled {
		if i > 0 && c.id <= r.disabled[i-1].id {
			return nil, fmt.Errorf("%w: its disabled contents are not in order", errMalformedSnapshot)
		}
		ix.disabled[c.id] = c.disableUntil
	}
	return ix, nil
}

// catchUp adds what has changed since a snapshot, of which the store must say still
// that it is the one to load: so nothing is taken for a change of it that is one of
// another past.
func (s *Store) catchUp(ctx context.Context, ix *Index, n namedSnapshot) (*Index, error) {
	var held int64
	d, err := s.changes(ctx, n.epoch, func(tx *sql.Tx) error {
		now, ok, err := findSnapshot(ctx, tx)
		if err != nil {
			return err
		}
		if !ok || now.epoch != n.epoch || string(now.digest) != string(n.digest) {
			return refuse(isReplaced, "the store names another one by now")
		}
		return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM signal").Scan(&held)
	})
	if err != nil {
		return nil, err
	}
	if d.epoch < n.epoch {
		return nil, refuse(isAhead, "it is of epoch %d, and the store of %d", n.epoch, d.epoch)
	}
	if ix = ix.with(d); ix.held() != held {
		return nil, refuse(isIncomplete, "it holds %d signals, the store %d", ix.held(), held)
	}
	return ix, nil
}
