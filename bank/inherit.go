package bank

import (
	"context"
	"database/sql"
	"errors"
)

// A rule that its list says again, with another reason, is another content under another
// key. If one batch replaces one by the other, it is what that was, also if that was held
// or disabled for a while: else whoever writes the list need only repeat itself to have
// decided otherwise. What was decided for good holds beyond that, see remember.

// decisions finds the contents about which somebody has decided, or is to, of the keys
// that a batch removes, by their identities.
func decisions(ctx context.Context, tx *sql.Tx, x Exchange, f Fetched) (map[string]int64, error) {
	decided := make(map[string]int64)
	if len(f.Put) == 0 {
		return decided, nil
	}
	for _, key := range f.Removed {
		var id int64
		err := tx.QueryRowContext(ctx, `SELECT c.id FROM source o JOIN content c ON c.id = o.content WHERE o.exchange = $1 AND o.key = $2
			AND (c.disable_until <> $3 OR EXISTS (SELECT 1 FROM review r WHERE r.content = c.id))`, x.Name, key, Enabled).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		signals, err := signalsOf(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		named, err := namedBy(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		decided[identityOf(signals, named)] = id
	}
	return decided, nil
}

// inherit gives a new content what was decided about another one.
func inherit(ctx context.Context, tx *sql.Tx, from, to int64) error {
	for _, statement := range []string{
		"UPDATE content SET disable_until = (SELECT c.disable_until FROM content c WHERE c.id = $1) WHERE id = $2",
		`INSERT INTO review (content, reason, since, confirmed, disable_until)
			SELECT CAST($2 AS BIGINT), reason, since, confirmed, disable_until FROM review WHERE content = $1`,
	} {
		if _, err := tx.ExecContext(ctx, statement, from, to); err != nil {
			return err
		}
	}
	return nil
}

// identityOf is that of a content with these signals, or that names this.
func identityOf(signals []Signal, named Named) string {
	var r record
	for _, s := range signals {
		r.signals = append(r.signals, madeSignal{Signal: s})
	}
	return r.identity() + "\x00" + named.Item + "\x00" + named.Servers
}
