package homeserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/homeserver"
	"mediagate/internal/secret"
)

func TestValidate(t *testing.T) {
	with := func(change func(*homeserver.Config)) homeserver.Config {
		c := defaults("http://127.0.0.1:8008")
		change(&c)
		return c
	}
	tests := map[string]struct {
		config   homeserver.Config
		problems []string // the ends of variables
	}{
		"defaults":             {with(func(*homeserver.Config) {}), nil},
		"no homeserver":        {with(func(c *homeserver.Config) { c.URL, c.Token = "", secret.String{} }), nil},
		"no token":             {with(func(c *homeserver.Config) { c.Token = secret.String{} }), nil},
		"token, no homeserver": {with(func(c *homeserver.Config) { c.URL = "" }), []string{"TOKEN_FILE"}},
		"https":                {with(func(c *homeserver.Config) { c.URL = "https://matrix.a.test" }), nil},
		"a path":               {with(func(c *homeserver.Config) { c.URL = "https://a.test/matrix/" }), nil},
		"IPv6":                 {with(func(c *homeserver.Config) { c.URL = "http://[::1]:8008" }), nil},
		"no scheme":            {with(func(c *homeserver.Config) { c.URL = "a.test:8008" }), []string{"URL"}},
		"another scheme":       {with(func(c *homeserver.Config) { c.URL = "unix:///run/synapse" }), []string{"URL"}},
		"opaque":               {with(func(c *homeserver.Config) { c.URL = "http:a.test" }), []string{"URL"}},
		"no host":              {with(func(c *homeserver.Config) { c.URL = "http://:8008" }), []string{"URL"}},
		"no port":              {with(func(c *homeserver.Config) { c.URL = "http://a.test:" }), []string{"URL"}},
		"port of letters":      {with(func(c *homeserver.Config) { c.URL = "http://a.test:x" }), []string{"URL"}},
		"a user":               {with(func(c *homeserver.Config) { c.URL = "http://u:p@a.test" }), []string{"URL"}},
		"a query":              {with(func(c *homeserver.Config) { c.URL = "http://a.test/?x" }), []string{"URL"}},
		"a fragment":           {with(func(c *homeserver.Config) { c.URL = "http://a.test/#x" }), []string{"URL"}},
		"an escaped slash":     {with(func(c *homeserver.Config) { c.URL = "http://a.test/x%2Fy" }), []string{"URL"}},
		"a space":              {with(func(c *homeserver.Config) { c.URL = "http://a test" }), []string{"URL"}},
		"token of two lines":   {with(func(c *homeserver.Config) { c.Token = secret.New("a\nb") }), []string{"TOKEN_FILE"}},
		"token with a space":   {with(func(c *homeserver.Config) { c.Token = secret.New("Bearer a") }), []string{"TOKEN_FILE"}},
		"token not of ASCII":   {with(func(c *homeserver.Config) { c.Token = secret.New("é") }), []string{"TOKEN_FILE"}},
		"no first byte":        {with(func(c *homeserver.Config) { c.FirstByteTimeout = 0 }), []string{"FIRST_BYTE_TIMEOUT"}},
		"no time":              {with(func(c *homeserver.Config) { c.DownloadTimeout = -1 }), []string{"DOWNLOAD_TIMEOUT"}},
		"no window":            {with(func(c *homeserver.Config) { c.RateWindow = 0 }), []string{"RATE_WINDOW"}},
		"any rate":             {with(func(c *homeserver.Config) { c.MinRate = 0 }), nil},
		"rate below 0":         {with(func(c *homeserver.Config) { c.MinRate = -1 }), []string{"MIN_RATE"}},
		"several": {homeserver.Config{URL: "x", MinRate: -1},
			[]string{"URL", "FIRST_BYTE_TIMEOUT", "DOWNLOAD_TIMEOUT", "RATE_WINDOW", "MIN_RATE"}},
	}
	for name, tt := range tests {
		err := tt.config.Validate()
		lines := 0
		if err != nil {
			lines = strings.Count(err.Error(), "\n") + 1
		}
		if lines != len(tt.problems) {
			t.Errorf("%s: %d problems, want %d: %v", name, lines, len(tt.problems), err)
		}
		for _, variable := range tt.problems {
			if err == nil || !strings.Contains(err.Error(), "MEDIAGATE_HOMESERVER_"+variable+" ") {
				t.Errorf("%s: %s is not named: %v", name, variable, err)
			}
		}
		if _, err := homeserver.New(tt.config); (err == nil) != (homeserver.CheckURL(tt.config.URL) == nil) {
			t.Errorf("%s: New: %v", name, err)
		}
	}
}

