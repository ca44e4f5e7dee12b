package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/internal/redis"
	"mediagate/internal/secret"
	"mediagate/media"
	"mediagate/scanner"
	"mediagate/server"
)

// Config is the whole configuration: what each package needs, and what only main
// does.
type Config struct {
	Server     server.Config     `envPrefix:"MEDIAGATE_"`
	Homeserver homeserver.Config `envPrefix:"MEDIAGATE_HOMESERVER_"`
	// HMARoles are what MEDIAGATE_ROLES holds, in the variable that hma-matrix has.
	HMARoles server.Roles `env:"HMA_WORKER_ROLE"`
	// HMAKey is one key of what MEDIAGATE_API_KEY_FILE holds, itself: the variable
	// that hma-matrix has.
	HMAKey secret.String `env:"HMA_API_KEY"`
	// AdminToken is what MEDIAGATE_HOMESERVER_TOKEN_FILE holds, itself: the
	// variable that hma-matrix has.
	AdminToken secret.String   `env:"SYNAPSE_ADMIN_ACCESS_TOKEN"`
	Exchange   exchange.Config `envPrefix:"MEDIAGATE_EXCHANGE_"`
	Scan       scanner.Config  `envPrefix:"MEDIAGATE_SCAN_"`
	Media      media.Config    `envPrefix:"MEDIAGATE_MEDIA_"`
	// DatabaseURL is where the banks are kept: sqlite: and a path, whose folder is
	// created if there is none, or postgres:// with a server and a database, where
	// they have a schema of their own, mediagate.
	DatabaseURL secret.String `env:"MEDIAGATE_DATABASE_URL" envDefault:"sqlite:./data/mediagate.db"`
	// DatabasePassword is the file that holds the password which a postgres:// URL
	// leaves out.
	DatabasePassword secret.String `env:"MEDIAGATE_DATABASE_PASSWORD_FILE,file"`
	// DatabaseWait is how long the start waits for a PostgreSQL server that does not
	// answer yet.
	DatabaseWait time.Duration `env:"MEDIAGATE_DATABASE_WAIT" envDefault:"30s"`
	HMADatabase  HMADatabase   `envPrefix:"HMA_DB_"`
	Redis        redis.Config  `envPrefix:"MEDIAGATE_REDIS_"`
	// LogLevel is the least level that is logged: DEBUG, INFO, WARN or ERROR.
	LogLevel slog.Level `env:"MEDIAGATE_LOG_LEVEL" envDefault:"INFO"`
}

// reason is why a file could not be opened, without its name.
func reason(err error) string {
	var load env.LoadFileContentError
	var failed *fs.PathError
	if errors.As(err, &load) && errors.As(load.Err, &failed) {
		return ": " + failed.Err.Error()
	}
	return ""
}

const (
	ourPrefix  = "MEDIAGATE_"
	testPrefix = "MEDIAGATE_TEST_"
)

