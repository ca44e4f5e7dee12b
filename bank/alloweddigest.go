package bank

import (
	"context"
	"fmt"
	"time"
)

// AllowedDigests returns the SHA-256 and MD5 values of all contents that count of banks
// that allow and are on.
func (s *Store) AllowedDigests(ctx context.Context) (map[string]bool, error) {
	rows, err := column[string](ctx, s.db, `SELECT s.value FROM bank b JOIN content c ON c.bank = b.id JOIN signal s ON s.content = c.id
		WHERE b.allow = 1 AND b.ratio > 0 AND c.disable_until <> 0 AND c.disable_until <= $1 AND s.type <> $2`, time.Now().Unix(), string(PDQ))
	if err != nil {
		return nil, fmt.Errorf("list allowed digests: %w", err)
	}
	digests := make(map[string]bool, len(rows))
	for _, value := range rows {
		digests[value] = true
	}
	return digests, nil
}
