package bank_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
)

// fill banks so many contents behind the program's back, as the first change of an
// empty store. Each has a signal of every type that is given, with random values.
func (e engine) fill(t testing.TB, s *bank.Store, contents int, types ...bank.SignalType) {
	t.Helper()
	exec := func(statement string) {
		if err := s.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO bank (id, name, ratio, md5_enforce) VALUES (1, 'A', 1, 0)")
	rng := rand.New(rand.NewPCG(11, 12))
	const batch = 5000
	for from := 1; from <= contents; from += batch {
		var rows, signals []string
		for id := from; id < min(from+batch, contents+1); id++ {
			rows = append(rows, fmt.Sprintf("(%d, 1, 1, 1000, 1, '', '')", id))
			for _, of := range types {
				var value []byte
				for range 4 {
					value = binary.BigEndian.AppendUint64(value, rng.Uint64())
				}
				if of == bank.MD5 || of == bank.VideoMD5 {
					value = value[:16]
				}
				signals = append(signals, fmt.Sprintf("(%d, '%s', 0, "+e.blob+")", id, of, value))
			}
		}
		exec("INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata) VALUES " + strings.Join(rows, ", "))
		exec("INSERT INTO signal (content, type, variant, value) VALUES " + strings.Join(signals, ", "))
	}
	exec(fmt.Sprintf("UPDATE meta SET value = %d WHERE key = 'content_id'", contents))
	exec("UPDATE meta SET value = 1 WHERE key IN ('epoch', 'bank_id')")
}

// resident returns a figure of memory that this process has, in bytes: VmRSS or,
// as the most ever, VmHWM.
func resident(t testing.TB, figure string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), figure+":")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// BenchmarkLoad takes a process from nothing to its first index of a million
// contents, from the store and from a snapshot.
func BenchmarkLoad(b *testing.B) {
	const contents = 1_000_000
	for _, e := range []engine{onSQLite, onPostgres} {
		for _, types := range [][]bank.SignalType{{bank.PDQ}, {bank.PDQ, bank.SHA256, bank.MD5}} {
			b.Run(fmt.Sprintf("store=%s/contents=%d/types=%d", e.name, contents, len(types)), func(b *testing.B) {
				s := e.newStore(b)
				e.fill(b, s, contents, types...)
				b.Run("source=store", func(b *testing.B) { benchmarkLoad(b, s, nil, contents) })
				b.Run("source=snapshot", func(b *testing.B) {
					shared := newShared(b, redistest.Start(b))
					_, w := newWriter(b, s, shared)
					if err := w.Write(b.Context()); err != nil {
						b.Fatal(err)
					}
					benchmarkLoad(b, s, shared, contents)
				})
			})
		}
	}
}

func benchmarkLoad(b *testing.B, s *bank.Store, shared *redis.Client, contents int) {
	source := "store"
	if shared != nil {
		source = "snapshot"
	}
	for b.Loop() {
		x, live := cold(b, s, shared)
		wasLoaded(b, x, source, "")
		if got := load(b, live).Len(bank.PDQ); got != contents {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(resident(b, "VmRSS")), "rss-bytes")
	b.ReportMetric(float64(resident(b, "VmHWM")), "peak-rss-bytes")
}
