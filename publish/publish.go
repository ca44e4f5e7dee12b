// Package publish puts what an operator has banked into a Matrix room, for others to
// ban it, too (MSC4113), and takes it back when it leaves the bank.
//
// A [Publisher] runs every publication that the store has. Nothing is kept of what was
// published but what is in the room: its state is compared with the bank, and the
// difference is worked off, so that it can be interrupted anywhere. Only events that
// the service user has sent itself are ever touched.
//
// Of a content goes out its primary hash and its SHA-256, as this program has made
// them, and nothing else: no note, no metadata, no address. Banks of exchanges that
// read what others publish are refused.
package publish

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/homeserver"
)

// Publisher publishes the banks whose leases this process has: of all processes that
// serve one store, one publishes each.
type Publisher struct {
	store  *bank.Store
	home   *homeserver.Client
	log    *slog.Logger
	pauses pauses
	most   int // pictures of one bank
	events *prometheus.CounterVec
}

// New returns a Publisher that has not begun. home must have a token.
func New(store *bank.Store, home *homeserver.Client, log *slog.Logger) *Publisher {
	return &Publisher{
		store: store, home: home, log: log, most: maxEntries,
		pauses: pauses{
			scan: time.Second, write: 100 * time.Millisecond, again: time.Minute, reread: time.Hour,
			firstRetry: 2 * time.Second, lastRetry: time.Minute,
			lease: 10 * time.Second, renew: 3 * time.Second, standBy: 2 * time.Second,
		},
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_publish_events_total",
			Help: "Events written for a published bank, by how that ended.",
		}, []string{"bank", "outcome"}),
	}
}

// pauses is how long is waited; tests wait less.
type pauses struct {
	// scan is how often is looked what is to be published, and whether it has changed,
	// also in the midst of the work.
	scan time.Duration
	// write is the least time between two writes to a room.
	write time.Duration
	// again is how often a bank is compared though its store has not changed: contents
	// that are disabled until some time begin to count without a change.
	again time.Duration
	// reread is how often the room's state is read though nothing has failed: others
	// may change it.
	reread time.Duration
	// What fails is tried again after firstRetry, then twice that, up to lastRetry.
	firstRetry, lastRetry time.Duration
	// A lease lasts for so long, is renewed every so often, and is tried for every so
	// often while another process has it. Work that lasts is told of as often as the
	// lease is renewed.
	lease, renew, standBy time.Duration
}

// Run publishes until the context ends.
func (p *Publisher) Run(ctx context.Context) error {
	running := make(map[int64]*runner)
	var ended sync.WaitGroup
	defer ended.Wait()
	for failing := false; ; {
		list, err := p.store.Publications(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			p.log.ErrorContext(ctx, "publications cannot be listed", "err", err)
		}
		if failing = err != nil; !failing {
			p.reconcile(ctx, list, running, &ended)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(p.pauses.scan):
		}
	}
}

// reconcile starts what should run and stops what should not. Who replaces another one
// waits for its end.
func (p *Publisher) reconcile(ctx context.Context, list []bank.Publication, running map[int64]*runner, ended *sync.WaitGroup) {
	wanted := make(map[int64]bool)
	for _, x := range list {
		wanted[x.Bank] = true
		old := running[x.Bank]
		if old != nil && old.same(x) {
			continue
		}
		r := &runner{Publisher: p, Publication: x, ended: make(chan struct{})}
		r.ctx, r.stop = context.WithCancel(ctx)
		if old != nil {
			old.stop()
			r.after = old.ended
		}
		running[x.Bank] = r
		ended.Go(r.run)
	}
	for id, r := range running {
		if wanted[id] {
			continue
		}
		r.stop()
		select {
		case <-r.ended:
			delete(running, id)
			p.events.DeletePartialMatch(prometheus.Labels{"bank": r.Name})
		default: // it is known until it has ended
		}
	}
}

// Describe and Collect make the publisher's numbers available to a registry.
func (p *Publisher) Describe(ch chan<- *prometheus.Desc) { p.events.Describe(ch) }

// Collect implements prometheus.Collector.
func (p *Publisher) Collect(ch chan<- prometheus.Metric) { p.events.Collect(ch) }
