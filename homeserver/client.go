// Package homeserver is the client of the one homeserver that mediagate stands
// beside: it downloads media on behalf of whoever asks for it, follows what the
// server's administrators quarantine, and reads and writes the state of rooms as
// the service user.
//
// [New] makes a [Client]; it connects to nothing. Tokens go to the configured
// origin and to nowhere else: every request is held against it, and redirects
// are followed without them. Nothing a server answers is taken in without a
// bound, and no error repeats more of it than a status and an error code.
package homeserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"maunium.net/go/mautrix"

	"mediagate/internal/guard"
	"mediagate/internal/secret"
)

// Config says where the homeserver is. Fields are read from variables with the
// prefix MEDIAGATE_HOMESERVER_.
type Config struct {
	// URL is the homeserver's own address, as http://127.0.0.1:8008: not that of
	// the proxy which asks mediagate. Empty turns off all that needs one.
	URL string `env:"URL"`
	// Token is the file that holds the access token of a server administrator.
	// With it, what is quarantined is fetched, and federation requests are
	// checked. SYNAPSE_ADMIN_ACCESS_TOKEN may hold the token itself instead.
	Token secret.String `env:"TOKEN_FILE,file"`
	// FirstByteTimeout is how long the homeserver may take to begin an answer.
	FirstByteTimeout time.Duration `env:"FIRST_BYTE_TIMEOUT" envDefault:"10s"`
	// DownloadTimeout is how long a download may take as a whole.
	DownloadTimeout time.Duration `env:"DOWNLOAD_TIMEOUT" envDefault:"60s"`
	// MinRate is how many bytes a second a download must bring, on average over
	// MEDIAGATE_HOMESERVER_RATE_WINDOW; slower ones are given up.
	MinRate int64 `env:"MIN_RATE" envDefault:"16384"`
	// RateWindow is how often the rate of a download is looked at.
	RateWindow time.Duration `env:"RATE_WINDOW" envDefault:"10s"`
	// RedirectNetworks are the private networks, as 10.0.0.0/8, that the
	// homeserver may redirect downloads into, and that exchanges with an address
	// of their own may lie in. Other addresses that are not public are refused.
	RedirectNetworks []netip.Prefix `env:"REDIRECT_NETWORKS"`
}

// Configured tells whether there is a homeserver.
func (c Config) Configured() bool { return c.URL != "" }

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var problems []error
	if c.URL != "" {
		if err := CheckURL(c.URL); err != nil {
			problems = append(problems, fmt.Errorf("MEDIAGATE_HOMESERVER_URL %w", err))
		}
	} else if !c.Token.Empty() {
		problems = append(problems, errors.New("MEDIAGATE_HOMESERVER_TOKEN_FILE or SYNAPSE_ADMIN_ACCESS_TOKEN has no effect without MEDIAGATE_HOMESERVER_URL"))
	}
	if !c.Token.Empty() && !IsToken(c.Token.Reveal()) {
		problems = append(problems, errors.New("MEDIAGATE_HOMESERVER_TOKEN_FILE or SYNAPSE_ADMIN_ACCESS_TOKEN must hold one token, and nothing else"))
	}
	for _, limit := range []struct {
		name string
		d    time.Duration
	}{{"FIRST_BYTE_TIMEOUT", c.FirstByteTimeout}, {"DOWNLOAD_TIMEOUT", c.DownloadTimeout}, {"RATE_WINDOW", c.RateWindow}} {
		if limit.d <= 0 {
			problems = append(problems, fmt.Errorf("MEDIAGATE_HOMESERVER_%s must be more than 0", limit.name))
		}
	}
	if c.MinRate < 0 {
		problems = append(problems, errors.New("MEDIAGATE_HOMESERVER_MIN_RATE must not be negative"))
	}
	return errors.Join(problems...)
}

// CheckURL tells whether text can be a homeserver's address. The error goes on
// after the address's name.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		strings.HasSuffix(u.Host, ":") || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
		return errors.New("must be an address like http://127.0.0.1:8008")
	}
	return nil
}

// Bounds of every connection.
const (
	connectTimeout = 2 * time.Second
	tlsTimeout     = 5 * time.Second
	callTimeout    = 10 * time.Second // of a request that is no download
	maxHeaderBytes = 64 << 10
	maxCallBytes   = 1 << 20
	maxIdle        = 32
	// The breaker opens after so many connections in a row that could not be
	// made, and lets one try again after so long.
	breakerFailures = 5
	breakerTimeout  = time.Second
)

