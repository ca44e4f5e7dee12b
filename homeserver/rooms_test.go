package homeserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
)

// roomCalls are the requests about rooms. All faults are tried with them, too.
var roomCalls = map[string]func(ctx context.Context, c *homeserver.Client) error{
	"user": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.User(ctx)
		return err
	},
	"resolve alias": func(ctx context.Context, c *homeserver.Client) error {
		_, _, err := c.ResolveAlias(ctx, "#a:a.test")
		return err
	},
	"join": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.Join(ctx, "!r", []string{"a.test"})
		return err
	},
	"room state": func(ctx context.Context, c *homeserver.Client) error {
		return c.RoomState(ctx, "!r", func(homeserver.Event) error { return nil })
	},
	"state event": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.StateEvent(ctx, "!r", "t", "k")
		return err
	},
	"sync": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.Sync(ctx, homeserver.SyncRequest{Since: "s"})
		return err
	},
	"send state": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.SendState(ctx, "!r", "t", "k", struct{}{})
		return err
	},
	"redact": func(ctx context.Context, c *homeserver.Client) error { return c.Redact(ctx, "!r", "$e", "x", "") },
	"leave":  func(ctx context.Context, c *homeserver.Client) error { return c.Leave(ctx, "!r") },
}

// TestRoomFaults: none is ever a success, each is what it is, and none tells a token.
func TestRoomFaults(t *testing.T) {
	tests := map[string]struct {
		speak func(net.Conn, *http.Request)
		want  string
		done  bool
	}{
		"closes at once":     {says(""), "unreachable", false},
		"no HTTP":            {says("SSH-2.0-OpenSSH_9.2\r\n"), "unreachable", false},
		"cut, of a length":   {says(sized + "[    "), "broken", false},
		"cut in a chunk":     {says(chunked + "a\r\n[    "), "broken", false},
		"cut before its end": {says(chunked + "2\r\n[]\r\n0\r\n"), "broken", false},
		"302":                {status("302 Found", "", "Location: http://127.0.0.1:1/"), "upstream", false},
		"400":                {status("400 Bad", "M_UNKNOWN"), "upstream", false},
		"401":                {status("401 Who", "M_UNKNOWN_TOKEN"), "unauthorized, upstream", false},
		"403":                {status("403 No", "M_FORBIDDEN"), "forbidden, upstream", false},
		"403 of a proxy":     {says("HTTP/1.1 403 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"), "upstream", false},
		"404":                {status("404 No", "M_NOT_FOUND"), "not found, upstream", false},
		"429":                {status("429 Wait", "M_LIMIT_EXCEEDED", "Retry-After: 3"), "upstream", false},
		"500":                {status("500 No", "M_UNKNOWN"), "upstream", false},
		"a page":             {says(mediaHead + "Content-Length: 6\r\n\r\n<html>"), "upstream", true},
		"null":               {says(mediaHead + "Content-Length: 4\r\n\r\nnull"), "upstream", true},
		"a text":             {says(mediaHead + "Content-Length: 3\r\n\r\n\"x\""), "upstream", true},
		"two values":         {says(mediaHead + "Content-Length: 4\r\n\r\n[]{}"), "upstream", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, call := range roomCalls {
				t.Log(name)
				err := call(t.Context(), newClient(t, spoken(t, tt.speak), nil))
				want := tt.want
				if name == "leave" && tt.done {
					want = "success" // what is said beside that does not matter
				}
				checkError(t, err, want)
				var status *homeserver.StatusError
				if errors.As(err, &status) && status.Status == http.StatusTooManyRequests && status.RetryAfter != 3*time.Second {
					t.Errorf("it is to be left alone for %v", status.RetryAfter)
				}
			}
		})
	}
}

// TestRoomCallsAreGivenUp: the caller may end all of them, also those that may take
// long.
func TestRoomCallsAreGivenUp(t *testing.T) {
	for name, call := range roomCalls {
		for kind, head := range map[string]string{"before the headers": "", "in the body": sized + "["} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				asked := make(chan struct{})
				client := newClient(t, spoken(t, func(c net.Conn, _ *http.Request) {
					_, _ = io.WriteString(c, head)
					close(asked)
					_, _ = io.Copy(io.Discard, c)
				}), nil)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					<-asked
					cancel()
				}()
				checkError(t, call(ctx, client), "canceled")
			})
		}
	}
}

// TestOnlyLongCallsMayBeginLate: the time to the first byte bounds all but those that
// wait, or that ask other servers.
func TestOnlyLongCallsMayBeginLate(t *testing.T) {
	long := []string{"resolve alias", "join", "room state", "sync", "leave"}
	for name, call := range roomCalls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := handled(t, func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(500 * time.Millisecond)
				w.WriteHeader(http.StatusTeapot)
			})
			err := call(t.Context(), newClient(t, url, func(c *homeserver.Config) { c.FirstByteTimeout = 50 * time.Millisecond }))
			want := "unreachable"
			if slices.Contains(long, name) {
				want = "upstream"
			}
			checkError(t, err, want)
		})
	}
}

