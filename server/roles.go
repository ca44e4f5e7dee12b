package server

import (
	"fmt"
	"strings"
)

// Roles is a set of what a process does. The empty set, which no setting can name,
// stands for all.
type Roles uint8

// The roles. Those of Hasher-Matcher-Actioner mean what they mean there.
const (
	Hasher  Roles = 1 << iota // /h
	Matcher                   // /m
	Curator                   // /c, and what else shows or changes banks and exchanges
	Cron                      // no route: it fetches from exchanges
	UI                        // pages, of which there are none yet
	Scanner                   // the content scanner, and scans of bytes
	Gate                      // the hook of reverse proxies
)

// roleNames are in the order of the roles.
var roleNames = []string{"HASHER", "MATCHER", "CURATOR", "CRON", "UI", "SCANNER", "GATE"}

// Has tells whether one of those roles at least is in the set.
func (r Roles) Has(one Roles) bool { return r == 0 || r&one != 0 }

// Match tells whether a process with these roles compares anything with what is
// banked, and so needs an index.
func (r Roles) Match() bool { return r.Has(Matcher | Scanner | Gate) }

// String names the roles as a setting would.
func (r Roles) String() string {
	var names []string
	for i, name := range roleNames {
		if r.Has(1 << i) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// UnmarshalText reads names with commas between them, in any order and in small
// letters or capitals. Unlike in hma-matrix no name takes another one's role away.
func (r *Roles) UnmarshalText(text []byte) error {
	var set Roles
	var unknown []string
	for name := range strings.SplitSeq(string(text), ",") {
		name = strings.TrimSpace(name)
		role := Roles(0)
		for i, known := range roleNames {
			if strings.EqualFold(name, known) {
				role = 1 << i
			}
		}
		if role == 0 {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
		set |= role
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%s is no role: there are %s, with commas between them", strings.Join(unknown, ", "), strings.Join(roleNames, ", "))
	}
	*r = set
	return nil
}
