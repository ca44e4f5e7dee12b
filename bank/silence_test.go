package bank_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// TestServerFallsSilent stops the server in the middle of a batch, for as long as
// it takes until everybody has given up. Nobody closes a connection, and the system
// takes whatever is sent.
func TestServerFallsSilent(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := openStore(t, server.NewDatabase(t))
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}})
	epoch := epochOf(t, s)
	changed := make(chan error, 1)
	paused := make(chan struct{})
	go func() {
		changed <- s.ChangeSlowly(t.Context(), "X", banked("b", 2), func() {
			server.Pause(t)
			close(paused)
		})
	}()
	<-paused
	const others = 30
	failed := make(chan error, 2*others)
	var all sync.WaitGroup
	for n := range byte(others) {
		all.Go(func() {
			_, err := s.AddContent(t.Context(), bank.NewContent{Bank: "X", Signals: pictureSignals(100 + n)})
			failed <- err
		})
		all.Go(func() {
			_, err := s.Exchanges(t.Context())
			failed <- err
		})
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	select {
	case err := <-changed:
		if err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("%v", err)
		}
	case <-time.After(60 * time.Second):
		t.Error("a writer waits for a server that does not answer")
	}
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		t.Error("others wait one after the other")
	}
	for range len(failed) {
		if err := <-failed; err == nil {
			t.Error("a server that does not answer has answered")
		}
	}
	server.Resume(t)
	all.Wait()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := s.Epoch(t.Context()); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if got := epochOf(t, s); got != epoch {
		t.Errorf("epoch %d, want %d", got, epoch)
	}
	checkCounts(t, s, "X", 1, 0)
	commit(t, s, "X", bank.Fetched{From: "1", To: "2", Put: []bank.SourceContent{banked("b", 2)}})
}

// TestLongStatementsAreWaitedFor runs one for longer than a connection may be quiet.
func TestLongStatementsAreWaitedFor(t *testing.T) {
	t.Parallel()
	s := openStore(t, postgrestest.NewDatabase(t))
	if err := s.Exec(t.Context(), "SELECT pg_sleep(7)"); err != nil {
		t.Error(err)
	}
}
