package bank

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"mediagate/internal/secret"
)

// Exchange is a remote source of contents, with the bank that they go to.
type Exchange struct {
	// Name is also the name that the bank is created under.
	Name string
	// Bank is where the contents go.
	Bank Bank
	// API says how to fetch, and Config, a JSON object, where from.
	API, Config string
	// Credential is the exchange's own, empty for none.
	Credential secret.String
	Enabled    bool
	// Completed tells whether all there was has been fetched once since the
	// exchange was created.
	Completed bool
	// Checkpoint is where the next fetch resumes; only the API knows its form.
	Checkpoint string
	Status     FetchStatus
}

// FetchStatus is how an exchange's last fetch went.
type FetchStatus struct {
	// Started is when the running fetch began, zero while none runs; Finished
	// when the last one ended, zero before the first.
	Started, Finished time.Time
	// Succeeded and UpToDate are of the last one that ended.
	Succeeded, UpToDate bool
	// Problem is why it did not succeed.
	Problem string
	// Report is what the API tells of its source beside that: a JSON object of
	// MaxReport bytes at most, or empty.
	Report string
}

// MaxReport is in bytes.
const MaxReport = 64 << 10

// ErrReport is a report that is not kept.
var ErrReport = fmt.Errorf("the report is not a JSON object of at most %d bytes", MaxReport)

func checkReport(text string) error {
	if text == "" {
		return nil
	}
	if len(text) > MaxReport || !isText(text) || !json.Valid([]byte(text)) || !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		return ErrReport
	}
	return nil
}

const exchangeColumns = `e.name, e.api, e.config, e.credential, e.enabled, e.completed, e.checkpoint,
	e.started, e.finished, e.succeeded, e.current, e.problem, e.report,
	b.id, b.name, b.ratio, b.md5_enforce, b.monitor, b.allow, b.agree, b.breaker`

const selectExchange = "SELECT " + exchangeColumns + " FROM exchange e JOIN bank b ON b.id = e.bank"

func scanExchange(r row) (Exchange, error) {
	var x Exchange
	var credential string
	var flags bankFlags
	var enabled, completed, current int64
	var started, finished, succeeded sql.NullInt64
	into := append([]any{&x.Name, &x.API, &x.Config, &credential, &enabled, &completed, &x.Checkpoint,
		&started, &finished, &succeeded, &current, &x.Status.Problem, &x.Status.Report}, flags.into(&x.Bank)...)
	err := r.Scan(into...)
	flags.set(&x.Bank)
	x.Credential, x.Enabled, x.Completed = secret.New(credential), enabled != 0, completed != 0
	x.Status.Started, x.Status.Finished = timeOf(started), timeOf(finished)
	x.Status.Succeeded, x.Status.UpToDate = succeeded.Int64 != 0, current != 0
	return x, err
}

func timeOf(seconds sql.NullInt64) time.Time {
	if !seconds.Valid {
		return time.Time{}
	}
	return time.Unix(seconds.Int64, 0)
}

func secondsOf(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()}
}

