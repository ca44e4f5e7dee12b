package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"mediagate/exchange/policyroom"
)

// policyBreaker is Bank.Breaker of a new policy list.
const policyBreaker = 20

// policyConfig is how a policy room is followed, and who is believed.
type policyConfig struct {
	Room       string   `json:"room"`
	Via        []string `json:"via"`
	Homeserver string   `json:"homeserver_url"`
	Inviters   []string `json:"inviters"`
	Senders    []string `json:"senders"`
	MinPower   int64    `json:"min_power"`
	MaxEntries int64    `json:"max_entries"`
	// MaxAdditions is how many entries each sender may add in an hour.
	MaxAdditions int64 `json:"max_additions_per_hour"`
	Removals     bool  `json:"trusted_removals"`
	// Servers has rules about servers count, too.
	Servers bool `json:"servers"`
}

// Defaults of a policyConfig.
const (
	defaultMinPower     = 50
	defaultMaxEntries   = 20_000
	defaultMaxAdditions = 500
)

// Limits of a policyConfig.
const (
	maxEntriesLimit = 1_000_000
	maxUsers        = 1000 // of a list of users or servers
	maxMatrixID     = 255  // bytes
)

var policyFields = []Field{
	{Name: "room", Type: Text, Help: "The id or an alias of the room. An alias is looked up once, and that room is kept to."},
	{Name: "via", Type: Texts, Optional: true, Default: []string{}, Help: "Servers that are in the room, which an id needs if ours is not."},
	{Name: "homeserver_url", Type: Text, Optional: true, Default: "", Help: "The address of the homeserver to read the room from, if it is not the configured one."},
	{Name: "inviters", Type: Texts, Optional: true, Default: []string{}, Help: "If there are any, the room is joined only when one of these users has invited ours."},
	{Name: "senders", Type: Texts, Optional: true, Default: []string{}, Help: "If there are any, only what these users have sent counts."},
	{Name: "min_power", Type: Number, Optional: true, Default: defaultMinPower, Help: "The power that a sender must have in the room now, beside what the room demands."},
	{Name: "max_entries", Type: Number, Optional: true, Default: defaultMaxEntries, Help: "How many entries count at most."},
	{Name: "max_additions_per_hour", Type: Number, Optional: true, Default: defaultMaxAdditions, Help: "How many entries one sender may add in an hour; the others wait."},
	{Name: "trusted_removals", Type: Flag, Optional: true, Default: false, Help: "Whether an entry is only removed if who removes it is one whose entries count."},
	{Name: "servers", Type: Flag, Optional: true, Default: false, Help: "Whether media from servers that the list bans is refused."},
}

// parsePolicyConfig reads what is stored of a configuration. It fails with a
// [FieldError].
func parsePolicyConfig(text string) (policyConfig, error) {
	c := policyConfig{MinPower: defaultMinPower, MaxEntries: defaultMaxEntries, MaxAdditions: defaultMaxAdditions}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, errors.New("the configuration of the exchange cannot be read")
	}
	if !isMatrixID(c.Room, "!#") || c.Room[0] == '#' && !strings.Contains(c.Room, ":") {
		return c, &FieldError{Field: "room", Problem: "must be a room's id, like !abc:example.org, or an alias, like #abc:example.org"}
	}
	if c.Homeserver != "" {
		if err := checkAddress("homeserver_url", c.Homeserver); err != nil {
			return c, err
		}
	}
	for _, list := range []struct {
		field  string
		values []string
		sigil  string
		like   string
	}{{"inviters", c.Inviters, "@", "users, like @abc:example.org"}, {"senders", c.Senders, "@", "users, like @abc:example.org"}, {"via", c.Via, "", "servers, like example.org"}} {
		if len(list.values) > maxUsers {
			return c, &FieldError{Field: list.field, Problem: fmt.Sprintf("must name at most %d", maxUsers)}
		}
		for _, v := range list.values {
			if list.sigil == "" && (v == "" || len(v) > maxMatrixID || strings.ContainsFunc(v, isNoServerName)) || list.sigil != "" && !isMatrixID(v, list.sigil) {
				return c, &FieldError{Field: list.field, Problem: "must hold " + list.like}
			}
		}
	}
	for _, n := range []struct {
		field       string
		value       int64
		least, most int64
	}{{"min_power", c.MinPower, 0, 1 << 53}, {"max_entries", c.MaxEntries, 1, maxEntriesLimit}, {"max_additions_per_hour", c.MaxAdditions, 1, maxEntriesLimit}} {
		if n.value < n.least || n.value > n.most {
			return c, &FieldError{Field: n.field, Problem: fmt.Sprintf("must be from %d to %d", n.least, n.most)}
		}
	}
	return c, nil
}

// isMatrixID accepts what begins with one of the sigils and holds no white space.
func isMatrixID(id, sigils string) bool {
	return len(id) > 1 && len(id) <= maxMatrixID && strings.ContainsRune(sigils, rune(id[0])) &&
		!strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '/' || c == '?' })
}

// isNoServerName tells characters that the name of a server cannot have.
func isNoServerName(c rune) bool {
	is := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-.:[]", c)
	return !is
}

// trust is whose rules count, and which.
func (c policyConfig) trust() policyroom.Trust {
	return policyroom.Trust{Senders: c.Senders, MinPower: c.MinPower, MaxEntries: int(c.MaxEntries), TrustedRemovals: c.Removals}
}
