package policyroom

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is how long a line of a list of hashes may be, in bytes.
const maxLine = 4096

// maxFile bounds what is read of a file: 10,000 of the largest events, and more.
const maxFile = 1 << 30

// ErrFile is what ReadFile wraps for what is no list.
var ErrFile = errors.New("it is no list")

// ReadFile makes the room's state that of a file: a JSON array of events, as a
// homeserver answers that is asked for the state of a room; events without the array,
// one after another, redactions among them; or lines with one PDQ hash each, empty
// ones and those that begin with # left out. It tells whether it was the latter: then
// nothing is known of a room, and the rules are those of events that are called after
// the lines.
func (r *Room) ReadFile(file io.Reader) (hashes bool, err error) {
	r.Replace(nil)
	in := bufio.NewReader(&bounded{file, maxFile + 1})
	if mark, err := in.Peek(len(byteOrderMark)); err == nil && string(mark) == byteOrderMark {
		_, _ = in.Discard(len(mark)) // it was peeked at
	}
	switch first, err := in.Peek(1); {
	case errors.Is(err, io.EOF):
		return false, fmt.Errorf("%w: it is empty", ErrFile)
	case err != nil:
		return false, err
	case first[0] == '[' || first[0] == '{':
		return false, r.readEvents(json.NewDecoder(in), first[0] == '[')
	default:
		return true, r.readHashes(in)
	}
}

// byteOrderMark is what some editors begin a file with.
const byteOrderMark = "\ufeff"

// readEvents reads a stream of events, or an array of them.
func (r *Room) readEvents(in *json.Decoder, array bool) error {
	if array {
		if _, err := in.Token(); err != nil {
			return err
		}
	}
	for n := 1; !array || in.More(); n++ {
		var e Event
		switch err := in.Decode(&e); {
		case !array && errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return malformed(n, err)
		case e.Type == "":
			return malformed(n, errors.New("it has no type"))
		case e.ID == "": // as the lines that a bank is imported from
			return malformed(n, errors.New("it has no id"))
		case e.StateKey == nil && e.Type == Redaction:
			r.Redact(e)
		default:
			r.set(e, 0)
		}
	}
	if _, err := in.Token(); err != nil {
		return fmt.Errorf("%w: it is cut off: %w", ErrFile, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is something behind its end", ErrFile)
	}
	return nil
}

func malformed(n int, err error) error {
	if errors.Is(err, errTooLong) {
		return err
	}
	return fmt.Errorf("%w: event %d: %w", ErrFile, n, err)
}

// readHashes reads lines. One that is no hash is a rule that is refused, so that all
// of them are told.
func (r *Room) readHashes(in *bufio.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		content, err := json.Marshal(map[string]any{hashTypes[0].name: map[string]any{"hash": line, "quality": 100}})
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrFile, n, err)
		}
		name := fmt.Sprintf("line %d", n)
		r.set(Event{ID: name, Type: HashEvent, StateKey: &name, Content: content}, n)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: line %d is longer than %d bytes", ErrFile, n+1, maxLine)
	} else if err != nil {
		return err
	}
	return nil
}

var errTooLong = fmt.Errorf("%w: it is longer than %d bytes", ErrFile, maxFile)

// bounded fails once so many bytes are read: one more than there may be.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		return n, errTooLong
	}
	return n, err
}
