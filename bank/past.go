package bank

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
)

// moment is a commit of a store's past. The epoch alone does not tell which: a store
// that has gone back, to a backup or to a server that lacks the last commits, gives
// the same epochs again to other commits. So each leaves a mark, which is random.
// It is 0 where none is known: before the first commit, and of commits of programs
// that did not make any.
type moment struct{ epoch, mark int64 }

const (
	// marksKept is how many commits are known by their marks at least. An index that is
	// further behind is made anew.
	marksKept = behindMin
	// marksTrimmed is after how many commits the marks of older ones are deleted.
	marksTrimmed = 1000
)

// leaveMark marks the commit that a transaction is about to be.
func leaveMark(ctx context.Context, tx *sql.Tx, epoch int64) error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it does not fail
	mark := int64(binary.BigEndian.Uint64(random[:]) | 1)
	_, err := tx.ExecContext(ctx, "INSERT INTO past (epoch, mark) VALUES ($1, $2) ON CONFLICT (epoch) DO UPDATE SET mark = excluded.mark", epoch, mark)
	if err != nil || epoch%marksTrimmed != 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM past WHERE epoch <= $1", epoch-marksKept)
	return err
}

// newestMoment returns that of the last commit.
func newestMoment(ctx context.Context, q queryer) (m moment, err error) {
	err = q.QueryRowContext(ctx, `SELECT value, COALESCE((SELECT mark FROM past WHERE past.epoch = meta.value), 0)
		FROM meta WHERE key = 'epoch'`).Scan(&m.epoch, &m.mark)
	return m, err
}

// isPast tells whether a moment is one of the store's own past, and not of one that it
// has gone back behind. One that is long ago is told to be none.
func isPast(ctx context.Context, q queryer, m moment) (epoch int64, is bool, err error) {
	var mark int64
	err = q.QueryRowContext(ctx, "SELECT value, COALESCE((SELECT mark FROM past WHERE epoch = $1), 0) FROM meta WHERE key = 'epoch'", m.epoch).Scan(&epoch, &mark)
	return epoch, epoch >= m.epoch && mark == m.mark, err
}