// TestNoAddressNamesIt refuses what would be another address, or none.
func TestNoAddressNamesIt(t *testing.T) {
	home := answering(t, `{}`)
	c, ctx := newClient(t, home.url, nil), t.Context()
	for _, bad := range []string{"", ".", "..", "\x00", "a\nb", "\xff", strings.Repeat("x", 256), "x"} {
		errs := []error{}
		_, _, err := c.ResolveAlias(ctx, bad)
		errs = append(errs, err)
		_, err = c.Join(ctx, bad, nil)
		errs = append(errs, err, c.Leave(ctx, bad), c.RoomState(ctx, bad, nil), c.Redact(ctx, bad, "$e", "x", ""), c.Redact(ctx, "!r", bad, "x", ""))
		_, err = c.SendState(ctx, bad, "t", "", nil)
		errs = append(errs, err)
		_, err = c.StateEvent(ctx, bad, "t", "")
		errs = append(errs, err)
		if bad != "x" {
			_, err = c.SendState(ctx, "!r", bad, "", nil)
			errs = append(errs, err, c.Redact(ctx, "!r", "$e", bad, ""))
			if bad != "" {
				_, err = c.StateEvent(ctx, "!r", "t", bad)
				errs = append(errs, err)
			}
		}
		for i, err := range errs {
			if kinds(err) != "not found" {
				t.Errorf("%q, call %d: %v", bad, i, err)
			}
		}
	}
	if got := home.requests(); len(got) > 0 {
		t.Errorf("asked for %s", got[0].RequestURI)
	}
}

