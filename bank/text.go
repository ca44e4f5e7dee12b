package bank

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// ErrText is a text that PostgreSQL cannot keep. No store takes it, so that each
// can be copied to the other engine.
var ErrText = errors.New("text that is not UTF-8, or holds a zero character")

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func checkTexts(texts ...string) error {
	for _, s := range texts {
		if !isText(s) {
			return ErrText
		}
	}
	return nil
}

// shown makes a text of a problem, which may quote what a remote has sent. It is
// for people to read: refused, it would hide itself.
func shown(problem string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(problem, "\uFFFD"), "\x00", "\uFFFD")
}
