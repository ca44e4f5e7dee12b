// Command mediagate keeps known-bad media off Matrix homeservers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/scanner"
	"mediagate/server"
)

const usage = `mediagate keeps known-bad media off Matrix homeservers.

  mediagate [serve]        serve the APIs
  mediagate hash FILE...   print the signals of files, one JSON object a line
  mediagate check-config   report every problem of the configuration
  mediagate healthcheck    exit 0 if the server of this configuration is ready
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
	case "serve", "hash", "check-config", "healthcheck":
	default:
		return fmt.Errorf("there is no command %q\n\n%s", command, usage)
	}
	if len(args) > 0 && command != "hash" {
		return fmt.Errorf("%s takes no arguments, but there is %q\n\n%s", command, args[0], usage)
	}
	config, err := loadConfig(os.Environ())
	if err != nil {
		return fmt.Errorf("the configuration has problems:\n%w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	switch command {
	case "hash":
		return hashFiles(ctx, config, args, os.Stdout, os.Stderr)
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

// serve builds every part and runs them until the context ends.
func serve(ctx context.Context, config Config) (err error) {
	log := newLogger(os.Stderr, config.LogLevel)
	flush, err := startTracing(ctx, log)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err = errors.Join(err, flush(ctx))
	}()
	store, err := bank.Open(ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	pool := newPool(config)
	defer pool.Close()
	if err := pool.SelfTest(ctx); err != nil {
		return err
	}
	live := bank.NewLive()
	indexer := bank.NewIndexer(store, live, log)
	scan := scanner.New(config.Scan, pool, live)
	metrics := newRegistry()
	metrics.MustRegister(pool, indexer, scan)
	srv := server.New(config.Server, server.Parts{Pool: pool, Store: store, Live: live, Scanner: scan, Metrics: metrics, Log: log})
	log.InfoContext(ctx, "starting", "version", version())
	g, ctx := errgroup.WithContext(ctx)
	// The index follows the store until the last request is answered.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return indexer.Run(following) })
	g.Go(func() error {
		defer unfollow()
		return srv.Run(ctx)
	})
	err = g.Wait()
	log.Info("stopped", "err", err)
	return err
}

// newPool returns a pool whose workers are this program.
func newPool(config Config) *media.Pool {
	return media.NewPool([]string{"/proc/self/exe", media.WorkerCommand}, config.Media)
}
