// Package exchange keeps banks at the state of remote sources. A [Fetcher] runs
// every exchange that the store has and that is enabled, each on its own, and
// commits what it learns together with where to go on, so that a crash loses
// nothing and applies nothing twice.
//
// How a source is read is its API's business: one file each. What cannot be
// fetched now is kept as pending and tried for ever; a source that cannot be
// reached leaves what it has banked as it is.
package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mediagate/homeserver"
	"mediagate/internal/secret"
)

// Config says how often and how much is fetched. Fields are read from variables
// with the prefix MEDIAGATE_EXCHANGE_.
type Config struct {
	// Interval is how long an exchange waits between two fetches. After ten
	// minutes without news it waits three times as long, and longer after
	// failures, up to 15s.
	Interval time.Duration `env:"INTERVAL" envDefault:"1s"`
	// Downloads is how many items an exchange downloads at once.
	Downloads int `env:"DOWNLOADS" envDefault:"4"`
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var problems []error
	if c.Interval < 100*time.Millisecond {
		problems = append(problems, errors.New("MEDIAGATE_EXCHANGE_INTERVAL must be at least 100ms"))
	}
	if c.Downloads < 2 || c.Downloads > 64 {
		problems = append(problems, errors.New("MEDIAGATE_EXCHANGE_DOWNLOADS must be from 2 to 64"))
	}
	return errors.Join(problems...)
}

// HomeserverExchange is the exchange that exists when a homeserver with a token
// is configured.
const HomeserverExchange = "SYNAPSE_QUARANTINE"

// API is a kind of source.
type API struct {
	Name string
	// Config and Credential are the fields of the JSON objects that configure an
	// exchange and authorise it.
	Config, Credential []Field
}

// Field is one field of such an object. All are texts that must be there.
type Field struct{ Name, Help string }

// SynapseQuarantined fetches what the administrators of a Synapse quarantine.
const SynapseQuarantined = "synapse_quarantined"

// APIs are the kinds of source there are.
func APIs() []API {
	return []API{{
		Name:       SynapseQuarantined,
		Config:     []Field{{"admin_api_url", "The address of the homeserver, which must serve /_synapse/admin and /_matrix/client there."}},
		Credential: []Field{{"access_token", "The access token of a server administrator."}},
	}}
}

// FindAPI returns the API of that name.
func FindAPI(name string) (API, bool) {
	all := APIs()
	i := slices.IndexFunc(all, func(a API) bool { return a.Name == name })
	if i < 0 {
		return API{}, false
	}
	return all[i], true
}

// FieldError is a field of a configuration or credential that cannot be used.
type FieldError struct {
	Field string
	// Missing tells that it is not there; else it is of the wrong type.
	Missing bool
	// Problem is set if it is there, a text, and wrong.
	Problem string
}

func (e *FieldError) Error() string {
	switch {
	case e.Missing:
		return fmt.Sprintf("missing value for field %q", e.Field)
	case e.Problem != "":
		return fmt.Sprintf("%s %s", e.Field, e.Problem)
	default:
		return fmt.Sprintf("wrong value type for field %q", e.Field)
	}
}

// CheckConfig returns what is stored of an exchange's configuration. It fails with
// a [FieldError].
func (a API) CheckConfig(given map[string]any) (string, error) {
	values, err := texts(a.Config, given)
	if err != nil {
		return "", err
	}
	if err := homeserver.CheckURL(values["admin_api_url"]); err != nil {
		return "", &FieldError{Field: "admin_api_url", Problem: err.Error()}
	}
	raw, err := json.Marshal(values)
	return string(raw), err
}

// CheckCredential returns what is stored of a credential. It fails with a
// [FieldError], which does not repeat a value.
func (a API) CheckCredential(given map[string]any) (secret.String, error) {
	values, err := texts(a.Credential, given)
	if err != nil {
		return secret.String{}, err
	}
	for _, f := range a.Credential {
		if token := values[f.Name]; len(token) > maxToken || !homeserver.IsToken(token) {
			return secret.String{}, &FieldError{Field: f.Name, Problem: "must hold one token, and nothing else"}
		}
	}
	raw, err := json.Marshal(values)
	return secret.New(string(raw)), err
}

const maxToken = 8192 // bytes

// texts picks the fields out of what was given.
func texts(fields []Field, given map[string]any) (map[string]string, error) {
	out := make(map[string]string)
	for _, f := range fields {
		v, ok := given[f.Name]
		if !ok {
			return nil, &FieldError{Field: f.Name, Missing: true}
		}
		text, ok := v.(string)
		if !ok {
			return nil, &FieldError{Field: f.Name}
		}
		out[f.Name] = text
	}
	return out, nil
}
