package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
)

const exchangeUsage = `usage: mediagate exchange list [--json]
       mediagate exchange run NAME
       mediagate exchange promote NAME [--back]
       mediagate exchange review NAME [--json | --block ID | --dismiss ID]`

// exchangeCommand runs what can be done with exchanges.
func exchangeCommand(ctx context.Context, config Config, args []string, std streams) error {
	if len(args) == 0 {
		return errors.New(exchangeUsage)
	}
	switch args[0] {
	case "list":
		return listExchanges(ctx, config, args[1:], std)
	case "run":
		return runExchange(ctx, config, args[1:], std)
	case "promote":
		return promoteExchange(ctx, config, args[1:], std)
	case "review":
		return reviewExchange(ctx, config, args[1:], std)
	default:
		return fmt.Errorf("exchange: there is no command %q\n%s", args[0], exchangeUsage)
	}
}

// exchangeLine is one line of the list for programs. It has no credential, and no
// address, which may hold one.
type exchangeLine struct {
	Name      string     `json:"name"`
	API       string     `json:"api"`
	Enabled   bool       `json:"enabled"`
	Mode      string     `json:"mode"` // "monitor" or "enforce"
	Bank      string     `json:"bank"`
	Completed bool       `json:"completed"`
	Finished  *time.Time `json:"last_fetch"` // null before the first
	Succeeded bool       `json:"succeeded"`
	Problem   string     `json:"problem"`
	Items     int        `json:"items"`
	Pending   int        `json:"pending"`
	InReview  int        `json:"in_review"`
	Holder    *string    `json:"holder"` // the process that fetches it, null for none
}

func listExchanges(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("exchange list", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	if rest, err := parseFlags(flags, args, exchangeUsage); err != nil {
		return err
	} else if len(rest) > 0 {
		return misused(flags, "it takes no names", exchangeUsage)
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return fmt.Errorf("exchange list: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	lines, err := exchangeLines(ctx, store)
	if err != nil {
		return fmt.Errorf("exchange list: %w", err)
	}
	if *asJSON {
		out := json.NewEncoder(std.out)
		for _, line := range lines {
			if err := out.Encode(line); err != nil {
				return fmt.Errorf("exchange list: print: %w", err)
			}
		}
		return nil
	}
	table := newTable(std.out, "NAME", "API", "STATE", "MODE", "BANK", "COMPLETED", "LAST FETCH", "RESULT", "ITEMS", "PENDING", "IN REVIEW", "FETCHED BY", "PROBLEM")
	for _, x := range lines {
		fetched, result, holder := "", "", ""
		if x.Finished != nil {
			fetched, result = x.Finished.Format(time.RFC3339), word(x.Succeeded, "ok", "failed")
		}
		if x.Holder != nil {
			holder = *x.Holder
		}
		table.row(x.Name, x.API, word(x.Enabled, "on", "off"), x.Mode, x.Bank, word(x.Completed, "yes", "no"), fetched, result,
			fmt.Sprint(x.Items), fmt.Sprint(x.Pending), fmt.Sprint(x.InReview), holder, x.Problem)
	}
	if err := table.print(); err != nil {
		return fmt.Errorf("exchange list: print: %w", err)
	}
	return nil
}

func exchangeLines(ctx context.Context, store *bank.Store) (lines []exchangeLine, err error) {
	exchanges, err := store.Exchanges(ctx)
	if err != nil {
		return nil, err
	}
	holders, err := exchange.Holders(ctx, store)
	if err != nil {
		return nil, err
	}
	for _, x := range exchanges {
		line := exchangeLine{
			Name: x.Name, API: x.API, Enabled: x.Enabled, Mode: word(x.Bank.Monitor, "monitor", "enforce"), Bank: x.Bank.Name, Completed: x.Completed,
			Succeeded: x.Status.Succeeded, Problem: x.Status.Problem,
		}
		if holder, held := holders[x.Name]; held {
			line.Holder = &holder
		}
		if at := x.Status.Finished.UTC(); !x.Status.Finished.IsZero() {
			line.Finished = &at
		}
		if line.Items, line.Pending, _, err = store.CountSources(ctx, x.Name); err != nil {
			return nil, err
		}
		if line.InReview, err = store.CountHeld(ctx, x.Bank.ID); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// runExchange fetches an exchange as a server would, once. It makes no store and no
// exchange: from the wrong folder all that there is would be fetched into a new one.
func runExchange(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("exchange run", flag.ContinueOnError)
	rest, err := parseFlags(flags, args, exchangeUsage)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return misused(flags, "it needs the name of one exchange", exchangeUsage)
	}
	name := rest[0]
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return fmt.Errorf("exchange run: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if _, err := store.Exchange(ctx, name); err != nil { // before anything is begun for it
		return fmt.Errorf("exchange run: %w", err)
	}
	// What ends the round is told in the end, and the log has what does not.
	log := newLogger(std.errors, max(config.LogLevel, slog.LevelWarn))
	leave := takeOver(ctx, store, log)
	defer func() { err = errors.Join(err, leave()) }()
	config.Media.QueueWait = time.Hour // nobody else waits
	pool := newPool(config)
	defer pool.Close()
	if err := pool.SelfTest(ctx); err != nil {
		return fmt.Errorf("exchange run: %w", err)
	}
	var home *homeserver.Client
	if config.Homeserver.Configured() {
		if home, err = homeserver.New(config.Homeserver); err != nil {
			return fmt.Errorf("exchange run: %w", err)
		}
	}
	fetcher := exchange.NewFetcher(config.Exchange, config.Homeserver, home, store, pool, log)
	fetcher.SpareWithin(config.Scan.MaxDistance)
	round, err := fetcher.FetchOnce(ctx, name)
	done := fmt.Sprintf("banked %d items, removed %d, %d are pending", round.Banked, round.Removed, round.Pending)
	if round.Pending < 0 {
		done = fmt.Sprintf("banked %d items, removed %d, how many are pending is not known", round.Banked, round.Removed)
	}
	switch {
	case err == nil:
		_, err = fmt.Fprintf(std.out, "%s: %s\n", name, done)
		return err
	case round == exchange.Round{}:
		return fmt.Errorf("exchange %w", interrupted(ctx, "run", fmt.Errorf("run: %w", err)))
	default:
		return fmt.Errorf("exchange %w; before that, it %s", interrupted(ctx, "run", fmt.Errorf("run: %w", err)), done)
	}
}

func word(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
