package bank

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"
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

// parseLine reads a line. Errors are for people, and repeat no value.
func parseLine(text []byte) (line, error) {
	if !utf8.Valid(text) {
		return line{}, errors.New("it is not UTF-8")
	}
	r := newReader(text)
	p := parsed{record: record{disableUntil: Enabled}}
	beginning, end, signal := p.beginningFields(), p.endFields(), p.one.fields()
	given, err := r.object("it", slices.Concat(beginning, end, p.contentFields(), signal))
	if err != nil {
		return line{}, err
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return line{}, errors.New("something follows the JSON object")
	}
	of := func(fields []field) (n int) {
		for _, f := range fields {
			if slices.Contains(given, f.name) {
				n++
			}
		}
		return n
	}
	ends := slices.Contains(given, "end")
	switch {
	case p.header.version != 0 && of(beginning) == len(given):
		return line{header: &p.header}, nil
	case p.header.version != 0:
		return line{}, errors.New("a beginning has other fields, too")
	case ends && p.end && of(end) == len(given):
		return line{trailer: &p.trailer}, nil
	case ends:
		return line{}, errors.New("an end has other fields, too, or is none")
	case of(beginning)+of(end) > 0:
		return line{}, errors.New("it has fields of a beginning or an end, and is neither")
	case of(signal) > 0 && slices.Contains(given, "signals"):
		return line{}, errors.New("it has signals, and is one, too")
	case of(signal) > 0:
		if err := p.addSignal(p.one); err != nil {
			return line{}, err
		}
	}
	if err := p.check(); err != nil {
		return line{}, err
	}
	return line{record: &p.record}, nil
}

// parsed collects the fields of a line, whichever kind it is.
type parsed struct {
	header header
	end    bool
	trailer
	record
	one signalFields // of a record that has them itself
}

func (p *parsed) beginningFields() []field {
	return []field{{"mediagate_export", p.readVersion}, {"banks", readList("banks", p.header.readBank)}}
}

func (p *parsed) endFields() []field {
	return []field{{"end", &p.end}, {"contents", &p.contents}, {"sha256", &p.sha256}}
}

func (p *parsed) contentFields() []field {
	return []field{
		{"id", &p.id}, {"bank", &p.bank}, {"created", &p.created}, {"disable_until", &p.disableUntil},
		{"note", &p.note}, {"metadata", p.readMetadata}, {"signals", readList("signals", p.readSignal)},
	}
}

// readVersion looks at it before anything else is: another version has other fields.
func (p *parsed) readVersion(r reader) error {
	if err := (field{"mediagate_export", &p.header.version}).read(r); err != nil || r.wasNull() {
		return err
	}
	if p.header.version != exportVersion {
		return errOtherVersion
	}
	return nil
}

func (p *parsed) readMetadata(r reader) error {
	var value json.RawMessage
	if err := r.Decode(&value); err != nil || r.wasNull() {
		return err
	}
	if value[0] != '{' {
		return errors.New("metadata is not a JSON object")
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, value) // it was read as JSON
	p.metadata = compact.String()
	return CheckMetadata(p.metadata)
}

func (h *header) readBank(r reader) error {
	var b Bank
	given, err := r.object("a bank", []field{
		{"name", &b.Name}, {"ratio", &b.Ratio}, {"md5_enforce", &b.MD5Enforce},
		{"monitor", &b.Monitor}, {"allow", &b.Allow}, {"agree", &b.Agree}, {"breaker", &b.Breaker},
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"name", "ratio", "md5_enforce"} { // none of them goes without saying
		if !slices.Contains(given, name) {
			return errors.New("a bank needs name, ratio and md5_enforce")
		}
	}
	h.banks = append(h.banks, b)
	return b.validate()
}

func (p *parsed) readSignal(r reader) error {
	var s signalFields
	if _, err := r.object("a signal", s.fields()); err != nil {
		return err
	}
	return p.addSignal(s)
}

func (p *parsed) addSignal(s signalFields) error {
	made, err := s.signal()
	p.signals = append(p.signals, made)
	return err
}

// check refuses a content that the API would, too.
func (r *record) check() error {
	if r.disableUntil < 0 || r.created < 0 {
		return errors.New("created and disable_until must not be negative")
	}
	if r.disableUntil > latestDisabled() {
		return errors.New("disable_until must be less than 5 years in the future, in seconds")
	}
	return errors.Join(checkSignals(r.plain()), checkTexts(r.bank), CheckNote(r.note))
}

// latestDisabled is a day later than the API takes: no two clocks agree.
func latestDisabled() int64 { return time.Now().Add(MaxDisabled + 24*time.Hour).Unix() }

// plain returns the signals without what they were made by.
func (r *record) plain() []Signal {
	out := make([]Signal, len(r.signals))
	for i, s := range r.signals {
		out[i] = s.Signal
	}
	return out
}