// Exchanges lists all exchanges in the order of their banks.
func (s *Store) Exchanges(ctx context.Context) (list []Exchange, err error) {
	rows, err := s.db.QueryContext(ctx, selectExchange+" ORDER BY b.id")
	if err != nil {
		return nil, fmt.Errorf("list exchanges: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		x, err := scanExchange(rows)
		if err != nil {
			return nil, fmt.Errorf("list exchanges: %w", err)
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// Exchange returns the exchange of that name, or [ErrExchangeNotFound].
func (s *Store) Exchange(ctx context.Context, name string) (Exchange, error) {
	return findExchange(ctx, s.db, name)
}

func findExchange(ctx context.Context, q queryer, name string) (Exchange, error) {
	return queryExchange(ctx, q, " WHERE e.name = $1", name)
}

func queryExchange(ctx context.Context, q queryer, where, name string) (Exchange, error) {
	if !isText(name) {
		return Exchange{}, ErrExchangeNotFound
	}
	x, err := scanExchange(q.QueryRowContext(ctx, selectExchange+where, name))
	if errors.Is(err, sql.ErrNoRows) {
		return Exchange{}, ErrExchangeNotFound
	}
	if err != nil {
		return Exchange{}, fmt.Errorf("find exchange: %w", err)
	}
	return x, nil
}

// listAwaiting names the exchanges that are enabled, feed a bank that is on and not in
// monitor, and have not been through once.
func listAwaiting(ctx context.Context, q queryer) ([]string, error) {
	return names(ctx, q, `SELECT e.name FROM exchange e JOIN bank b ON b.id = e.bank
		WHERE e.enabled = 1 AND e.completed = 0 AND b.ratio > 0 AND b.monitor = 0 ORDER BY e.name`)
}

// CreateExchange makes an exchange that has fetched nothing, with an empty bank
// of its name, which has MD5Enforce, Monitor, Agree and Breaker of x.Bank. It fails with
// [ErrBankName], [ErrSettings] or [ErrText], or with [ErrBankExists] if there is a bank
// or an exchange of that name.
func (s *Store) CreateExchange(ctx context.Context, x Exchange) error {
	b := Bank{Name: x.Name, Ratio: 1, MD5Enforce: x.Bank.MD5Enforce, Monitor: x.Bank.Monitor, Agree: x.Bank.Agree, Breaker: x.Bank.Breaker}
	if err := errors.Join(b.validate(), checkTexts(x.API, x.Config, x.Credential.Reveal())); err != nil {
		return err
	}
	err := s.change(ctx, func(tx *sql.Tx, _ int64) error {
		if err := insertBank(ctx, tx, &b); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO exchange (name, bank, api, config, credential, enabled, completed, checkpoint, current, problem)
			VALUES ($1, $2, $3, $4, $5, $6, 0, '', 0, '') ON CONFLICT (name) DO NOTHING`,
			x.Name, b.ID, x.API, x.Config, x.Credential.Reveal(), bit(x.Enabled))
		if err != nil {
			return err
		}
		return oneRow(res, ErrBankExists)
	})
	if err != nil {
		return fmt.Errorf("create exchange: %w", err)
	}
	return nil
}

// EnableExchange turns an exchange on or off. What it has banked stays. It fails
// with [ErrExchangeNotFound].
func (s *Store) EnableExchange(ctx context.Context, name string, enabled bool) error {
	if !isText(name) {
		return ErrExchangeNotFound
	}
	err := s.change(ctx, func(tx *sql.Tx, _ int64) error {
		res, err := tx.ExecContext(ctx, "UPDATE exchange SET enabled = $2 WHERE name = $1", name, bit(enabled))
		if err != nil {
			return err
		}
		return oneRow(res, ErrExchangeNotFound)
	})
	if err != nil {
		return fmt.Errorf("change exchange: %w", err)
	}
	return nil
}

// SetMonitor lets the bank of an exchange be monitored, or block, and tells whether it
// was otherwise. It fails with [ErrExchangeNotFound], [ErrSettings] or [ErrNeverRead].
func (s *Store) SetMonitor(ctx context.Context, exchange string, monitor bool) (changed bool, err error) {
	err = s.change(ctx, func(tx *sql.Tx, _ int64) error {
		x, err := findExchange(ctx, tx, exchange)
		if err != nil {
			return err
		}
		if changed = x.Bank.Monitor != monitor; !changed {
			return errNothingNew
		}
		x.Bank.Monitor = monitor
		if err := x.Bank.validate(); err != nil {
			return err
		}
		if !monitor {
			if err := x.mayBlock(); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, "UPDATE bank SET monitor = $2 WHERE id = $1", x.Bank.ID, bit(monitor))
		return err
	})
	if err != nil && !errors.Is(err, errNothingNew) {
		return false, fmt.Errorf("change exchange: %w", err)
	}
	return changed, nil
}

// mayBlock refuses to end the monitoring of what every scan would then wait for, and so
// for whoever has the source.
func (x Exchange) mayBlock() error {
	if !x.Completed {
		return ErrNeverRead
	}
	return nil
}

// Feeder returns the exchange that feeds the named bank, or [ErrExchangeNotFound].
func (s *Store) Feeder(ctx context.Context, bank string) (Exchange, error) {
	return queryExchange(ctx, s.db, " WHERE b.name = $1", bank)
}

// DeleteExchange removes an exchange with its bank and all that is in it. One
// that does not exist is no error.
func (s *Store) DeleteExchange(ctx context.Context, name string) error {
	if !isText(name) {
		return nil
	}
	err := s.change(ctx, func(tx *sql.Tx, _ int64) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM bank WHERE id IN (SELECT bank FROM exchange WHERE name = $1)", name)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete exchange: %w", err)
	}
	return nil
}

// SetFetchStatus keeps how an exchange's last fetch went. An exchange that does
// not exist any more is no error. It fails with [ErrReport], or with [ErrLeaseLost] if
// l, unless it is zero, is somebody else's by now.
func (s *Store) SetFetchStatus(ctx context.Context, l Lease, name string, f FetchStatus) error {
	if !isText(name) {
		return nil
	}
	if err := checkReport(f.Report); err != nil {
		return fmt.Errorf("keep fetch status: %w", err)
	}
	succeeded := sql.NullInt64{Int64: bit(f.Succeeded), Valid: !f.Finished.IsZero()}
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := l.holdsIfAny(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE exchange SET started = $2, finished = $3, succeeded = $4, current = $5, problem = $6, report = $7 WHERE name = $1",
			name, secondsOf(f.Started), secondsOf(f.Finished), succeeded, bit(f.UpToDate), shown(f.Problem), f.Report)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep fetch status: %w", err)
	}
	return nil
}

// Credential returns what exchanges of an API that have no credential of their
// own may use, empty for none.
func (s *Store) Credential(ctx context.Context, api string) (secret.String, error) {
	if !isText(api) {
		return secret.String{}, nil
	}
	var value string
	err := s.db.QueryRowContext(ctx, "SELECT value FROM credential WHERE api = $1", api).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return secret.String{}, fmt.Errorf("find credential: %w", err)
	}
	return secret.New(value), nil
}

// SetCredential changes what Credential returns; an empty one is none. It fails
// with [ErrText].
func (s *Store) SetCredential(ctx context.Context, api string, value secret.String) error {
	err := checkTexts(api, value.Reveal())
	if err != nil {
		return fmt.Errorf("keep credential: %w", err)
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM credential WHERE api = $1", api); err != nil || value.Empty() {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO credential (api, value) VALUES ($1, $2)", api, value.Reveal())
		return err
	})
	if err != nil {
		return fmt.Errorf("keep credential: %w", err)
	}
	return nil
}
