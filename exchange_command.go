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

const exchangeUsage = `usage: mediagate exchange list [--json]
       mediagate exchange run NAME`

// exchangeCommand runs what can be done with exchanges.
func exchangeCommand(ctx context.Context, config Config, args []string, std streams) error {
	if len(args) == 0 {
		return errors.New(exchangeUsage)
	}
	switch args[0] {
	case "list":
		return listExchanges(ctx, config, args[1:], std)
	default:
		return errors.New(exchangeUsage)
	}
}

// exchangeLine is one line of the list for programs. It has no credential, and no
// address, which may hold one.
type exchangeLine struct {
	Name      string     `json:"name"`
	API       string     `json:"api"`
	Enabled   bool       `json:"enabled"`
	Bank      string     `json:"bank"`
	Completed bool       `json:"completed"`
	Finished  *time.Time `json:"last_fetch"` // null before the first
	Succeeded bool       `json:"succeeded"`
	Problem   string     `json:"problem"`
	Items     int        `json:"items"`
	Pending   int        `json:"pending"`
}

func listExchanges(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("exchange list", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	if rest, err := parseFlags(flags, args, exchangeUsage); err != nil || len(rest) > 0 {
		return errors.New(exchangeUsage)
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
	table := newTable(std.out, "NAME", "API", "STATE", "BANK", "COMPLETED", "LAST FETCH", "RESULT", "ITEMS", "PENDING", "PROBLEM")
	for _, x := range lines {
		fetched, result := "", ""
		if x.Finished != nil {
			fetched, result = x.Finished.Format(time.RFC3339), word(x.Succeeded, "ok", "failed")
		}
		table.row(x.Name, x.API, word(x.Enabled, "on", "off"), x.Bank, word(x.Completed, "yes", "no"), fetched, result,
			fmt.Sprint(x.Items), fmt.Sprint(x.Pending), x.Problem)
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
	for _, x := range exchanges {
		line := exchangeLine{
			Name: x.Name, API: x.API, Enabled: x.Enabled, Bank: x.Bank.Name, Completed: x.Completed,
			Succeeded: x.Status.Succeeded, Problem: x.Status.Problem,
		}
		if at := x.Status.Finished.UTC(); !x.Status.Finished.IsZero() {
			line.Finished = &at
		}
		if line.Items, line.Pending, _, err = store.CountSources(ctx, x.Name); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func word(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
