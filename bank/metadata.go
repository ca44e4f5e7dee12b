package bank

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what a content is given besides its signals.
const (
	// MaxNote is in characters.
	MaxNote = 255
	// MaxMetadata is in bytes, as they are stored. A request of 1 MiB, each byte of
	// which is escaped and then kept as a text, makes less.
	MaxMetadata = 8 << 20
	// MaxDepth is how many levels of a JSON document may be below its first.
	MaxDepth = 100
	// MaxDigits is how many an integer in one may have.
	MaxDigits = 4300
	// MaxDisabled is how far ahead a content may be disabled.
	MaxDisabled = 5 * 365 * 24 * time.Hour
)

// ErrNote is a note that no content can have.
var ErrNote = fmt.Errorf("the note is longer than %d characters", MaxNote)

// CheckNote fails with [ErrNote], or with [ErrText].
func CheckNote(note string) error {
	if utf8.RuneCountInString(note) > MaxNote {
		return ErrNote
	}
	return checkTexts(note)
}

// CheckMetadata tells why a text is not what a content can have for metadata: nothing,
// or a JSON object of HMA's fields. Errors are for people, and repeat no value.
func CheckMetadata(text string) error {
	if text == "" {
		return nil
	}
	if len(text) > MaxMetadata {
		return fmt.Errorf("the metadata is longer than %d bytes", MaxMetadata)
	}
	if err := checkTexts(text); err != nil {
		return err
	}
	// Nothing that follows the object, or is wrong in it, is for a decoder to miss.
	if !json.Valid([]byte(text)) {
		return errors.New("the metadata is not a JSON object of finite numbers")
	}
	var word string
	_, err := newReader([]byte(text)).object("it", []field{
		{"content_id", &word}, {"content_uri", &word}, {"json", checkJSON},
	})
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return nil
}

// checkJSON looks at what callers may nest, one level down in metadata.
func checkJSON(r reader) error {
	var value json.RawMessage
	if err := r.Decode(&value); err != nil || r.wasNull() {
		return err
	}
	if value[0] != '{' {
		return errors.New("json is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	for depth := 1; d.More() || depth > 1; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		if t == json.Delim('}') || t == json.Delim(']') {
			depth--
			continue
		}
		if depth > MaxDepth {
			return fmt.Errorf("it is nested more than %d levels deep", MaxDepth)
		}
		switch t := t.(type) {
		case json.Delim:
			depth++
		case json.Number:
			if !isNumber(t.String()) {
				return errors.New("a number in it is too large")
			}
		}
	}
	return nil
}

// isNumber tells whether those who read JSON can hold a number. One that is too small
// is zero to them.
func isNumber(text string) bool {
	if !strings.ContainsAny(text, ".eE") {
		return len(text) <= MaxDigits
	}
	f, _ := strconv.ParseFloat(text, 64) // infinite if there is an error
	return !math.IsInf(f, 0)
}

// fit makes a content one that Import takes, of what earlier programs took for one.
// A note or metadata that no content can have any more is kept as a text in the
// metadata: nothing of it is lost, and no other content left out for its sake.
func (r *record) fit() {
	r.created = max(r.created, 1) // 0 is not known
	switch latest := time.Now().Add(MaxDisabled).Unix(); {
	case r.disableUntil < 0: // long ago
		r.disableUntil = Enabled
	case r.disableUntil > latest:
		r.disableUntil = DisabledForever
	}
	badNote, badMetadata := CheckNote(r.note) != nil, CheckMetadata(r.metadata) != nil
	if !badNote && !badMetadata {
		return
	}
	var kept struct {
		JSON struct {
			Note     string `json:"unfit_note,omitempty"`
			Metadata string `json:"unfit_metadata,omitempty"`
		} `json:"json"`
	}
	kept.JSON.Metadata = shown(r.metadata)
	if badNote {
		kept.JSON.Note = shown(r.note)
		r.note = firstCharacters(kept.JSON.Note, MaxNote)
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(kept) // texts can be encoded, and a builder takes all
	r.metadata = strings.TrimSuffix(out.String(), "\n")
}

func firstCharacters(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