// TestRequestsAboutRooms are what the specification has them be.
func TestRequestsAboutRooms(t *testing.T) {
	var asked []string
	url := handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.RequestURI+" "+string(body))
		if r.Header.Get("Authorization") != "Bearer "+serviceToken || r.Method != http.MethodGet && r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with %v", r.RequestURI, r.Header)
		}
		_, _ = io.WriteString(w, `{"room_id":"!r","event_id":"$e","servers":["a.test",7,"","b.test:1","a/b"],"type":"t","state_key":"","sender":"@a:b"}`)
	})
	c, ctx := newClient(t, url, nil), t.Context()
	room, servers, err := c.ResolveAlias(ctx, "#a/b:a.test")
	if room != "!r" || !slices.Equal(servers, []string{"a.test", "b.test:1"}) || err != nil {
		t.Errorf("%q, %q, %v", room, servers, err)
	}
	for _, room := range []string{"!r", "#a:b"} {
		if id, err := c.Join(ctx, room, []string{"a", "b:1"}); id != "!r" || err != nil {
			t.Errorf("%q, %v", id, err)
		}
	}
	if id, err := c.SendState(ctx, "!r", "t", "", map[string]any{"x": "<&>"}); id != "$e" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := c.SendState(ctx, "!r", "t", "k", func() {}); err == nil {
		t.Error("what is no JSON was sent")
	}
	if e, err := c.StateEvent(ctx, "!r", "t", ""); e.ID != "$e" || e.Sender != "@a:b" || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if err := errors.Join(c.Redact(ctx, "!r", "$e/f", "x", "r"), c.Redact(ctx, "!r", "$e", "y", ""), c.Leave(ctx, "!r")); err != nil {
		t.Error(err)
	}
	const v3 = "/_matrix/client/v3"
	if diff := cmp.Diff([]string{
		"GET " + v3 + "/directory/room/%23a%2Fb:a.test ",
		"POST " + v3 + "/join/%21r?server_name=a&server_name=b%3A1&via=a&via=b%3A1 {}",
		"POST " + v3 + "/join/%23a:b {}",
		"PUT " + v3 + `/rooms/%21r/state/t/ {"x":"\u003c\u0026\u003e"}`,
		"GET " + v3 + "/rooms/%21r/state/t/?format=event ",
		"PUT " + v3 + `/rooms/%21r/redact/$e%2Ff/x {"reason":"r"}`,
		"PUT " + v3 + "/rooms/%21r/redact/$e/y {}",
		"POST " + v3 + "/rooms/%21r/leave {}",
	}, asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStateEventNeedsAnEvent(t *testing.T) {
	for text, want := range map[string]string{
		`{"hash":"x"}`: "content only", `{}`: "content only",
		`{"event_id":"$e","sender":"@a:b","type":"other","state_key":"k"}`: "content only",
		`{"event_id":"$e","sender":"@a:b","type":"t","state_key":"other"}`: "content only",
		`{"event_id":"$e","sender":"@a:b","type":"t"}`:                     "content only",
		`{"event_id":"$e","Sender":"@a:b","type":"t","state_key":"k"}`:     "content only",
		`{"event_id":"$e","sender":"@a:b","type":"t","state_key":"k"}`:     "success",
		`[]`: "upstream", `null`: "upstream", ``: "upstream", `{"event_id":"$e"`: "upstream",
	} {
		_, err := newClient(t, answering(t, text).url, nil).StateEvent(t.Context(), "!r", "t", "k")
		got := kinds(err)
		if errors.Is(err, homeserver.ErrContentOnly) {
			got = "content only"
		}
		if got != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestEventsAreReadByTheirExactNames: what others have written beside an event's
// fields is not taken for them.
func TestEventsAreReadByTheirExactNames(t *testing.T) {
	key := "k"
	for text, want := range map[string]homeserver.Event{
		`{"event_id":"$e","type":"t","state_key":"k","sender":"@a:b","content":{"x":1}}`:                       {ID: "$e", Type: "t", StateKey: &key, Sender: "@a:b", Content: json.RawMessage(`{"x":1}`)},
		`{"sender":"@a:b","Sender":"@mod:b","SENDER":"@mod:b","\u017fender":"@mod:b","Type":"t","EVENT_ID":1}`: {Sender: "@a:b"},
		`{"type":"t","sender":7,"event_id":null,"content":null,"redacts":{}}`:                                  {Type: "t", Content: json.RawMessage(`null`)},
		`{"type":"t","state_key":7,"content":[]}`:                                                              {Type: "t", Content: json.RawMessage(`[]`)},
		`{"type":"t","state_key":null,"unsigned":[]}`:                                                          {Type: "t"},
		`{"type":["t"],"redacts":"$x"}`:                                                                        {Redacts: "$x"},
		`{"type":"t","unsigned":{"redacted_because":{"sender":"@a:b"}}}`:                                       {Type: "t", RedactedBy: "@a:b"},
		`{"type":"t","unsigned":{"redacted_because":null,"Redacted_because":{"sender":"@a:b"}}}`:               {Type: "t"},
		`{}`: {},
	} {
		var got homeserver.Event
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{`[]`, `"x"`, `7`, `true`} {
		var e homeserver.Event
		if json.Unmarshal([]byte(text), &e) == nil {
			t.Errorf("%s is an event", text)
		}
	}
}

// readState reads a state that is told as text.
func readState(t *testing.T, text string) ([]homeserver.Event, error) {
	t.Helper()
	var events []homeserver.Event
	err := newClient(t, answering(t, text).url, nil).RoomState(t.Context(), "!r", func(e homeserver.Event) error {
		events = append(events, e)
		return nil
	})
	return events, err
}

func TestRoomStateIsReadWhole(t *testing.T) {
	event := func(id string) homeserver.Event { return homeserver.Event{ID: id} }
	filled := func(n int) string { // an event of n bytes
		const head, tail = `{"event_id":"$l","x":"`, `"}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	tests := map[string]struct {
		text string
		want []homeserver.Event
		err  string
	}{
		"nothing":             {`[]`, nil, "success"},
		"with white space":    {" \r\n[ {\"event_id\" : \"$a\"}\t, \n{\"event_id\":\"$b\"} ]\n ", []homeserver.Event{event("$a"), event("$b")}, "success"},
		"others between":      {`[{"event_id":"$a"},null,[],["]"],7,"x,]",{"event_id":"$b"}]`, []homeserver.Event{event("$a"), {}, {}, {}, {}, {}, event("$b")}, "success"},
		"brackets in texts":   {`[{"event_id":"$a]},{\"\\"},{"event_id":"\"\\\\"}]`, []homeserver.Event{event(`$a]},{"\`), event(`"\\`)}, "success"},
		"no JSON inside":      {`[{x},{"event_id":"$b"}]`, []homeserver.Event{{}, event("$b")}, "success"},
		"too deep":            {`[{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `},{"event_id":"$b"}]`, []homeserver.Event{{}, event("$b")}, "success"},
		"at the limit":        {`[` + filled(homeserver.MaxEventBytes) + `]`, []homeserver.Event{event("$l")}, "success"},
		"one past it":         {`[` + filled(homeserver.MaxEventBytes+1) + `,{"event_id":"$b"}]`, []homeserver.Event{{}, event("$b")}, "success"},
		"an object":           {`{}`, nil, "upstream"},
		"an error with 200":   {`{"errcode":"M_UNKNOWN"}`, nil, "upstream"},
		"no text":             {``, nil, "broken"},
		"not ended":           {`[{"event_id":"$a"}`, nil, "broken"},
		"ended by a comma":    {`[{"event_id":"$a"},`, []homeserver.Event{event("$a")}, "broken"},
		"ended in an event":   {`[{"event_id":"$a"},{"event_id":"$b"`, []homeserver.Event{event("$a")}, "broken"},
		"ended in a text":     {`[{"event_id":"$a"},{"event_id":"$b]`, []homeserver.Event{event("$a")}, "broken"},
		"nothing between":     {`[,]`, nil, "upstream"},
		"a comma too much":    {`[{"event_id":"$a"},]`, []homeserver.Event{event("$a")}, "upstream"},
		"wrong bracket":       {`[}]`, nil, "upstream"},
		"more after it":       {`[{"event_id":"$a"}]x`, []homeserver.Event{event("$a")}, "upstream"},
		"another after it":    {`[][]`, nil, "upstream"},
		"no comma in between": {`[{"event_id":"$a"}{"event_id":"$b"}]`, []homeserver.Event{{}}, "success"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readState(t, tt.text)
			checkError(t, err, tt.err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRoomStateIsBounded has more than may be read, in one element and in many.
func TestRoomStateIsBounded(t *testing.T) {
	many := func(r io.Reader) io.Reader { return io.MultiReader(strings.NewReader("["), r) }
	for name, body := range map[string]io.Reader{
		"one element": many(endless(`"`)), "many": many(endless(`{},`)), "white space": endless(" "), "white space inside": many(endless("\n")), "brackets": endless("["),
	} {
		var largest int
		err := homeserver.ReadElements(body, 8<<20, func(element []byte) error {
			largest = max(largest, len(element))
			return nil
		})
		if !errors.Is(err, homeserver.ErrTooLong) || kinds(err) != "upstream" || largest > homeserver.MaxEventBytes {
			t.Errorf("%s: %v, with elements of %d bytes", name, err, largest)
		}
	}
	if err := homeserver.ReadElements(strings.NewReader("[{}]"), 4, func([]byte) error { return nil }); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := homeserver.ReadElements(strings.NewReader("[{}]"), 3, func([]byte) error { return nil }); !errors.Is(err, homeserver.ErrTooLong) {
		t.Errorf("one past it: %v", err)
	}
}

// endless repeats a text.
type endless string

func (e endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

// TestRoomStateEndsWithTheCaller hands the caller's error on as it is.
func TestRoomStateEndsWithTheCaller(t *testing.T) {
	own, calls := errors.New("own"), 0
	err := newClient(t, answering(t, `[{},{},{}]`).url, nil).RoomState(t.Context(), "!r", func(homeserver.Event) error {
		if calls++; calls == 2 {
			return own
		}
		return nil
	})
	if !errors.Is(err, own) || calls != 2 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// FuzzReadElements holds the reader to what encoding/json reads, and to never taking
// part of a list for the whole.
func FuzzReadElements(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"a":"]"},null,"\"",7]`, `[[1,2],{"x":[{}]}]x`, `[,]`, `{}`, ` [ 1 , 2 ] `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got []json.RawMessage
		err := homeserver.ReadElements(bytes.NewReader(raw), 1<<20, func(element []byte) error {
			got = append(got, bytes.TrimRight(bytes.Clone(element), " \t\r\n"))
			return nil
		})
		var want []json.RawMessage
		if json.Unmarshal(raw, &want) == nil && want != nil {
			if err != nil || !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
				t.Fatalf("%q became %q, %v", raw, got, err)
			}
			for cut := range raw {
				rest := bytes.TrimRight(raw, " \t\r\n")
				if cut < len(rest) && homeserver.ReadElements(bytes.NewReader(raw[:cut]), 1<<20, func([]byte) error { return nil }) == nil {
					t.Fatalf("%q is whole", raw[:cut])
				}
			}
		}
		if err != nil && kinds(err) != "upstream" && kinds(err) != "broken" {
			t.Errorf("%v", err)
		}
	})
}

// FuzzEvent holds what is read of an event to what it is.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"event_id":"$e","type":"t","state_key":"k","sender":"@a:b","content":{"x":1},"unsigned":{"redacted_because":{"sender":"@a:b"}}}`))
	f.Add([]byte(`{"Type":"t","type":7,"state_key":null,"content":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e homeserver.Event
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(raw, &plain); err != nil && string(bytes.TrimSpace(raw)) != "null" {
			t.Fatalf("no object is an event: %v", err)
		}
		for name, got := range map[string]string{"event_id": e.ID, "type": e.Type, "sender": e.Sender, "redacts": e.Redacts} {
			if want, _ := plain[name].(string); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if _, ok := plain["content"]; ok != (e.Content != nil) || ok && !json.Valid(e.Content) {
			t.Errorf("content is %q", e.Content)
		}
	})
}
