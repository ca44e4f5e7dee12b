package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mediagate/internal/secret"
)

// Config says where to listen and who may ask. Fields are read from variables
// with the prefix MEDIAGATE_.
type Config struct {
	// Listen is the address of the APIs. Addresses that other machines reach
	// need MEDIAGATE_API_KEY_FILE, or keys for single roles.
	Listen string `env:"LISTEN" envDefault:"127.0.0.1:5100"`
	// OpsListen is the address of /metrics and, if enabled, of profiles. Empty
	// turns it off. It has no key: keep it from other machines.
	OpsListen string `env:"OPS_LISTEN" envDefault:"127.0.0.1:5101"`
	// Roles are what this process does, with commas between them: HASHER serves /h,
	// MATCHER /m, CURATOR /c and the exchanges of /v1, SCANNER the content scanner
	// and /v1/scan, GATE the hook, and CRON fetches from exchanges; UI has no pages
	// yet. A route of a role that is off does not exist. Unless set they are all on.
	// HMA_WORKER_ROLE may hold them instead.
	Roles Roles `env:"ROLES"`
	// APIKey is the file that holds keys for everything, one a line: a request must
	// carry one as Authorization: Bearer, except for status and health. HMA_API_KEY
	// may hold one itself instead.
	APIKey secret.String `env:"API_KEY_FILE,file"`
	// HasherKey is the file that holds keys for the routes of HASHER only.
	HasherKey secret.String `env:"HASHER_KEY_FILE,file"`
	// MatcherKey is the file that holds keys for the routes of MATCHER only.
	MatcherKey secret.String `env:"MATCHER_KEY_FILE,file"`
	// CuratorKey is the file that holds keys for the routes of CURATOR only.
	CuratorKey secret.String `env:"CURATOR_KEY_FILE,file"`
	// ScannerKey is the file that holds keys for /v1/scan only.
	ScannerKey secret.String `env:"SCANNER_KEY_FILE,file"`
	// Pprof serves Go's profiles on the address for operations.
	Pprof bool `env:"PPROF" envDefault:"false"`
	// ShutdownDelay is how long readiness fails before connections are refused,
	// so that a load balancer can look away.
	ShutdownDelay time.Duration `env:"SHUTDOWN_DELAY" envDefault:"0s"`
	// ShutdownGrace is how long running requests may take to end.
	ShutdownGrace time.Duration `env:"SHUTDOWN_GRACE" envDefault:"20s"`
	// IndexMaxAge is how old the index may become, when the store cannot be
	// read, before the server says that it is not ready. 0 is for ever.
	IndexMaxAge time.Duration `env:"INDEX_MAX_AGE" envDefault:"65s"`
	// HookSecret is the file that holds what a reverse proxy must send as
	// X-Mediagate-Secret with every question. It is required where other machines
	// reach MEDIAGATE_LISTEN. Of several lines any one is good, so that it can be
	// changed: add the new one, restart, change the proxy, remove the old one.
	HookSecret secret.String `env:"HOOK_SECRET_FILE,file"`
	// HookTimeout is how long a reverse proxy waits for an answer at most. It must
	// be less than the proxy's own time-out. The scan goes on after it.
	HookTimeout time.Duration `env:"HOOK_TIMEOUT" envDefault:"10s"`
	// ContentScannerTimeout is how long a client of the content scanner waits for
	// the beginning of an answer at most. Clients give up after 30 seconds.
	ContentScannerTimeout time.Duration `env:"CONTENT_SCANNER_TIMEOUT" envDefault:"25s"`
	// TrustedProxies are the networks, as 10.0.0.0/8, of proxies whose
	// X-Forwarded-For tells the homeserver the address of a client of the content
	// scanner, for its limits. Those on this machine always are.
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
	// HMA is the API that Hasher-Matcher-Actioner has.
	HMA HMAConfig `envPrefix:"HMA_"`
}

// HMAConfig is what can be chosen about the HMA API.
type HMAConfig struct {
	// Strict answers 500 and not 400 for a photo that cannot be decoded, as HMA
	// does.
	Strict bool `env:"STRICT" envDefault:"false"`
	// URLHosts are the hosts that the API may fetch media from when it is given
	// a URL, with their subdomains; * is any. Empty turns URLs off.
	URLHosts []string `env:"URL_HOSTS"`
	// URLNetworks are the private networks, as 10.0.0.0/8, that those hosts may
	// lie in. Addresses that are not public are refused otherwise.
	URLNetworks []netip.Prefix `env:"URL_NETWORKS"`
}

