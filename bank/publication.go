package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mediagate/media"
)

// Errors of publications.
var (
	// ErrPublicationNotFound: the bank is not published.
	ErrPublicationNotFound = errors.New("the bank is not published")
	// ErrPublished: the bank is published already, or its room is another bank's.
	ErrPublished = errors.New("the bank is published already, or another bank is published into that room")
)

// Publication is a bank whose contents are put into a room for others to read.
type Publication struct {
	// Bank is the number of the bank, and Name what it is called. Of one that is gone it
	// is what it was called when this began, "#", and its number: another bank may be
	// called so by now.
	Bank int64
	Name string
	Gone bool
	Room string
	// Since is when it was first to be published.
	Since time.Time
	// Enabled tells that the room is to hold what the bank does. Else it is to hold
	// nothing, and the publication ends when that is so.
	Enabled bool
	Status  PublicationStatus
}

// PublicationStatus is how the last comparison of a bank with its room went.
type PublicationStatus struct {
	// Finished is when it ended, zero before the first.
	Finished time.Time
	// Problem is why the room does not hold all that it is to, empty if it does.
	Problem string
	// Published is how many contents the room holds.
	Published int64
}

// selectPublication has one room for each bank, and no bank need be there.
const selectPublication = `SELECT p.bank, COALESCE(b.name, p.name || '#' || p.bank), b.id IS NULL, p.room, p.since, p.enabled, p.finished, p.problem, p.published
	FROM publication p LEFT JOIN bank b ON b.id = p.bank`

func scanPublication(r row) (Publication, error) {
	var p Publication
	var since, enabled int64
	var finished sql.NullInt64
	err := r.Scan(&p.Bank, &p.Name, &p.Gone, &p.Room, &since, &enabled, &finished, &p.Status.Problem, &p.Status.Published)
	p.Since, p.Enabled, p.Status.Finished = time.Unix(since, 0), enabled != 0, timeOf(finished)
	return p, err
}

// Publications lists what is published, in the order of the banks.
func (s *Store) Publications(ctx context.Context) ([]Publication, error) {
	list, err := listPublications(ctx, s.db, " ORDER BY p.bank")
	if err != nil {
		return nil, fmt.Errorf("list publications: %w", err)
	}
	return list, nil
}

