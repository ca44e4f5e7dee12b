package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"mediagate/bank"
)

const bankUsage = `usage: mediagate bank list [--json]
       mediagate bank export NAME... | --all [--output FILE]
       mediagate bank import NAME [FILE] [--dry-run] [--create [--off]]`

// streams are those of a command.
type streams struct {
	in          io.Reader
	out, errors io.Writer
}

// bankCommand runs what can be done with banks as wholes.
func bankCommand(ctx context.Context, config Config, args []string, std streams) error {
	if len(args) == 0 {
		return errors.New(bankUsage)
	}
	switch args[0] {
	case "list":
		return listBanks(ctx, config, args[1:], std)
	case "export":
		return exportBanks(ctx, config, args[1:], std)
	case "import":
		return importBank(ctx, config, args[1:], std)
	default:
		return fmt.Errorf("bank: there is no command %q\n%s", args[0], bankUsage)
	}
}

// misused says what is wrong with the arguments of a command, and which it has.
func misused(flags *flag.FlagSet, wrong, usage string) error {
	return fmt.Errorf("%s: %s\n%s", flags.Name(), wrong, usage)
}

// parseFlags reads flags that stand before, among and after other arguments, and
// returns those. Its error has the usage.
func parseFlags(flags *flag.FlagSet, args []string, usage string) (rest []string, err error) {
	flags.SetOutput(io.Discard)
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, errors.New(usage)
		} else if err != nil {
			return nil, misused(flags, err.Error(), usage)
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		if len(args) > flags.NArg() && args[len(args)-flags.NArg()-1] == "--" {
			return append(rest, flags.Args()...), nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}

// bankLine is one line of the list for programs.
type bankLine struct {
	Name       string                    `json:"name"`
	Ratio      float64                   `json:"ratio"`
	MD5Enforce bool                      `json:"md5_enforce"`
	Monitor    bool                      `json:"monitor"`
	Allow      bool                      `json:"allow"`
	Agree      int                       `json:"agree"`
	Breaker    int                       `json:"breaker"`
	Contents   int64                     `json:"contents"`
	Signals    map[bank.SignalType]int64 `json:"signals"`
	Exchange   *string                   `json:"exchange"` // null for none
}

func listBanks(ctx context.Context, config Config, args []string, std streams) (err error) {
	flags := flag.NewFlagSet("bank list", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	if rest, err := parseFlags(flags, args, bankUsage); err != nil {
		return err
	} else if len(rest) > 0 {
		return misused(flags, "it takes no names", bankUsage)
	}
	store, err := bank.OpenExisting(ctx, config.DatabaseURL.Reveal())
	if err != nil {
		return fmt.Errorf("bank list: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	banks, err := store.CountBanks(ctx)
	if err != nil {
		return fmt.Errorf("bank list: %w", err)
	}
	if *asJSON {
		out := json.NewEncoder(std.out)
		for _, b := range banks {
			line := bankLine{
				Name: b.Name, Ratio: b.Ratio, MD5Enforce: b.MD5Enforce, Monitor: b.Monitor, Allow: b.Allow, Agree: b.Agree, Breaker: b.Breaker,
				Contents: b.Contents, Signals: b.Signals,
			}
			if b.Exchange != "" {
				line.Exchange = &b.Exchange
			}
			if err := out.Encode(line); err != nil {
				return fmt.Errorf("bank list: print: %w", err)
			}
		}
		return nil
	}
	table := newTable(std.out, "NAME", "STATE", "MD5", "SETTINGS", "CONTENTS", "PDQ", "MD5S", "SHA256", "EXCHANGE")
	for _, b := range banks {
		state := "off"
		if b.Ratio > 0 {
			state = fmt.Sprintf("on %g", b.Ratio)
		}
		md5 := "looked up"
		if b.MD5Enforce {
			md5 = "blocks"
		}
		table.row(b.Name, state, md5, bankSettings(b.Bank), fmt.Sprint(b.Contents), fmt.Sprint(b.Signals[bank.PDQ]),
			fmt.Sprint(b.Signals[bank.MD5]+b.Signals[bank.VideoMD5]), fmt.Sprint(b.Signals[bank.SHA256]), b.Exchange)
	}
	if err := table.print(); err != nil {
		return fmt.Errorf("bank list: print: %w", err)
	}
	return nil
}

// bankSettings says in words what is special about a bank.
func bankSettings(b bank.Bank) string {
	var words []string
	if b.Monitor {
		words = append(words, "monitor")
	}
	if b.Allow {
		words = append(words, "allow")
	}
	if b.Agree > 0 {
		words = append(words, fmt.Sprintf("agree %d", b.Agree))
	}
	if b.Breaker > 0 {
		words = append(words, fmt.Sprintf("breaker %d", b.Breaker))
	}
	return strings.Join(words, ", ")
}

// table prints rows aligned, for people.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer, head ...string) table {
	t := table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

// row adds one. What is empty shows as a dash, and nothing moves the cursor.
func (t table) row(cells ...string) {
	for i, cell := range cells {
		if cells[i] = printable(cell); cell == "" {
			cells[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) // print tells
}

func (t table) print() error { return t.w.Flush() }

// printable takes what is not text away from what others have sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
