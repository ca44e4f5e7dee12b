package policyroom

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Key names a rule of a room: what is under it changes, and is taken back, as one.
type Key struct{ Type, StateKey string }

func (k Key) compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Type, other.Type), cmp.Compare(k.StateKey, other.StateKey))
}

// ErrSource is what ParseSource wraps for text that names no event.
var ErrSource = errors.New("it is not a type, a state key and an event")

// Source is what the rule that an event says is banked under. An event that says
// another one under the same key is another source.
func (k Key) Source(eventID string) string {
	return k.Type + "/" + url.PathEscape(k.StateKey) + "/" + eventID
}

// ParseSource is the inverse of Source. It takes nothing that Source does not write.
func ParseSource(text string) (Key, string, error) {
	eventType, rest, _ := strings.Cut(text, "/")
	escaped, eventID, _ := strings.Cut(rest, "/") // an event's id may have more of them
	stateKey, err := url.PathUnescape(escaped)
	if err != nil {
		return Key{}, "", fmt.Errorf("source %q: %w", text, ErrSource)
	}
	key := Key{eventType, stateKey}
	if eventType == "" || eventID == "" || key.Source(eventID) != text {
		return Key{}, "", fmt.Errorf("source %q: %w", text, ErrSource)
	}
	return key, eventID, nil
}
