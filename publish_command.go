package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/publish"
)

const publishUsage = `usage: mediagate publish list [--json]
       mediagate publish add BANK ROOM [--via SERVER]
       mediagate publish remove BANK [--redact]
       mediagate publish preview BANK [ROOM]`

// publishCommand runs what can be done with banks that are put into rooms.
func publishCommand(ctx context.Context, config Config, args []string, std streams) (err error) {
	commands := map[string]func(context.Context, Config, *bank.Store, []string, streams) error{
		"list": listPublications, "add": addPublication, "remove": removePublication, "preview": previewPublication,
	}
	if len(args) == 0 {
		return errors.New(publishUsage)
	}
	run, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("publish: there is no command %q\n%s", args[0], publishUsage)
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return fmt.Errorf("publish %s: %w", args[0], err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return run(ctx, config, store, args[1:], std)
}

// publicationLine is one line of the list for programs.
type publicationLine struct {
	Bank      string     `json:"bank"`
	Room      string     `json:"room"`
	Since     time.Time  `json:"since"`
	Enabled   bool       `json:"enabled"`       // false while all of it is taken back
	Finished  *time.Time `json:"last_compared"` // null before the first time
	Published int64      `json:"published"`
	Problem   string     `json:"problem"`
}

func listPublications(ctx context.Context, _ Config, store *bank.Store, args []string, std streams) error {
	flags := flag.NewFlagSet("publish list", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	if rest, err := parseFlags(flags, args, publishUsage); err != nil {
		return err
	} else if len(rest) > 0 {
		return misused(flags, "it takes no names", publishUsage)
	}
	list, err := store.Publications(ctx)
	if err != nil {
		return fmt.Errorf("publish list: %w", err)
	}
	out := json.NewEncoder(std.out)
	table := newTable(std.out, "BANK", "ROOM", "SINCE", "STATE", "LAST COMPARED", "PUBLISHED", "PROBLEM")
	for _, p := range list {
		line := publicationLine{Bank: p.Name, Room: p.Room, Since: p.Since.UTC(), Enabled: p.Enabled, Published: p.Status.Published, Problem: p.Status.Problem}
		compared := ""
		if at := p.Status.Finished.UTC(); !p.Status.Finished.IsZero() {
			line.Finished, compared = &at, at.Format(time.RFC3339)
		}
		if !*asJSON {
			table.row(line.Bank, line.Room, line.Since.Format(time.RFC3339), word(line.Enabled, "on", "taken back"), compared, fmt.Sprint(line.Published), line.Problem)
		} else if err := out.Encode(line); err != nil {
			return fmt.Errorf("publish list: print: %w", err)
		}
	}
	if *asJSON {
		return nil
	}
	if err := table.print(); err != nil {
		return fmt.Errorf("publish list: print: %w", err)
	}
	return nil
}

func addPublication(ctx context.Context, config Config, store *bank.Store, args []string, std streams) error {
	flags := flag.NewFlagSet("publish add", flag.ContinueOnError)
	via := flags.String("via", "", "")
	rest, err := parseFlags(flags, args, publishUsage)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return misused(flags, "it needs the name of a bank and a room", publishUsage)
	}
	name, room := rest[0], rest[1]
	if !isRoom(room) {
		return misused(flags, fmt.Sprintf("%q is neither the id of a room nor an alias", room), publishUsage)
	}
	home, err := publishingHome(config)
	if err == nil {
		err = publish.CheckBank(ctx, store, name)
	}
	if err != nil {
		return fmt.Errorf("publish add: %w", err)
	}
	var servers []string
	if *via != "" {
		servers = []string{*via}
	}
	if room, err = home.Join(ctx, room, servers); err == nil {
		err = store.Publish(ctx, name, room)
	}
	if err != nil {
		return fmt.Errorf("publish add: %w", err)
	}
	_, err = fmt.Fprintf(std.out, "%s is published into %s\n", name, printable(room))
	return err
}

func removePublication(ctx context.Context, _ Config, store *bank.Store, args []string, std streams) error {
	flags := flag.NewFlagSet("publish remove", flag.ContinueOnError)
	redact := flags.Bool("redact", false, "")
	rest, err := parseFlags(flags, args, publishUsage)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return misused(flags, "it needs the name of one bank", publishUsage)
	}
	end, told := store.Unpublish, "is not published any more; what is in the room stays there"
	if *redact {
		end, told = store.Withdraw, "is being taken back by the server; it is listed until that is done"
	}
	if err := end(ctx, rest[0]); err != nil {
		return fmt.Errorf("publish remove: %w", err)
	}
	_, err = fmt.Fprintf(std.out, "%s %s\n", rest[0], told)
	return err
}

func previewPublication(ctx context.Context, config Config, store *bank.Store, args []string, std streams) error {
	flags := flag.NewFlagSet("publish preview", flag.ContinueOnError)
	rest, err := parseFlags(flags, args, publishUsage)
	if err != nil {
		return err
	}
	if len(rest) != 1 && len(rest) != 2 {
		return misused(flags, "it needs the name of one bank, and perhaps a room", publishUsage)
	}
	room := append(rest, "")[1]
	if room != "" && !isRoom(room) {
		return misused(flags, fmt.Sprintf("%q is neither the id of a room nor an alias", room), publishUsage)
	}
	home, err := publishingHome(config)
	if err == nil && strings.HasPrefix(room, "#") {
		room, _, err = home.ResolveAlias(ctx, room)
	}
	var plan publish.Plan
	if err == nil {
		plan, err = publish.Preview(ctx, store, home, rest[0], room)
	}
	if err != nil && !errors.Is(err, publish.ErrTooMany) {
		return fmt.Errorf("publish preview: %w", err)
	}
	for _, id := range plan.Send {
		_, _ = fmt.Fprintf(std.out, "send content %d\n", id) // the last line tells
	}
	for _, id := range plan.Redact {
		_, _ = fmt.Fprintf(std.out, "redact event %s\n", printable(id))
	}
	_, failed := fmt.Fprintf(std.out, "%d to send, %d to redact, %d kept, %d left to others\n", len(plan.Send), len(plan.Redact), plan.Kept, plan.Left)
	if err != nil { // what would be taken back is told all the same
		return fmt.Errorf("publish preview: %w", err)
	}
	return failed
}

func isRoom(text string) bool { return strings.HasPrefix(text, "!") || strings.HasPrefix(text, "#") }

// publishingHome is the homeserver that rooms are written at.
func publishingHome(config Config) (*homeserver.Client, error) {
	if !config.Homeserver.Configured() || config.Homeserver.Token.Empty() {
		return nil, errors.New("it needs MEDIAGATE_HOMESERVER_URL and MEDIAGATE_HOMESERVER_TOKEN_FILE")
	}
	return homeserver.New(config.Homeserver)
}
