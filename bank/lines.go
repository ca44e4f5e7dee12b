package bank

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"mediagate/media"
)

// Contents leave and enter a store as JSON objects, one a line, in UTF-8. An export
// is a beginning, with the banks and their settings, a line for each content, and an
// end, with their number and the SHA-256 of all lines before it, each with a line
// feed and nothing else after it:
//
//	{"mediagate_export":1,"banks":[{"name":"KNOWN_BAD","ratio":1,"md5_enforce":false}]}
//	{"bank":"KNOWN_BAD","id":7,"created":1790000000,"disable_until":1,"signals":[{"type":"pdq","value":"…","quality":100,"hasher":1}]}
//	{"end":true,"contents":1,"sha256":"…"}
//
// A signal may have a variant other than primary; a content a note and metadata; a bank
// monitor and allow, agree and breaker. A content in review is one that is disabled:
// elsewhere nothing holds it, and nobody has decided that it blocks.
// Without a beginning there is no end: that is a list, of any lines like the second,
// or like {"type":"pdq","value":"…"}, which is a content with that one signal. A
// signal must be there, all else may be left out, or null, which says the same. The
// number of a content is not taken over; the version of the hasher is that of the
// program that made the signal.
//
// An empty line is none, a line may end with CR LF, and a file begin with a byte
// order mark. Everything else that is not as above is an error: nothing is guessed.

// exportVersion is that of the format.
const exportVersion = 1

// maxLine bounds a line, in bytes. All but metadata fits into 64 KiB.
const maxLine = MaxMetadata + 64<<10

// Errors of exports and imports.
var (
	ErrCutOff       = errors.New("the export is cut off: its last line is missing")
	ErrDamaged      = errors.New("the export was changed since it was made")
	ErrNoLine       = errors.New("there is not one line")
	errOtherVersion = fmt.Errorf("the export is not of version %d, which this program reads", exportVersion)
	errLongLine     = fmt.Errorf("it is longer than %d bytes", maxLine)
)

// LineError is what is wrong with one line of a list or an export.
type LineError struct {
	Line int64 // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// lineReader reads records. It holds one line at a time.
type lineReader struct {
	in      *bufio.Reader
	buffer  []byte
	number  int64 // of the line read last
	begun   bool  // there was a line
	header  *header
	ended   bool
	records int64 // between the beginning and the end, good or bad
	digest  hash.Hash
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, 64<<10), digest: sha256.New()}
}

