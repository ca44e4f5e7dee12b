package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

const (
	ourPrefix  = "MEDIAGATE_"
	testPrefix = "MEDIAGATE_TEST_"
)

const opsListen = "MEDIAGATE_OPS_LISTEN"

// variables are what a configuration is read from.
type variables struct {
	given map[string]string
	// wrong are those that are set and cannot be used, whatever else is set.
	wrong []string
}

func (v *variables) isWrong(name string) bool { return slices.Contains(v.wrong, name) }

// read makes a configuration of the variables that can be used. It reports all
// others: those that there are in the order of the fields, and then what there is
// not. Each file is read once.
func (v *variables) read() (Config, error) {
	params, err := env.GetFieldParams(&Config{})
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	found := make(map[string]error) // by variable
	usable := make(map[string]string)
	for _, p := range params {
		value, set := v.given[p.Key]
		switch {
		case !set:
		case value == "" && needsValue(p):
			found[p.Key] = errors.New("it is set and empty: give it a value, or leave it out")
		case p.LoadFile:
			usable[p.Key] = value // which shows when it is read
		default:
			// On its own, because the library names fields and not variables.
			if err := env.ParseWithOptions(&Config{}, env.Options{Environment: map[string]string{p.Key: value}}); err != nil {
				found[p.Key] = cause(err, value)
			} else {
				usable[p.Key] = value
			}
		}
	}
	var c Config
	contents := make(map[string]string) // of files
	err = env.ParseWithOptions(&c, env.Options{Environment: usable, OnSet: func(name string, value any, _ bool) {
		contents[name], _ = value.(string)
	}})
	var all env.AggregateError
	if err != nil && !errors.As(err, &all) {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	for _, err := range all.Errors {
		var load env.LoadFileContentError
		if !errors.As(err, &load) {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		found[load.Key] = unread(load)
	}
	var problems []error
	known := make(map[string]bool)
	for _, p := range params {
		known[p.Key] = true
		if content, read := contents[p.Key]; p.LoadFile && usable[p.Key] != "" && read && strings.TrimSpace(content) == "" {
			found[p.Key] = errors.New("the file is empty")
		}
		if err := found[p.Key]; err != nil {
			v.wrong = append(v.wrong, p.Key)
			problems = append(problems, fmt.Errorf("%s: %w", p.Key, err))
			delete(usable, p.Key)
		}
	}
	if len(problems) > 0 {
		// For what else there is to find, which must not come of these.
		c = Config{}
		_ = env.ParseWithOptions(&c, env.Options{Environment: usable}) // each was read before
	}
	if address, set := usable[opsListen]; set && address == "" {
		c.Server.OpsListen = "" // the library takes empty for unset
	}
	return c, errors.Join(append(problems, v.unknown(known))...)
}

// unknown reports variables with our prefix that nothing reads, by name.
func (v *variables) unknown(known map[string]bool) error {
	var names []string
	for name := range v.given {
		if strings.HasPrefix(name, ourPrefix) && !strings.HasPrefix(name, testPrefix) && !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var problems []error
	for _, name := range names {
		problems = append(problems, fmt.Errorf("%s: there is no such setting", name))
	}
	return errors.Join(problems...)
}

// needsValue tells whether a variable that is set must not be empty. Whatever sets
// it has lost its value then, and unset it stands for something: another database,
// no key, all roles.
func needsValue(p env.FieldParams) bool {
	switch p.Key {
	case opsListen:
		return false // turned off
	case ourRoles, hmaRoles, hmaDatabase + "PASS":
		return true // as in hma-matrix
	}
	return p.HasDefaultValue || p.LoadFile
}

// cause tells why a value cannot be used, without Go's words.
func cause(err error, value string) error {
	var failed env.ParseError
	if !errors.As(err, &failed) {
		return err
	}
	if errors.Is(failed.Err, strconv.ErrRange) {
		return fmt.Errorf("%q is out of range", value)
	}
	switch failed.Type {
	case reflect.TypeFor[time.Duration]():
		return fmt.Errorf("%q is no duration: it needs a number and a unit, as 30s or 1h30m", value)
	case reflect.TypeFor[int](), reflect.TypeFor[int64]():
		return fmt.Errorf("%q is no whole number", value)
	case reflect.TypeFor[bool]():
		return fmt.Errorf("%q is neither true nor false", value)
	case reflect.TypeFor[[]netip.Prefix]():
		return fmt.Errorf("%q is no list of networks, as 10.0.0.0/8, with commas between them", value)
	case reflect.TypeFor[slog.Level]():
		return fmt.Errorf("%q is no level: there are DEBUG, INFO, WARN and ERROR", value)
	}
	return failed.Err
}

// unread tells why a file could not be read. Whoever takes the setting for the
// secret itself must not see it: the file is not named.
func unread(load env.LoadFileContentError) error {
	var failed *fs.PathError
	if errors.As(load.Err, &failed) {
		return fmt.Errorf("the file cannot be read: %w", failed.Err)
	}
	return errors.New("the file cannot be read")
}
