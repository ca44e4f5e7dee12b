package bank

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"mediagate/media"
)

// record is a content on its way out of a store or into one.
type record struct {
	id           int64
	bank         string
	created      int64 // Unix seconds, 0 if nobody told
	disableUntil int64
	note         string
	metadata     string
	signals      []madeSignal
}

// madeSignal is a signal with the version of the hasher that made it, 0 if it was
// made elsewhere.
type madeSignal struct {
	Signal
	hasher int64
}

// header is the first line of an export, and trailer the last one.
type header struct {
	version int64
	banks   []Bank
}

type trailer struct {
	contents int64
	sha256   string
}

// line is one that was read: one of the three is there.
type line struct {
	record  *record
	header  *header
	trailer *trailer
}

// importable are the views that banks hold: see SignalsOf.
var importable = []media.Variant{media.Primary, media.Upright, media.Black, media.White}

// maxMetadataDepth is how deep metadata may be nested. The API reads no deeper.
const maxMetadataDepth = 64

var errNotObject = errors.New("it is not a JSON object")

// parseLine reads a line. Errors are for people, and repeat no value.
func parseLine(text []byte) (line, error) {
	if !utf8.Valid(text) {
		return line{}, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var p parsed
	if err := eachField(d, func(key string) error { return p.read(d, key) }); err != nil {
		return line{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return line{}, errors.New("something follows the JSON object")
	}
	return p.line()
}

// parsed collects the fields of a line, whichever kind it is.
type parsed struct {
	given  []string
	header header
	end    bool
	trailer
	record
	one signalFields // of a record that has them itself
}

// Fields of the lines other than records.
var (
	headerFields  = []string{"mediagate_export", "banks"}
	trailerFields = []string{"end", "contents", "sha256"}
)

func (p *parsed) read(d *json.Decoder, key string) error {
	p.given = append(p.given, key)
	switch key {
	case "mediagate_export":
		if err := decode(d, key, &p.header.version); err != nil {
			return err
		}
		if p.header.version != exportVersion { // whatever else it says
			return errOtherVersion
		}
		return nil
	case "banks":
		return eachElement(d, key, func() error { return p.header.readBank(d) })
	case "end":
		return decode(d, key, &p.end)
	case "contents":
		return decode(d, key, &p.contents)
	case "sha256":
		return decode(d, key, &p.sha256)
	case "id":
		return decode(d, key, &p.id)
	case "bank":
		return decode(d, key, &p.bank)
	case "created":
		return decode(d, key, &p.created)
	case "disable_until":
		return decode(d, key, &p.disableUntil)
	case "note":
		return decode(d, key, &p.note)
	case "metadata":
		return p.readMetadata(d)
	case "signals":
		return eachElement(d, key, func() error {
			var s signalFields
			if err := eachField(d, func(key string) error { return s.read(d, key) }); err != nil {
				return err
			}
			made, err := s.signal()
			p.signals = append(p.signals, made)
			return err
		})
	default:
		return p.one.read(d, key)
	}
}

func (p *parsed) readMetadata(d *json.Decoder) error {
	var raw json.RawMessage
	if err := decode(d, "metadata", &raw); err != nil || string(raw) == "null" {
		return err
	}
	if raw[0] != '{' {
		return errors.New("metadata is not a JSON object")
	}
	if depthOf(raw) > maxMetadataDepth {
		return errors.New("metadata is nested too deep")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return errNotObject
	}
	p.metadata = compact.String()
	return nil
}

// depthOf returns how deep a valid document is nested.
func depthOf(raw []byte) (deepest int) {
	depth, text := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func (h *header) readBank(d *json.Decoder) error {
	var b Bank
	err := eachField(d, func(key string) error {
		switch key {
		case "name":
			return decode(d, key, &b.Name)
		case "ratio":
			return decode(d, key, &b.Ratio)
		case "md5_enforce":
			return decode(d, key, &b.MD5Enforce)
		default:
			return unknownField(key)
		}
	})
	h.banks = append(h.banks, b)
	return errors.Join(err, b.validate())
}

// line tells what was read by the fields that were there.
func (p *parsed) line() (line, error) {
	only := func(fields []string) bool {
		return !slices.ContainsFunc(p.given, func(key string) bool { return !slices.Contains(fields, key) })
	}
	has := func(key string) bool { return slices.Contains(p.given, key) }
	switch {
	case has("mediagate_export"):
		if !only(headerFields) {
			return line{}, errors.New("a beginning has other fields, too")
		}
		return line{header: &p.header}, nil
	case has("end"):
		if !only(trailerFields) || !p.end {
			return line{}, errors.New("an end has other fields, too, or is none")
		}
		return line{trailer: &p.trailer}, nil
	case slices.ContainsFunc(p.given, func(key string) bool {
		return slices.Contains(headerFields, key) || slices.Contains(trailerFields, key)
	}):
		return line{}, errors.New("it has fields of a beginning or an end, and is neither")
	}
	return p.content()
}

func (p *parsed) content() (line, error) {
	r := p.record
	if p.one != (signalFields{}) {
		if slices.Contains(p.given, "signals") {
			return line{}, errors.New("it has signals, and is one, too")
		}
		s, err := p.one.signal()
		if err != nil {
			return line{}, err
		}
		r.signals = []madeSignal{s}
	}
	if !slices.Contains(p.given, "disable_until") {
		r.disableUntil = Enabled
	}
	if r.disableUntil < 0 || r.created < 0 {
		return line{}, errors.New("created and disable_until must not be negative")
	}
	if err := errors.Join(checkSignals(r.plain()), checkTexts(r.bank, r.note, r.metadata)); err != nil {
		return line{}, err
	}
	return line{record: &r}, nil
}

// plain returns the signals without what they were made by.
func (r *record) plain() []Signal {
	out := make([]Signal, len(r.signals))
	for i, s := range r.signals {
		out[i] = s.Signal
	}
	return out
}

// signalFields are those of a signal as they are given.
type signalFields struct {
	kind, variant, value string
	quality              int
	told                 bool // whether quality was
	hasher               int64
}

func (s *signalFields) read(d *json.Decoder, key string) error {
	switch key {
	case "type":
		return decode(d, key, &s.kind)
	case "variant":
		return decode(d, key, &s.variant)
	case "value":
		return decode(d, key, &s.value)
	case "quality":
		s.told = true
		return decode(d, key, &s.quality)
	case "hasher":
		return decode(d, key, &s.hasher)
	default:
		return unknownField(key)
	}
}

func (s signalFields) signal() (madeSignal, error) {
	kind := SignalType(s.kind)
	if !slices.Contains(kinds, kind) {
		return madeSignal{}, fmt.Errorf("its type is none of %s, %s, %s and %s", PDQ, VideoMD5, MD5, SHA256)
	}
	out, err := ParseSignal(kind, s.value)
	if err != nil {
		return madeSignal{}, fmt.Errorf("%w of type %s", ErrMalformedSignal, kind)
	}
	if s.told {
		if s.quality < 0 || s.quality > 100 {
			return madeSignal{}, errors.New("its quality is not from 0 to 100")
		}
		out.Quality = s.quality
	}
	if s.variant != "" {
		i := slices.IndexFunc(importable, func(v media.Variant) bool { return v.String() == s.variant })
		if i < 0 || kind != PDQ && importable[i] != media.Primary {
			return madeSignal{}, errors.New("there is no such variant of its type")
		}
		out.Variant = importable[i]
	}
	if s.hasher < 0 {
		return madeSignal{}, errors.New("its hasher is negative")
	}
	return madeSignal{out, s.hasher}, nil
}

// eachField reads an object: read is called with each name, and reads the value.
func eachField(d *json.Decoder, read func(key string) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNotObject
	}
	var seen []string
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return errNotObject
		}
		if slices.Contains(seen, key) { // which one is meant?
			return fmt.Errorf("it has two fields %s", shownField(key))
		}
		seen = append(seen, key)
		if err := read(key); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errNotObject
	}
	return nil
}

func eachElement(d *json.Decoder, key string, read func() error) error {
	if t, err := d.Token(); err != nil {
		return errNotObject
	} else if t != json.Delim('[') {
		return fmt.Errorf("%s is not a list", key)
	}
	for d.More() {
		if err := read(); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errNotObject
	}
	return nil
}

func decode(d *json.Decoder, key string, into any) error {
	err := d.Decode(into)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return fmt.Errorf("%s is of another kind than it must be", key)
	}
	if err != nil {
		return errNotObject
	}
	return nil
}

func unknownField(key string) error { return fmt.Errorf("there is no field %s", shownField(key)) }

// shownField quotes what may be a name of a field. Anything else may be a hash.
func shownField(key string) string {
	if len(key) > 20 || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of that name"
	}
	return fmt.Sprintf("%q", key)
}
