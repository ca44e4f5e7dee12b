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