// Client talks to one homeserver. It is safe for concurrent use.
type Client struct {
	config    Config
	matrix    *mautrix.Client // builds addresses, makes calls; it knows no token, for it would print it
	anonymous *http.Client    // sends what it is told, to the same origin
	patient   *http.Client    // anonymous for what the homeserver may take its time with: only the context ends it
	redirects *http.Client    // follows redirects, guarded and without tokens
	name      atomic.Pointer[serverName]
	requests  *prometheus.CounterVec
}

// New returns a client of the configured homeserver, whose Config has passed
// Validate.
func New(config Config) (*Client, error) {
	return newClient(config, (&net.Dialer{Timeout: connectTimeout}).DialContext)
}

// NewGuarded returns a client of a homeserver that others have named: its address
// must be public, or in RedirectNetworks.
func NewGuarded(config Config) (*Client, error) {
	return newClient(config, guard.Dialer(config.RedirectNetworks).DialContext)
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func newClient(config Config, dial dialFunc) (*Client, error) {
	if err := CheckURL(config.URL); err != nil {
		return nil, fmt.Errorf("homeserver: the address %w", err)
	}
	matrix, err := mautrix.NewClient(strings.TrimRight(config.URL, "/"), "", "")
	if err != nil {
		return nil, errors.New("homeserver: the address is not one")
	}
	dialHome := breaking(dial)
	patientConfig := config
	patientConfig.FirstByteTimeout = 0
	anonymous := &http.Client{
		Transport:     &pinned{origin: matrix.HomeserverURL, next: newTransport(config, dialHome)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	matrix.Client = anonymous
	matrix.UserAgent = userAgent
	matrix.DefaultHTTPRetries = 0
	matrix.IgnoreRateLimit = true
	matrix.ResponseSizeLimit = maxCallBytes
	return &Client{
		config: config, matrix: matrix, anonymous: anonymous,
		patient: &http.Client{
			Transport:     &pinned{origin: matrix.HomeserverURL, next: newTransport(patientConfig, dialHome)},
			CheckRedirect: anonymous.CheckRedirect,
		},
		redirects: &http.Client{
			Transport:     newTransport(config, guard.Dialer(config.RedirectNetworks).DialContext),
			CheckRedirect: anonymous.CheckRedirect,
		},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_homeserver_requests_total",
			Help: "Requests to the homeserver, by what was asked and how it ended.",
		}, []string{"call", "outcome"}),
	}, nil
}

const userAgent = "mediagate"

func newTransport(config Config, dial dialFunc) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  config.FirstByteTimeout,
		IdleConnTimeout:        time.Minute,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// What arrives is what is hashed and served: nothing is unpacked.
		DisableCompression: true,
		// No Proxy: tokens go to the homeserver and not past anybody else.
	}
}

// breaking stops dialling a homeserver that cannot be connected to. It looks at
// connections and not at requests: slow and failing answers may be the fault of a
// remote server whose media somebody asked for, who must not be able to stop all
// others, not even while one connection is tried for all.
func breaking(dial dialFunc) dialFunc {
	breaker := gobreaker.NewCircuitBreaker[net.Conn](gobreaker.Settings{
		Timeout:     breakerTimeout,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
	})
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return breaker.Execute(func() (net.Conn, error) { return dial(ctx, network, address) })
	}
}

func isDialError(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

// pinned sends requests to one origin and to no other.
type pinned struct {
	origin *url.URL
	next   http.RoundTripper
}

var errForeignOrigin = errors.New("homeserver: a request was about to leave the configured origin")

func (p *pinned) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != p.origin.Scheme || r.URL.Host != p.origin.Host {
		return nil, errForeignOrigin
	}
	return p.next.RoundTrip(r)
}

// URL is the configured address.
func (c *Client) URL() string { return c.config.URL }

// DownloadTimeout is how long a download takes at most.
func (c *Client) DownloadTimeout() time.Duration { return c.config.DownloadTimeout }

// HasToken tells whether there is a service token.
func (c *Client) HasToken() bool { return !c.config.Token.Empty() }

// Describe and Collect make the client's numbers available to a registry.
func (c *Client) Describe(ch chan<- *prometheus.Desc) { c.requests.Describe(ch) }

// Collect implements prometheus.Collector.
func (c *Client) Collect(ch chan<- prometheus.Metric) { c.requests.Collect(ch) }

// counted notes how a request ended.
func (c *Client) counted(call string, err error) {
	c.requests.WithLabelValues(call, outcome(err)).Inc()
}
