package exchange_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"image"
	"image/jpeg"
	_ "image/png"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/internal/postgrestest"
	"mediagate/internal/secret"
	"mediagate/internal/workertest"
	"mediagate/media"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == fetchCommand {
		if err := fetchAlone(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	workertest.Main(postgrestest.Tests{M: m})
}

// location is where a test banks: in a file, or in PostgreSQL if the tests are told
// to by MEDIAGATE_TEST_STORE=postgres.
func location(t testing.TB) string {
	t.Helper()
	switch store := os.Getenv("MEDIAGATE_TEST_STORE"); store {
	case "", "sqlite":
		return "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	case "postgres":
		return postgrestest.NewDatabase(t)
	default:
		t.Fatalf("MEDIAGATE_TEST_STORE=%s: there is no such store", store)
		return ""
	}
}

// patience is how long those wait who serve the tests; what does not happen within
// several of it counts as not happening.
const patience = time.Minute

// await waits until something holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this does not happen: %s", what)
		}
	}
}

// never is a pause that no test lives through.
const never = time.Hour

// bench is a fetcher with all that is real around it, and a played homeserver.
type bench struct {
	*synapse
	t       testing.TB
	at      string // the store's URL
	store   *bank.Store
	live    *bank.Live
	pool    *media.Pool
	config  exchange.Config
	servers homeserver.Config
	fetcher *exchange.Fetcher // nil while none runs
	// unhurried fetchers look seldom what has changed, as real ones do, and rooms are
	// not read again without a cause.
	unhurried bool
	// times changes how long fetchers wait; nil for as long as in most tests.
	times func(*exchange.Fetcher)
	log   *logged
	end   func()
}

// logged is a log that several write and a test reads.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// secrets are what no log and no status may repeat.
var secrets = []string{adminToken, userToken, "own-token", "given-token"}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{synapse: startSynapse(t), t: t, live: bank.NewLive(), pool: workertest.Pool(t, nil), log: &logged{}}
	b.config = exchange.Config{Interval: 20 * time.Millisecond, Downloads: 4}
	b.servers = homeserver.Config{
		URL: b.url(), Token: secret.New(adminToken), FirstByteTimeout: patience, DownloadTimeout: 2 * patience,
		MinRate: 1000, RateWindow: 2 * time.Second,
	}
	b.at = location(t)
	store, err := bank.Open(t.Context(), b.at)
	if err != nil {
		t.Fatal(err)
	}
	b.store = store
	indexer := bank.NewIndexer(store, b.live, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = indexer.Run(ctx) })
	t.Cleanup(func() {
		b.stop()
		cancel()
		run.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		for _, s := range secrets {
			if strings.Contains(b.log.String(), s) {
				t.Errorf("the log repeats %s: %s", s, b.log)
			}
		}
	})
	return b
}

// client is of the configured homeserver, nil if there is none.
func (b *bench) client() *homeserver.Client {
	b.t.Helper()
	if b.servers.URL == "" {
		return nil
	}
	c, err := homeserver.New(b.servers)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) newFetcher() *exchange.Fetcher {
	b.t.Helper()
	f := exchange.NewFetcher(b.config, b.servers, b.client(), b.store, b.pool, slog.New(slog.NewJSONHandler(b.log, nil)))
	f.SpareWithin(31)
	if b.unhurried {
		f.SetRereads(never, never, never)
	} else {
		f.Hasten()
	}
	if b.times != nil {
		b.times(f)
	}
	return f
}

// start runs a new fetcher over the same store.
func (b *bench) start() {
	b.t.Helper()
	b.stop()
	f := b.newFetcher()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	b.fetcher = f
	b.end = func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("the fetcher ends with %v", err)
		}
	}
}

// stop ends the fetcher; the store stays.
func (b *bench) stop() {
	if b.fetcher == nil {
		return
	}
	b.end()
	b.fetcher = nil
}

