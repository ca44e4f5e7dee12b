package bank

import (
	"bytes"
	"fmt"
	"io"
)

// Relined reads lines and writes the contents of those that are right, as an export
// of theirs would have them.
func Relined(text []byte) (out []byte, contents int64, err error) {
	var b bytes.Buffer
	w := newLineWriter(&b)
	if err := w.begin([]Bank{{Name: "A", Ratio: 1}}); err != nil {
		return nil, 0, err
	}
	for in := newLineReader(bytes.NewReader(text)); ; {
		r, err := in.next()
		var bad *LineError
		switch {
		case err == io.EOF: //nolint:errorlint // it is never wrapped
			return b.Bytes(), w.records, w.end()
		case err != nil && asLineError(err, &bad):
			continue
		case err != nil:
			return nil, 0, nil // what follows is not read
		}
		r.bank = "A"
		if err := w.record(r); err != nil {
			return nil, 0, fmt.Errorf("what was read cannot be written: %w", err)
		}
	}
}

func asLineError(err error, into **LineError) bool {
	e, ok := err.(*LineError) //nolint:errorlint // it is never wrapped
	*into = e
	return ok
}
