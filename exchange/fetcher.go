package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/media"
)

// Fetcher runs the exchanges whose leases this process has: of all that serve one
// store, one process fetches each exchange. It is the only writer of what they bank.
type Fetcher struct {
	config  Config
	store   *bank.Store
	pool    *media.Pool
	home    *homeserver.Client // nil if none is configured
	servers homeserver.Config  // bounds for other homeservers; its address and token are home's
	log     *slog.Logger
	changed chan struct{}
	pauses  pauses
	spared  int // see SpareWithin

	mu      sync.Mutex
	running map[string]*runner

	syncing sync.Mutex
	syncers map[syncerKey]*syncer

	fetches       *prometheus.CounterVec
	items         *prometheus.CounterVec
	held          *prometheus.GaugeVec
	policyRefused *prometheus.GaugeVec
	policySynced  *prometheus.GaugeVec
}

// NewFetcher returns a Fetcher that has not begun. home is nil if no homeserver is
// configured.
func NewFetcher(config Config, servers homeserver.Config, home *homeserver.Client, store *bank.Store, pool *media.Pool, log *slog.Logger) *Fetcher {
	return &Fetcher{
		config: config, store: store, pool: pool, home: home, servers: servers, log: log,
		changed: make(chan struct{}, 1), running: make(map[string]*runner), syncers: make(map[syncerKey]*syncer),
		pauses: pauses{
			scan: time.Second, due: time.Second, general: 2 * time.Second, firstRetry: 2 * time.Second, lastRetry: time.Hour,
			lease: 10 * time.Second, renew: 3 * time.Second, standBy: 2 * time.Second,
			reread: 15 * time.Minute, rereadFirst: 4 * time.Second, rereadSoon: time.Minute,
		},
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_exchange_fetches_total",
			Help: "Fetches by exchange and outcome.",
		}, []string{"exchange", "outcome"}),
		items: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_exchange_items_total",
			Help: "Items that an exchange has dealt with, by how.",
		}, []string{"exchange", "outcome"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mediagate_exchange_held",
			Help: "Whether this process fetches an exchange (1), or stands by while another one does (0).",
		}, []string{"exchange"}),
		policyRefused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mediagate_policy_refused_entries",
			Help: "Entries of a policy room that do not count, by reason.",
		}, []string{"exchange", "reason"}),
		policySynced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mediagate_policy_synced_timestamp_seconds",
			Help: "When what a policy list has was last known to be the room's state.",
		}, []string{"exchange"}),
	}
}

// SpareWithin has lists not ban what comes so near to a picture that is allowed, in bits:
// scans would match it. It must be called before anything else.
func (f *Fetcher) SpareWithin(bits int) { f.spared = bits }

// pauses is how long is waited; tests wait less.
type pauses struct {
	// scan is how often the list of exchanges is looked at without a notice, and
	// due how often is looked what has become due.
	scan, due time.Duration
	// general is how long what is pending waits while the homeserver answers
	// nobody.
	general time.Duration
	// An item that fails is tried again after firstRetry, then twice that, and so
	// on up to lastRetry.
	firstRetry, lastRetry time.Duration
	// A lease lasts for so long, is renewed every so often, and is tried for every
	// so often while another process has it. Who dies is replaced after the first
	// and the last of them.
	lease, renew, standBy time.Duration
	// The whole state of a policy room is read every so often; when it was read for the
	// first time after rereadFirst, then after twice that, and so on; after an event
	// within rereadSoon.
	reread, rereadFirst, rereadSoon time.Duration
}

// Prepare creates the homeserver's exchange if there is to be one. It must come
// before anything is judged: until that exchange has been through once, nothing is
// known.
func (f *Fetcher) Prepare(ctx context.Context) error {
	if f.home == nil || !f.home.HasToken() {
		return nil
	}
	found, err := f.findHome(ctx)
	if found || err != nil {
		return err
	}
	err = f.store.CreateExchange(ctx, bank.Exchange{Name: HomeserverExchange, API: SynapseQuarantined, Config: "{}", Enabled: true})
	if !errors.Is(err, bank.ErrBankExists) {
		return err
	}
	// Another process may have been quicker.
	if found, err = f.findHome(ctx); found || err != nil {
		return err
	}
	return fmt.Errorf("there is a bank %s, which is the name of the homeserver's exchange: without MEDIAGATE_HOMESERVER_TOKEN_FILE it can be renamed", HomeserverExchange)
}

