package bank_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/redistest"
)

// TestWhyNoSnapshotIsWrittenIsToldOnce and not with each attempt, however long it rests
// between them.
func TestWhyNoSnapshotIsWrittenIsToldOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		deny, allow []string
		why         string
		rounds      int
	}{
		"full":     {[]string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}, "OOM", 2},
		"no right": {[]string{"ACL", "SETUSER", "default", "-set"}, []string{"ACL", "SETUSER", "default", "+set"}, "NOPERM", 1}, // when there was a snapshot the client tells
	} {
		t.Run(name, func(t *testing.T) {
			s, server := onSQLite.newStore(t), redistest.Start(t, "maxmemory-policy noeviction")
			createBank(t, s, "A")
			addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(0)})
			shared := newShared(t, server)
			x, live := cold(t, s, nil)
			var log bytes.Buffer
			w := bank.NewSnapshotWriter(s, live, shared, slog.New(slog.NewTextHandler(&log, nil))).Eager()
			told := func(what string) int { return strings.Count(log.String(), `msg="`+what+`"`) }
			const rest = 20 * time.Millisecond
			for round := 1; round <= tt.rounds; round++ {
				server.Do(t, tt.deny...)
				comes(t, 30*time.Second, "five attempts", func() bool {
					w.Tend(t.Context(), rest)
					return counted(t, w)["mediagate_snapshot_writes_total failed"] >= float64(5*round)
				})
				if told("snapshot cannot be written") != round || strings.Count(log.String(), tt.why) != round {
					t.Errorf("round %d: %s", round, log.String())
				}
				server.Do(t, tt.allow...)
				comes(t, 30*time.Second, "a snapshot", func() bool {
					w.Tend(t.Context(), rest)
					return told("snapshot written") == round
				})
				server.Flush(t)
				if err := x.Refresh(t.Context(), false); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestWriterRestsLongerAfterEachFailure, and as long as ever after a success.
func TestWriterRestsLongerAfterEachFailure(t *testing.T) {
	server := redistest.Start(t)
	shared := newShared(t, server)
	s := onSQLite.newStore(t)
	createBank(t, s, "A")
	addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(0)})
	_, w := newWriter(t, s, shared)
	values := counted(t, w)
	const perValue = 10 * time.Second
	attempt := func(outcome string) time.Duration {
		t.Helper()
		comes(t, 30*time.Second, "an attempt", func() bool {
			w.Awake()
			w.Tend(t.Context(), perValue)
			return counted(t, w)["mediagate_snapshot_writes_total "+outcome] > values["mediagate_snapshot_writes_total "+outcome]
		})
		values = counted(t, w)
		return w.Awake()
	}
	// All is written, and then it is not named.
	if err := s.MakeTrouble(t.Context(), "BEFORE INSERT ON snapshot"); err != nil {
		t.Fatal(err)
	}
	first := attempt("failed")
	second := attempt("failed")
	if first < perValue || second < first+perValue {
		t.Errorf("rests of %v and %v", first, second)
	}
	for range 5 {
		second = attempt("failed")
	}
	if second > bank.RestMost || second < bank.RestMost-perValue {
		t.Errorf("after seven failures it rests for %v", second)
	}
	if err := s.EndTrouble(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := attempt("ok"); got > first {
		t.Errorf("after a success it rests for %v, and after the first failure it did for %v", got, first)
	}
}
