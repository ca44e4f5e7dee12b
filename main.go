// Command mediagate keeps known-bad media off Matrix homeservers.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
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
		return serve(ctx, config)
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
	g.Go(func() error { return indexer.Run(ctx) })
	g.Go(func() error { return srv.Run(ctx) })
	err = g.Wait()
	log.Info("stopped", "err", err)
	return err
}

// newPool returns a pool whose workers are this program.
func newPool(config Config) *media.Pool {
	return media.NewPool([]string{"/proc/self/exe", media.WorkerCommand}, config.Media)
}

// healthcheck asks a server of the same configuration whether it is ready.
func healthcheck(ctx context.Context, config Config) error {
	host, port, err := net.SplitHostPort(config.Server.Listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // only the status counts
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("healthcheck: status %d", res.StatusCode)
	}
	return nil
}

// release is set by release builds.
var release = ""

// version names the build: a release, or the commit it was made from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if release != "" || !ok {
		return release
	}
	return info.Main.Version
}
