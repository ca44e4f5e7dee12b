package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mediagate/bank"
)

// The HMA API is Python's, and its clients read JSON as Python writes it:
// numbers that are fractions keep their point (1.0), and there are two ways to
// write a document, with sorted keys and nothing but ASCII for results, and as
// received and in UTF-8 for what a validation error quotes.

// document is a parsed JSON value: nil, bool, string, integer, float64,
// []any of documents, or object.
type document any

// object is a JSON object in the order received. A key given twice has its last
// value at its first place.
type object []member

type member struct {
	key   string
	value document
}

// integer is a JSON number without fraction and exponent, of any size.
type integer struct{ *big.Int }

func (o object) get(key string) (document, bool) {
	for _, m := range o {
		if m.key == key {
			return m.value, true
		}
	}
	return nil, false
}

// Limits of a document, beyond which Python gives up as well. What is within them can
// be banked.
const (
	maxDepth  = bank.MaxDepth
	maxDigits = bank.MaxDigits
)

var errNotJSON = errors.New("not a JSON document")

// parseJSON reads one document. Unlike Python it knows no NaN and Infinity,
// which no field of the API can use.
func parseJSON(raw []byte) (document, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(raw) {
		return nil, errNotJSON
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	doc, err := parseValue(d, 0)
	if err != nil {
		return nil, errNotJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	return doc, nil
}

func parseValue(d *json.Decoder, depth int) (document, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errNotJSON
	}
	switch v := token.(type) {
	case json.Number:
		return parseNumber(v.String())
	case json.Delim:
		if v == '[' {
			return parseArray(d, depth)
		}
		return parseObject(d, depth)
	default: // nil, bool or string
		return v, nil
	}
}

func parseArray(d *json.Decoder, depth int) (document, error) {
	list := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func parseObject(d *json.Decoder, depth int) (document, error) {
	o := object{}
	places := map[string]int{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		name := key.(string)
		if i, twice := places[name]; twice {
			o[i].value = v
			continue
		}
		places[name] = len(o)
		o = append(o, member{name, v})
	}
	_, err := d.Token()
	return o, err
}

func parseNumber(text string) (document, error) {
	if !strings.ContainsAny(text, ".eE") {
		if len(text) > maxDigits {
			return nil, errNotJSON
		}
		n, ok := new(big.Int).SetString(text, 10)
		if !ok {
			return nil, errNotJSON
		}
		return integer{n}, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, errNotJSON
	}
	return f, nil
}

// writer writes documents. It also takes the Go values that handlers build
// results of: int, int64, map[string]any and lists of them.
type writer struct {
	bytes.Buffer
	// quoted is the style of validation errors.
	quoted bool
}

// resultJSON writes a result as Flask does: sorted keys, ASCII, a line end.
func resultJSON(v any) []byte {
	var w writer
	w.value(v)
	w.WriteByte('\n')
	return w.Bytes()
}

// quotedJSON writes a validation error as pydantic does.
func quotedJSON(v any) []byte {
	w := writer{quoted: true}
	w.value(v)
	return w.Bytes()
}

func (w *writer) value(v any) {
	switch v := v.(type) {
	case nil:
		w.WriteString("null")
	case bool:
		w.WriteString(strconv.FormatBool(v))
	case string:
		w.text(v)
	case int:
		w.WriteString(strconv.Itoa(v))
	case int64:
		w.WriteString(strconv.FormatInt(v, 10))
	case integer:
		w.WriteString(v.String())
	case float64:
		w.WriteString(w.float(v))
	case object:
		w.object(v)
	case map[string]any:
		o := make(object, 0, len(v))
		for key, value := range v {
			o = append(o, member{key, value})
		}
		w.object(o)
	case map[string]string:
		o := make(object, 0, len(v))
		for key, value := range v {
			o = append(o, member{key, value})
		}
		w.object(o)
	case []any:
		w.list(len(v), func(i int) { w.value(v[i]) })
	case []string:
		w.list(len(v), func(i int) { w.value(v[i]) })
	case []map[string]any:
		w.list(len(v), func(i int) { w.value(v[i]) })
	default:
		panic(fmt.Sprintf("server: %T is no part of a result", v))
	}
}

func (w *writer) list(n int, element func(i int)) {
	w.WriteByte('[')
	for i := range n {
		if i > 0 {
			w.WriteByte(',')
		}
		element(i)
	}
	w.WriteByte(']')
}

func (w *writer) object(o object) {
	if !w.quoted {
		o = sortedMembers(o)
	}
	w.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			w.WriteByte(',')
		}
		w.text(m.key)
		w.WriteByte(':')
		w.value(m.value)
	}
	w.WriteByte('}')
}

func (w *writer) text(s string) {
	w.WriteByte('"')
	if isPlain(s) {
		w.WriteString(s)
		w.WriteByte('"')
		return
	}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case strings.ContainsRune("\b\t\n\f\r", r):
			w.WriteByte('\\')
			w.WriteByte("btn.fr"[r-'\b'])
		case r < 0x20 || !w.quoted && r >= 0x7F && r <= 0xFFFF:
			_, _ = fmt.Fprintf(w, `\u%04x`, r) // a buffer's writes do not fail
		case !w.quoted && r > 0xFFFF:
			r -= 0x10000
			_, _ = fmt.Fprintf(w, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			w.WriteRune(r)
		}
	}
	w.WriteByte('"')
}

// isPlain tells texts that both ways write as they are.
func isPlain(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < 0x20 || b >= 0x7F || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}

// float writes a number as Python's repr does, and in quotations as Rust does:
// both keep the point, and differ in when they use an exponent.
func (w *writer) float(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	small := 1e-4
	if w.quoted {
		small = 1e-5
	}
	if a := math.Abs(f); a != 0 && (a < small || a >= 1e16) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		if w.quoted {
			s = strings.Replace(s, "e-0", "e-", 1) // one digit is enough
		}
		return s
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func sortedMembers(o object) object {
	sorted := slices.Clone(o)
	slices.SortFunc(sorted, func(a, b member) int { return strings.Compare(a.key, b.key) })
	return sorted
}
