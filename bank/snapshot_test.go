package bank_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

// newShared returns a client of a Redis, with one key for all.
func newShared(t testing.TB, s *redistest.Server) *redis.Client {
	t.Helper()
	return newSharedWith(t, s, strings.Repeat("k", 32))
}

func newSharedWith(t testing.TB, s *redistest.Server, key string) *redis.Client {
	t.Helper()
	c, err := redis.New(redis.Config{URL: secret.New(s.URL()), Key: secret.New(key)}, discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// cold is a process that begins with an index of the store, or of a snapshot.
func cold(t testing.TB, s *bank.Store, shared *redis.Client) (*bank.Indexer, *bank.Live) {
	t.Helper()
	live := bank.NewLive()
	x := bank.NewIndexer(s, live, shared, discard())
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return x, live
}

// counted returns the values of a collector's counters and gauges, by name and labels.
func counted(t testing.TB, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

// wasLoaded checks where an index has come from, and why not from a snapshot, if not.
func wasLoaded(t testing.TB, x *bank.Indexer, source, refusal string) {
	t.Helper()
	values := counted(t, x)
	if values["mediagate_index_loads_total ok "+source] != 1 {
		t.Errorf("not loaded from the %s: %v", source, values)
	}
	if refusal != "" && values["mediagate_snapshot_refusals_total "+refusal] < 1 {
		t.Errorf("not refused for %q: %v", refusal, values)
	}
}

// newWriter returns a writer of every state of a store.
func newWriter(t testing.TB, s *bank.Store, shared *redis.Client) (*bank.Indexer, *bank.SnapshotWriter) {
	t.Helper()
	x, live := cold(t, s, nil)
	return x, bank.NewSnapshotWriter(s, live, shared, discard()).Eager()
}

// answers are all that an index matches of the pictures of step, in order.
func answers(t testing.TB, ix *bank.Index) []string {
	t.Helper()
	var out []string
	for b := range byte(8) {
		for _, signal := range pictureSignals(b) {
			for _, m := range lookUp(t, ix, signal, 31) {
				out = append(out, fmt.Sprintf("%d %s: %+v", b, signal.Type, m))
			}
		}
	}
	slices.Sort(out)
	for _, k := range []bank.SignalType{bank.PDQ, bank.SHA256, bank.MD5, bank.VideoMD5} {
		out = append(out, fmt.Sprint(k, " ", ix.Len(k)))
	}
	return append(out, fmt.Sprint(ix.Awaiting(), ix.Epoch()))
}

// sameAsStore compares an index with one that is made of the store alone.
func sameAsStore(t testing.TB, s *bank.Store, ix *bank.Index) {
	t.Helper()
	_, live := cold(t, s, nil)
	if got, want := answers(t, ix), answers(t, load(t, live)); !slices.Equal(got, want) {
		t.Fatalf("answers\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSnapshotGivesWhatTheStoreGives plays random histories. At random moments a
// snapshot is written, of an index that has followed the history or was merged, and
// later a process begins with it.
func TestSnapshotGivesWhatTheStoreGives(t *testing.T) {
	eachEngine(t, testSnapshotGivesWhatTheStoreGives)
}

func testSnapshotGivesWhatTheStoreGives(t *testing.T, e engine) {
	shared := newShared(t, redistest.Start(t))
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 13))
			s := e.newStore(t)
			m := model{map[string]bool{}, map[int64]modelContent{}}
			step(t, rng, s, m)
			x, w := newWriter(t, s, shared)
			loaded := 0
			for range 60 {
				step(t, rng, s, m)
				if rng.IntN(2) == 0 {
					if err := x.Refresh(t.Context(), rng.IntN(3) == 0); err != nil {
						t.Fatal(err)
					}
				}
				if rng.IntN(4) == 0 {
					if err := w.Write(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if rng.IntN(4) == 0 && counted(t, w)["mediagate_snapshot_writes_total ok"] > 0 {
					begun, live := cold(t, s, shared)
					wasLoaded(t, begun, "snapshot", "")
					sameAsStore(t, s, load(t, live))
					loaded++
				}
			}
			if loaded == 0 {
				t.Error("no snapshot was loaded")
			}
		})
	}
}

// TestLargeSnapshotHasManyParts is of one that takes more than one value.
func TestLargeSnapshotHasManyParts(t *testing.T) {
	s := onSQLite.newStore(t)
	onSQLite.fill(t, s, 67_000, bank.PDQ, bank.SHA256, bank.VideoMD5)
	if err := s.Exec(t.Context(), "UPDATE content SET disable_until = 0 WHERE id <= 66000"); err != nil {
		t.Fatal(err)
	}
	shared := newShared(t, redistest.Start(t))
	_, w := newWriter(t, s, shared)
	if err := w.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := s.RawSnapshot(t.Context(), shared)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw.Parts) != 8 {
		t.Errorf("%d parts", len(raw.Parts))
	}
	x, live := cold(t, s, shared)
	wasLoaded(t, x, "snapshot", "")
	_, plain := cold(t, s, nil)
	got, gotParts := load(t, live).EncodeSnapshot()
	want, wantParts := load(t, plain).EncodeSnapshot()
	// All but the random id.
	if slices.Compare(got[bank.EpochAt:], want[bank.EpochAt:]) != 0 || !slices.EqualFunc(gotParts, wantParts, func(a, b []byte) bool { return slices.Equal(a, b) }) {
		t.Error("the index is another one")
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestSnapshotHasNoMoreThanReadersTake is of sizes that no machine of ours has the memory
// for.
func TestSnapshotHasNoMoreThanReadersTake(t *testing.T) {
	if n, err := bank.CountEntries(bank.SectionMax - 1); err != nil || n != bank.SectionMax {
		t.Errorf("at the limit: %d, %v", n, err)
	}
	if n, err := bank.CountEntries(bank.SectionMax); err == nil || n != bank.SectionMax {
		t.Errorf("one past it: %d, %v", n, err)
	}
}
