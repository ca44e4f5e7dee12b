package homeserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"maunium.net/go/mautrix"
)

// federationTimeout bounds what the homeserver asks other servers for.
const federationTimeout = 2 * time.Minute

// request is one to the client API, made as the service user.
type request struct {
	call   string // what it is counted as
	method string
	path   mautrix.ClientURLPath
	query  url.Values
	body   any           // nil is an empty object where there must be one
	limit  int64         // bytes of the answer, 0 as for other calls
	within time.Duration // the homeserver may take so long, 0 as for other calls
}

// do makes a request.
func (c *Client) do(ctx context.Context, r request) ([]byte, error) {
	full := mautrix.FullRequest{
		Method: r.method, Headers: make(http.Header), ResponseSizeLimit: r.limit,
		URL: c.matrix.BuildURLWithFullQuery(r.path, func(q url.Values) {
			for name, values := range r.query {
				q[name] = values
			}
		}),
	}
	if c.HasToken() {
		full.Headers.Set("Authorization", c.Service().authorization.Reveal())
	}
	if r.method != http.MethodGet {
		full.Headers.Set("Content-Type", "application/json")
	}
	if r.body != nil {
		var err error
		if full.RequestBytes, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
	}
	if r.within == 0 {
		r.within = callTimeout
	} else {
		full.Client = c.patient
	}
	ctx, cancel := context.WithTimeout(ctx, r.within)
	defer cancel()
	raw, err := c.matrix.MakeFullRequest(ctx, full)
	if err != nil {
		err = callError(ctx, err)
	}
	c.counted(r.call, err)
	return raw, err
}