// findHome tells whether there is the homeserver's exchange.
func (f *Fetcher) findHome(ctx context.Context) (found bool, err error) {
	x, err := f.store.Exchange(ctx, HomeserverExchange)
	switch {
	case errors.Is(err, bank.ErrExchangeNotFound):
		return false, nil
	case err != nil:
		return false, err
	case x.API != SynapseQuarantined:
		return false, fmt.Errorf("the exchange %s is of another kind: without MEDIAGATE_HOMESERVER_TOKEN_FILE it can be removed", HomeserverExchange)
	}
	return true, nil
}

// Run is Prepare, and runs all exchanges until the context ends. The homeserver's
// is created again if it is deleted.
func (f *Fetcher) Run(ctx context.Context) error {
	if err := f.Prepare(ctx); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	var ended sync.WaitGroup
	defer ended.Wait()
	defer f.stopAll()
	ticker := time.NewTicker(f.pauses.scan)
	defer ticker.Stop()
	for failing := false; ; {
		err := f.Prepare(ctx)
		var list []bank.Exchange
		if err == nil {
			list, err = f.store.Exchanges(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			f.log.ErrorContext(ctx, "exchanges cannot be listed", "err", err)
		}
		if failing = err != nil; !failing {
			f.reconcile(ctx, list, &ended)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-f.changed:
		}
	}
}

// reconcile starts what should run and stops what should not.
func (f *Fetcher) reconcile(ctx context.Context, list []bank.Exchange, ended *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := make(map[string]bool)
	for _, x := range list {
		r := f.running[x.Name]
		if !x.Enabled {
			continue
		}
		wanted[x.Name] = true
		if r != nil && r.ctx.Err() == nil && r.same(x) {
			continue
		}
		if r != nil {
			r.stop()
		}
		r = f.newRunner(ctx, x, r)
		f.running[x.Name] = r
		ended.Go(r.run)
	}
	for name, r := range f.running {
		if wanted[name] {
			continue
		}
		r.stop()
		select {
		case <-r.ended:
			delete(f.running, name)
			f.fetches.DeletePartialMatch(prometheus.Labels{"exchange": name})
			f.items.DeletePartialMatch(prometheus.Labels{"exchange": name})
			f.held.DeleteLabelValues(name)
			f.policyRefused.DeletePartialMatch(prometheus.Labels{"exchange": name})
			f.policySynced.DeleteLabelValues(name)
		default: // it is known until it has ended: its successor waits for that
		}
	}
}

func (f *Fetcher) stopAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.running {
		r.stop()
	}
}

// FetchNow makes an exchange fetch without waiting for its time, and tells whether
// it runs here. One that was just created or enabled begins at once, in whichever
// process has its lease first.
func (f *Fetcher) FetchNow(name string) bool {
	notify(f.changed)
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.running[name]
	if r == nil || r.ctx.Err() != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding {
		notify(r.wake)
	}
	return r.holding
}

// Reconsider makes the Fetcher look at once which exchanges there are, and which
// are on. It looks by itself, too, a little later.
func (f *Fetcher) Reconsider() { notify(f.changed) }

// Status returns how the fetches of an exchange that runs here are going. While
// another process has its lease, what the store says holds; if the store refuses the
// lease, or does not say for long who has it, that is the problem.
func (f *Fetcher) Status(name string) (bank.FetchStatus, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.running[name]
	if r == nil || r.ctx.Err() != nil {
		return bank.FetchStatus{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != "" {
		return bank.FetchStatus{Finished: r.status.Finished, Problem: r.refused}, true
	}
	return r.status, r.holding
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one notice is enough for all
	}
}

// Describe and Collect make the fetcher's numbers available to a registry.
func (f *Fetcher) Describe(ch chan<- *prometheus.Desc) {
	f.fetches.Describe(ch)
	f.items.Describe(ch)
	f.held.Describe(ch)
	f.policyRefused.Describe(ch)
	f.policySynced.Describe(ch)
}

// Collect implements prometheus.Collector.
func (f *Fetcher) Collect(ch chan<- prometheus.Metric) {
	f.fetches.Collect(ch)
	f.items.Collect(ch)
	f.held.Collect(ch)
	f.policyRefused.Collect(ch)
	f.policySynced.Collect(ch)
}
