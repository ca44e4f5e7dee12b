package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// TakeOver ends the leases of processes that have died, where that can be known: all
// that serve one SQLite file are on one machine, and share a lock on its folder while
// they live, which the system takes from those that are killed. Who finds nobody there
// need not wait until the leases run out. With PostgreSQL it does nothing.
//
// It is called before the first lease is taken, and leave after the last one. Whoever
// does not, or cannot, may lose a lease that it has, and then commits nothing with it.
func (s *Store) TakeOver(ctx context.Context) (leave func() error, err error) {
	if _, isFile := s.engine.(sqlite); !isFile {
		return func() error { return nil }, nil
	}
	var path string
	if err := s.db.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path); err != nil {
		return nil, fmt.Errorf("take over leases: %w", err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("take over leases: %w", err)
	}
	if err := s.endIfAlone(ctx, folder); err != nil {
		return nil, fmt.Errorf("take over leases: %w", errors.Join(err, folder.Close()))
	}
	return folder.Close, nil
}

// endIfAlone ends all leases if nobody shares the lock, and then shares it.
func (s *Store) endIfAlone(ctx context.Context, folder *os.File) error {
	switch err := flock(folder, syscall.LOCK_EX); {
	case err == nil:
		err := s.transact(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE lease SET holder = '', expires = 0 WHERE holder <> ''")
			return err
		})
		if err != nil {
			return err
		}
	case !errors.Is(err, syscall.EWOULDBLOCK):
		return err
	}
	// Between the two locks there may be somebody else, who ends what nobody has.
	for deadline := time.Now().Add(sqliteBusy); ; {
		err := flock(folder, syscall.LOCK_SH)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flock locks a file, or fails at once.
func flock(f *os.File, how int) error {
	return os.NewSyscallError("flock", syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB))
}
