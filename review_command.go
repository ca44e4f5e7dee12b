package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"time"

	"mediagate/bank"
)

// promoteExchange lets the contents of an exchange's bank block that were only monitored,
// or back.
func promoteExchange(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("exchange promote", flag.ContinueOnError)
	back := flags.Bool("back", false, "")
	store, x, err := namedExchange(ctx, config, flags, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	changed, err := store.SetMonitor(ctx, x.Name, *back)
	switch {
	case err != nil:
		return fmt.Errorf("exchange promote: %w", err)
	case !changed && *back:
		return fmt.Errorf("exchange promote: %s is in monitor already", x.Name)
	case !changed:
		return fmt.Errorf("exchange promote: %s is not in monitor: its contents block already", x.Name)
	}
	enabled, err := store.CountEnabled(ctx, x.Bank.ID)
	if err != nil {
		return fmt.Errorf("exchange promote: %w", err)
	}
	held, err := store.CountHeld(ctx, x.Bank.ID)
	if err != nil {
		return fmt.Errorf("exchange promote: %w", err)
	}
	does := "begin to block"
	switch {
	case *back:
		does = "are monitored, and do not block any more"
	case x.Bank.Ratio <= 0:
		does = "would block, and do not: their bank is off"
	}
	_, err = fmt.Fprintf(std.out, "%s: %d contents %s, %d are held for review\n", x.Name, enabled, does, held)
	return err
}

// reviewLine is one line of the list for programs.
type reviewLine struct {
	Content   int64     `json:"content_id"`
	Key       string    `json:"key"`
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
	Confirmed bool      `json:"confirmed"`
}

// reviewExchange lists what is in review of an exchange's bank, or decides about one.
func reviewExchange(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("exchange review", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	block, dismiss := flags.Int64("block", 0, ""), flags.Int64("dismiss", 0, "")
	store, x, err := namedExchange(ctx, config, flags, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	given := 0
	flags.Visit(func(*flag.Flag) { given++ })
	switch {
	case given > 1:
		return misused(flags, "it takes one of --json, --block and --dismiss", exchangeUsage)
	case *block != 0:
		return decideReview(ctx, store, x, *block, true, std)
	case *dismiss != 0:
		return decideReview(ctx, store, x, *dismiss, false, std)
	case given == 1 && !*asJSON:
		return misused(flags, "there is no content 0", exchangeUsage)
	}
	list, err := store.Reviews(ctx, x.Bank.Name)
	if err != nil {
		return fmt.Errorf("exchange review: %w", err)
	}
	if err := printReviews(list, *asJSON, std); err != nil {
		return fmt.Errorf("exchange review: print: %w", err)
	}
	return nil
}

func printReviews(list []bank.Review, asJSON bool, std streams) error {
	if asJSON {
		out := json.NewEncoder(std.out)
		for _, r := range list {
			if err := out.Encode(reviewLine{r.Content, r.Key, r.Reason, r.Since.UTC(), r.Confirmed}); err != nil {
				return err
			}
		}
		return nil
	}
	table := newTable(std.out, "ID", "STATE", "SINCE", "KEY", "REASON")
	for _, r := range list {
		table.row(fmt.Sprint(r.Content), word(r.Confirmed, "confirmed", "held"), r.Since.UTC().Format(time.RFC3339), r.Key, r.Reason)
	}
	return table.print()
}

func decideReview(ctx context.Context, store *bank.Store, x bank.Exchange, id int64, block bool, std streams) error {
	if err := store.Decide(ctx, x.Bank.Name, id, block); err != nil {
		return fmt.Errorf("exchange review: content %d: %w", id, err)
	}
	does := "does not block, for good"
	switch {
	case block && x.Bank.Monitor:
		does = "blocks once the exchange is promoted, and is not held again"
	case block:
		does = "blocks, and is not held again"
	}
	_, err := fmt.Fprintf(std.out, "%s: content %d %s\n", x.Name, id, does)
	return err
}

// namedExchange reads the arguments of a command, and opens the store that has the one
// exchange that they name.
func namedExchange(ctx context.Context, config Config, flags *flag.FlagSet, args []string) (*bank.Store, bank.Exchange, error) {
	rest, err := parseFlags(flags, args, exchangeUsage)
	if err != nil {
		return nil, bank.Exchange{}, err
	}
	if len(rest) != 1 {
		return nil, bank.Exchange{}, misused(flags, "it needs the name of one exchange", exchangeUsage)
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return nil, bank.Exchange{}, fmt.Errorf("%s: %w", flags.Name(), err)
	}
	x, err := store.Exchange(ctx, rest[0])
	if err != nil {
		return nil, bank.Exchange{}, errors.Join(fmt.Errorf("%s: %w", flags.Name(), err), store.Close())
	}
	return store, x, nil
}
