package scanner_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/scanner"
)

// ours is the fake homeserver's name, and serviceToken the token by which it
// tells.
const (
	ours         = "home.test"
	serviceToken = "service"
)

// home is a homeserver that serves what it holds to all whom it does not refuse.
type home struct {
	url string
	// answer serves in its place, if it is set and returns true.
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]

	mu       sync.Mutex
	content  map[string]string // by server/id
	refused  map[string]bool   // by Authorization header
	requests []*http.Request   // of downloads
}

const downloads = "/_matrix/client/v1/media/download/"

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{content: make(map[string]string), refused: make(map[string]bool)}
	s := httptest.NewUnstartedServer(h)
	s.Config.SetKeepAlivesEnabled(false) // what fails on an idle connection is asked again, and requests are counted
	s.Start()
	t.Cleanup(s.Close)
	h.url = s.URL
	return h
}

// ServeHTTP implements http.Handler.
func (h *home) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, downloads)
	if !ok {
		if r.URL.Path == "/_matrix/client/v3/account/whoami" && r.Header.Get("Authorization") == "Bearer "+serviceToken {
			_, _ = io.WriteString(w, `{"user_id":"@mediagate:`+ours+`"}`)
			return
		}
		refuse(w, http.StatusNotFound, "M_NOT_FOUND")
		return
	}
	h.mu.Lock()
	h.requests = append(h.requests, r)
	content, there := h.content[path]
	refused := h.refused[r.Header.Get("Authorization")]
	h.mu.Unlock()
	if answer := h.answer.Load(); answer != nil && (*answer)(w, r) {
		return
	}
	etag := fmt.Sprintf("%q", fmt.Sprint(len(content)))
	switch {
	case refused:
		refuse(w, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	case !there:
		refuse(w, http.StatusNotFound, "M_NOT_FOUND")
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("ETag", etag)
		_, _ = io.WriteString(w, content)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errcode":%q}`, code)
}

// put has the homeserver serve an item.
func (h *home) put(item media.URI, content string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.content[item.Server+"/"+item.ID] = content
}

func (h *home) refuse(token string, refused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused["Bearer "+token] = refused
}

// answers has the homeserver answer downloads otherwise, where answer returns
// true. nil ends that.
func (h *home) answers(answer func(w http.ResponseWriter, r *http.Request) bool) {
	if answer == nil {
		h.answer.Store(nil)
		return
	}
	h.answer.Store(&answer)
}

// hold keeps downloads that match waiting, until release is called. waiting counts
// them.
func (h *home) hold(t *testing.T, matches func(r *http.Request) bool) (release func(), waiting *atomic.Int64) {
	t.Helper()
	gate := make(chan struct{})
	waiting = new(atomic.Int64)
	h.answers(func(_ http.ResponseWriter, r *http.Request) bool {
		if matches == nil || matches(r) {
			waiting.Add(1)
			defer waiting.Add(-1)
			<-gate
		}
		return false
	})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	return release, waiting
}

// asked returns how many downloads were asked for since the last call.
func (h *home) asked() int { return len(h.taken()) }

func (h *home) taken() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.requests
	h.requests = nil
	return got
}

// client returns a client of the homeserver. change may be nil.
func (h *home) client(t *testing.T, change func(*homeserver.Config)) *homeserver.Client {
	t.Helper()
	config := homeserver.Config{
		URL: h.url, Token: secret.New(serviceToken), FirstByteTimeout: 30 * time.Second, DownloadTimeout: time.Minute,
		MinRate: 0, RateWindow: time.Minute,
	}
	if change != nil {
		change(&config)
	}
	client, err := homeserver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// clock is a clock that tests set.
type clock struct{ now atomic.Int64 }

// NowNano implements otter.Clock.
func (c *clock) NowNano() int64 { return c.now.Load() }

// Tick implements otter.Clock.
func (*clock) Tick(time.Duration) <-chan time.Time { return nil }

func (c *clock) add(d time.Duration) { c.now.Add(int64(d)) }

// gate is a bench with a homeserver and a clock.
type gate struct {
	*bench
	home  *home
	clock *clock
}

// newGate starts one with a bank that is on, A. Functions may be nil.
func newGate(t *testing.T, config func(*scanner.Config), pool func(*media.Config), at func(*homeserver.Config)) *gate {
	t.Helper()
	c := defaults
	if config != nil {
		config(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	limits := func(c *media.Config) {
		patient(c)
		if pool != nil {
			pool(c)
		}
	}
	g := &gate{home: newHome(t), clock: &clock{}}
	client := g.home.client(t, at)
	if client.HasToken() { // scans do not ask whose media is local
		if name, err := client.Name(t.Context()); name != ours || err != nil {
			t.Fatalf("the homeserver is %q, %v", name, err)
		}
	}
	g.bench = newBenchAt(t, c, workertest.Pool(t, limits), client, bank.Bank{Name: "A", Ratio: 1})
	g.SetClock(g.clock)
	return g
}

// ban banks a content by its digest and returns its number.
func (g *gate) ban(t *testing.T, content string) int64 {
	t.Helper()
	s := media.Digest([]byte(content))
	id := g.add(t, "A", only(bank.SHA256, bank.SignalsOf(s))...)
	g.sync(t)
	return id
}

func (g *gate) unban(t *testing.T, id int64) {
	t.Helper()
	if deleted, err := g.store.DeleteContent(t.Context(), "A", id); !deleted || err != nil {
		t.Fatalf("delete content: %v, %v", deleted, err)
	}
	g.sync(t)
}

// call is a way to ask about an item. It returns the bytes it got.
type call func(ctx context.Context, g *gate, r scanner.Request) (scanner.Verdict, string, error)

var calls = map[string]call{
	"check": func(ctx context.Context, g *gate, r scanner.Request) (scanner.Verdict, string, error) {
		v, err := g.Check(ctx, r)
		return v, "", err
	},
	"scan": func(ctx context.Context, g *gate, r scanner.Request) (scanner.Verdict, string, error) {
		v, err := g.ScanItem(ctx, r)
		return v, "", err
	},
	"download": func(ctx context.Context, g *gate, r scanner.Request) (scanner.Verdict, string, error) {
		i, err := g.Download(ctx, r)
		if err != nil {
			return scanner.Verdict{}, "", err
		}
		defer i.Release()
		return i.Verdict, string(i.Content), nil
	},
}

// as is a request about an item by the holder of a token.
func as(token string, item media.URI) scanner.Request {
	return scanner.Request{API: scanner.Hook, Item: item, As: homeserver.Bearer(token)}
}

func remote(id string) media.URI { return media.URI{Server: "far.test", ID: id} }
func local(id string) media.URI  { return media.URI{Server: ours, ID: id} }

// eventually polls until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}

// settled waits until no work is under way, and holds that to have given back all
// that it took.
func (g *gate) settled(t *testing.T) {
	t.Helper()
	eventually(t, "no work is under way", func() bool { return g.Holders() == 0 })
	if n := g.Origins(); n > 0 {
		t.Errorf("%d servers are still known", n)
	}
	if !g.Idle() {
		t.Error("slots are taken that nobody uses")
	}
	// All room there is can be had only by one who is alone. What was left last
	// is given back just after the work has ended.
	size := g.pool.MaxBytes()
	eventually(t, "all room for bytes is free", func() bool {
		_, release, err := g.pool.Read(t.Context(), io.LimitReader(zeros{}, size), size)
		if err != nil {
			return false
		}
		release()
		return true
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// small lets no more bytes be in memory than one item may have.
func small(c *media.Config) { c.MaxBytes, c.TotalBytes = 1<<20, 1<<20 }
