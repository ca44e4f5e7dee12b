package exchange_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/internal/secret"
)

// sink is a server that somebody names to see what is sent there.
type sink struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

func startSink(t testing.TB) *sink {
	t.Helper()
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r)
		answer(w, http.StatusUnauthorized, "M_MISSING_TOKEN", "Missing access token")
	}))
	t.Cleanup(s.Close)
	return s
}

// got is what has arrived.
func (s *sink) got() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// TestForeignAddressGetsNoToken creates exchanges that name another address than
// the configured one, in every way, while there are tokens of all kinds.
func TestForeignAddressGetsNoToken(t *testing.T) {
	s := startSink(t)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		config string
		own    secret.String
		want   string // in the status
		asked  bool
	}{
		"no credential":          {`{"admin_api_url":"` + s.URL + `"}`, secret.String{}, "credential of its own", false},
		"by name":                {`{"admin_api_url":"http://localhost:` + port + `"}`, secret.String{}, "credential of its own", false},
		"below a path":           {`{"admin_api_url":"` + s.URL + `/HOME"}`, secret.String{}, "credential of its own", false},
		"credential of no token": {`{"admin_api_url":"` + s.URL + `"}`, secret.New(`{}`), "access_token", false},
		"credential of nonsense": {`{"admin_api_url":"` + s.URL + `"}`, secret.New(`own-token`), "access_token", false},
		"own credential":         {`{"admin_api_url":"` + s.URL + `"}`, credential("own-token"), "401", true},
		"unreadable config":      {`{"admin_api_url":` + s.URL, secret.String{}, "configuration", false},
		"config of other types":  {`{"admin_api_url":["` + s.URL + `"]}`, secret.String{}, "configuration", false},
		"no address":             {`{"admin_api_url":"gopher://x"}`, credential("own-token"), "address", false},
	}
	b := newBench(t)
	b.servers.RedirectNetworks = loopback
	if err := b.store.SetCredential(t.Context(), exchange.SynapseQuarantined, credential("given-token")); err != nil {
		t.Fatal(err)
	}
	b.accept("given-token") // it is the homeserver's, and is used there
	for name, tt := range tests {
		b.create(bank.Exchange{Name: named(name), API: exchange.SynapseQuarantined, Config: tt.config, Credential: tt.own, Enabled: true})
	}
	b.start()
	b.settle()
	for name, tt := range tests {
		await(t, name+" has its status", func() bool {
			status, ok := b.fetcher.Status(named(name))
			return ok && strings.Contains(status.Problem, tt.want)
		})
		fetches := b.metric(fetchesMetric, "failed")
		await(t, "all are fetched again", func() bool { return b.metric(fetchesMetric, "failed") > fetches })
		b.problem(named(name)) // names no secret
	}
	asked := 0
	for _, r := range s.got() {
		asked++
		if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer own-token" {
			t.Errorf("%s came with %q", r.URL, got)
		}
		for _, foreign := range []string{adminToken, "given-token"} {
			for field, values := range r.Header {
				if strings.Contains(strings.Join(values, " "), foreign) || strings.Contains(r.URL.String(), foreign) {
					t.Errorf("%s came with %s in %s", r.URL, foreign, field)
				}
			}
		}
	}
	if asked == 0 {
		t.Error("the exchange with a credential of its own has not asked")
	}
}

// named is the name of the exchange of a test case.
func named(text string) string { return strings.ToUpper(strings.ReplaceAll(text, " ", "_")) }

// TestForeignAddressWithoutItsCredentialIsNotAskedAtAll leaves out the one exchange that may
// send something.
func TestForeignAddressWithoutItsCredentialIsNotAskedAtAll(t *testing.T) {
	s := startSink(t)
	b := newBench(t)
	b.servers.RedirectNetworks = loopback
	if err := b.store.SetCredential(t.Context(), exchange.SynapseQuarantined, credential("given-token")); err != nil {
		t.Fatal(err)
	}
	b.accept("given-token")
	b.create(bank.Exchange{Name: "X", API: exchange.SynapseQuarantined, Config: `{"admin_api_url":"` + s.URL + `"}`, Enabled: true})
	b.start()
	b.settle()
	await(t, "the status says why", func() bool { return strings.Contains(b.problem("X"), "credential of its own") })
	fetches := b.metric(fetchesMetric, "failed")
	await(t, "it has been tried twice more", func() bool {
		b.fetcher.FetchNow("X")
		return b.metric(fetchesMetric, "failed") >= fetches+2
	})
	if got := s.got(); len(got) != 0 {
		t.Errorf("%d requests, the first with %v", len(got), got[0].Header)
	}
}

