package bank

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// field is one that an object may have.
type field struct {
	name string
	// into takes its value: a pointer to decode into, or a func(json.RawMessage) error.
	into any
}

// readObject reads an object of such fields, and returns the names of those that say
// something: null is as if the field were left out. Errors are for people, and repeat
// no value; what is the object's name in them.
func readObject(d *json.Decoder, what string, fields []field) (given []string, err error) {
	notObject := fmt.Errorf("%s is not a JSON object", what)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, notObject
	}
	var seen []string
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, notObject
		}
		if slices.Contains(seen, key) { // which one is meant?
			return nil, fmt.Errorf("%s has two fields %s", what, shownField(key))
		}
		seen = append(seen, key)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, notObject
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if i < 0 {
			return nil, fmt.Errorf("there is no field %s", shownField(key))
		}
		if string(value) == "null" {
			continue
		}
		given = append(given, key)
		if err := fields[i].read(value); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, notObject
	}
	return given, nil
}

func (f field) read(value json.RawMessage) error {
	if read, ok := f.into.(func(json.RawMessage) error); ok {
		return read(value)
	}
	err := json.Unmarshal(value, f.into)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return fmt.Errorf("%s is of another kind than it must be", f.name)
	}
	return err
}

// readList reads a list: read is called for each element, and reads it.
func readList(name string, read func(d *json.Decoder) error) func(json.RawMessage) error {
	return func(value json.RawMessage) error {
		d := json.NewDecoder(bytes.NewReader(value))
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return fmt.Errorf("%s is not a list", name)
		}
		for d.More() {
			if err := read(d); err != nil {
				return err
			}
		}
		return nil
	}
}

// shownField quotes what may be a name of a field. Anything else may be a hash.
func shownField(key string) string {
	if len(key) > 20 || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of that name"
	}
	return fmt.Sprintf("%q", key)
}
