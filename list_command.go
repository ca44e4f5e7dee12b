package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"mediagate/bank"
	"mediagate/exchange/policyroom"
	"mediagate/homeserver"
	"mediagate/pdq"
)

const listUsage = `usage: mediagate list lint FILE | ROOM [--allow BANK] [--json]

FILE has the events of a policy room, as a JSON array or one after another, or one PDQ
hash a line; - is standard input. ROOM is an id or an alias, which the configured
homeserver is asked for; its user must have joined the room, and shells want it quoted.
Entries are tried as if their senders were trusted, if the room's levels let them
write. State keys that are hashes are shortened. --allow names a bank of
allowed pictures: what is near to one of them is refused. The lines of --json have
whole hashes, from which pictures can be guessed: keep them as secret as those`

// listCommand runs what can be done with lists of others before anything follows them.
func listCommand(ctx context.Context, config Config, args []string, std streams) error {
	if len(args) == 0 {
		return errors.New(listUsage)
	}
	if args[0] != "lint" {
		return fmt.Errorf("list: there is no command %q\n%s", args[0], listUsage)
	}
	return lintList(ctx, config, args[1:], std)
}

// lintList tells what of a list would be refused, whoever is trusted. It changes
// nothing, and fails if there is something.
func lintList(ctx context.Context, config Config, args []string, std streams) error {
	flags := flag.NewFlagSet("list lint", flag.ContinueOnError)
	asJSON, allow := flags.Bool("json", false, ""), flags.String("allow", "", "")
	rest, err := parseFlags(flags, args, listUsage)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return misused(flags, "it needs one file, or one room", listUsage)
	}
	trust := policyroom.Trust{}
	trust.Lint, err = linter(ctx, config, *allow)
	if err != nil {
		return fmt.Errorf("list lint: --allow: %w", err)
	}
	var room policyroom.Room
	hashes, err := readList(ctx, config, rest[0], &room, std)
	if err != nil {
		return fmt.Errorf("list %w", interrupted(ctx, "lint", fmt.Errorf("lint: %w", err)))
	}
	lint := newListLint(&room, room.Rules(trust, nil), !hashes)
	if *asJSON {
		err = lint.encode(std.out)
	} else {
		err = lint.print(std.out)
	}
	switch {
	case err != nil:
		return fmt.Errorf("list lint: print: %w", err)
	case lint.unlisted() > 0:
		return fmt.Errorf("list lint: more than %d entries are refused", lint.refused)
	case lint.refused == 1:
		return errors.New("list lint: 1 entry is refused")
	case lint.refused > 1:
		return fmt.Errorf("list lint: %d entries are refused", lint.refused)
	}
	return nil
}

// readList reads a room, or a file. It tells whether that is a mere list of hashes.
func readList(ctx context.Context, config Config, name string, room *policyroom.Room, std streams) (hashes bool, err error) {
	if strings.HasPrefix(name, "!") || strings.HasPrefix(name, "#") {
		return false, readRoom(ctx, config, name, room)
	}
	lines, err := openLines(ctx, []string{name}, std)
	if err != nil {
		return false, err
	}
	defer lines.close()
	if hashes, err = room.ReadFile(lines); err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return hashes, nil
}

func readRoom(ctx context.Context, config Config, name string, room *policyroom.Room) error {
	if !config.Homeserver.Configured() {
		return errors.New("no homeserver is configured that could be asked for a room; ./ before the name makes it that of a file")
	}
	home, err := homeserver.New(config.Homeserver)
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, "#") {
		if name, _, err = home.ResolveAlias(ctx, name); err != nil {
			return err
		}
	}
	return home.RoomState(ctx, name, func(e policyroom.Event) error {
		room.Set(e)
		return nil
	})
}

// linter tells what speaks against a rule, with the pictures of a bank if one is
// named.
func linter(ctx context.Context, config Config, allow string) (lint func(policyroom.Rule) []policyroom.Refusal, err error) {
	if allow == "" {
		return func(r policyroom.Rule) []policyroom.Refusal { return policyroom.Lint(r, nil, config.Scan.MaxDistance) }, nil
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	b, err := store.Bank(ctx, allow)
	switch {
	case err != nil:
		return nil, err
	case !b.Allow:
		return nil, fmt.Errorf("%s is no bank of allowed pictures", b.Name)
	}
	r, w := io.Pipe()
	go func() {
		_, err := store.Export(ctx, w, []string{allow}, func(_, _ int64) {})
		_ = w.CloseWithError(err) // whoever reads is told; it cannot fail
	}()
	defer func() { _ = r.Close() }() // likewise
	allowed, err := readHashes(r)
	if err != nil {
		return nil, err
	}
	return func(r policyroom.Rule) []policyroom.Refusal {
		return policyroom.Lint(r, allowed, config.Scan.MaxDistance)
	}, nil
}

// readHashes reads the PDQ hashes that contents have first, of an export.
func readHashes(export io.Reader) (*pdq.Index, error) {
	var hashes []pdq.Hash
	for lines := json.NewDecoder(export); ; {
		var line struct {
			Signals []struct {
				Type    bank.SignalType `json:"type"`
				Variant string          `json:"variant"`
				Value   string          `json:"value"`
			} `json:"signals"`
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return pdq.NewIndex(hashes), nil
		} else if err != nil {
			return nil, err
		}
		for _, s := range line.Signals {
			if s.Type != bank.PDQ || s.Variant != "" {
				continue
			}
			h, err := pdq.Parse(s.Value)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, h)
		}
	}
}
