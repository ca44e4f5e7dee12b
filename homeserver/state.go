package homeserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"maunium.net/go/mautrix"
)

const (
	// The state of a large room is long, and the homeserver gathers it before it
	// begins to answer.
	stateTimeout  = 15 * time.Minute
	maxStateBytes = 2 << 30
	// maxEventBytes is four times what the specification lets an event have: as it
	// is told, it has some more around it.
	maxEventBytes = 256 << 10
)

// RoomState reads the state of a room, however much it is: each is called with one
// event after another, and its error ends the reading and is returned. An element that
// is longer than 256 KiB, or no object, is an empty [Event]: nothing is known of it.
// each must keep up with MEDIAGATE_HOMESERVER_MIN_RATE.
//
// What each has been told counts only if RoomState returns nil: else some of the state
// is missing, and what is missing looks as if it had been removed.
//
// Of a room that the user has left, or was thrown out of, Synapse tells the state as it
// was then, and does not say so. The user's own m.room.member event in it does.
func (c *Client) RoomState(ctx context.Context, room string, each func(Event) error) error {
	if !isName('!', room) {
		return fmt.Errorf("read room state: %w: that is no room", ErrNotFound)
	}
	err := c.roomState(ctx, room, func(raw []byte) error {
		var e Event
		if json.Unmarshal(raw, &e) != nil {
			e = Event{}
		}
		return each(e)
	})
	var own callerError
	if errors.As(err, &own) {
		c.counted("room_state", nil)
		return own.error
	}
	c.counted("room_state", err)
	if err != nil {
		return fmt.Errorf("read room state: %w", err)
	}
	return nil
}

// callerError is the error of a function that was given.
type callerError struct{ error }

func (c *Client) roomState(ctx context.Context, room string, each func(raw []byte) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	header := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {userAgent}}
	if c.HasToken() {
		header.Set("Authorization", c.Service().authorization.Reveal())
	}
	res, err := send(ctx, c.patient, c.matrix.BuildURL(mautrix.ClientURLPath{"v3", "rooms", room, "state"}), header)
	if err != nil {
		return err
	}
	res.Body = newSteadyBody(ctx, res.Body, c.config, giveUp)
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return readStatusError(res)
	}
	return readElements(res.Body, maxStateBytes, each)
}

var errNoArray = fmt.Errorf("%w: it is no list", ErrUpstream)

// readElements reads a JSON array of at most so many bytes, one element after another.
// Those that are longer than an event can be are nil. Nothing may follow the array.
//
// It looks for where elements end, and not at what they are.
func readElements(body io.Reader, most int64, each func(element []byte) error) error {
	e := elements{in: bufio.NewReaderSize(body, 64<<10), left: most}
	if b, err := e.next(); err != nil {
		return err
	} else if b != '[' {
		return errNoArray
	}
	for first := true; ; first = false {
		b, err := e.next()
		if err != nil {
			return err
		}
		if first && b == ']' {
			break
		}
		element, end, err := e.element(b)
		if err != nil {
			return err
		}
		if err := each(element); err != nil {
			return callerError{err}
		}
		if end == ']' {
			break
		}
	}
	switch _, err := e.next(); {
	case errors.Is(err, errEnd):
		return nil
	case err != nil:
		return err
	default:
		return errNoArray
	}
}

// errEnd is the end of the body where it must not be.
var errEnd = fmt.Errorf("%w before its end", ErrBroken)

// elements reads what is in an array.
type elements struct {
	in   *bufio.Reader
	left int64 // bytes that may still come
	buf  []byte
}

func (e *elements) byte() (byte, error) {
	b, err := e.in.ReadByte()
	switch {
	case errors.Is(err, io.EOF) && !errors.Is(err, ErrBroken):
		return 0, errEnd
	case err != nil:
		return 0, err
	case e.left == 0:
		return 0, ErrTooLong
	}
	e.left--
	return b, nil
}

// next is byte, without white space.
func (e *elements) next() (byte, error) {
	for {
		b, err := e.byte()
		if err != nil || b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b, err
		}
	}
}

// element reads an element that begins with b, and what ends it: a comma or a bracket.
// It is good until the next one is read.
func (e *elements) element(b byte) (element []byte, end byte, err error) {
	e.buf = e.buf[:0]
	for depth, quoted, escaped, long := 0, false, false, false; ; {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = b == '\\', b != '"'
		case b == '"':
			quoted = true
		case b == '{', b == '[':
			depth++
		case depth == 0 && (b == ',' || b == ']'):
			if len(e.buf) == 0 && !long {
				return nil, 0, errNoArray
			}
			if long {
				return nil, b, nil
			}
			return e.buf, b, nil
		case b == '}', b == ']':
			if depth--; depth < 0 {
				return nil, 0, errNoArray
			}
		}
		if long = long || len(e.buf) == maxEventBytes; !long {
			e.buf = append(e.buf, b)
		}
		if b, err = e.byte(); err != nil {
			return nil, 0, err
		}
	}
}
