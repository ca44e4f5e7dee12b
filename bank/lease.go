package bank

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"
)

// Errors of leases.
var (
	// ErrLeaseHeld: somebody else has it.
	ErrLeaseHeld = errors.New("the lease is held by another process")
	// ErrLeaseLost: it has ended, and perhaps somebody else has it.
	ErrLeaseLost = errors.New("the lease was lost to another process")
)

// Lease is the right to do what only one process may do. It ends some time after it
// was last renewed, by the database's clock, and then whoever wants it may take it.
//
// Its holder cannot know for sure whether it still has it: it may have been stopped
// for any time between any two of its steps. So what it may do only with the lease
// is committed with it, and refused with [ErrLeaseLost] once somebody else has taken
// it. As long as nobody has, an expired lease is good.
type Lease struct {
	// Name says what for.
	Name string
	// Holder is who has it, and nobody else: see [NewHolder].
	Holder string
	// Fence grows whenever the holder becomes another one.
	Fence int64
}

// NewHolder returns a name that nobody has had before. It begins with that of the
// machine, which tells an operator where to look.
func NewHolder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // the rest is what matters
	}
	return shown(host) + "/" + rand.Text()
}

// clockBack is by how much a lease may end too late before the clock must have been
// set back since. It is then free: its holder may be long gone.
const clockBack = time.Second

// Acquire takes a lease for so long from now on. If its holder has it already, that
// is renewed. All who want a lease must ask for the same time. It fails with
// [ErrLeaseHeld], and the message tells who has it.
func (s *Store) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error) {
	if name == "" || holder == "" {
		return Lease{}, errors.New("take lease: it needs a name and a holder")
	}
	if err := checkTexts(name, holder); err != nil {
		return Lease{}, fmt.Errorf("take lease: %w", err)
	}
	l := Lease{Name: name, Holder: holder}
	now := s.engine.now()
	err := s.onLease(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO lease (name, holder, fence, expires) VALUES ($1, $2, 1, `+now+` + $3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = `+now+` + $3,
				fence = lease.fence + CASE WHEN lease.holder = excluded.holder THEN 0 ELSE 1 END
			WHERE lease.holder = excluded.holder OR lease.expires <= `+now+` OR lease.expires > `+now+` + $4
			RETURNING fence`, name, holder, ttl.Milliseconds(), (ttl + clockBack).Milliseconds()).Scan(&l.Fence)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var other string
		if err := tx.QueryRowContext(ctx, "SELECT holder FROM lease WHERE name = $1", name).Scan(&other); err != nil {
			return err
		}
		return fmt.Errorf("%w, %s", ErrLeaseHeld, other)
	})
	if err != nil {
		return Lease{}, fmt.Errorf("take lease: %w", err)
	}
	return l, nil
}

// whereHeld finds the row of a lease while it is its holder's. A released one has no
// holder, which is nobody's name.
const whereHeld = " WHERE name = $1 AND holder = $2 AND fence = $3 AND holder <> ''"

// Renew lets a lease end so long from now on, and not before. It fails with
// [ErrLeaseLost] if it was released, or somebody else has it.
func (s *Store) Renew(ctx context.Context, l Lease, ttl time.Duration) error {
	err := s.onLease(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE lease SET expires = "+s.engine.now()+" + $4"+whereHeld, //nolint:gosec // ours
			l.Name, l.Holder, l.Fence, ttl.Milliseconds())
		if err != nil {
			return err
		}
		return oneRow(res, ErrLeaseLost)
	})
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	return nil
}

// Release ends a lease, so that the next one need not wait for that. One that was
// lost is no error, and stays with whoever has it.
func (s *Store) Release(ctx context.Context, l Lease) error {
	// The row stays, and with it the number that the next fence must exceed.
	err := s.onLease(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE lease SET holder = '', expires = 0"+whereHeld, l.Name, l.Holder, l.Fence)
		return err
	})
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// LeaseHolders returns who has which lease, by the names of leases.
func (s *Store) LeaseHolders(ctx context.Context) (holders map[string]string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, holder FROM lease WHERE holder <> '' AND expires > "+s.engine.now()) //nolint:gosec // ours
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	holders = make(map[string]string)
	for rows.Next() {
		var name, holder string
		if err := rows.Scan(&name, &holder); err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		holders[name] = holder
	}
	return holders, rows.Err()
}

// onLease runs do in a transaction that takes the row of a lease and no other lock.
// It does not wait for this process's writers, some of which take minutes, unless
// the database has room for one writer only.
func (s *Store) onLease(ctx context.Context, do func(tx *sql.Tx) error) error {
	if s.engine.oneWriter() {
		return s.transact(ctx, do)
	}
	return s.commit(ctx, do)
}

// holds fails with [ErrLeaseLost] unless the lease is still its holder's. Until the
// transaction ends nobody else can take it, because its row is taken.
//
// Whoever needs both takes the epoch's row first. Nobody waits for anything while
// having no more than the row of a lease, so there is no deadlock.
func (l Lease) holds(ctx context.Context, tx *sql.Tx) error {
	res, err := tx.ExecContext(ctx, "UPDATE lease SET expires = expires"+whereHeld, l.Name, l.Holder, l.Fence)
	if err != nil {
		return err
	}
	return oneRow(res, ErrLeaseLost)
}

// holdsIfAny is holds, and lets what needs no lease go on.
func (l Lease) holdsIfAny(ctx context.Context, tx *sql.Tx) error {
	if l == (Lease{}) {
		return nil
	}
	return l.holds(ctx, tx)
}
