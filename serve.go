package main

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/media"
	"mediagate/publish"
	"mediagate/scanner"
	"mediagate/server"
)

// serve builds every part and runs them until the context ends.
func serve(ctx context.Context, config Config) (err error) {
	log := newLogger(os.Stderr, config.LogLevel)
	flush, traced, err := startTracing(ctx, log)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err = errors.Join(err, flush(ctx))
	}()
	store, err := openStore(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	leave := takeOver(ctx, store, log)
	defer func() { err = errors.Join(err, leave()) }()
	pool := newPool(config)
	defer pool.Close()
	if err := pool.SelfTest(ctx); err != nil {
		return err
	}
	metrics := newRegistry()
	shared, err := newRedis(config.Redis, metrics, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shared.Close()) }()
	var home *homeserver.Client
	if config.Homeserver.Configured() {
		if home, err = homeserver.New(config.Homeserver); err != nil {
			return err
		}
		metrics.MustRegister(home)
	}
	live := bank.NewLive()
	indexer := bank.NewIndexer(store, live, shared, log)
	scan := scanner.New(config.Scan, pool, live, home, log)
	scan.Share(shared)
	scan.Review(store)
	if home != nil && home.HasToken() {
		scan.Expect(exchange.HomeserverExchange)
	}
	fetcher := exchange.NewFetcher(config.Exchange, config.Homeserver, home, store, pool, log)
	fetcher.SpareWithin(config.Scan.MaxDistance)
	snapshots := bank.NewSnapshotWriter(store, live, shared, log)
	metrics.MustRegister(pool, indexer, snapshots, scan, fetcher)
	var publisher *publish.Publisher // it writes as the service user
	if home != nil && home.HasToken() {
		publisher = publish.New(store, home, log)
		metrics.MustRegister(publisher)
	}
	if err := fetcher.Prepare(ctx); err != nil {
		return err
	}
	if config.Homeserver.Configured() && !home.HasToken() {
		log.WarnContext(ctx, "there is no token of an administrator: what is quarantined is not fetched, and media for other servers is not let pass")
	}
	srv := server.New(config.Server, server.Parts{
		Pool: pool, Store: store, Live: live, Scanner: scan, Fetcher: fetcher, Home: home, Metrics: metrics, Log: log, Traced: traced,
	})
	roles := config.Server.Roles
	log.InfoContext(ctx, "starting", "version", version(), "roles", roles.String())
	g, ctx := errgroup.WithContext(ctx)
	// The index follows the store until the last request is answered.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	if roles.Match() {
		g.Go(func() error { return indexer.Run(following) })
		g.Go(func() error { return snapshots.Run(ctx) })
	} else {
		g.Go(func() error { return indexer.Announce(following) })
	}
	g.Go(func() error { return scan.Run(following) })
	if roles.Has(server.Cron) {
		g.Go(func() error { return fetcher.Run(ctx) })
	}
	if publisher != nil && roles.Has(server.Cron) {
		g.Go(func() error { return publisher.Run(ctx) })
	}
	if home != nil {
		g.Go(func() error { return home.LearnName(ctx, log) })
	}
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
