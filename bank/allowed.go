package bank

import (
	"context"
	"fmt"
	"time"

	"mediagate/media"
	"mediagate/pdq"
)

// AllowedHashes returns the primary PDQ hashes of what counts in all banks that allow and
// are on.
func (s *Store) AllowedHashes(ctx context.Context) ([]pdq.Hash, error) {
	values, err := s.allowed(ctx, "s.type = $3 AND s.variant = $4", string(PDQ), int64(media.Primary))
	if err != nil {
		return nil, fmt.Errorf("list allowed hashes: %w", err)
	}
	hashes := make([]pdq.Hash, len(values))
	for i, value := range values {
		if len(value) != PDQ.size() {
			return nil, fmt.Errorf("list allowed hashes: %w of type %s", ErrMalformedSignal, PDQ)
		}
		hashes[i] = pdq.FromBytes([pdq.Bits / 8]byte([]byte(value)))
	}
	return hashes, nil
}

// AllowedDigests returns the SHA-256 and MD5 values, as raw bytes, of the same contents.
func (s *Store) AllowedDigests(ctx context.Context) (map[string]bool, error) {
	values, err := s.allowed(ctx, "s.type <> $3", string(PDQ))
	if err != nil {
		return nil, fmt.Errorf("list allowed digests: %w", err)
	}
	digests := make(map[string]bool, len(values))
	for _, value := range values {
		digests[value] = true
	}
	return digests, nil
}

// allowed returns the values of those signals of what is allowed that are so.
func (s *Store) allowed(ctx context.Context, so string, args ...any) ([]string, error) {
	return column[string](ctx, s.db, `SELECT s.value FROM bank b JOIN content c ON c.bank = b.id JOIN signal s ON s.content = c.id
		WHERE b.allow = 1 AND b.ratio > 0 AND c.disable_until <> $1 AND c.disable_until <= $2 AND `+so+" ORDER BY c.id",
		append([]any{DisabledForever, time.Now().Unix()}, args...)...)
}