func listPublications(ctx context.Context, q queryer, which string, args ...any) (list []Publication, err error) {
	rows, err := q.QueryContext(ctx, selectPublication+which, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		p, err := scanPublication(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// Publication returns that of a bank, or [ErrPublicationNotFound]. That of one that is
// gone is found by the name that it had alone only if no other bank has or had it.
func (s *Store) Publication(ctx context.Context, name string) (Publication, error) {
	p, err := findPublication(ctx, s.db, name)
	if err != nil {
		return Publication{}, fmt.Errorf("find publication: %w", err)
	}
	return p, nil
}

func findPublication(ctx context.Context, q queryer, name string) (Publication, error) {
	if !isText(name) {
		return Publication{}, ErrPublicationNotFound
	}
	// No bank's name has a "#".
	p, err := scanPublication(q.QueryRowContext(ctx, selectPublication+" WHERE COALESCE(b.name, p.name || '#' || p.bank) = $1", name))
	if !errors.Is(err, sql.ErrNoRows) {
		return p, err
	}
	gone, err := listPublications(ctx, q, " WHERE b.id IS NULL AND p.name = $1 AND NOT EXISTS (SELECT 1 FROM bank WHERE name = $1)", name)
	switch {
	case err != nil:
		return Publication{}, err
	case len(gone) > 1:
		return Publication{}, fmt.Errorf("%w: its name is that of %d banks that are gone, which are listed with their numbers", ErrPublicationNotFound, len(gone))
	case len(gone) == 0:
		return Publication{}, ErrPublicationNotFound
	}
	return gone[0], nil
}

// Publish has a bank published into a room from now on. It fails with
// [ErrBankNotFound], [ErrText] or [ErrPublished].
func (s *Store) Publish(ctx context.Context, name, room string) error {
	if err := checkTexts(room); err != nil {
		return fmt.Errorf("publish bank: %w", err)
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		b, err := findBank(ctx, tx, name)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO publication (bank, name, room, since, enabled, problem, published)
			VALUES ($1, $2, $3, $4, 1, '', 0) ON CONFLICT DO NOTHING`, b.ID, b.Name, room, time.Now().Unix())
		if err != nil {
			return err
		}
		return oneRow(res, ErrPublished)
	})
	if err != nil {
		return fmt.Errorf("publish bank: %w", err)
	}
	return nil
}

// Withdraw has all that was published of a bank taken back, and the publication end
// when that is done. It fails with [ErrPublicationNotFound].
func (s *Store) Withdraw(ctx context.Context, name string) error {
	return s.changePublication(ctx, name, "UPDATE publication SET enabled = 0 WHERE bank = $1")
}

// Unpublish ends a publication and leaves what is in the room. It fails with
// [ErrPublicationNotFound].
func (s *Store) Unpublish(ctx context.Context, name string) error {
	return s.changePublication(ctx, name, "DELETE FROM publication WHERE bank = $1")
}

func (s *Store) changePublication(ctx context.Context, name, statement string) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		p, err := findPublication(ctx, tx, name)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, statement, p.Bank)
		return err
	})
	if err != nil {
		return fmt.Errorf("end publication: %w", err)
	}
	return nil
}

// SetPublicationStatus keeps how a comparison went, and ends a publication that was
// withdrawn and holds nothing any more. One that has ended is no error. It fails with
// [ErrLeaseLost] if l is somebody else's by now.
func (s *Store) SetPublicationStatus(ctx context.Context, l Lease, bank int64, status PublicationStatus) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := l.holdsIfAny(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE publication SET finished = $2, problem = $3, published = $4 WHERE bank = $1",
			bank, secondsOf(status.Finished), shown(status.Problem), status.Published); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM publication WHERE bank = $1 AND enabled = 0 AND published = 0 AND problem = ''", bank)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep publication status: %w", err)
	}
	return nil
}

// OwnHash is a picture of a bank as it was hashed here: a hash, and the digest of its
// bytes if that was made here, too.
type OwnHash struct {
	Content int64
	PDQ     Signal
	SHA256  string // raw bytes, empty for none
}

// OwnHashes hands over, in their order, the primary hashes of at least some quality that
// this program has made itself of the contents that count in a bank. What was imported is
// not among them, wherever its export was made, nor what only counts later.
// The bank is as it is at the same moment; one that is gone is [ErrBankNotFound].
func (s *Store) OwnHashes(ctx context.Context, bank int64, quality int, each func(OwnHash)) (b Bank, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		b, err = scanBank(tx.QueryRowContext(ctx, "SELECT "+bankColumns+" FROM bank WHERE id = $1", bank))
		if errors.Is(err, sql.ErrNoRows) {
			return ErrBankNotFound
		}
		if err != nil {
			return err
		}
		return ownHashes(ctx, tx, bank, quality, each)
	})
	if err != nil {
		return Bank{}, fmt.Errorf("read own hashes: %w", err)
	}
	return b, nil
}

func ownHashes(ctx context.Context, tx *sql.Tx, bank int64, quality int, each func(OwnHash)) (err error) {
	rows, err := tx.QueryContext(ctx, `SELECT c.id, c.disable_until, p.value, p.quality, d.value FROM content c
		JOIN signal p ON p.content = c.id AND p.type = 'pdq' AND p.variant = $2 AND p.hasher IS NOT NULL AND p.quality >= $3
		LEFT JOIN signal d ON d.content = c.id AND d.type = 'sha256' AND d.variant = 0 AND d.hasher IS NOT NULL
		WHERE c.bank = $1 AND c.imported = 0 ORDER BY c.id`, bank, int64(media.Primary), quality)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	now := time.Now()
	for rows.Next() {
		h := OwnHash{PDQ: Signal{Type: PDQ, Variant: media.Primary}}
		var disableUntil int64
		var value, digest []byte
		if err := rows.Scan(&h.Content, &disableUntil, &value, &h.PDQ.Quality, &digest); err != nil {
			return err
		}
		if enabledAt(disableUntil, now) {
			h.PDQ.Value, h.SHA256 = string(value), string(digest)
			each(h)
		}
	}
	return rows.Err()
}
