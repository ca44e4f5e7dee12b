package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
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
	"mediagate/internal/secret"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/scanner"
	"mediagate/server"
)

func TestMain(m *testing.M) { workertest.Main(m) }

// scannerConfig holds the defaults of the variables.
var scannerConfig = scanner.Config{
	MaxDistance: 31, MinQuality: 50, Downloads: 16, DownloadsPerOrigin: 4, Queue: 64, QueueWait: 2 * time.Second, CacheBytes: 64 << 20,
	MemoryBytes: 64 << 20, KnownAfter: 24 * time.Hour,
}

// gate is a whole mediagate behind a test server.
type gate struct {
	server  *server.Server
	handler http.Handler
	url     string
	pool    *media.Pool
	store   *bank.Store
	t       testing.TB
}

// setup says how a test's server differs from the usual one.
type setup struct {
	config  func(*server.Config)
	media   func(*media.Config)
	noIndex bool   // nothing is ever loaded
	store   string // the file of the banks; empty for one of its own
	// database is where the banks are instead of in a file.
	database string
	// homeserver and token are those of the configured homeserver, and exchanges
	// run if there is one. They fetch once, and then when they are told to.
	homeserver, token string
	log               io.Writer // nil for nowhere
}

func newGate(t testing.TB, s setup) *gate {
	t.Helper()
	path := s.store
	if path == "" {
		path = filepath.Join(t.TempDir(), "x.db")
	}
	location := "sqlite:" + path
	if s.database != "" {
		location = s.database
	}
	store, err := bank.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	config := server.Config{IndexMaxAge: time.Minute, HookTimeout: 10 * time.Second, ContentScannerTimeout: 25 * time.Second, HMA: server.HMAConfig{
		URLHosts: []string{"127.0.0.1"}, URLNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}}
	if s.config != nil {
		s.config(&config)
	}
	g := &gate{t: t, store: store}
	log := slog.New(slog.DiscardHandler)
	if s.log != nil {
		log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	live := bank.NewLive()
	if !s.noIndex && config.Roles.Match() {
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { _ = bank.NewIndexer(store, live, nil, log).Run(ctx) })
		t.Cleanup(func() { cancel(); run.Wait() })
		if err := live.Wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	pool := workertest.Pool(t, s.media)
	g.pool = pool
	servers := homeserver.Config{
		URL: s.homeserver, Token: secret.New(s.token), FirstByteTimeout: 10 * time.Second, DownloadTimeout: time.Minute,
		MinRate: 16384, RateWindow: 10 * time.Second, RedirectNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	var home *homeserver.Client
	if servers.Configured() {
		if home, err = homeserver.New(servers); err != nil {
			t.Fatal(err)
		}
	}
	fetcher := exchange.NewFetcher(exchange.Config{Interval: time.Hour, Downloads: 2}, servers, home, store, pool, log)
	if !config.Roles.Has(server.Cron) {
		if err := fetcher.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
	} else if home != nil {
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() {
			if err := fetcher.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() { cancel(); run.Wait() })
	}
	g.server = server.New(config, server.Parts{
		Pool: pool, Store: store, Live: live, Scanner: scanner.New(scannerConfig, pool, live, home, log),
		Fetcher: fetcher, Home: home, Metrics: prometheus.NewRegistry(), Log: log,
	})
	g.handler = g.server.Handler()
	ts := httptest.NewServer(g.handler)
	t.Cleanup(ts.Close)
	g.url = ts.URL
	return g
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request. headers come in pairs.
func (g *gate) send(method, path, body string, headers ...string) answer {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

func (g *gate) get(path string) answer { g.t.Helper(); return g.send("GET", path, "") }

func (g *gate) json(method, path, body string) answer {
	g.t.Helper()
	return g.send(method, path, body, "Content-Type", "application/json")
}

// upload posts a form with one file and further fields, in pairs.
func (g *gate) upload(path, field string, content []byte, fields ...string) answer {
	g.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile(field, "x")
	if err == nil {
		_, err = part.Write(content)
	}
	for i := 0; i < len(fields) && err == nil; i += 2 {
		err = w.WriteField(fields[i], fields[i+1])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return g.send("POST", path, form.String(), "Content-Type", w.FormDataContentType())
}

// want checks status and body; a body that begins with { or [ as JSON text, to
// the letter.
func (a answer) want(t testing.TB, status int, body string) {
	t.Helper()
	if a.status != status || a.body != body {
		t.Errorf("%d %q, want %d %q", a.status, a.body, status, body)
	}
}

// message is the body of an error of shape {"message": …}.
func message(format string, args ...any) string {
	raw, err := json.Marshal(map[string]string{"message": fmt.Sprintf(format, args...)})
	if err != nil {
		panic(err)
	}
	return string(raw) + "\n"
}

func vector(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../pdq/testdata/images", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestKeyGuardsEverythingButStatus(t *testing.T) {
	g := newGate(t, setup{config: func(c *server.Config) { c.APIKey = secret.New("right key") }})
	open := []string{"/status", "/status/live", "/site-map", "/healthz", "/readyz"}
	for _, path := range open {
		if a := g.get(path); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	for _, path := range []string{"/", "/c/banks", "/m/index/status", "/h/hash", "/nope", "/status/", "//status/x", "/readyz/", "/v1"} {
		g.get(path).want(t, 401, "Authentication required")
		if a := g.send("GET", path, "", "Authorization", "Bearer right key"); a.status == 401 {
			t.Errorf("%s: refused with the key", path)
		}
	}
	if a := g.get("/nope"); a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("%v", a.header)
	}
	if a := g.get("/v1/scan"); a.status != 401 || !strings.Contains(a.body, `"unauthorized"`) {
		t.Errorf("/v1/scan: %d %s", a.status, a.body)
	}
	for name, headers := range map[string][]string{
		"no key":           nil,
		"wrong key":        {"Authorization", "Bearer wrong"},
		"part of it":       {"Authorization", "Bearer right"},
		"more than it":     {"Authorization", "Bearer right key "},
		"other scheme":     {"Authorization", "bearer right key"},
		"two spaces":       {"Authorization", "Bearer  right key"},
		"no scheme":        {"Authorization", "right key"},
		"basic":            {"Authorization", "Basic cmlnaHQga2V5"},
		"another header":   {"X-API-Key", "right key"},
		"cookie":           {"Cookie", "Authorization=Bearer right key"},
		"twice":            {"Authorization", "Bearer right key", "Authorization", "Bearer right key"},
		"wrong then right": {"Authorization", "Bearer wrong", "Authorization", "Bearer right key"},
	} {
		// A header's trailing space is not sent, so that one is let in.
		if a := g.send("GET", "/c/banks", "", headers...); (a.status != 401) != (name == "more than it") {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	g.get("/c/banks?access_token=right+key").want(t, 401, "Authentication required")
	g.send("OPTIONS", "/c/banks", "").want(t, 401, "Authentication required")
}

func TestHealth(t *testing.T) {
	g := newGate(t, setup{})
	g.get("/healthz").want(t, 200, "ok\n")
	g.get("/readyz").want(t, 200, "ready\n")
	g.get("/status").want(t, 200, "I-AM-ALIVE")

	none := newGate(t, setup{noIndex: true})
	none.get("/healthz").want(t, 200, "ok\n")
	none.get("/readyz").want(t, 503, "index not loaded\n")
	none.get("/status").want(t, 503, "INDEX-NOT-LOADED")
	none.get("/status/live").want(t, 200, "I-AM-ALIVE")

	stale := newGate(t, setup{config: func(c *server.Config) { c.IndexMaxAge = time.Nanosecond }})
	stale.get("/readyz").want(t, 503, "index stale: the bank store cannot be read\n")
	stale.get("/status").want(t, 503, "INDEX-STALE")
	stale.get("/status/live").want(t, 200, "I-AM-ALIVE")
}

func TestNothingIsAnsweredWithoutAnIndex(t *testing.T) {
	g := newGate(t, setup{noIndex: true})
	content := string(vector(t, "formats/rgb.png"))
	if a := g.send("POST", "/v1/scan", content); a.status != 503 || !strings.Contains(a.body, "unavailable") || a.header.Get("Retry-After") == "" {
		t.Errorf("scan: %d %s", a.status, a.body)
	}
	g.get("/m/lookup?signal_type=pdq&signal="+strings.Repeat("0", 64)).want(t, 503, message("index not yet ready"))
	g.get("/m/raw_lookup?signal_type=pdq&signal="+strings.Repeat("0", 64)).want(t, 503, message("index not yet ready"))
	g.upload("/m/lookup", "photo", []byte(content)).want(t, 503, message("index not yet ready"))
	g.get("/m/index/status").want(t, 200, `{"pdq":{"built_to":-1,"present":false,"size":0},"video_md5":{"built_to":-1,"present":false,"size":0}}`+"\n")
}
