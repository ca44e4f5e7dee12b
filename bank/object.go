package bank

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// field is one that an object may have.
type field struct {
	name string
	// into takes its value: a pointer to decode into, or a func(reader) error.
	into any
}

// reader reads the objects of a text.
type reader struct {
	*json.Decoder
	text []byte
}

func newReader(text []byte) reader { return reader{json.NewDecoder(bytes.NewReader(text)), text} }

// wasNull tells what the value was that was read last.
func (r reader) wasNull() bool { return bytes.HasSuffix(r.text[:r.InputOffset()], []byte("null")) }

// object reads an object of such fields, and returns the names of those that say
// something: null is as if the field were left out. Errors are for people, and repeat
// no value; what is the object's name in them.
func (r reader) object(what string, fields []field) (given []string, err error) {
	notObject := fmt.Errorf("%s is not a JSON object", what)
	if t, err := r.Token(); err != nil || t != json.Delim('{') {
		return nil, notObject
	}
	var seen []string
	for r.More() {
		t, err := r.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, notObject
		}
		if slices.Contains(seen, key) { // which one is meant?
			return nil, fmt.Errorf("%s has two fields %s", what, shownField(key))
		}
		seen = append(seen, key)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if i < 0 {
			return nil, fmt.Errorf("there is no field %s", shownField(key))
		}
		var broken *json.SyntaxError
		if err := fields[i].read(r); errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, notObject
		} else if err != nil {
			return nil, err
		}
		if !r.wasNull() {
			given = append(given, key)
		}
	}
	if _, err := r.Token(); err != nil {
		return nil, notObject
	}
	return given, nil
}

func (f field) read(r reader) error {
	if read, ok := f.into.(func(reader) error); ok {
		return read(r)
	}
	err := r.Decode(f.into)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return fmt.Errorf("%s is of another kind than it must be", f.name)
	}
	return err
}

// readList reads a list: read is called for each element, and reads it.
func readList(name string, read func(reader) error) func(reader) error {
	return func(r reader) error {
		t, err := r.Token()
		if err != nil || t == nil { // null
			return err
		}
		if t != json.Delim('[') {
			return fmt.Errorf("%s is not a list", name)
		}
		for r.More() {
			if err := read(r); err != nil {
				return err
			}
		}
		_, err = r.Token()
		return err
	}
}

// shownField quotes what may be a name of a field. Anything else may be a hash.
func shownField(key string) string {
	if len(key) > 20 || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of that name"
	}
	return fmt.Sprintf("%q", key)
}
