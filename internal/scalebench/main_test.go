package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
	"mediagate/pdq"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Tests{M: m}.Run()) }

func addressOf(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func get(want answer) func(int) ([]byte, answer) {
	return func(int) ([]byte, answer) { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), want }
}

// TestWaitingCounts: what was due while an earlier answer took its time has waited,
// though it was not sent.
func TestWaitingCounts(t *testing.T) {
	const pause = 300 * time.Millisecond
	var asked atomic.Int64
	address := addressOf(t, func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == 1 {
			time.Sleep(pause)
		}
	})
	out, err := load{address: address, connections: 1, request: get(answer{status: "200"}), rate: 100, duration: time.Second}.run(t.Context())
	if err != nil || out.wrong > 0 || out.asked != 100 || len(out.latencies) != 100 {
		t.Fatalf("%v, %d asked, %d wrong: %s", err, out.asked, out.wrong, out.first)
	}
	// Those due in the first half of the pause have waited for the other half.
	late := 0
	for _, l := range out.latencies {
		if l >= pause/2 {
			late++
		}
	}
	if late < 15 {
		t.Errorf("%d are late: %v", late, out.latencies)
	}
}

func TestWrongAnswersCount(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		first   string // part of it
	}{
		"status":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "status 503"},
		"body":         {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("other")) }, "other"},
		"no length":    {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, "without a length"},
		"too long":     {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", fmt.Sprint(maxAnswer)) }, "too long"},
		"broken off":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "the connection ended"},
		"nobody there": {nil, "the connection"},
	} {
		address := "127.0.0.1:1"
		if tt.handler != nil {
			address = addressOf(t, tt.handler)
		}
		out, err := load{address: address, connections: 2, request: get(answer{"200", []byte("body")}), rate: 100, duration: 100 * time.Millisecond}.run(t.Context())
		if tt.handler == nil {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		if err != nil || out.asked != 10 || out.wrong != 10 || !strings.Contains(out.first, tt.first) {
			t.Errorf("%s: %v, %d of %d are wrong: %q, want %q", name, err, out.wrong, out.asked, out.first, tt.first)
		}
	}
}

func TestMost(t *testing.T) {
	address := addressOf(t, func(http.ResponseWriter, *http.Request) {})
	out, err := load{address: address, connections: 3, request: get(answer{status: "200"}), duration: time.Minute, most: 50}.run(t.Context())
	if err != nil || out.asked != 50 || out.wrong > 0 || len(out.latencies) != 50 {
		t.Errorf("%v, %d asked, %d wrong: %s", err, out.asked, out.wrong, out.first)
	}
}

func TestNearOf(t *testing.T) {
	for n := range int64(300) {
		for bits := range 256 {
			if got := pdq.Distance(pdq.FromBytes(hashOf(n)), pdq.FromBytes(nearOf(n, bits))); got != bits {
				t.Fatalf("%d bits from number %d are %d", bits, n, got)
			}
		}
	}
}

// TestSeededStores: they are stores of ours, with what they must have and no more.
func TestSeededStores(t *testing.T) {
	const hashes = rowsAtOnce + 1
	file := filepath.Join(t.TempDir(), "mediagate.db")
	database := postgrestest.NewDatabase(t)
	for _, engine := range []struct {
		driver, location, source string
		fill                     func(context.Context, *sql.DB, int) error
	}{{"sqlite", "sqlite:" + file, "file:" + file, fillSQLite}, {"pgx", database, database, fillPostgres}} {
		if err := seed(t.Context(), engine.driver, engine.location, engine.source, hashes, engine.fill); err != nil {
			t.Fatal(err)
		}
		store, err := bank.Open(t.Context(), engine.location)
		if err != nil {
			t.Fatal(err)
		}
		live := bank.NewLive()
		indexer := bank.NewIndexer(store, live, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- indexer.Run(ctx) }()
		added, err := store.AddContent(ctx, bank.NewContent{Bank: listBank, Signals: []bank.Signal{{Type: bank.VideoMD5, Value: strings.Repeat("x", 16), Quality: bank.NoQuality}}})
		if err != nil || added != hashes+1 {
			t.Errorf("%s: the next content is %d, %v", engine.driver, added, err)
		}
		epoch, err := store.Epoch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := live.Wait(ctx, epoch); err != nil {
			t.Fatal(err)
		}
		ix, err := live.Load()
		if err != nil || ix.Len(bank.PDQ) != hashes {
			t.Fatalf("%s: %d hashes, %v", engine.driver, ix.Len(bank.PDQ), err)
		}
		for _, n := range []int64{1, rowsAtOnce, hashes} {
			got := ix.PrimaryWithin(pdq.FromBytes(nearOf(n, 31)), 31)
			if len(got) != 1 || got[0].Content != n || got[0].Distance != 31 || got[0].Bank.Name != listBank || !got[0].Enabled {
				t.Errorf("%s: number %d is found as %v", engine.driver, n, got)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	if err := (report{&out}).run("Memory/hashes=1/state=settled", mebibytes(3<<19), metric{0.25, "p99-sec"}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "BenchmarkMemory/hashes=1/state=settled-") || !strings.HasSuffix(got, " 1 1.5 MiB 0.25 p99-sec\n") {
		t.Errorf("%q", got)
	}
	if got := kilobytes("VmPeak:\t  7 kB\nVmHWM:\t  12 kB\nVmRSS:\t  5 kB\n", "VmRSS"); got != 5<<10 {
		t.Error(got)
	}
}
