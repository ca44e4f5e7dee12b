package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/labstack/echo/v4"

	"mediagate/homeserver"
	"mediagate/internal/secret"
)

// anyRole is what keys open that are for everything.
const anyRole = ^Roles(0)

// minKey is how many characters a key has at least. Nothing but its length keeps
// others from trying all.
const minKey = 16

// keyFile is a setting that holds keys or secrets, one a line.
type keyFile struct {
	setting string
	keys    secret.String
	opens   Roles
}

func (c Config) keyFiles() []keyFile {
	return []keyFile{
		{"MEDIAGATE_API_KEY_FILE", c.APIKey, anyRole},
		{"MEDIAGATE_HASHER_KEY_FILE", c.HasherKey, Hasher},
		{"MEDIAGATE_MATCHER_KEY_FILE", c.MatcherKey, Matcher},
		{"MEDIAGATE_CURATOR_KEY_FILE", c.CuratorKey, Curator},
		{"MEDIAGATE_SCANNER_KEY_FILE", c.ScannerKey, Scanner},
	}
}

// hookSecrets is the file of what a reverse proxy sends. It may be shorter than a
// key, because whoever reads it opens nothing but the hook.
func (c Config) hookSecrets() keyFile {
	return keyFile{"MEDIAGATE_HOOK_SECRET_FILE", c.HookSecret, Gate}
}

// anyOf tells whether some of those files are among variables.
func anyOf(variables []string, files []keyFile) bool {
	return slices.ContainsFunc(files, func(f keyFile) bool { return slices.Contains(variables, f.setting) })
}

// lines are the keys of a file, by their place. Those that are empty are none.
func (f keyFile) lines() []string {
	lines := strings.Split(f.keys.Reveal(), "\n")
	for i, line := range lines {
		if lines[i] = strings.TrimSuffix(line, "\r"); strings.TrimSpace(line) == "" {
			lines[i] = ""
		}
	}
	return lines
}

// CheckKey tells whether text can be a key. The error goes on after what it is the
// key of, and does not repeat it.
func CheckKey(text string) error {
	switch {
	case !homeserver.IsToken(text):
		return errors.New("is no key: keys are letters, digits and signs of ASCII without spaces, one a line")
	case len(text) < minKey:
		return fmt.Errorf("is too short: a key has %d characters or more, as of openssl rand -hex 32", minKey)
	default:
		return nil
	}
}

// keyed tells whether there is any key.
func (c Config) keyed() bool { return len(newKeyring(c.keyFiles()...)) > 0 }

// validateKeys reports keys that cannot be sent or are not safe. It names places
// and no key.
func (c Config) validateKeys() error {
	var problems []error
	general := map[string]bool{} // the keys for everything
	for _, f := range c.keyFiles() {
		for i, key := range f.lines() {
			if key == "" {
				continue
			}
			where := fmt.Sprintf("%s: line %d", f.setting, i+1)
			switch err := CheckKey(key); {
			case err != nil:
				problems = append(problems, fmt.Errorf("%s %w", where, err))
			case f.opens == anyRole:
				general[key] = true
			case general[key]:
				problems = append(problems, errors.New(where+" is a key for everything already, of MEDIAGATE_API_KEY_FILE or HMA_API_KEY"))
			}
		}
	}
	return errors.Join(problems...)
}

// validateHookSecrets reports lines that no header can be.
func (c Config) validateHookSecrets() error {
	var problems []error
	f := c.hookSecrets()
	for i, line := range f.lines() {
		if strings.TrimSpace(line) != line || strings.ContainsFunc(line, unicode.IsControl) {
			problems = append(problems, fmt.Errorf("%s: line %d has a space at an end, or a control character, and cannot be sent", f.setting, i+1))
		}
	}
	return errors.Join(problems...)
}

// validateUnopened reports roles that were asked for and whose routes nobody could use.
// The content scanner needs no key. With a file that could not be read it is not known.
func (c Config) validateUnopened(wrong []string) error {
	keys := newKeyring(c.keyFiles()...)
	if c.Roles == 0 || len(keys) == 0 || anyOf(wrong, c.keyFiles()) {
		return nil
	}
	var problems []error
	for _, f := range c.keyFiles() {
		if f.opens&(Hasher|Matcher|Curator) == f.opens && c.Roles.Has(f.opens) && !keys.opensAny(f.opens) {
			problems = append(problems, fmt.Errorf("%s is required, or MEDIAGATE_API_KEY_FILE: the role %s is asked for, and no key opens its routes", f.setting, f.opens))
		}
	}
	return errors.Join(problems...)
}

// keyring holds all keys, by digests, so that comparing takes the same time for all.
type keyring []heldKey

type heldKey struct {
	digest [sha256.Size]byte
	opens  Roles
}

func newKeyring(files ...keyFile) keyring {
	var k keyring
	for _, f := range files {
		for _, key := range f.lines() {
			if key != "" {
				k = append(k, heldKey{sha256.Sum256([]byte(key)), f.opens})
			}
		}
	}
	return k
}

// opensAny tells whether there is a key for some of those roles.
func (k keyring) opensAny(roles Roles) bool {
	return slices.ContainsFunc(k, func(held heldKey) bool { return held.opens&roles != 0 })
}

// opened returns the roles that a key opens, none for a key that is not known. A
// key in several files opens the roles of all. It looks at every key, whichever it
// is.
func (k keyring) opened(given string) Roles {
	digest := sha256.Sum256([]byte(given))
	var opens Roles
	for _, held := range k {
		opens |= held.opens * Roles(subtle.ConstantTimeCompare(held.digest[:], digest[:]))
	}
	return opens
}

// openedBy returns the roles that a request's key opens. It reads the one form
// that HMA accepts.
func (k keyring) openedBy(r *http.Request) Roles {
	given := r.Header.Values(echo.HeaderAuthorization)
	if len(given) != 1 {
		return 0
	}
	key, ok := strings.CutPrefix(given[0], bearer)
	if !ok {
		return 0
	}
	return k.opened(key)
}