func (b *bench) exchange(name string) bank.Exchange {
	b.t.Helper()
	x, err := b.store.Exchange(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return x
}

func (b *bench) counts(name string) (sources, pending int) {
	b.t.Helper()
	sources, pending, _, err := b.store.CountSources(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return sources, pending
}

// problem is what the running fetcher says of an exchange, empty if all is well.
func (b *bench) problem(name string) string {
	status, ok := b.fetcher.Status(name)
	if !ok {
		return "it does not run"
	}
	for _, s := range secrets {
		if strings.Contains(status.Problem, s) {
			b.t.Errorf("the status repeats %s: %s", s, status.Problem)
		}
	}
	return status.Problem
}

// read waits until an exchange has read its server's stream to the end.
func (b *bench) read(name string, from *synapse) {
	b.t.Helper()
	b.fetcher.FetchNow(name)
	want := ""
	from.change(func(st *state) {
		if len(st.stream) > 0 {
			want = fmt.Sprintf(`{"from_id":%d}`, st.last)
		}
	})
	var x bank.Exchange
	failed := b.t.Failed()
	defer func() {
		if b.t.Failed() && !failed {
			b.t.Logf("%+v, want checkpoint %s; log: %s", x, want, b.log)
		}
	}()
	tries := 0
	await(b.t, "the stream is read to its end", func() bool {
		if tries++; tries%20 == 0 {
			b.fetcher.FetchNow(name) // after failures it waits long by itself
		}
		var err error
		x, err = b.store.Exchange(b.t.Context(), name)
		return err == nil && (x.Checkpoint == want || want == "" && x.Completed)
	})
}

// settle waits until all of the homeserver's quarantine has arrived, and is live.
func (b *bench) settle() { b.t.Helper(); b.settleAs(exchange.HomeserverExchange, b.synapse) }

func (b *bench) settleAs(name string, from *synapse) {
	b.t.Helper()
	b.read(name, from)
	failed := b.t.Failed()
	defer func() {
		if b.t.Failed() && !failed {
			list, err := b.store.Pending(context.Background(), name, time.Now().Add(time.Hour), 10)
			b.t.Logf("pending: %+v, %v; log: %s", list, err, b.log)
		}
	}()
	await(b.t, "nothing is pending", func() bool {
		_, pending := b.counts(name)
		return pending == 0 && b.exchange(name).Completed
	})
	b.sync()
}

// sync waits until what is committed is live.
func (b *bench) sync() {
	b.t.Helper()
	epoch, err := b.store.Epoch(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if err := b.live.Wait(ctx, epoch); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) index() *bank.Index {
	b.t.Helper()
	var ix *bank.Index
	await(b.t, "there is an index", func() bool {
		var err error
		ix, err = b.live.Load()
		return err == nil
	})
	return ix
}

// found says by what a content is found: its digests, and the hashes of a picture.
func (b *bench) found(content []byte) string {
	b.t.Helper()
	ix := b.index()
	var by []string
	add := func(kind string, matches []bank.Match) {
		switch {
		case len(matches) > 1:
			b.t.Errorf("%d contents are found by %s", len(matches), kind)
		case len(matches) == 1 && !matches[0].Enabled:
			b.t.Errorf("what is found by %s does not count", kind)
		case len(matches) == 1:
			by = append(by, kind)
		}
	}
	exact, weak := sha256.Sum256(content), md5.Sum(content)
	add("sha256", ix.SHA256(exact[:]))
	add("md5", ix.MD5(weak[:]))
	s, err := b.pool.Signals(b.t.Context(), content)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(s.Hashes) > 0 {
		const threshold = 31
		add("pdq", ix.PrimaryWithin(s.Hashes[0].PDQ, threshold))
	}
	return strings.Join(by, " ")
}

func (b *bench) check(what string, content []byte, want string) {
	b.t.Helper()
	if got := b.found(content); got != want {
		b.t.Errorf("%s is found by %q, want %q", what, got, want)
	}
}

// metric reads one of the fetcher's numbers: that of the item or fetch outcomes.
func (b *bench) metric(name, outcome string) float64 {
	b.t.Helper()
	sum, _ := number(b.t, b.fetcher, name, "outcome", outcome)
	return sum
}

// number reads one of a fetcher's numbers, and tells whether it is there.
func number(t testing.TB, f *exchange.Fetcher, name, label, value string) (sum float64, ok bool) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(f); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && l.GetValue() == value {
					sum, ok = sum+m.GetCounter().GetValue()+m.GetGauge().GetValue(), true
				}
			}
		}
	}
	return sum, ok
}

const (
	itemsMetric   = "mediagate_exchange_items_total"
	fetchesMetric = "mediagate_exchange_fetches_total"
)

func picture(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../pdq/testdata/images", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// reencoded is the same picture in other bytes.
func reencoded(t testing.TB, content []byte) []byte {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 70}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// own is what an exchange with an address of its own is made of.
func own(name string, s *synapse, token string) bank.Exchange {
	x := bank.Exchange{
		Name: name, API: exchange.SynapseQuarantined, Config: fmt.Sprintf(`{"admin_api_url":%q}`, s.url()), Enabled: true,
	}
	if token != "" {
		x.Credential = credential(token)
	}
	return x
}

func credential(token string) secret.String {
	return secret.New(fmt.Sprintf(`{"access_token":%q}`, token))
}

func (b *bench) create(x bank.Exchange) {
	b.t.Helper()
	if err := b.store.CreateExchange(b.t.Context(), x); err != nil {
		b.t.Fatal(err)
	}
}

// loopback lets exchanges lie on this machine.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