// TestPrivateAddressMustBeListed gives an exchange a credential of its own and an
// address that the operator has not allowed.
func TestPrivateAddressMustBeListed(t *testing.T) {
	b := newBench(t)
	other := startSynapse(t)
	b.create(own("X", other, adminToken))
	b.start()
	await(t, "the status says so", func() bool {
		status, ok := b.fetcher.Status("X")
		return ok && strings.Contains(status.Problem, "cannot be reached")
	})
	if got := other.count("requests"); got != 0 {
		t.Errorf("%d requests to an address that is not public", got)
	}
}

// TestCredentials: an exchange's own comes before that of all exchanges, and that
// before the environment's, at the configured address, however it is spelt.
func TestCredentials(t *testing.T) {
	tests := map[string]struct {
		own, given, environment string
		want                    string // of the Authorization header
	}{
		"environment":       {"", "", adminToken, "Bearer " + adminToken},
		"given":             {"", "given-token", adminToken, "Bearer given-token"},
		"given alone":       {"", "given-token", "", "Bearer given-token"},
		"own":               {"own-token", "given-token", adminToken, "Bearer own-token"},
		"own alone":         {"own-token", "", "", "Bearer own-token"},
		"own is the same":   {adminToken, "given-token", adminToken, "Bearer " + adminToken},
		"given is the same": {"", adminToken, adminToken, "Bearer " + adminToken},
	}
	for name, tt := range tests {
		for spelling, config := range map[string]func(*bench) string{
			"not named": func(*bench) string { return "{}" },
			"named":     func(b *bench) string { return `{"admin_api_url":"` + b.url() + `"}` },
			"slash":     func(b *bench) string { return `{"admin_api_url":"` + b.url() + `/"}` },
		} {
			t.Run(name+"/"+spelling, func(t *testing.T) {
				b := newBench(t) // the address is private, and not listed: it is the operator's own
				b.accept(strings.TrimPrefix(tt.want, "Bearer "))
				b.servers.Token = secret.New(tt.environment)
				x := bank.Exchange{Name: home, API: exchange.SynapseQuarantined, Config: config(b), Enabled: true}
				if tt.own != "" {
					x.Credential = credential(tt.own)
				}
				if tt.given != "" {
					if err := b.store.SetCredential(t.Context(), exchange.SynapseQuarantined, credential(tt.given)); err != nil {
						t.Fatal(err)
					}
				}
				b.create(x)
				b.add(local("a"), text(1))
				b.quarantine(local("a"))
				b.start()
				b.settle()
				b.check("the item", text(1), "sha256 md5")
				if b.count("changes") == 0 || b.count("infos") == 0 || b.count("downloads") == 0 {
					t.Error("something was not asked for")
				}
				for _, h := range b.sent() {
					if got := h["Authorization"]; len(got) != 1 || got[0] != tt.want {
						t.Errorf("%q, want %q", got, tt.want)
					}
				}
			})
		}
	}
}

// TestGivenCredentialIsTakenUp sets the credential of all exchanges after the
// environment's was refused, and takes it away again.
func TestGivenCredentialIsTakenUp(t *testing.T) {
	b := newBench(t)
	b.servers.Token = secret.New("outdated")
	b.add(local("a"), text(1))
	b.quarantine(local("a"))
	b.start()
	await(t, "the token is refused", func() bool { return strings.Contains(b.problem(home), "401") })
	if err := b.store.SetCredential(t.Context(), exchange.SynapseQuarantined, credential(adminToken)); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.check("the item", text(1), "sha256 md5")
	if err := b.store.SetCredential(t.Context(), exchange.SynapseQuarantined, secret.String{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the token is refused again", func() bool { return strings.Contains(b.problem(home), "401") })
	b.check("the item", text(1), "sha256 md5")
}

// TestUserWithoutPowersIsRefused has a valid token of nobody in particular.
func TestUserWithoutPowersIsRefused(t *testing.T) {
	b := newBench(t)
	b.servers.Token = secret.New(userToken)
	b.add(local("a"), text(1))
	b.quarantine(local("a"))
	b.start()
	await(t, "the status says so", func() bool { return strings.Contains(b.problem(home), "403 M_FORBIDDEN") })
	if x := b.exchange(home); x.Completed || x.Checkpoint != "" {
		t.Errorf("%+v", x)
	}
}
