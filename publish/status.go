package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mediagate/bank"
)

// finish keeps how a comparison went. It fails with [bank.ErrLeaseLost] only.
func (w *writer) finish(ctx context.Context, failed error) error {
	w.status.Finished = time.Now()
	w.status.Problem = ""
	switch {
	case failed != nil:
		w.status.Problem = failed.Error()
	case w.left > 0:
		w.status.Problem = fmt.Sprintf("%d hashes are left to others, who have set or redacted them", w.left)
	}
	return w.tell(ctx)
}

// tellGoing keeps how far the work is, and why it waits. It fails with
// [bank.ErrLeaseLost] only. There is always a problem: a publication that was withdrawn
// meanwhile must not end before the rest of this work does.
func (w *writer) tellGoing(ctx context.Context, why string) error {
	w.status.Problem = fmt.Sprintf("%s%d events are still to be written", why, w.todo)
	return w.tell(ctx)
}

func (w *writer) tell(ctx context.Context) error {
	if !w.read.IsZero() { // else the room could not be read
		w.status.Published = int64(len(w.have.ours))
	}
	w.told = time.Now()
	err := w.store.SetPublicationStatus(ctx, w.lease, w.Bank, w.status)
	if err != nil && !errors.Is(err, bank.ErrLeaseLost) && ctx.Err() == nil {
		w.log.WarnContext(ctx, "status of a publication cannot be kept", "bank", w.Name, "err", err)
		return nil
	}
	return err
}
