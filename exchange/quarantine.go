package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/media"
)

// quarantine fetches what a Synapse's administrators quarantine, from the stream
// that Synapse has from 1.152 on.
//
// The stream tells names, in the order of the decisions, and the same ones again
// whenever it pleases: one record for each item of the same bytes, and all of them
// after some upgrades. So an item that is banked already costs nothing; of others
// the homeserver is asked for the digest, which is banked at once, and one whose
// bytes were never hashed becomes pending, to be downloaded beside the stream. A
// server that does not deliver an item delays neither the next quarantine nor the
// end of one.
type quarantine struct {
	clients
	// stream is held while a page of the stream is read and committed, and while a
	// newer decision than that of the stream is.
	stream sync.Mutex

	news chan struct{} // there is something pending
	// completed tells that the exchange has been through once.
	completed atomic.Bool
}

func newQuarantine(r *runner) (source, error) {
	var config struct {
		URL string `json:"admin_api_url"`
	}
	if err := json.Unmarshal([]byte(r.exchange.Config), &config); err != nil {
		return nil, errors.New("the configuration of the exchange cannot be read")
	}
	return &quarantine{clients: clients{runner: r, address: config.URL}, news: make(chan struct{}, 1)}, nil
}

func (*quarantine) end() {}

// checkpoint is where in the stream to read on.
type checkpoint struct {
	From int64 `json:"from_id"`
	// Again tells that the stream has begun again and was not read to its end
	// since. Until then what it says may be outdated by what it says later.
	Again bool `json:"again,omitempty"`
}

func parseCheckpoint(text string) (checkpoint, error) {
	var c checkpoint
	if text == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.From < 0 {
		return c, fmt.Errorf("the checkpoint cannot be read: %q", text)
	}
	return c, nil
}

func (c checkpoint) String() string {
	raw, _ := json.Marshal(c) // it cannot fail
	return string(raw)
}

// What is to be done about a pending item.
const (
	taskHash   = "hash"   // download and hash it
	taskVerify = "verify" // ask whether it is still quarantined
)

// key is what a source is known by.
func key(item media.URI) string { return item.String() }

// fetch reads the stream to its end and tells whether there was anything.
func (q *quarantine) fetch(ctx context.Context) (changed bool, err error) {
	client, err := q.homeserver(ctx)
	if err != nil {
		return false, err
	}
	if client == q.home {
		_, _ = client.Name(ctx) // scans want to know it, and must not wait for it
	}
	for {
		more, err := q.fetchPage(ctx, client)
		if err != nil || !more {
			return changed, err
		}
		changed = true
	}
}

// fetchPage reads a page of the stream and commits it, and tells whether there may
// be more.
func (q *quarantine) fetchPage(ctx context.Context, client *homeserver.Client) (more bool, err error) {
	q.stream.Lock()
	defer q.stream.Unlock()
	x, err := q.store.Exchange(ctx, q.exchange.Name)
	if err != nil {
		return false, err
	}
	if !q.same(x) {
		return false, bank.ErrExchangeNotFound // another one has its name now
	}
	q.completed.Store(x.Completed)
	at, err := parseCheckpoint(x.Checkpoint)
	if err != nil {
		return false, err
	}
	page, err := client.QuarantineChanges(ctx, at.From)
	if errors.Is(err, homeserver.ErrBeyondStream) && at.From > 0 {
		q.log.WarnContext(ctx, "the homeserver's stream begins again: all that is banked will be checked", "exchange", x.Name)
		err = q.commit(x, checkpoint{Again: true}, bank.Fetched{Recheck: taskVerify})
		return true, err
	}
	if err != nil {
		return false, err
	}
	if page.Malformed > 0 {
		q.items.WithLabelValues(x.Name, "malformed").Add(float64(page.Malformed))
		q.log.WarnContext(ctx, "the stream has records that name no media", "exchange", x.Name, "records", page.Malformed)
	}
	if !page.More {
		// The position of an empty page is not taken over: it may lie behind
		// a record that was not visible yet.
		return false, q.complete(ctx, x, at)
	}
	return true, q.commitPage(ctx, client, x, at, page)
}

// commit applies a batch that was fetched from the exchange's checkpoint. If the
// lease runs out meanwhile, it goes on: the store lets nobody else take it then, and
// what takes longer than a lease would never be done.
func (q *quarantine) commit(x bank.Exchange, to checkpoint, f bank.Fetched) error {
	f.Bank, f.Lease, f.From, f.To = x.Bank.ID, q.lease, x.Checkpoint, to.String()
	if err := q.checked(q.tallied(f, func() error { return q.store.Commit(q.ctx, x.Name, f) })); err != nil {
		return err
	}
	if len(f.Pending) > 0 || f.Recheck != "" {
		notify(q.news)
	}
	return nil
}

// complete notes that all there was has been seen, and looked at once.
func (q *quarantine) complete(ctx context.Context, x bank.Exchange, at checkpoint) error {
	completed := x.Completed
	if !completed {
		untried, err := q.store.CountUntried(ctx, x.Name)
		if err != nil {
			return err
		}
		completed = untried == 0
	}
	if completed == x.Completed && !at.Again {
		return nil
	}
	return q.commit(x, checkpoint{From: at.From}, bank.Fetched{Completed: completed && !x.Completed})
}