// loadConfig reads the configuration from variables and reports every problem
// with it at once, each with the variable's name.
func loadConfig(environ []string) (Config, error) {
	vars := env.ToMap(environ)
	params, err := env.GetFieldParams(&Config{})
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var problems []error
	known := make(map[string]bool)
	for _, p := range params {
		known[p.Key] = true
		value, set := vars[p.Key]
		if !set {
			continue
		}
		// On its own, because the library names fields and not variables.
		if err := env.ParseWithOptions(&Config{}, env.Options{Environment: map[string]string{p.Key: value}}); err != nil {
			if p.LoadFile {
				// Whoever takes the setting for the secret itself must not see it here.
				err = errors.New("the file cannot be read" + reason(err))
			}
			problems = append(problems, fmt.Errorf("%s: %w", p.Key, err))
			delete(vars, p.Key)
		}
	}
	names := make([]string, 0, len(vars))
	for name := range vars {
		if strings.HasPrefix(name, ourPrefix) && !strings.HasPrefix(name, testPrefix) && !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		delete(vars, name) // or the library stumbles over it too
		problems = append(problems, fmt.Errorf("%s: there is no such setting", name))
	}
	var c Config
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		problems = append(problems, err)
	}
	if address, set := vars["MEDIAGATE_OPS_LISTEN"]; set && address == "" {
		c.Server.OpsListen = "" // the library takes empty for unset
	}
	for name, value := range map[string]secret.String{
		apiKey: c.Server.APIKey, "MEDIAGATE_HASHER_KEY_FILE": c.Server.HasherKey, "MEDIAGATE_MATCHER_KEY_FILE": c.Server.MatcherKey,
		"MEDIAGATE_CURATOR_KEY_FILE": c.Server.CuratorKey, "MEDIAGATE_SCANNER_KEY_FILE": c.Server.ScannerKey,
		"MEDIAGATE_HOOK_SECRET_FILE": c.Server.HookSecret, "MEDIAGATE_HOMESERVER_TOKEN_FILE": c.Homeserver.Token, databasePassword: c.DatabasePassword,
		"MEDIAGATE_REDIS_PASSWORD_FILE": c.Redis.Password, "MEDIAGATE_REDIS_SENTINEL_PASSWORD_FILE": c.Redis.SentinelPassword, redisKey: c.Redis.Key,
	} {
		required := name == redisKey && c.Redis.Configured() // and missed below
		if vars[name] != "" && strings.TrimSpace(value.Reveal()) == "" && !required {
			problems = append(problems, fmt.Errorf("%s: the file is empty", name))
		}
	}
	if c.DatabaseWait < 0 {
		problems = append(problems, errors.New("MEDIAGATE_DATABASE_WAIT must not be negative"))
	}
	problems = append(problems, c.chooseToken(), c.chooseKey(), c.chooseRoles(vars), c.chooseDatabase(vars), c.Server.Validate(), c.Homeserver.Validate(), c.Exchange.Validate(), c.Scan.Validate(), c.Media.Validate(), c.Redis.Validate())
	if c.Homeserver.Configured() {
		problems = append(problems, c.Server.ValidateGate())
	}
	return c, errors.Join(problems...)
}

// chooseToken settles which of two settings is the homeserver's token.
func (c *Config) chooseToken() error {
	switch {
	case c.AdminToken.Empty():
	case c.Homeserver.Token.Empty():
		c.Homeserver.Token = c.AdminToken
	case !c.AdminToken.Equal(c.Homeserver.Token.Reveal()):
		return errors.New("SYNAPSE_ADMIN_ACCESS_TOKEN and MEDIAGATE_HOMESERVER_TOKEN_FILE are both set, and differ: leave one of them out")
	}
	return nil
}

// apiKey is the setting whose file holds keys for everything.
const apiKey = "MEDIAGATE_API_KEY_FILE" //nolint:gosec // the name of a setting

// chooseKey settles which of two settings is the key for everything.
func (c *Config) chooseKey() error {
	if c.HMAKey.Empty() {
		return nil
	}
	if err := server.CheckKey(c.HMAKey.Reveal()); err != nil {
		return fmt.Errorf("HMA_API_KEY %w", err)
	}
	switch {
	case c.Server.APIKey.Empty():
		c.Server.APIKey = c.HMAKey
	case !slices.Contains(strings.Fields(c.Server.APIKey.Reveal()), c.HMAKey.Reveal()):
		return fmt.Errorf("HMA_API_KEY and %s are both set, and differ: leave one of them out", apiKey)
	}
	return nil
}

// chooseRoles settles which of two settings says what this process does.
func (c *Config) chooseRoles(vars map[string]string) error {
	name := "MEDIAGATE_ROLES"
	for _, name := range []string{name, "HMA_WORKER_ROLE"} {
		if value, set := vars[name]; set && value == "" { // which the library takes for unset, and that is all roles
			return fmt.Errorf("%s is empty: leave it out for all roles", name)
		}
	}
	switch {
	case c.HMARoles == 0:
	case c.Server.Roles == 0:
		name, c.Server.Roles = "HMA_WORKER_ROLE", c.HMARoles
	case c.Server.Roles != c.HMARoles:
		return fmt.Errorf("HMA_WORKER_ROLE and %s are both set, and differ: leave one of them out", name)
	}
	if c.Server.Roles != 0 && c.Server.Roles.Has(server.Gate) && !c.Homeserver.Configured() {
		return fmt.Errorf("%s has GATE, which needs MEDIAGATE_HOMESERVER_URL", name)
	}
	return nil
}
