package bank

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mediagate/media"
	"mediagate/pdq"
)

// AllowedHashes returns the primary PDQ hashes of what counts in all banks that allow and
// are on.
func (s *Store) AllowedHashes(ctx context.Context) (hashes []pdq.Hash, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT s.value FROM bank b JOIN content c ON c.bank = b.id JOIN signal s ON s.content = c.id
		WHERE b.allow = 1 AND b.ratio > 0 AND s.type = $1 AND s.variant = $2
		AND c.disable_until <> $3 AND c.disable_until <= $4 ORDER BY c.id`, string(PDQ), int64(media.Primary), DisabledForever, time.Now().Unix())
	if err != nil {
		return nil, fmt.Errorf("list allowed hashes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var value []byte
		if err := rows.Scan(&value); err != nil {
			return nil, fmt.Errorf("list allowed hashes: %w", err)
		}
		if len(value) != PDQ.size() {
			return nil, fmt.Errorf("list allowed hashes: %w of type %s", ErrMalformedSignal, PDQ)
		}
		hashes = append(hashes, pdq.FromBytes([pdq.Bits / 8]byte(value)))
	}
	return hashes, rows.Err()
}
