package main

import (
	"errors"
	"fmt"
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

// loadConfig reads the configuration from variables and reports every problem
// with it at once, each with the variable's name. What depends on a variable that
// cannot be used is not looked at.
func loadConfig(environ []string) (Config, error) {
	v := variables{given: env.ToMap(environ)}
	c, err := v.read()
	problems := []error{err}
	if c.DatabaseWait < 0 {
		problems = append(problems, errors.New("MEDIAGATE_DATABASE_WAIT must not be negative"))
	}
	problems = append(problems, c.chooseToken(), c.chooseKey(&v), c.chooseRoles(&v), c.chooseDatabase(&v))
	if c.Redis.Configured() && v.isWrong(redisKey) {
		c.Redis.Key = secret.New(strings.Repeat("?", 32)) // no other key is missed
	}
	if c.Redis.Configured() && v.isWrong(redisPassword) {
		c.Redis.Password = secret.New("?")
	}
	problems = append(problems, c.Server.Validate(v.wrong...), c.Homeserver.Validate(), c.Exchange.Validate(), c.Scan.Validate(), c.Media.Validate(v.wrong...), c.Redis.Validate())
	if c.Homeserver.Configured() {
		problems = append(problems, c.Server.ValidateGate(v.wrong...))
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
func (c *Config) chooseKey(v *variables) error {
	if c.HMAKey.Empty() {
		return nil
	}
	if err := server.CheckKey(c.HMAKey.Reveal()); err != nil {
		v.wrong = append(v.wrong, apiKey) // which it stands for
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

// The settings that say what this process does.
const ourRoles, hmaRoles = "MEDIAGATE_ROLES", "HMA_WORKER_ROLE"

// chooseRoles settles which of two settings says what this process does.
func (c *Config) chooseRoles(v *variables) error {
	var problems []error
	name, ours := ourRoles, c.Server.Roles
	if ours == 0 {
		name, c.Server.Roles = hmaRoles, c.HMARoles
	}
	if roles := c.Server.Roles; roles != 0 && roles.Has(server.Gate) && !c.Homeserver.Configured() {
		problems = append(problems, fmt.Errorf("%s has GATE, which needs MEDIAGATE_HOMESERVER_URL", name))
	}
	differ := ours != 0 && c.HMARoles != 0 && ours != c.HMARoles
	if differ {
		problems = append(problems, fmt.Errorf("%s and %s are both set, and differ: leave one of them out", hmaRoles, ourRoles))
	}
	if differ || v.isWrong(ourRoles) || v.isWrong(hmaRoles) {
		c.Server.Roles = server.UI // which needs nothing: what the others need is not known
	}
	return errors.Join(problems...)
}
