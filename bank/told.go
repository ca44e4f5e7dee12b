package bank

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Metadata returns the metadata of contents, whatever bank they are of. Those that have
// none, or more than so many characters, or do not exist are left out.
func (s *Store) Metadata(ctx context.Context, contents []int64, most int) (of map[int64]string, err error) {
	of = make(map[int64]string)
	if len(contents) == 0 {
		return of, nil
	}
	args := []any{most}
	places := make([]string, len(contents))
	for i, id := range contents {
		args = append(args, id)
		places[i] = fmt.Sprintf("$%d", i+2)
	}
	//nolint:gosec // numbers of parameters
	rows, err := s.db.QueryContext(ctx, "SELECT id, metadata FROM content WHERE metadata <> '' AND LENGTH(metadata) <= $1 AND id IN ("+strings.Join(places, ", ")+")", args...)
	if err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		var metadata string
		if err := rows.Scan(&id, &metadata); err != nil {
			return nil, fmt.Errorf("read metadata: %w", err)
		}
		of[id] = metadata
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	return of, nil
}
