package bank

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// What an operator has decided about a content of one key outlives it: its list may say
// it under another key, take it back for a while, or add a hash to it. The last decision
// about a value holds.

// trait is a value that a content is known by.
type trait struct {
	kind  SignalType
	value string
}

// traitsOf lists all of a content.
func traitsOf(signals []Signal, named Named) (list []trait) {
	for _, s := range signals {
		if s.Type == VideoMD5 { // they are looked up together
			s.Type = MD5
		}
		list = append(list, trait{s.Type, s.Value})
	}
	if named.Item != "" {
		list = append(list, trait{NamedItem, named.Item})
	}
	if named.Servers != "" {
		list = append(list, trait{NamedServer, strings.ToLower(named.Servers)})
	}
	return list
}

// remember keeps what an operator has made of a content of one key, or forgets what was
// decided before, if it is nothing that lasts.
func remember(ctx context.Context, tx *sql.Tx, id int64) error {
	var bank, until, alone, confirmed int64
	err := tx.QueryRowContext(ctx, `SELECT bank, disable_until, (SELECT COUNT(*) FROM source o WHERE o.content = c.id AND o.alone = 1),
		(SELECT COUNT(*) FROM review r WHERE r.content = c.id AND r.confirmed = 1) FROM content c WHERE id = $1`, id).Scan(&bank, &until, &alone, &confirmed)
	if err != nil || alone == 0 {
		return err
	}
	signals, err := signalsOf(ctx, tx, id)
	if err != nil {
		return err
	}
	named, err := namedBy(ctx, tx, id)
	if err != nil {
		return err
	}
	for _, t := range traitsOf(signals, named) {
		if until != DisabledForever && confirmed == 0 {
			_, err = tx.ExecContext(ctx, "DELETE FROM decision WHERE bank = $1 AND type = $2 AND value = $3", bank, string(t.kind), []byte(t.value))
		} else {
			_, err = tx.ExecContext(ctx, `INSERT INTO decision (bank, type, value, block) VALUES ($1, $2, $3, $4)
				ON CONFLICT (bank, type, value) DO UPDATE SET block = excluded.block`, bank, string(t.kind), []byte(t.value), bit(until != DisabledForever))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recall applies to a content of one key what was decided about what it is known by. One
// value that never is to block is enough for all not to. To block whatever it blocks,
// each must have been decided to: else a list could add what it likes to such a content.
func recall(ctx context.Context, tx *sql.Tx, bank, id int64, c SourceContent, epoch int64) error {
	confirmed := true
	for _, t := range traitsOf(c.Signals, c.Named) {
		var block int64
		err := tx.QueryRowContext(ctx, "SELECT block FROM decision WHERE bank = $1 AND type = $2 AND value = $3",
			bank, string(t.kind), []byte(t.value)).Scan(&block)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			confirmed = false
		case err != nil:
			return err
		case block == 0:
			return dismiss(ctx, tx, id, epoch)
		}
	}
	if !confirmed {
		return nil
	}
	// What is off or held stays so.
	_, err := tx.ExecContext(ctx, `INSERT INTO review (content, reason, since, confirmed, disable_until)
		SELECT id, 'it was confirmed before', CAST($2 AS BIGINT), 1, disable_until FROM content WHERE id = $1 AND disable_until = $3
		ON CONFLICT (content) DO NOTHING`, id, time.Now().Unix(), Enabled)
	return err
}
