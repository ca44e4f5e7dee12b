package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mediagate/bank"
	"mediagate/homeserver"
)

// writer makes a room what it should be, one event after another.
type writer struct {
	*runner
	lease  bank.Lease
	user   string
	have   room
	read   time.Time // when the room was last read, zero if what it holds is not known
	epoch  int64     // the store's, of the plan that is worked off
	looked time.Time // when that was last known to be the store's
	todo   int       // how many events of the plan are still to be written
	left   int       // what is left to others
	next   time.Time // when the next event may be written
	status bank.PublicationStatus
	told   time.Time // when that was last told
}

// errStale: the store has changed since the plan was made, and another one is needed.
var errStale = errors.New("the bank may have changed")

// compare works off what the room does not hold as it should. What leaves the bank goes
// first, even if the rest is refused with [ErrTooMany]. With an error, the rest is for
// another time. epoch is what the store's was before.
func (w *writer) compare(ctx context.Context, epoch int64) error {
	if w.Enabled {
		if err := checkSource(ctx, w.store, w.Bank); err != nil {
			return err
		}
	}
	if w.read.IsZero() || time.Since(w.read) >= w.pauses.reread {
		if err := w.readRoom(ctx); err != nil {
			return err
		}
	}
	want := map[string]entry{}
	var refused error
	if w.Enabled {
		if want, refused = wanted(ctx, w.store, w.Bank, w.have, w.most); refused != nil && !errors.Is(refused, ErrTooMany) {
			return refused
		}
	}
	back, send, left := difference(want, w.have)
	// Each plan is worked on before it is doubted, however often the store changes.
	w.epoch, w.looked, w.todo, w.left = epoch, time.Now(), len(back)+len(send), left
	for _, key := range back {
		if err := w.takeBack(ctx, key); err != nil {
			return fmt.Errorf("take a hash back: %w", err)
		}
		w.todo--
	}
	for _, key := range send {
		if err := w.send(ctx, key, want[key].content); err != nil {
			return fmt.Errorf("publish a hash: %w", err)
		}
		w.todo--
	}
	return refused
}

// look tells, now and then, how far the work is, and fails with [errStale] if it may not
// be what is to be done any more.
func (w *writer) look(ctx context.Context) error {
	if time.Since(w.looked) < w.pauses.scan {
		return nil
	}
	epoch, err := w.store.Epoch(ctx)
	if err != nil {
		return err
	}
	w.looked = time.Now()
	if time.Since(w.told) >= w.pauses.renew {
		err = w.tellGoing(ctx, "")
	}
	if err == nil && epoch != w.epoch {
		err = errStale
	}
	return err
}

// readRoom reads what the room holds. The user joins it if it is invited, or the room is
// open: of one that it is not in, it would be told an old state.
func (w *writer) readRoom(ctx context.Context) (err error) {
	w.read = time.Time{}
	if w.user, err = w.home.User(ctx); err != nil {
		return err
	}
	if _, err := w.home.Join(ctx, w.Room, nil); err != nil {
		return err
	}
	have, err := readRoom(ctx, w.home, w.Room, w.user)
	if err != nil {
		return err
	}
	w.have, w.read = have, time.Now()
	return nil
}

func (w *writer) send(ctx context.Context, key string, c content) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var id string
	if err := w.write(ctx, "sent", func() (err error) {
		id, err = w.home.SendState(ctx, w.Room, eventType, key, json.RawMessage(raw))
		return err
	}); err != nil {
		return err
	}
	w.have.ours[key] = published{id, raw}
	return nil
}

// takeBack redacts an event; if that is not allowed it is replaced by an empty one,
// which leaves the hash in the room's past.
func (w *writer) takeBack(ctx context.Context, key string) error {
	id := w.have.ours[key].id
	err := w.write(ctx, "redacted", func() error { return w.home.Redact(ctx, w.Room, id, transaction(id), "") })
	if errors.Is(err, homeserver.ErrForbidden) {
		err = w.write(ctx, "emptied", func() error {
			_, err := w.home.SendState(ctx, w.Room, eventType, key, struct{}{})
			return err
		})
	}
	if err == nil {
		delete(w.have.ours, key)
	}
	return err
}

// transaction names the redaction of an event, so that it is made once.
func transaction(event string) string {
	digest := sha256.Sum256([]byte(event))
	return "mediagate" + hex.EncodeToString(digest[:16])
}

// write makes one write when it is due, and again as long as the homeserver wants to be
// left alone. done is what it is counted as.
func (w *writer) write(ctx context.Context, done string, do func() error) error {
	for {
		if !w.sleep(ctx, time.Until(w.next)) {
			return ctx.Err()
		}
		if err := w.look(ctx); err != nil {
			return err
		}
		err := do()
		w.next = time.Now().Add(w.pauses.write)
		if ctx.Err() != nil {
			return ctx.Err() // how it has ended is not known
		}
		var status *homeserver.StatusError
		switch {
		case err == nil:
			w.events.WithLabelValues(w.Name, done).Inc()
			return nil
		case errors.As(err, &status) && status.Status == http.StatusTooManyRequests:
			w.events.WithLabelValues(w.Name, "limited").Inc()
			w.next = time.Now().Add(max(status.RetryAfter, w.pauses.firstRetry))
			if err := w.tellGoing(ctx, err.Error()+"; "); err != nil {
				return err
			}
			continue
		case errors.Is(err, homeserver.ErrForbidden):
			w.events.WithLabelValues(w.Name, "forbidden").Inc()
		default:
			w.events.WithLabelValues(w.Name, "failed").Inc()
		}
		return err
	}
}
