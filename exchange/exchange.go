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

	"mediagate/bank"
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

// Field is one field of such an object.
type Field struct {
	Name, Help string
	Type       FieldType
	// Optional is a field that need not be there. Default is what it is then.
	Optional bool
	Default  any
}

// FieldType is what a field holds, as HMA names it.
type FieldType string

// The types of fields: in Go a string, an int64, a bool, and a []any of strings.
const (
	Text   FieldType = "string"
	Number FieldType = "number"
	Flag   FieldType = "boolean"
	Texts  FieldType = "list_of_string"
)

// The kinds of source.
const (
	// SynapseQuarantined fetches what the administrators of a Synapse quarantine.
	SynapseQuarantined = "synapse_quarantined"
	// MatrixPolicyList follows a policy room.
	MatrixPolicyList = "matrix_policy_list"
)

// APIs are the kinds of source there are.
func APIs() []API {
	return []API{{
		Name: SynapseQuarantined,
		Config: []Field{{
			Name: "admin_api_url", Type: Text,
			Help: "The address of the homeserver, which must serve /_synapse/admin and /_matrix/client there.",
		}},
		Credential: []Field{{Name: "access_token", Type: Text, Help: "The access token of a server administrator."}},
	}, {
		Name:       MatrixPolicyList,
		Config:     policyFields,
		Credential: []Field{{Name: "access_token", Type: Text, Help: "The access token of the user who is, or will be, in the room."}},
	}}
}

// NewBank is what the bank of a new exchange of the API is like: lists that others write
// are not believed at once.
func (a API) NewBank() bank.Bank {
	if a.Name == MatrixPolicyList {
		return bank.Bank{MD5Enforce: true, Monitor: true, Breaker: policyBreaker}
	}
	return bank.Bank{}
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
	// Problem is set if it is there, of the right type, and wrong.
	Problem string
	// Type is what it must be.
	Type FieldType
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
	values, err := pick(a.Config, given)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(values)
	if err != nil {
		return "", err
	}
	if a.Name == MatrixPolicyList {
		_, err = parsePolicyConfig(string(raw))
	} else {
		err = checkAddress("admin_api_url", values["admin_api_url"])
	}
	if err != nil {
		return "", err
	}
	return string(raw), nil
}

// checkAddress fails with a [FieldError].
func checkAddress(field string, value any) error {
	address, _ := value.(string)
	if err := homeserver.CheckURL(address); err != nil {
		return &FieldError{Field: field, Problem: err.Error()}
	}
	return nil
}

// CheckCredential returns what is stored of a credential. It fails with a
// [FieldError], which does not repeat a value.
func (a API) CheckCredential(given map[string]any) (secret.String, error) {
	values, err := pick(a.Credential, given)
	if err != nil {
		return secret.String{}, err
	}
	for _, f := range a.Credential {
		if token, _ := values[f.Name].(string); len(token) > maxToken || !homeserver.IsToken(token) {
			return secret.String{}, &FieldError{Field: f.Name, Problem: "must hold one token, and nothing else"}
		}
	}
	raw, err := json.Marshal(values)
	return secret.New(string(raw)), err
}

const maxToken = 8192 // bytes

// pick picks the fields out of what was given.
func pick(fields []Field, given map[string]any) (map[string]any, error) {
	out := make(map[string]any)
	for _, f := range fields {
		v, ok := given[f.Name]
		switch {
		case !ok && f.Optional:
			continue
		case !ok:
			return nil, &FieldError{Field: f.Name, Missing: true}
		case !f.Type.holds(v):
			return nil, &FieldError{Field: f.Name, Type: f.Type}
		}
		out[f.Name] = v
	}
	return out, nil
}

// holds tells whether a value is of the type.
func (t FieldType) holds(v any) (ok bool) {
	switch t {
	case Text:
		_, ok = v.(string)
	case Number:
		_, ok = v.(int64)
	case Flag:
		_, ok = v.(bool)
	case Texts:
		var list []any
		list, ok = v.([]any)
		ok = ok && !slices.ContainsFunc(list, func(v any) bool { return !Text.holds(v) })
	}
	return ok
}
