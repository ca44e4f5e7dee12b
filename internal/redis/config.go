package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"mediagate/internal/secret"
)

// Config says where Redis is. Fields are read from variables with the prefix
// MEDIAGATE_REDIS_.
type Config struct {
	// URL is the Redis by which several processes share what they have found out:
	// redis://host:6379/0, rediss:// for TLS, with a certificate that the system
	// trusts or SSL_CERT_FILE names, or unix:///path?db=0, each with the name of an ACL
	// user and an @ before the host or path if need be. Sentinels are
	// redis://host:26379/0?master_name=mymaster&addr=host2:26379, a Cluster is
	// redis://host:6379?cluster=true&addr=host2:6379. Without it each process finds
	// out for itself.
	URL secret.String `env:"URL"`
	// Password is the file that holds the password, if the URL leaves it out.
	Password secret.String `env:"PASSWORD_FILE,file"`
	// SentinelPassword is the file that holds the password of the Sentinels, if they
	// have one.
	SentinelPassword secret.String `env:"SENTINEL_PASSWORD_FILE,file"`
	// Key is the file that holds the key, of 32 bytes or more, by which what is in
	// Redis is encrypted and recognised: the same for all processes, and required
	// with a URL.
	Key secret.String `env:"KEY_FILE,file"`
}

const (
	urlVariable              = "MEDIAGATE_REDIS_URL"
	passwordVariable         = "MEDIAGATE_REDIS_PASSWORD_FILE"          //nolint:gosec // the name of a setting
	sentinelPasswordVariable = "MEDIAGATE_REDIS_SENTINEL_PASSWORD_FILE" //nolint:gosec // the name of a setting
	keyVariable              = "MEDIAGATE_REDIS_KEY_FILE"
)

// Configured tells whether Redis is to be used.
func (c Config) Configured() bool { return !c.URL.Empty() }

// Validate reports every setting that cannot work. It never repeats the URL, which may
// hold a password.
func (c Config) Validate() error {
	if c.Configured() {
		_, problems := c.options()
		return errors.Join(problems...)
	}
	var problems []error
	for _, s := range []struct {
		variable string
		value    secret.String
	}{{passwordVariable, c.Password}, {sentinelPasswordVariable, c.SentinelPassword}, {keyVariable, c.Key}} {
		if !s.value.Empty() {
			problems = append(problems, fmt.Errorf("%s: there is no %s that it could be for", s.variable, urlVariable))
		}
	}
	return errors.Join(problems...)
}

// options are what the library makes a client of, and everything that is wrong with
// the configuration.
func (c Config) options() (goredis.UniversalOptions, []error) {
	var problems []error
	switch key := c.Key.Reveal(); {
	case key == "":
		problems = append(problems, fmt.Errorf("%s is required with %s: without a key nothing that comes from Redis could be trusted", keyVariable, urlVariable))
	case len(key) < minKey:
		problems = append(problems, fmt.Errorf("%s: the key has %d bytes, and must have %d", keyVariable, len(key), minKey))
	}
	options := goredis.UniversalOptions{
		// What is pushed unasked, and features that are found out by asking for
		// them, are nothing we need.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		PipelinePoolSize:         -1,
		// One try each, and no longer than the caller waits.
		MaxRetries: -1, DialerRetries: 1, DialTimeout: dialTimeout, ContextTimeoutEnabled: true,
		ConnMaxIdleTime: 5 * time.Minute,
		Password:        c.Password.Reveal(), SentinelPassword: c.SentinelPassword.Reveal(),
	}
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || u.Opaque != "" || u.Fragment != "" || u.RawFragment != "" || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
		return options, append(problems, fmt.Errorf("%s cannot be read: it must begin with redis://, rediss:// or unix://, and what means something else in a URL must be written with %%", urlVariable))
	}
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(urlVariable+" "+format, args...))
	}
	options.Username = u.User.Username()
	if password, given := u.User.Password(); given {
		if !c.Password.Empty() {
			problems = append(problems, fmt.Errorf("%s: the URL has a password, too: leave one of them out", passwordVariable))
		}
		options.Password = password
	}
	if options.Username != "" && options.Password == "" {
		wrong("names a user, and there is no password: set %s", passwordVariable)
	}
	parameters, unusable := parametersOf(u)
	for _, err := range unusable {
		wrong("%v", err)
	}
	if unusable != nil {
		return options, problems
	}
	database, port := strings.TrimPrefix(u.Path, "/"), "6379"
	cluster, sentinel := parameters.Get("cluster") == "true", parameters.Has("master_name")
	switch {
	case sentinel && cluster:
		wrong("has master_name and cluster: Redis is one or the other")
	case parameters.Has("addr") && !sentinel && !cluster:
		wrong("has addr: more than one server needs master_name, or cluster=true")
	case sentinel && parameters.Get("master_name") == "":
		wrong("has a master_name that is empty")
	}
	if !sentinel && !c.SentinelPassword.Empty() {
		problems = append(problems, fmt.Errorf("%s: the URL has no master_name, which only Sentinels have", sentinelPasswordVariable))
	}
	options.MasterName, options.IsClusterMode = parameters.Get("master_name"), cluster
	if sentinel {
		port = "26379"
	}
	if u.Scheme == "unix" {
		if database = parameters.Get("db"); u.Host != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) == "/" {
			wrong("must be unix:// and the absolute path of a socket")
		}
		options.Addrs = []string{u.Path}
	} else {
		for _, address := range append([]string{u.Host}, parameters["addr"]...) {
			host, given, err := net.SplitHostPort(address)
			if err != nil {
				host, given = strings.Trim(address, "[]"), port
			}
			_, noIP := netip.ParseAddr(host)
			if n, err := strconv.ParseUint(given, 10, 16); host == "" || err != nil || n == 0 || noIP != nil && strings.ContainsAny(host, ":/@, ") {
				wrong("must name servers by host, or host:port")
				break
			}
			options.Addrs = append(options.Addrs, net.JoinHostPort(host, given))
		}
	}
	if database != "" {
		n, err := strconv.ParseUint(database, 10, 16)
		if err != nil || cluster && n != 0 {
			wrong("must have a number as the database, and a Cluster has only 0")
		}
		options.DB = int(n)
	}
	if u.Scheme == "rediss" {
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return options, problems
}

// parametersOf returns what is behind the question mark of a URL. Its errors repeat
// nothing: what is there may be a password that was not written as it must be.
func parametersOf(u *url.URL) (_ url.Values, problems []error) {
	known := []string{"addr", "master_name", "cluster"}
	if u.Scheme == "unix" {
		known = []string{"db"}
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, []error{errors.New("has parameters that cannot be read")}
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		values := parameters[name]
		switch {
		case name == "skip_verify":
			problems = append(problems, errors.New("has skip_verify: certificates are always verified; SSL_CERT_FILE can name the one of your own authority"))
		case !slices.Contains(known, name):
			problems = append(problems, fmt.Errorf("has a parameter that there is not: there are %s", strings.Join(known, ", ")))
		case len(values) > 1 && name != "addr":
			problems = append(problems, fmt.Errorf("has %s more than once", name))
		case name == "cluster" && values[0] != "true" && values[0] != "false":
			problems = append(problems, errors.New("has cluster, which must be true or false"))
		}
	}
	return parameters, problems
}