// TestNothingPrintsTokens prints all that holds one, also from within other
// values.
func TestNothingPrintsTokens(t *testing.T) {
	client := newClient(t, "http://127.0.0.1:8008", nil)
	config := defaults("http://127.0.0.1:8008")
	user := homeserver.Bearer(userToken)
	things := []any{
		client, client.Service(), client.Moderator(), user, &user, config, &config,
		homeserver.Header("Basic " + userToken), []any{user, config}, map[string]homeserver.Credential{"x": user},
		struct{ As homeserver.Credential }{user}, struct{ C homeserver.Config }{config},
		struct{ as homeserver.Credential }{user}, &struct{ as []homeserver.Credential }{[]homeserver.Credential{user}}, struct{ c homeserver.Config }{config},
		struct{ c *homeserver.Client }{client}, []*homeserver.Client{client}, map[string]any{"c": client}, struct{ c any }{client},
		fmt.Errorf("ask %v as %v", client, user), reflect.ValueOf(client).Elem(), reflect.ValueOf(user).FieldByName("authorization"),
	}
	checkSecrets(t, things...)
	var out strings.Builder
	for _, thing := range things {
		raw, err := json.Marshal(thing)
		if err != nil {
			t.Errorf("%T: %v", thing, err)
		}
		out.Write(raw)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "thing", thing)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "thing", thing)
	}
	if strings.Contains(out.String(), serviceToken) || strings.Contains(out.String(), userToken) {
		t.Errorf("a token is logged: %s", out.String())
	}
}

func TestIsToken(t *testing.T) {
	for text, want := range map[string]bool{
		"syt_a": true, "!": true, "~": true, strings.Repeat("t", 1<<16): true,
		"": false, " ": false, "a b": false, " a": false, "a\n": false, "a\t": false, "a\x00": false, "a\x7f": false, "é": false, "a\xff": false,
	} {
		if homeserver.IsToken(text) != want {
			t.Errorf("IsToken(%.20q) = %t", text, !want)
		}
	}
}

