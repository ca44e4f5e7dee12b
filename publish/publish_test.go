package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/internal/synapsetest"
	"mediagate/media"
	"mediagate/publish"
)

const eventType = "space.midnightthoughts.policy.media_hash"

// soon is how long a picture that is banked may take to be in the room, and one that is
// not any more to be out of it.
const soon = 15 * time.Second

// person is somebody at the homeserver.
type person struct {
	t *testing.T
	s *synapsetest.Server
	synapsetest.User
}

// ask makes a request of the client API and decodes its answer.
func (p person) ask(method, path, body string, into any) {
	p.t.Helper()
	status, _, answer := p.s.Do(p.t, method, "/_matrix/client/v3"+path, p.Token, strings.NewReader(body))
	if status != http.StatusOK {
		p.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		p.t.Fatal(err)
	}
}

// createRoom makes a room that has invited these and gives them some power.
func (p person) createRoom(power int, others ...person) string {
	p.t.Helper()
	users, invited := map[string]int{p.ID: 100}, []string{}
	for _, o := range others {
		users[o.ID] = power
		invited = append(invited, o.ID)
	}
	body, err := json.Marshal(map[string]any{
		"room_version": "11", "preset": "private_chat", "invite": invited, "power_level_content_override": map[string]any{"users": users},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	var room struct {
		ID string `json:"room_id"`
	}
	p.ask(http.MethodPost, "/createRoom", string(body), &room)
	return room.ID
}

func (p person) set(room, eventType, key, content string) (id string) {
	p.t.Helper()
	var event struct {
		ID string `json:"event_id"`
	}
	p.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/state/"+eventType+"/"+key, content, &event)
	return event.ID
}

func (p person) redact(room, event string) {
	p.t.Helper()
	p.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/redact/"+url.PathEscape(event)+"/x", "{}", &struct{}{})
}

// stateEvent is what a room holds.
type stateEvent struct {
	ID       string          `json:"event_id"`
	Type     string          `json:"type"`
	Key      string          `json:"state_key"`
	Sender   string          `json:"sender"`
	Content  json.RawMessage `json:"content"`
	Unsigned struct {
		Because json.RawMessage `json:"redacted_because"`
	} `json:"unsigned"`
}

// events are a room's events of our type, by state key.
func (p person) events(room string) map[string]stateEvent {
	p.t.Helper()
	var list []stateEvent
	p.ask(http.MethodGet, "/rooms/"+url.PathEscape(room)+"/state", "", &list)
	found := make(map[string]stateEvent)
	for _, e := range list {
		if e.Type == eventType {
			found[e.Key] = e
		}
	}
	return found
}

// holds counts the events that say something.
func (p person) holds(room string) (n int) {
	p.t.Helper()
	for _, e := range p.events(room) {
		if string(e.Content) != "{}" {
			n++
		}
	}
	return n
}

// sees tells whether somebody is in a room of one's own server.
func (p person) sees(other person, room string) bool {
	p.t.Helper()
	var members struct {
		Joined map[string]struct{} `json:"joined"`
	}
	p.ask(http.MethodGet, "/rooms/"+url.PathEscape(room)+"/joined_members", "", &members)
	_, ok := members.Joined[other.ID]
	return ok
}

func await(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// proxy stands before the homeserver and keeps what it is asked.
type proxy struct {
	url string
	mu  sync.Mutex
	got []write
	// refuse answers in the homeserver's place, if it says so.
	refuse func(w http.ResponseWriter, r *http.Request) bool
}

// write is a request that writes, and when it came.
type write struct {
	path, body string
	at         time.Time
}

func newProxy(t *testing.T, s *synapsetest.Server) *proxy {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.mu.Lock()
		refuse := p.refuse
		if r.Method == http.MethodPut {
			p.got = append(p.got, write{r.RequestURI, string(body), time.Now()})
		}
		p.mu.Unlock()
		if refuse == nil || !refuse(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *proxy) setRefuse(refuse func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

func (p *proxy) writes() []write {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]write(nil), p.got...)
}

// answer refuses with a Matrix error.
func answer(w http.ResponseWriter, status int, code string) bool {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"errcode":"`+code+`","error":"no"}`)
	return true
}

// bench is a store, a room, and who publishes the one into the other.
type bench struct {
	t          *testing.T
	store      *bank.Store
	proxy      *proxy
	home       *homeserver.Client
	owner, bot person
	room       string
}

func newBench(t *testing.T, power int) *bench {
	t.Helper()
	s := synapsetest.Start(t, synapsetest.Options{})
	b := &bench{t: t, proxy: newProxy(t, s), owner: person{t, s, s.Register(t, "owner", false)}, bot: person{t, s, s.Register(t, "bot", false)}}
	b.store = newStore(t)
	b.home = newHome(t, b.proxy.url, b.bot)
	b.room = b.owner.createRoom(power, b.bot)
	b.bank("OWN")
	if err := b.store.Publish(t.Context(), "OWN", b.room); err != nil {
		t.Fatal(err)
	}
	return b
}

func newStore(t *testing.T) *bank.Store {
	t.Helper()
	store, err := bank.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func newHome(t *testing.T, url string, p person) *homeserver.Client {
	t.Helper()
	home, err := homeserver.New(homeserver.Config{
		URL: url, Token: secret.New(p.Token), FirstByteTimeout: 10 * time.Second, DownloadTimeout: time.Minute, MinRate: 1, RateWindow: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return home
}

func (b *bench) bank(name string) {
	b.t.Helper()
	if _, err := b.store.CreateBank(b.t.Context(), bank.Bank{Name: name, Ratio: 1}); err != nil {
		b.t.Fatal(err)
	}
}

// text is a hash that no other number has.
func text(n uint64, digits int) string {
	random := rand.New(rand.NewPCG(1, n))
	var s strings.Builder
	for s.Len() < digits {
		fmt.Fprintf(&s, "%016x", random.Uint64())
	}
	return s.String()[:digits]
}

// picture are the signals of one, as if hashed here.
func picture(t *testing.T, n uint64, quality int) []bank.Signal {
	t.Helper()
	var list []bank.Signal
	for i, kind := range []bank.SignalType{bank.PDQ, bank.PDQ, bank.MD5, bank.SHA256} {
		digits := 64
		if kind == bank.MD5 {
			digits = 32
		}
		signal, err := bank.ParseSignal(kind, text(4*n+uint64(i), digits))
		if err != nil {
			t.Fatal(err)
		}
		if kind == bank.PDQ {
			signal.Quality, signal.Variant = quality, []media.Variant{media.Primary, media.Upright}[i]
		}
		list = append(list, signal)
	}
	return list
}

const note = "c4n4ry seen at mxc://a.test/x"

// add banks a picture, with things that are nobody's business.
func (b *bench) add(n uint64) int64 {
	b.t.Helper()
	return b.addContent(bank.NewContent{Bank: "OWN", Signals: picture(b.t, n, 100), Note: note, Metadata: `{"content_uri":"mxc://c4n4ry/x"}`, HashedHere: true})
}

func (b *bench) addContent(c bank.NewContent) int64 {
	b.t.Helper()
	id, err := b.store.AddContent(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// start publishes until stop is called, or the test ends.
func (b *bench) start() (p *publish.Publisher, stop func()) {
	b.t.Helper()
	p = publish.New(b.store, b.home, slog.New(slog.NewTextHandler(b.t.Output(), nil)))
	return p, run(b.t, p)
}

func run(t *testing.T, p *publish.Publisher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ends with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (b *bench) status() bank.PublicationStatus {
	b.t.Helper()
	p, err := b.store.Publication(b.t.Context(), "OWN")
	if err != nil && !errors.Is(err, bank.ErrPublicationNotFound) {
		b.t.Fatal(err)
	}
	return p.Status
}

// want waits until the room holds so many hashes.
func (b *bench) want(n int, within time.Duration) {
	b.t.Helper()
	got := -1
	defer func() {
		if b.t.Failed() {
			b.t.Logf("there are %d; the status is %+v", got, b.status())
		}
	}()
	await(b.t, fmt.Sprintf("the room holds %d hashes", n), within, func() bool {
		got = b.owner.holds(b.room)
		return got == n
	})
}

// counted is how many events of the bank OWN have ended so.
func counted(t *testing.T, p *publish.Publisher, outcome string) (sum float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(p); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() == outcome {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// secretObject is a credential for an exchange.
func secretObject(token string) secret.String { return secret.New(`{"access_token":"` + token + `"}`) }
