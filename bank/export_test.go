package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"mediagate/media"
)

// CreateVersion makes a store as a program of an earlier schema left it, and
// fills it.
func CreateVersion(ctx context.Context, location string, version int, fill string) (err error) {
	s, err := connect(ctx, location)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.transact(ctx, func(tx *sql.Tx) error {
		if err := s.engine.prepare(ctx, tx); err != nil {
			return err
		}
		statements := []string{"CREATE TABLE schema_version (version BIGINT NOT NULL)"}
		for n, migration := range migrations[:version] {
			statements = append(statements, s.engine.spell(migration), fmt.Sprintf("INSERT INTO schema_version (version) VALUES (%d)", n+1))
		}
		for _, statement := range append(statements, fill) {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// Versions is how many schema versions there are.
func Versions() int { return len(migrations) }

// MakeTrouble lets the database fail at something, as BEFORE INSERT ON bank.
func (s *Store) MakeTrouble(ctx context.Context, at string) error {
	if s.engine == (sqlite{}) {
		return s.Exec(ctx, "CREATE TRIGGER trouble "+at+" BEGIN SELECT RAISE(ABORT, 'trouble'); END")
	}
	at, condition, conditional := strings.Cut(at, " WHEN ")
	if at += " FOR EACH ROW"; conditional {
		at += " WHEN (" + condition + ")"
	}
	return s.Exec(ctx, "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trouble''; END'; CREATE TRIGGER trouble "+
		at+" EXECUTE FUNCTION trouble()")
}

// EndTrouble takes MakeTrouble back.
func (s *Store) EndTrouble(ctx context.Context) error {
	if s.engine == (sqlite{}) {
		return s.Exec(ctx, "DROP TRIGGER trouble")
	}
	return s.Exec(ctx, "DROP FUNCTION trouble CASCADE")
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
	_, err := s.db.ExecContext(ctx, "UPDATE signal SET value = $1", []byte{0})
	return err
}

// Refresh runs one round of the Indexer; with merge it folds the overlay in.
func (x *Indexer) Refresh(ctx context.Context, merge bool) error {
	if ix := x.live.p.Load(); merge && ix != nil {
		return x.refresh(ctx, merged{ix.merged(), ix.base})
	}
	return x.refresh(ctx, merged{})
}

// Merge begins to fold the overlay of an index in, as a refresh does that finds it large.
func (x *Indexer) Merge(ix *Index) { x.merge(ix) }

// AwaitMerge publishes what is being folded in, and returns false if nothing is.
func (x *Indexer) AwaitMerge(ctx context.Context) (bool, error) {
	if x.merging == nil {
		return false, nil
	}
	m := <-x.merging
	x.merging = nil
	return true, x.refresh(ctx, m)
}

// Hold keeps the index as the SnapshotWriter does while it writes.
func (l *Live) Hold() (*Index, error) { return l.hold() }

// LetGo ends Hold.
func (l *Live) LetGo() { l.letGo() }

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
	before := x.live.p.Load()
	x.store = other
	if err := x.refresh(ctx, merged{}); err != nil {
		return err
	}
	return x.refresh(ctx, merged{before.merged(), before.base})
}

// Follow goes on with another store.
func (x *Indexer) Follow(ctx context.Context, other *Store) error {
	x.store = other
	return x.refresh(ctx, merged{})
}

// How many commits leave a mark that stays, and how often the others' are deleted.
const (
	MarksKept    = marksKept
	MarksTrimmed = marksTrimmed
)

// HashContent is a content as an index sees it.
type HashContent struct {
	ID           int64
	Bank         int64
	DisableUntil int64
	Hashes       []media.Hash
}

func deltaOf(epoch int64, banks []Bank, contents []HashContent) delta {
	d := delta{moment: moment{epoch: epoch}, banks: banks}
	for _, c := range contents {
		d.contents = append(d.contents, indexed{c.ID, c.DisableUntil})
		for _, h := range c.Hashes {
			raw := h.PDQ.Bytes()
			d.signals.add(raw[:], ref{content: c.ID, bank: int32(c.Bank), variant: h.Variant})
		}
	}
	d.held = d.signals.counts()
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

// Begin begins a transaction behind the program's back.
func (s *Store) Begin(ctx context.Context) (*sql.Tx, error) {
	return s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
}

// Query returns one value of the database, as text.
func (s *Store) Query(ctx context.Context, query string) (value string, err error) {
	err = s.db.QueryRowContext(ctx, query).Scan(&value)
	return value, err
}

// ChangeSlowly banks a content under a key of an exchange and does something
// before it commits.
func (s *Store) ChangeSlowly(ctx context.Context, exchange string, c SourceContent, meanwhile func()) error {
	return s.change(ctx, func(tx *sql.Tx, epoch int64) error {
		x, err := findExchange(ctx, tx, exchange)
		if err != nil {
			return err
		}
		if err := putSource(ctx, tx, x, c, nil, epoch); err != nil {
			return err
		}
		meanwhile()
		return nil
	})
}

// Tables are what Copy copies, and those that there are.
func (s *Store) Tables(ctx context.Context) (copied, there []string, err error) {
	there, err = s.engine.tables(ctx, s.db)
	return tables, there, err
}

// Dump returns all that a store holds, in an order that does not depend on the
// engine; nothing if there is no store.
func Dump(ctx context.Context, location string) (lines []string, err error) {
	s, err := connect(ctx, location)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	names, err := s.engine.tables(ctx, s.db)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		rows, err := s.db.QueryContext(ctx, "SELECT * FROM "+name)
		if err != nil {
			return nil, err
		}
		columns, err := rows.Columns()
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprint(name, columns))
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				return nil, err
			}
			lines = append(lines, fmt.Sprintf("%s %#v", name, row))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// Ended is what the driver is told of a connection that the server has ended.
func Ended(ctx context.Context) error {
	ours, theirs := net.Pipe()
	p := newPatience(func(context.Context, string, string) (net.Conn, error) { return ours, nil })
	conn, err := p.connect(ctx, "pipe", "")
	if err != nil {
		return errors.New("not even connected: " + err.Error())
	}
	if err := theirs.Close(); err != nil {
		return errors.New("not even ended: " + err.Error())
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// OnSQLite tells the engine of a store.
func (s *Store) OnSQLite() bool { return s.engine == (sqlite{}) }

// HasPlace tells whether there is a file, or a schema, for a store, be it empty. It
// makes none.
func HasPlace(ctx context.Context, location string) (bool, error) {
	if missing, err := isNewFile(location); err != nil || missing || !isPostgres(location) {
		return !missing, err
	}
	s, err := connect(ctx, location)
	if err != nil {
		return false, err
	}
	found, err := s.Query(ctx, "SELECT COUNT(*) FROM pg_namespace WHERE nspname = '"+postgresSchema+"'")
	return found != "0", errors.Join(err, s.Close())
}

// GlobMatches tells whether a server's name is as a pattern says.
func GlobMatches(pattern, name string) bool { return globMatches(pattern, name) }