// ResolveAlias asks which room an alias names now, and which servers may be asked to
// join it. It fails with [ErrNotFound] if it names none.
func (c *Client) ResolveAlias(ctx context.Context, alias string) (room string, servers []string, err error) {
	if !isName('#', alias) {
		return "", nil, fmt.Errorf("resolve alias: %w: it is none", ErrNotFound)
	}
	raw, err := c.do(ctx, request{
		call: "resolve_alias", method: http.MethodGet, path: mautrix.ClientURLPath{"v3", "directory", "room", alias}, within: federationTimeout,
	})
	if err == nil {
		if room, servers = parseAlias(raw); room == "" {
			err = fmt.Errorf("%w: it names no room", ErrUpstream)
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("resolve alias: %w", err)
	}
	return room, servers, nil
}

func parseAlias(raw []byte) (room string, servers []string) {
	fields := object(raw)
	if room = text(fields["room_id"]); !isName('!', room) {
		return "", nil
	}
	var list []json.RawMessage
	_ = json.Unmarshal(fields["servers"], &list) // then there are none
	for _, raw := range list {
		if server := text(raw); isServerName(server) {
			servers = append(servers, server)
		}
	}
	return room, servers
}

// Join joins a room by its alias or id, and returns its id; who has joined already
// just learns that. An id from version 12 on names no server: via are those that are
// asked for a room which the homeserver is not in, without any it fails with
// [ErrNotFound]. With [ErrForbidden] the room needs an invitation.
func (c *Client) Join(ctx context.Context, room string, via []string) (id string, err error) {
	if !isName('#', room) && !isName('!', room) {
		return "", fmt.Errorf("join room: %w: it is neither an alias nor an id", ErrNotFound)
	}
	query := make(url.Values)
	if room[0] == '!' && len(via) > 0 { // the newer name and the older one
		query["via"], query["server_name"] = via, via
	}
	raw, err := c.do(ctx, request{
		call: "join", method: http.MethodPost, path: mautrix.ClientURLPath{"v3", "join", room}, query: query, within: federationTimeout,
	})
	if err == nil {
		if id = text(object(raw)["room_id"]); !isName('!', id) {
			err = fmt.Errorf("%w: it names no room", ErrUpstream)
		}
	}
	if err != nil {
		return "", fmt.Errorf("join room: %w", err)
	}
	return id, nil
}

// StateEvent asks for one event of a room's state. It fails with [ErrNotFound] if there
// never was one; one that was redacted is there, and its content is empty.
//
// It fails with [ErrContentOnly] if the homeserver tells no more, as those do that do
// not know ?format=event. On these, whoever sets the state can write all of an Event
// into its content: that one is told to count proves nothing there. Synapse knows it.
func (c *Client) StateEvent(ctx context.Context, room, eventType, stateKey string) (Event, error) {
	e, err := c.stateEvent(ctx, room, eventType, stateKey)
	if err != nil {
		return Event{}, fmt.Errorf("read state event: %w", err)
	}
	return e, nil
}

func (c *Client) stateEvent(ctx context.Context, room, eventType, stateKey string) (Event, error) {
	path, err := statePath(room, eventType, stateKey)
	if err != nil {
		return Event{}, err
	}
	raw, err := c.do(ctx, request{call: "state_event", method: http.MethodGet, path: path, query: url.Values{"format": {"event"}}})
	if err != nil {
		return Event{}, err
	}
	var e Event
	switch {
	case json.Unmarshal(raw, &e) != nil:
		return Event{}, fmt.Errorf("%w: it is no event", ErrUpstream)
	case e.ID == "" || e.Sender == "" || e.Type != eventType || e.StateKey == nil || *e.StateKey != stateKey:
		return Event{}, ErrContentOnly
	}
	return e, nil
}

// SendState sets the state of a room, and returns the id of the event that does. One
// that sets what is set already is the event that did: Synapse makes none anew.
func (c *Client) SendState(ctx context.Context, room, eventType, stateKey string, content any) (eventID string, err error) {
	path, err := statePath(room, eventType, stateKey)
	if err == nil {
		eventID, err = c.send(ctx, request{call: "send_state", method: http.MethodPut, path: path, body: content})
	}
	if err != nil {
		return "", fmt.Errorf("set state: %w", err)
	}
	return eventID, nil
}

// Redact takes the content of an event away, for the reason, which may be empty. txn
// names this redaction: the homeserver does it once, however often it is asked with
// the same one.
func (c *Client) Redact(ctx context.Context, room, eventID, txn, reason string) error {
	var err error
	switch {
	case !isName('!', room):
		err = fmt.Errorf("%w: that is no room", ErrNotFound)
	case !isName('$', eventID) || !isSegment(txn):
		err = fmt.Errorf("%w: that is no event", ErrNotFound)
	default:
		body := struct {
			Reason string `json:"reason,omitempty"`
		}{reason}
		_, err = c.send(ctx, request{call: "redact", method: http.MethodPut, path: mautrix.ClientURLPath{"v3", "rooms", room, "redact", eventID, txn}, body: body})
	}
	if err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	return nil
}

// send makes a request that is answered with the id of a new event.
func (c *Client) send(ctx context.Context, r request) (eventID string, err error) {
	raw, err := c.do(ctx, r)
	if err != nil {
		return "", err
	}
	if eventID = text(object(raw)["event_id"]); eventID == "" {
		return "", fmt.Errorf("%w: it names no event", ErrUpstream)
	}
	return eventID, nil
}

// Leave leaves a room, or declines the invitation to it. Who was thrown out cannot
// leave, and gets [ErrForbidden].
func (c *Client) Leave(ctx context.Context, room string) error {
	if !isName('!', room) {
		return fmt.Errorf("leave room: %w: that is no room", ErrNotFound)
	}
	path := mautrix.ClientURLPath{"v3", "rooms", room, "leave"}
	if _, err := c.do(ctx, request{call: "leave", method: http.MethodPost, path: path, within: federationTimeout}); err != nil {
		return fmt.Errorf("leave room: %w", err)
	}
	return nil
}

// statePath is the address of a state event. A state key may be empty.
func statePath(room, eventType, stateKey string) (mautrix.ClientURLPath, error) {
	if !isName('!', room) || !isSegment(eventType) || stateKey != "" && !isSegment(stateKey) {
		return nil, fmt.Errorf("%w: no address can name it", ErrNotFound)
	}
	return mautrix.ClientURLPath{"v3", "rooms", room, "state", eventType, stateKey}, nil
}

// isName tells whether text names something by its first byte: ! a room, # an alias,
// $ an event.
func isName(kind byte, text string) bool {
	return len(text) > 1 && text[0] == kind && isSegment(text)
}

// isSegment tells whether text can be one part of an address, and stays it whoever
// handles the address.
func isSegment(text string) bool {
	return text != "" && len(text) <= 255 && text != "." && text != ".." && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
