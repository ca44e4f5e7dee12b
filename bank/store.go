package bank

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Store keeps banks durably. What a method has returned without error survives
// a crash of the process and of the machine; what it has not returned is there
// wholly or not at all. It is safe for concurrent use.
type Store struct {
	db     *sql.DB
	engine engine
	// writing holds the one right to write. Writers of other processes are waited
	// for by the database, which is not fair among many.
	writing chan struct{}
	// committed has room for one notice that the epoch has grown.
	committed chan struct{}
}

// Open opens the store at a URL, and creates it if there is none. SQLite's,
// sqlite: and a path, is readable by this user only. In PostgreSQL's, postgres:
// with a server and a database, it takes a schema of its own, whatever else the
// database holds; what the URL leaves out, the environment of PostgreSQL's own
// programs says, as PGPASSFILE. Errors tell no password.
func Open(ctx context.Context, location string) (*Store, error) {
	s, err := connect(ctx, location)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.Close())
	}
	return s, nil
}

// connect returns a store that may hold nothing yet.
func connect(ctx context.Context, location string) (*Store, error) {
	if err := CheckLocation(location); err != nil {
		return nil, err
	}
	s := &Store{writing: make(chan struct{}, 1), committed: make(chan struct{}, 1)}
	var err error
	if path, ok := strings.CutPrefix(location, sqliteScheme); ok {
		s.engine = sqlite{}
		s.db, err = openSQLite(ctx, path)
	} else {
		s.engine = postgres{}
		s.db, err = openPostgres(location)
	}
	if err != nil && s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return s, err
}

// Close waits for running calls and closes the store.
func (s *Store) Close() error { return s.db.Close() }

// transact runs do in a transaction that sees what was committed before each of
// its statements.
func (s *Store) transact(ctx context.Context, do func(tx *sql.Tx) error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.commit(ctx, do)
}

// commit is transact for what need not wait for the writers of this process.
func (s *Store) commit(ctx context.Context, do func(tx *sql.Tx) error) (err error) {
	defer func() { err = endedBy(ctx, err) }()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, rollBack(ctx, tx))
	}
	if err := tx.Commit(); err != nil {
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			err = ctx.Err() // which has ended it
		}
		// Lost on the way to a server or back, it may have taken effect.
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// write runs do in a transaction that nobody else writes beside, in any process:
// it takes the epoch's row first, which all others wait for. So what do has read
// stays true until it commits.
func (s *Store) write(ctx context.Context, do func(tx *sql.Tx) error) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		if err := lock(ctx, tx); err != nil {
			return err
		}
		return do(tx)
	})
}

// lock takes the epoch's row.
func lock(ctx context.Context, tx *sql.Tx) error {
	res, err := tx.ExecContext(ctx, "UPDATE meta SET value = value WHERE key = 'epoch'")
	if err != nil {
		return err
	}
	return oneRow(res, errors.New("the store has no epoch"))
}

// read runs do in a transaction that sees one state throughout.
func (s *Store) read(ctx context.Context, do func(tx *sql.Tx) error) (err error) {
	defer func() { err = endedBy(ctx, err) }()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	return errors.Join(do(tx), rollBack(ctx, tx))
}

// endedBy tells of the context and not of a connection that was given up with it.
func endedBy(ctx context.Context, err error) error {
	if errors.Is(err, driver.ErrBadConn) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// rollBack ends a transaction that is not to be committed. One that its context has
// ended cannot be, nor over a connection that was given up with it, and that is no
// failure of its own.
func rollBack(ctx context.Context, tx *sql.Tx) error {
	if err := tx.Rollback(); ctx.Err() == nil {
		return err
	}
	return nil
}

// change is write for what changes matching: it counts the epoch up, first, so
// that commits come in the order of their epochs, marks it, and notifies the Indexer.
func (s *Store) change(ctx context.Context, do func(tx *sql.Tx, epoch int64) error) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		epoch, err := count(ctx, tx, "epoch")
		if err != nil {
			return err
		}
		if err := leaveMark(ctx, tx, epoch); err != nil {
			return err
		}
		return do(tx, epoch)
	})
	if err != nil {
		return err
	}
	select {
	case s.committed <- struct{}{}:
	default: // one notice is enough for all
	}
	return nil
}

// count adds one to a counter of table meta and returns it.
func count(ctx context.Context, tx *sql.Tx, key string) (int64, error) {
	var n int64
	err := tx.QueryRowContext(ctx, "UPDATE meta SET value = value + 1 WHERE key = $1 RETURNING value", key).Scan(&n)
	return n, err
}

// epochPatience is how long the smallest of questions may take.
const epochPatience = 10 * time.Second

// Epoch returns the number of the last commit that changed matching. What was
// committed before the call is matched from that epoch on; see [Live.Wait].
func (s *Store) Epoch(ctx context.Context) (int64, error) {
	// Whoever follows the store asks again; a server that does not answer must not
	// keep them.
	ctx, cancel := context.WithTimeout(ctx, epochPatience)
	defer cancel()
	var epoch int64
	if err := s.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'epoch'").Scan(&epoch); err != nil {
		return 0, fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}

// isPast is Epoch, and tells whether a moment is one of this store's past.
func (s *Store) isPast(ctx context.Context, m moment) (epoch int64, is bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, epochPatience)
	defer cancel()
	if epoch, is, err = isPast(ctx, s.db, m); err != nil {
		return 0, false, fmt.Errorf("read epoch: %w", err)
	}
	return epoch, is, nil
}