// commitPage applies a page, and moves the checkpoint past it.
func (q *quarantine) commitPage(ctx context.Context, client *homeserver.Client, x bank.Exchange, at checkpoint, page homeserver.Changes) error {
	// Of several records about one item the last one holds.
	last := make(map[media.URI]bool)
	var keys []string
	for _, c := range page.Changes {
		if _, twice := last[c.Item]; !twice {
			keys = append(keys, key(c.Item))
		}
		last[c.Item] = c.Quarantined
	}
	known, err := q.store.Sources(ctx, x.Name, keys)
	if err != nil {
		return err
	}
	var f bank.Fetched
	var doubtful []bank.Pending
	now := time.Now()
	var mu sync.Mutex
	g, asking := errgroup.WithContext(ctx)
	g.SetLimit(q.config.Downloads)
	for item, quarantined := range last {
		switch {
		case !quarantined && at.Again:
			// It may have been quarantined again since: the homeserver is asked.
			doubtful = append(doubtful, bank.Pending{Key: key(item), Task: taskHash, Since: now, Due: now})
		case !quarantined:
			// Known or not: what is pending may become so at any moment.
			f.Removed = append(f.Removed, key(item))
		case !known[key(item)]:
			g.Go(func() error {
				put, pend, err := q.learn(asking, client, item)
				mu.Lock()
				defer mu.Unlock()
				f.Put, f.Pending = append(f.Put, put...), append(f.Pending, pend...)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	q.items.WithLabelValues(x.Name, "quarantined").Add(float64(len(f.Put) + len(f.Pending)))
	f.Pending = append(f.Pending, doubtful...)
	if err := q.commit(x, checkpoint{From: page.Next, Again: at.Again}, f); err != nil {
		return err
	}
	q.items.WithLabelValues(x.Name, released).Add(float64(len(f.Removed)))
	return nil
}

// answer is what the homeserver, and the store, say of an item.
type answer struct {
	gone   bool
	info   homeserver.MediaInfo // unless it is gone
	hashed bool                 // what has its digest is banked, and hashed
}

// What an answer can mean, for the metrics too.
const (
	gone     = "gone"
	released = "released"
	verified = "verified" // it is still quarantined, and no more was to be found out
	known    = "known"
	unhashed = "unhashed" // it is to be downloaded
)

// outcome says what an answer means for a task.
func (a answer) outcome(task string) string {
	switch {
	case a.gone:
		return gone
	case !a.info.Quarantined:
		return released
	case task == taskVerify:
		return verified
	case a.hashed:
		return known
	default:
		return unhashed
	}
}

// ask finds out what can be known of an item without downloading it.
func (q *quarantine) ask(ctx context.Context, client *homeserver.Client, item media.URI) (a answer, err error) {
	if a.info, err = client.MediaInfo(ctx, item); isGone(err) {
		return answer{gone: true}, nil
	}
	if err != nil || a.info.SHA256 == nil {
		return a, err
	}
	a.hashed, err = q.store.IsHashed(ctx, q.exchange.Name, a.info.SHA256)
	return a, err
}

// learn finds out what can be banked at once of an item that is new, and whether
// more is to be done about it. It fails if the homeserver cannot be asked at all.
func (q *quarantine) learn(ctx context.Context, client *homeserver.Client, item media.URI) (put []bank.SourceContent, pending []bank.Pending, err error) {
	now := time.Now()
	todo := []bank.Pending{{Key: key(item), Task: taskHash, Since: now, Due: now}}
	a, err := q.ask(ctx, client, item)
	if isGeneral(ctx, err) {
		return nil, nil, err
	}
	if err != nil {
		return nil, todo, nil // asked again as a pending item
	}
	if a.info.SHA256 != nil {
		put = []bank.SourceContent{exactly(item, a.info.SHA256)}
	}
	switch a.outcome(taskHash) {
	case unhashed:
		return put, todo, nil
	case known:
		return put, nil, nil
	case gone:
		q.items.WithLabelValues(q.exchange.Name, gone).Inc()
		return nil, nil, nil
	default: // released, as the stream will say too
		return nil, nil, nil
	}
}

// exactly is what a digest alone tells of an item.
func exactly(item media.URI, sha256 []byte) bank.SourceContent {
	return bank.SourceContent{
		Key: key(item), Signals: []bank.Signal{{Type: bank.SHA256, Value: string(sha256), Quality: bank.NoQuality}},
	}
}

// isGeneral tells errors of a question to the homeserver that would meet every
// item from those of one item.
func isGeneral(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, homeserver.ErrUnreachable) ||
		errors.Is(err, homeserver.ErrUnauthorized) || errors.Is(err, homeserver.ErrForbidden))
}

// isGone tells whether the homeserver says that it does not have an item. A proxy
// that knows no such path says 404, too, and means nothing by it.
func isGone(err error) bool {
	var status *homeserver.StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound && status.Code == "M_NOT_FOUND"
}
