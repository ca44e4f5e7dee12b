package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"mediagate/bank"
	"mediagate/internal/secret"
)

const (
	databaseURL      = "MEDIAGATE_DATABASE_URL"
	databasePassword = "MEDIAGATE_DATABASE_PASSWORD_FILE" //nolint:gosec // the name of a setting
	hmaDatabase      = "HMA_DB_"
)

// HMADatabase is a PostgreSQL database in the variables of hma-matrix.
type HMADatabase struct {
	// Host is the PostgreSQL server, with a port if need be, in hma-matrix's
	// variable. If one of these is set, the banks are kept there and not at
	// MEDIAGATE_DATABASE_URL, in a schema of their own.
	Host string `env:"HOST" envDefault:"localhost"`
	// Name is the name of its database.
	Name string `env:"NAME" envDefault:"hma"`
	// User is the user's name there.
	User string `env:"USER" envDefault:"hma"`
	// Pass is the user's password, which MEDIAGATE_DATABASE_PASSWORD_FILE may hold
	// instead.
	Pass secret.String `env:"PASS"`
}

// url names the database, without the password.
func (d HMADatabase) url() (string, error) {
	if strings.ContainsAny(d.Host, "/@?#%, \t") {
		return "", errors.New("HMA_DB_HOST must be the name of a server, or its address, and may have a port")
	}
	return "postgres://" + url.User(d.User).String() + "@" + d.Host + "/" + url.PathEscape(d.Name), nil
}

// chooseDatabase settles where the banks are, of the settings that can say so.
func (c *Config) chooseDatabase(v *variables) error {
	var hma []string
	password := c.DatabasePassword
	for _, name := range []string{"HOST", "NAME", "USER", "PASS"} {
		if name = hmaDatabase + name; v.isWrong(name) {
			password = secret.String{} // of which database is not known
		} else if _, set := v.given[name]; set {
			hma = append(hma, name)
		}
	}
	if len(hma) == 0 {
		if v.isWrong(databaseURL) {
			return nil
		}
		return c.completeLocation(databaseURL, c.DatabaseURL.Reveal(), password)
	}
	names := strings.Join(hma, ", ")
	var problems []error
	if _, set := v.given[databaseURL]; set && !v.isWrong(databaseURL) {
		problems = append(problems, fmt.Errorf("%s: %s names another database: leave one of them out", databaseURL, names))
		if err := bank.CheckLocation(c.DatabaseURL.Reveal()); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", databaseURL, err))
		}
	}
	password = c.DatabasePassword
	switch {
	case v.isWrong(databasePassword) || v.isWrong(hmaDatabase+"PASS"):
	case password.Empty() && c.HMADatabase.Pass.Empty():
		problems = append(problems, fmt.Errorf("HMA_DB_PASS or %s is required with %s", databasePassword, names))
	case !password.Empty() && !c.HMADatabase.Pass.Empty():
		problems = append(problems, fmt.Errorf("%s: HMA_DB_PASS is set, too: leave one of them out", databasePassword))
	case password.Empty():
		password = c.HMADatabase.Pass
	}
	location, err := c.HMADatabase.url()
	if err == nil {
		err = c.completeLocation(names, location, password)
	}
	return errors.Join(append(problems, err)...)
}

// completeLocation makes a URL, and a password if it is not in it, where the banks
// are. name is what says so.
func (c *Config) completeLocation(name, location string, password secret.String) error {
	if err := bank.CheckLocation(location); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !password.Empty() {
		var err error
		if location, err = bank.AddPassword(location, password.Reveal()); err != nil {
			return fmt.Errorf("%s: %w", databasePassword, err)
		}
	}
	c.DatabaseURL = secret.New(location)
	return nil
}

// openPause is how long is waited before a store is opened once more.
const openPause = time.Second

// openStore opens the store. One that cannot be reached is waited for, because
// machines and their parts start in any order; what is wrong with it otherwise is
// told at once.
func openStore(ctx context.Context, config Config, log *slog.Logger) (*bank.Store, error) {
	start := time.Now()
	for waiting := false; ; waiting = true {
		store, err := bank.Open(ctx, config.DatabaseURL.Reveal())
		if err == nil || !bank.IsUnavailable(err) || time.Since(start) >= config.DatabaseWait {
			return store, err
		}
		if !waiting {
			log.WarnContext(ctx, "the store does not answer yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(openPause):
		}
	}
}

// takeOver ends the leases of processes that have died, if it can. Else they run out.
func takeOver(ctx context.Context, store *bank.Store, log *slog.Logger) (leave func() error) {
	leave, err := store.TakeOver(ctx)
	if err != nil {
		log.WarnContext(ctx, "leases of processes that have died will be waited for", "err", err)
		return func() error { return nil }
	}
	return leave
}
