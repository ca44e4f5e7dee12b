package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/media"
)

// beside works on what is pending, some items at once, until the context ends. One
// place is for those that are tried for the first time, so that what fails again
// and again does not delay them.
func (q *quarantine) beside(ctx context.Context) {
	working := make(map[string]bool) // by key; the value tells retries
	retries := 0
	done := make(chan string)
	defer func() {
		for len(working) > 0 {
			delete(working, <-done)
		}
	}()
	for {
		list, err := q.store.Pending(ctx, q.exchange.Name, time.Now(), 2*q.config.Downloads)
		if err != nil && ctx.Err() == nil {
			q.log.WarnContext(ctx, "pending items cannot be listed", "exchange", q.exchange.Name, "err", err)
		}
		for _, p := range list {
			if _, busy := working[p.Key]; busy || len(working) == q.config.Downloads {
				continue
			}
			retry := p.Attempts > 0
			if retry && retries == q.config.Downloads-1 {
				continue
			}
			if retry {
				retries++
			}
			working[p.Key] = retry
			go func() {
				q.attempt(ctx, p)
				done <- p.Key
			}()
		}
		select {
		case <-ctx.Done():
			return
		case key := <-done:
			if working[key] {
				retries--
			}
			delete(working, key)
			if len(working) == 0 && !q.completed.Load() {
				notify(q.wake) // perhaps that was the last
			}
		case <-q.news:
		case <-time.After(q.pauses.due):
		}
	}
}

// attempt does what is to be done about a pending item. If that fails for a reason
// that is not the item's, the item stays as it is and its place waits: an outage
// is not written down once for each item.
func (q *quarantine) attempt(ctx context.Context, p bank.Pending) {
	outcome, err := q.work(ctx, p)
	if ctx.Err() != nil {
		return // nothing is known, and the item is pending still
	}
	if err != nil {
		outcome = "failed"
	}
	q.items.WithLabelValues(q.exchange.Name, outcome).Inc()
	if err == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(jittered(q.pauses.general)):
	}
}

// work finds out how a pending item ends, and commits that. What is banked of it
// stays unless the homeserver says that it is not quarantined any more. An error
// is not the item's.
func (q *quarantine) work(ctx context.Context, p bank.Pending) (outcome string, err error) {
	item, err := parseKey(p.Key)
	if err != nil {
		return q.failed(ctx, p, bank.Fetched{}, err)
	}
	client, err := q.homeserver(ctx)
	if err != nil {
		return "", err
	}
	a, err := q.ask(ctx, client, item)
	switch {
	case isGeneral(ctx, err):
		return "", err
	case err != nil:
		return q.failed(ctx, p, bank.Fetched{}, err)
	}
	if outcome = a.outcome(p.Task); outcome == unhashed {
		return q.finishHash(ctx, client, item, p, a.info.SHA256)
	}
	var f bank.Fetched
	if outcome == released || outcome == known {
		// Since the answer the stream may have told of a newer decision. While it
		// is held it does not, and what is answered now is the newest.
		q.stream.Lock()
		defer q.stream.Unlock()
		if a, err = q.ask(ctx, client, item); err != nil {
			return q.failed(ctx, p, f, err)
		}
		if a.outcome(p.Task) != outcome {
			return "changed", nil // it is due still
		}
	}
	switch outcome {
	case released:
		f.Removed = []string{p.Key}
	case known:
		f.Put = []bank.SourceContent{exactly(item, a.info.SHA256)}
	}
	return outcome, q.resolve(ctx, p, f)
}

// resolve commits how work on a pending item has ended.
func (q *quarantine) resolve(ctx context.Context, p bank.Pending, f bank.Fetched) error {
	f.Bank, f.Lease = q.exchange.Bank.ID, q.lease
	err := q.checked(q.tallied(f, func() error { return q.store.Resolve(q.ctx, q.exchange.Name, p, f) }))
	if err != nil && ctx.Err() == nil && q.tally == nil && !errors.Is(err, bank.ErrExchangeNotFound) {
		q.log.WarnContext(ctx, "pending item cannot be committed", "exchange", q.exchange.Name, "err", err)
	}
	return err
}