// next returns the next record, or io.EOF when all was read and nothing is missing;
// what has no line at all is not even empty, but broken off, or never began.
// A [LineError] is of one line, and next can be called again.
func (l *lineReader) next() (*record, error) {
	for {
		text, err := l.line()
		switch {
		case errors.Is(err, io.EOF) && !l.begun:
			return nil, ErrNoLine
		case errors.Is(err, io.EOF) && l.header != nil && !l.ended:
			return nil, fmt.Errorf("line %d: %w", l.number, ErrCutOff)
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		}
		if errors.Is(err, errLongLine) {
			l.begun, l.records = true, l.records+1
			return nil, &LineError{l.number, err}
		}
		if err != nil {
			return nil, fmt.Errorf("read line %d: %w", l.number+1, err)
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		r, err := l.take(text)
		if r != nil || err != nil {
			return r, err
		}
	}
}

// take applies a line. It returns neither a record nor an error for a beginning and
// an end that are right.
func (l *lineReader) take(text []byte) (*record, error) {
	first := !l.begun
	l.begun = true
	if l.ended {
		return nil, &LineError{l.number, errors.New("something follows the end of the export")}
	}
	parsed, err := parseLine(text)
	if errors.Is(err, errOtherVersion) {
		return nil, fmt.Errorf("line %d: %w", l.number, err)
	}
	if t := parsed.trailer; t != nil {
		return nil, l.end(t)
	}
	_, _ = l.digest.Write(text) // it cannot fail
	_, _ = l.digest.Write([]byte{'\n'})
	switch {
	case parsed.header != nil && !first:
		return nil, &LineError{l.number, errors.New("an export begins in the middle")}
	case parsed.header != nil:
		l.header = parsed.header
		return nil, nil
	}
	l.records++
	if err != nil {
		return nil, &LineError{l.number, err}
	}
	return parsed.record, nil
}

// end holds the end of an export against what was read.
func (l *lineReader) end(t *trailer) error {
	switch {
	case l.header == nil:
		return fmt.Errorf("line %d: the export has an end and no beginning", l.number)
	case t.contents != l.records:
		return fmt.Errorf("line %d: %w: it had %d contents, and has %d", l.number, ErrDamaged, t.contents, l.records)
	case t.sha256 != hex.EncodeToString(l.digest.Sum(nil)):
		return fmt.Errorf("line %d: %w: its SHA-256 is another one", l.number, ErrDamaged)
	}
	l.ended = true
	return nil
}

// line reads a line without its end. It is valid until the next one is read.
func (l *lineReader) line() ([]byte, error) {
	l.buffer = l.buffer[:0]
	long := false
	for {
		part, err := l.in.ReadSlice('\n')
		if !long {
			l.buffer = append(l.buffer, part...)
			long = len(l.buffer) > maxLine+len("\r\n")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(l.buffer) > 0 {
			err = nil // the last line need not end
		}
		if err != nil {
			return nil, err
		}
		break
	}
	l.number++
	text := bytes.TrimSuffix(bytes.TrimSuffix(l.buffer, []byte{'\n'}), []byte{'\r'})
	if l.number == 1 {
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	}
	if long || len(text) > maxLine {
		return nil, errLongLine
	}
	return text, nil
}

// lineWriter writes an export.
type lineWriter struct {
	out     *bufio.Writer
	json    *json.Encoder
	line    bytes.Buffer
	digest  hash.Hash
	records int64
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{out: bufio.NewWriterSize(w, 64<<10), digest: sha256.New()}
	l.json = json.NewEncoder(&l.line)
	l.json.SetEscapeHTML(false)
	return l
}

// Lines as they are written. Of the fields of a content and a signal, those that say
// nothing are left out.
type (
	bankLine struct {
		Name       string  `json:"name"`
		Ratio      float64 `json:"ratio"`
		MD5Enforce bool    `json:"md5_enforce"`
		Monitor    bool    `json:"monitor,omitempty"`
		Allow      bool    `json:"allow,omitempty"`
		Agree      int     `json:"agree,omitempty"`
		Breaker    int     `json:"breaker,omitempty"`
	}
	headerLine struct {
		Version int        `json:"mediagate_export"`
		Banks   []bankLine `json:"banks"`
	}
	signalLine struct {
		Type    SignalType `json:"type"`
		Variant string     `json:"variant,omitempty"`
		Value   string     `json:"value"`
		Quality *int       `json:"quality,omitempty"`
		Hasher  int64      `json:"hasher,omitempty"`
	}
	recordLine struct {
		Bank         string          `json:"bank"`
		ID           int64           `json:"id"`
		Created      int64           `json:"created"`
		DisableUntil int64           `json:"disable_until"`
		Note         string          `json:"note,omitempty"`
		Metadata     json.RawMessage `json:"metadata,omitempty"`
		Signals      []signalLine    `json:"signals"`
	}
	trailerLine struct {
		End      bool   `json:"end"`
		Contents int64  `json:"contents"`
		SHA256   string `json:"sha256"`
	}
)

func (l *lineWriter) begin(banks []Bank) error {
	h := headerLine{Version: exportVersion, Banks: []bankLine{}}
	for _, b := range banks {
		h.Banks = append(h.Banks, bankLine{b.Name, b.Ratio, b.MD5Enforce, b.Monitor, b.Allow, b.Agree, b.Breaker})
	}
	return l.write(h)
}

func (l *lineWriter) record(r *record) error {
	r.fit()
	out, err := newRecordLine(r)
	if err != nil {
		return fmt.Errorf("content %d of bank %s: %w", r.id, r.bank, err)
	}
	l.records++
	return l.write(out)
}

func newRecordLine(r *record) (recordLine, error) {
	if err := errors.Join(checkSignals(r.plain()), CheckMetadata(r.metadata)); err != nil {
		return recordLine{}, err
	}
	out := recordLine{
		Bank: r.bank, ID: r.id, Created: r.created, DisableUntil: r.disableUntil, Note: r.note, Metadata: json.RawMessage(r.metadata),
		Signals: make([]signalLine, 0, len(r.signals)),
	}
	for _, s := range r.signals {
		text := signalLine{Type: s.Type, Value: s.Text(), Hasher: s.hasher}
		if s.Quality != NoQuality {
			text.Quality = &s.Quality
		}
		if !slices.Contains(importable, s.Variant) {
			return recordLine{}, fmt.Errorf("there is no variant %d", s.Variant)
		}
		if s.Variant != media.Primary {
			text.Variant = s.Variant.String()
		}
		out.Signals = append(out.Signals, text)
	}
	return out, nil
}

// end writes the last line, and all that has not been passed on yet.
func (l *lineWriter) end() error {
	sum := hex.EncodeToString(l.digest.Sum(nil))
	return errors.Join(l.write(trailerLine{true, l.records, sum}), l.out.Flush())
}

func (l *lineWriter) write(v any) error {
	l.line.Reset()
	if err := l.json.Encode(v); err != nil {
		return err
	}
	if l.line.Len() > maxLine+1 {
		return errLongLine // nobody could read it
	}
	_, _ = l.digest.Write(l.line.Bytes()) // it cannot fail
	_, err := l.out.Write(l.line.Bytes())
	return err
}
