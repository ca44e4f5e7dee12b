package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// coldStart measures how long a new process takes until it answers from the list.
func (b *bench) coldStart(ctx context.Context) error {
	for _, engine := range []string{"sqlite", "postgres"} {
		location, err := b.store(ctx, engine, b.hashes)
		if err != nil {
			return err
		}
		for range b.rounds {
			if err := b.startOnce(ctx, engine, "MEDIAGATE_DATABASE_URL="+location); err != nil {
				return err
			}
		}
	}
	return nil
}

// coldStartFromRedis is coldStart with the snapshot that another process has left
// in Redis.
func (b *bench) coldStartFromRedis(ctx context.Context) error {
	l, err := b.changeable(ctx, b.hashes)
	if err != nil {
		return err
	}
	r, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer r.end()
	env, err := b.withRedis(r, "MEDIAGATE_DATABASE_URL="+l.url())
	if err != nil {
		return err
	}
	if err := b.writeSnapshot(ctx, env); err != nil {
		return err
	}
	for range b.rounds {
		if err := b.startOnce(ctx, "redis", env...); err != nil {
			return err
		}
	}
	return nil
}

// writeSnapshot lets a process write one.
func (b *bench) writeSnapshot(ctx context.Context, env []string) error {
	g, err := startGate(b.program, b.dir, env...)
	if err != nil {
		return err
	}
	defer b.end(g)
	return g.await(ctx, "a snapshot is written", patience, func() (bool, error) { return g.logged("snapshot written") != nil, nil })
}

// startOnce measures one start, and that what came of it is the list.
func (b *bench) startOnce(ctx context.Context, from string, env ...string) error {
	g, err := startGate(b.program, b.dir, append(env, "MEDIAGATE_MEDIA_WORKERS=1")...)
	if err != nil {
		return err
	}
	defer b.end(g)
	took, err := g.ready(ctx)
	if err != nil {
		return err
	}
	if err := b.holds(ctx, g, b.hashes); err != nil {
		return err
	}
	if loaded := g.logged("index loaded"); (from == "redis") != (loaded["source"] == "snapshot") {
		return fmt.Errorf("the index was not loaded from %s: %v", from, loaded)
	}
	return b.report.run(fmt.Sprintf("ColdStart/hashes=%d/from=%s", b.hashes, from), metric{took.Seconds(), "sec/op"})
}

// holds tells whether a server finds hashes that are near those of the first so many
// numbers at their distances, and others not.
func (b *bench) holds(ctx context.Context, g *gate, hashes int) error {
	const tries = 100
	for i := range tries {
		n := int64(1 + i*(hashes-1)/(tries-1)) // the first, the last and what is between
		if err := g.finds(ctx, n, i%32); err != nil {
			return err
		}
		found, err := g.lookup(ctx, absent(i))
		if err != nil || len(found) > 0 {
			return fmt.Errorf("a hash that is not in the list is found: %v, %w", found, err)
		}
		if found, err = g.lookup(ctx, nearOf(n, 32)); err != nil || len(found) > 0 {
			return fmt.Errorf("a hash 32 bits away is found: %v, %w", found, err)
		}
	}
	return nil
}

// found is an answer of /m/raw_lookup.
type found struct {
	ID       int64  `json:"bank_content_id"`
	Distance string `json:"distance"`
}

// finds looks a hash up that is so many bits from that of a number.
func (g *gate) finds(ctx context.Context, n int64, bits int) error {
	got, err := g.lookup(ctx, nearOf(n, bits))
	if err != nil {
		return err
	}
	if len(got) != 1 || got[0] != (found{n, fmt.Sprint(bits)}) {
		return fmt.Errorf("%w: a hash %d bits from number %d is found as %v", errMissing, bits, n, got)
	}
	return nil
}

func (g *gate) lookup(ctx context.Context, hash [32]byte) ([]found, error) {
	api, _ := g.addresses()
	status, body, err := ask(ctx, fmt.Sprintf("http://%s/m/raw_lookup?signal_type=pdq&include_distance=true&signal=%x", api, hash))
	if err != nil {
		return nil, err
	}
	var answer struct{ Matches []found }
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("look up: status %d: %.200s", status, body)
	}
	return answer.Matches, nil
}