// failed keeps an item pending that cannot be had now, with what is known of it.
func (q *quarantine) failed(ctx context.Context, p bank.Pending, f bank.Fetched, cause error) (outcome string, err error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	p.Due = time.Now().Add(q.retryAfter(p.Attempts))
	p.Attempts++
	p.Problem = cause.Error()
	f.Pending = []bank.Pending{p}
	return "failed", q.resolve(ctx, p, f)
}

// goneAttempts is how often bytes that are not there are asked for again: in all
// that takes more than two hours.
const goneAttempts = 12

// retryAfter doubles the time from attempt to attempt.
func (q *quarantine) retryAfter(attempts int) time.Duration {
	return jittered(min(q.pauses.firstRetry<<min(attempts, 16), q.pauses.lastRetry))
}

var errOtherBytes = errors.New("the homeserver sends other bytes than its digest says")

// finishHash downloads and hashes an item, and commits how that ended. digest is
// what its bytes must have, nil if the homeserver does not know.
func (q *quarantine) finishHash(ctx context.Context, client *homeserver.Client, item media.URI, p bank.Pending, digest []byte) (outcome string, err error) {
	var exact bank.Fetched
	if digest != nil {
		exact.Put = []bank.SourceContent{exactly(item, digest)}
	}
	signals, err := q.hash(ctx, client, item)
	if err == nil && digest != nil && !bytes.Equal(digest, signals.SHA256[:]) {
		err = errOtherBytes
	}
	switch {
	case err == nil:
		return "hashed", q.resolve(ctx, p, bank.Fetched{
			Put: []bank.SourceContent{{Key: p.Key, Signals: bank.SignalsOf(signals), HashedHere: true}},
		})
	case errors.Is(err, media.ErrTooLarge) && digest != nil:
		return "exact", q.resolve(ctx, p, exact)
	case isGone(err) && p.Attempts >= goneAttempts:
		q.log.WarnContext(ctx, "the bytes of an item in quarantine are not there: only its very bytes are blocked, if their digest is known",
			"exchange", q.exchange.Name, "mxc", p.Key)
		return "exact", q.resolve(ctx, p, exact)
	case errors.Is(err, media.ErrOverloaded):
		return "", err
	}
	// The homeserver has just answered about the item. So whatever went wrong,
	// a refusal or a silence, may be the doing of the server that the item is of.
	// Bytes that are not there may come back: a store that is away looks the same,
	// and so does a proxy that refuses what is in quarantine.
	banked, lookup := q.store.Sources(ctx, q.exchange.Name, []string{p.Key})
	if lookup != nil {
		return "", lookup
	}
	if banked[p.Key] {
		exact.Put = nil // nothing new is known
	}
	return q.failed(ctx, p, exact, err)
}

// hash downloads an item past its quarantine.
func (q *quarantine) hash(ctx context.Context, client *homeserver.Client, item media.URI) (s media.Signals, err error) {
	d, err := client.Download(ctx, item, client.Moderator(), homeserver.Options{})
	if err != nil {
		return media.Signals{}, err
	}
	defer func() { _ = d.Body.Close() }() // it was read, or is not wanted
	digester := media.NewDigester()
	content, release, err := q.pool.Read(ctx, io.TeeReader(d.Body, digester), d.Length)
	if err != nil {
		return media.Signals{}, err
	}
	defer release()
	if d.Length >= 0 && int64(len(content)) != d.Length {
		return media.Signals{}, fmt.Errorf("%w before its end", homeserver.ErrBroken)
	}
	return q.pool.Decode(ctx, digester.Signals(content), content, media.Exact)
}
