// Command mediagate keeps known-bad media off Matrix homeservers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"mediagate/media"
)

const usage = `mediagate keeps known-bad media off Matrix homeservers.

  mediagate [serve]        serve the APIs
  mediagate hash FILE...   print the signals of files, one JSON object a line
  mediagate bank list [--json]
                           list the banks and how much they hold
  mediagate bank export NAME... | --all [--output FILE]
                           print the contents of banks, one JSON object a line
  mediagate bank import NAME [FILE] [--dry-run] [--create [--off]]
                           bank such lines, from a file or standard input
  mediagate exchange list [--json]
                           list the exchanges and how they are doing
  mediagate exchange run NAME
                           fetch once, here and now
  mediagate exchange promote NAME [--back]
                           let a list block that is in monitor
  mediagate exchange review NAME [--block ID | --dismiss ID] [--json]
                           decide about contents that were held
  mediagate list lint FILE | ROOM [--allow BANK] [--json]
                           tell what of a policy list would be refused
  mediagate publish list [--json]
                           list the banks that are published into rooms
  mediagate publish add BANK ROOM [--via SERVER]
                           publish a bank of one's own into a room
  mediagate publish remove BANK [--redact]
                           publish it no more, and take back what was
  mediagate publish preview BANK [ROOM]
                           tell what publishing would send and redact
  mediagate check-config   report every problem of the configuration
  mediagate healthcheck    exit 0 if the server of this configuration is ready
  mediagate store copy --from URL --to URL
                           copy all banks from one database to another
  mediagate version        print the version

It is configured by MEDIAGATE_ variables; see the README.
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mediagate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case media.WorkerCommand: // first: a worker reads no configuration
		return media.DecodeWorker()
	case "version":
		fmt.Println(version())
		return nil
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	case "serve", "hash", "check-config", "healthcheck", "store", "bank", "exchange", "list", "publish":
	default:
		return fmt.Errorf("there is no command %q\n\n%s", command, usage)
	}
	if len(args) > 0 && !slices.Contains([]string{"hash", "store", "bank", "exchange", "list", "publish"}, command) {
		return fmt.Errorf("%s takes no arguments, but there is %q\n\n%s", command, args[0], usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	if command == "store" {      // its arguments say all that it needs
		return storeCommand(ctx, args, streams{os.Stdin, os.Stdout, os.Stderr})
	}
	config, err := loadConfig(os.Environ())
	if err != nil {
		return fmt.Errorf("the configuration has problems:\n%w", err)
	}
	switch command {
	case "hash":
		return hashFiles(ctx, config, args, os.Stdout, os.Stderr)
	case "bank":
		return bankCommand(ctx, config, args, streams{os.Stdin, os.Stdout, os.Stderr})
	case "exchange":
		return exchangeCommand(ctx, config, args, streams{os.Stdin, os.Stdout, os.Stderr})
	case "publish":
		return publishCommand(ctx, config, args, streams{os.Stdin, os.Stdout, os.Stderr})
	case "list":
		return listCommand(ctx, config, args, streams{os.Stdin, os.Stdout, os.Stderr})
	case "check-config":
		fmt.Println("the configuration is valid")
		return nil
	case "healthcheck":
		return healthcheck(ctx, config)
	default:
		err := serve(ctx, config)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // asked to end before it had begun
		}
		return err
	}
}
