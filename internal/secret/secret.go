// Package secret holds strings that must not be printed.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"strings"
)

// String is a key or token. Whatever prints, marshals or logs it writes
// [redacted], and an address where it cannot be asked: fmt calls no methods of
// fields that are not exported, and prints what is in them.
//
// The zero value is no secret. Strings cannot be compared with ==; Equal does. They
// may be copied, and used by many goroutines at once.
type String struct {
	// A func, because nothing that looks into values can look into it. It is nil in
	// the zero value.
	reveal func() string
}

// New returns a secret of that value.
func New(value string) String { return String{func() string { return value }} }

// UnmarshalText reads a secret from a file or variable, without the line end
// that editors add.
func (s *String) UnmarshalText(text []byte) error {
	*s = New(strings.TrimRight(string(text), "\r\n"))
	return nil
}

// Reveal returns the value, to be sent to whom it is meant for.
func (s String) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Empty tells whether there is no secret.
func (s String) Empty() bool { return s.Reveal() == "" }

// Equal compares in a time that tells nothing about either side.
func (s String) Equal(given string) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

const redacted = "[redacted]"

// String implements fmt.Stringer.
func (String) String() string { return redacted }

// GoString implements fmt.GoStringer, for %#v.
func (String) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler, for JSON and others.
func (String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (String) LogValue() slog.Value { return slog.StringValue(redacted) }