func TestCredentialsAreToldApart(t *testing.T) {
	client := newClient(t, "http://127.0.0.1:8008", nil)
	seen := make(map[[32]byte]string)
	for name, c := range map[string]homeserver.Credential{
		"none": homeserver.Header(""), "user": homeserver.Bearer(userToken), "lower case": homeserver.Header("bearer " + userToken),
		"service": client.Service(), "moderator": client.Moderator(), "legacy": homeserver.Legacy(false), "local": homeserver.Legacy(true),
	} {
		if other, twice := seen[c.Digest()]; twice {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[c.Digest()] = name
	}
	if homeserver.Bearer(userToken).Digest() != homeserver.Header("Bearer "+userToken).Digest() {
		t.Error("one credential has two digests")
	}
}

// TestRequestsStayAtTheOrigin hands the client that carries tokens an address of
// another server.
func TestRequestsStayAtTheOrigin(t *testing.T) {
	var foreign atomic.Int64
	count := func(http.ResponseWriter, *http.Request) { foreign.Add(1) }
	sink := handled(t, count)
	client := newClient(t, handled(t, func(http.ResponseWriter, *http.Request) {}), nil)
	header := http.Header{"Authorization": {"Bearer " + userToken}}
	for _, address := range []string{
		sink, sink + "/_matrix/client/v1/media/download/a/b", strings.Replace(client.URL(), "http:", "https:", 1),
		strings.Replace(client.URL(), "127.0.0.1", "localhost", 1), "file:///etc/passwd",
	} {
		if err := client.Send(t.Context(), address, header); !errors.Is(err, homeserver.ErrForeignOrigin) {
			t.Errorf("%s: %v", address, err)
		} else {
			checkSecrets(t, err)
		}
	}
	if err := client.Send(t.Context(), client.URL()+"/x", header); err != nil {
		t.Errorf("its own origin: %v", err)
	}
	if n := foreign.Load(); n > 0 {
		t.Errorf("%d requests went to another server", n)
	}
}

// TestGuardedClientAsksNoPrivateAddress: others choose where it goes.
func TestGuardedClientAsksNoPrivateAddress(t *testing.T) {
	var asked atomic.Int64
	url := handled(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"user_id":"@x:a.test"}`))
	})
	config := defaults(url)
	client, err := homeserver.NewGuarded(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := call(t.Context(), client); !errors.Is(err, homeserver.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read(t.Context(), client); !errors.Is(err, homeserver.ErrUnreachable) {
		t.Errorf("download: %v", err)
	}
	if asked.Load() > 0 {
		t.Error("a private address was asked")
	}
	config.RedirectNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if client, err = homeserver.NewGuarded(config); err != nil {
		t.Fatal(err)
	}
	if name, err := client.Name(t.Context()); name != "a.test" || err != nil {
		t.Errorf("a listed address: %q, %v", name, err)
	}
}

// piped is a homeserver that is dialled in memory, so that clocks need not be
// waited for.
type piped struct {
	dials  atomic.Int64
	down   atomic.Bool
	answer atomic.Value // a func(c net.Conn): what every connection gets, once it has asked
}

func newPiped(answer func(c net.Conn)) *piped {
	p := &piped{}
	p.answer.Store(answer)
	return p
}

func (p *piped) dial(context.Context, string, string) (net.Conn, error) {
	p.dials.Add(1)
	if p.down.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	client, server := net.Pipe()
	go func() {
		defer func() { _ = server.Close() }()
		buffer := make([]byte, 4096) // more than a request
		if n, err := server.Read(buffer); err != nil || n == 0 {
			return
		}
		p.answer.Load().(func(net.Conn))(server)
	}()
	return client, nil
}

func (p *piped) client(t *testing.T, change func(*homeserver.Config)) *homeserver.Client {
	t.Helper()
	config := defaults("http://a.test")
	if change != nil {
		change(&config)
	}
	c, err := homeserver.NewDialing(config, p.dial)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const served = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

func serve(c net.Conn) { _, _ = io.WriteString(c, served) }

// hang answers nothing until the client gives up.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func TestBreakerOpensAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := newPiped(serve)
		client := home.client(t, nil)
		expect := func(dials int64, success bool) {
			t.Helper()
			_, err := read(t.Context(), client)
			if success != (err == nil) || err != nil && kinds(err) != "unreachable" {
				t.Errorf("%v, success wanted: %v", err, success)
			}
			if n := home.dials.Swap(0); n != dials {
				t.Errorf("dialled %d times, want %d", n, dials)
			}
		}
		home.down.Store(true)
		for range homeserver.BreakerFailures {
			expect(1, false)
		}
		for range 100 {
			expect(0, false)
		}
		time.Sleep(homeserver.BreakerTimeout + 1)
		expect(1, false) // one is let through
		expect(0, false) // and failed
		home.down.Store(false)
		expect(0, false)
		time.Sleep(homeserver.BreakerTimeout + 1)
		for range 10 {
			expect(1, true)
		}
		home.down.Store(true)
		for range homeserver.BreakerFailures {
			expect(1, false) // counted from the beginning
		}
		expect(0, false)
	})
}

// TestBreakerIsNotOpenedByAnswers has a homeserver answer in the ways that remote
// servers can bring about.
func TestBreakerIsNotOpenedByAnswers(t *testing.T) {
	for name, answer := range map[string]func(c net.Conn){
		"500": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		},
		"504": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 504 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		},
		"slow":   hang,
		"cut":    func(net.Conn) {},
		"broken": func(c net.Conn) { _, _ = io.WriteString(c, served[:len(served)-1]) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				home := newPiped(answer)
				client := home.client(t, nil)
				for i := range int64(4 * homeserver.BreakerFailures) {
					if _, err := read(t.Context(), client); err == nil {
						t.Fatal("it is an answer")
					}
					if home.dials.Load() < i+1 {
						t.Fatalf("the breaker is open after %d answers", i)
					}
				}
				home.answer.Store(serve)
				if _, err := read(t.Context(), client); err != nil {
					t.Errorf("after the bad answers: %v", err)
				}
			})
		})
	}
}

// TestSlowAnswerAfterAnOutageHoldsNobodyUp lets the first request after an outage
// be one that is answered slowly.
func TestSlowAnswerAfterAnOutageHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := newPiped(serve)
		client := home.client(t, nil)
		home.down.Store(true)
		for range homeserver.BreakerFailures {
			if _, err := read(t.Context(), client); err == nil {
				t.Fatal("it is down")
			}
		}
		home.down.Store(false)
		time.Sleep(homeserver.BreakerTimeout + 1)
		home.answer.Store(hang)
		slow := make(chan error)
		go func() {
			_, err := read(t.Context(), client)
			slow <- err
		}()
		synctest.Wait()
		home.answer.Store(serve)
		for range 10 {
			if _, err := read(t.Context(), client); err != nil {
				t.Errorf("while another request is slow: %v", err)
			}
		}
		if err := <-slow; kinds(err) != "unreachable" {
			t.Errorf("the slow one: %v", err)
		}
	})
}

// TestOutcomesAreAClosedSet: what a homeserver says must not become a label.
func TestOutcomesAreAClosedSet(t *testing.T) {
	status := http.StatusOK
	client := newClient(t, handled(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"errcode":"M_WHAT_%d"}`, status)
	}), nil)
	want := map[int]string{
		204: "error", 302: "error", 304: "error", 400: "error", 401: "unauthorized", 403: "forbidden", 404: "not_found",
		429: "limited", 500: "error", 200: "error",
	}
	counted := make(map[string]bool)
	for status = range want {
		if _, err := read(t.Context(), client); err == nil {
			t.Errorf("%d is a success", status)
		}
		counted[want[status]] = true
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(client)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	for _, m := range families[0].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "outcome" && !counted[l.GetValue()] || l.GetName() == "call" && l.GetValue() != "download" {
				t.Errorf("label %s=%s", l.GetName(), l.GetValue())
			}
			delete(counted, l.GetValue())
		}
	}
	if len(counted) > 0 {
		t.Errorf("not counted: %v", counted)
	}
}