// Validate reports every setting that cannot work or is not safe. wrong are variables
// that could not be read: what they would have said is not missed.
func (c Config) Validate(wrong ...string) error {
	var problems []error
	if err := checkListen("MEDIAGATE_LISTEN", c.Listen); err != nil {
		problems = append(problems, err)
	} else if c.Roles.Has(Hasher|Matcher|Curator|Scanner) && !c.keyed() && !anyOf(wrong, c.keyFiles()) && !isLoopback(c.Listen) {
		problems = append(problems, fmt.Errorf("MEDIAGATE_LISTEN=%s can be reached from other machines: set MEDIAGATE_API_KEY_FILE, or listen on 127.0.0.1", c.Listen))
	}
	problems = append(problems, c.validateKeys(), c.validateUnopened(wrong), c.validateHookSecrets())
	if c.OpsListen != "" {
		if err := checkListen("MEDIAGATE_OPS_LISTEN", c.OpsListen); err != nil {
			problems = append(problems, err)
		} else if c.Pprof && !isLoopback(c.OpsListen) {
			problems = append(problems, errors.New("MEDIAGATE_PPROF shows memory to whoever asks: it needs MEDIAGATE_OPS_LISTEN on 127.0.0.1"))
		}
	}
	if c.Listen == c.OpsListen && !slices.Contains(wrong, "MEDIAGATE_LISTEN") && checkListen("", c.Listen) == nil && !strings.HasSuffix(c.Listen, ":0") {
		problems = append(problems, errors.New("MEDIAGATE_LISTEN and MEDIAGATE_OPS_LISTEN must differ"))
	}
	for _, limit := range []struct {
		name string
		d    time.Duration
	}{
		{"SHUTDOWN_DELAY", c.ShutdownDelay}, {"SHUTDOWN_GRACE", c.ShutdownGrace}, {"INDEX_MAX_AGE", c.IndexMaxAge},
		{"HOOK_TIMEOUT", c.HookTimeout}, {"CONTENT_SCANNER_TIMEOUT", c.ContentScannerTimeout},
	} {
		if limit.d < 0 {
			problems = append(problems, fmt.Errorf("MEDIAGATE_%s must not be negative", limit.name))
		}
	}
	if slices.ContainsFunc(c.TrustedProxies, func(network netip.Prefix) bool { return !network.IsValid() || network.Bits() == 0 }) {
		problems = append(problems, errors.New("MEDIAGATE_TRUSTED_PROXIES must be networks that are less than everybody: clients would choose their own address"))
	}
	for _, host := range c.HMA.URLHosts {
		// An empty entry would be the parent of every name that ends in a dot.
		if host == "" || strings.TrimSpace(host) != host || strings.HasPrefix(host, ".") || strings.HasSuffix(host, ".") {
			problems = append(problems, fmt.Errorf("MEDIAGATE_HMA_URL_HOSTS must be host names with a comma, and nothing else, between them: %q is none", host))
		}
	}
	if len(c.HMA.URLNetworks) > 0 && len(c.HMA.URLHosts) == 0 {
		problems = append(problems, errors.New("MEDIAGATE_HMA_URL_NETWORKS has no effect without MEDIAGATE_HMA_URL_HOSTS"))
	}
	return errors.Join(problems...)
}

// ValidateGate reports what cannot work or is not safe where a homeserver is
// configured. wrong is that of Validate.
func (c Config) ValidateGate(wrong ...string) error {
	var problems []error
	if c.Roles.Has(Gate) && c.HookSecret.Empty() && !anyOf(wrong, []keyFile{c.hookSecrets()}) && checkListen("", c.Listen) == nil && !isLoopback(c.Listen) {
		problems = append(problems, fmt.Errorf("MEDIAGATE_LISTEN=%s can be reached from other machines, who could make mediagate download media: set MEDIAGATE_HOOK_SECRET_FILE, or listen on 127.0.0.1", c.Listen))
	}
	for _, limit := range []struct {
		role Roles
		name string
		d    time.Duration
	}{{Gate, "HOOK_TIMEOUT", c.HookTimeout}, {Scanner, "CONTENT_SCANNER_TIMEOUT", c.ContentScannerTimeout}} {
		if c.Roles.Has(limit.role) && (limit.d == 0 || limit.d > writeTimeout/2) {
			problems = append(problems, fmt.Errorf("MEDIAGATE_%s must be more than 0 and at most %s", limit.name, writeTimeout/2))
		}
	}
	return errors.Join(problems...)
}

func checkListen(name, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s must be an address and a port, like 127.0.0.1:5100", name)
	}
	return nil
}

// isLoopback tells whether only this machine reaches an address. A name other
// than localhost may resolve to anything.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
