package homeserver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
)

func TestSyncIsRead(t *testing.T) {
	event := func(id string) homeserver.Event { return homeserver.Event{ID: id, Type: ruleType} }
	text := func(id string) string { return `{"event_id":"` + id + `","type":"` + ruleType + `"}` }
	joined := func(raw string) string { return `{"next_batch":"n","rooms":{"join":{"!r":` + raw + `}}}` }
	one := func(s homeserver.RoomSync) homeserver.SyncResponse {
		return homeserver.SyncResponse{Next: "n", Joined: map[string]homeserver.RoomSync{"!r": s}}
	}
	nothing := homeserver.SyncResponse{Next: "n", Joined: map[string]homeserver.RoomSync{}}
	member := func(sender, membership string) string {
		return `{"type":"m.room.member","sender":"` + sender + `","content":{"membership":"` + membership + `"}}`
	}
	invited := func(by string) homeserver.SyncResponse {
		return homeserver.SyncResponse{Next: "n", Joined: map[string]homeserver.RoomSync{}, Invites: []homeserver.Invite{{Room: "!i", Inviter: by}}}
	}
	invitation := func(events string) string {
		return `{"next_batch":"n","rooms":{"invite":{"!i":{"invite_state":{"events":` + events + `}}}}}`
	}
	tests := map[string]struct {
		text string
		want homeserver.SyncResponse
		err  string
	}{
		"nothing":    {`{"next_batch":"n"}`, nothing, "success"},
		"no rooms":   {`{"next_batch":"n","rooms":{}}`, nothing, "success"},
		"null rooms": {`{"next_batch":"n","rooms":{"join":null,"leave":null,"invite":null}}`, nothing, "success"},
		"state, then timeline": {
			joined(`{"timeline":{"events":[` + text("$b") + `,` + text("$c") + `],"limited":false},"state":{"events":[` + text("$a") + `]}}`),
			one(homeserver.RoomSync{Events: []homeserver.Event{event("$a"), event("$b"), event("$c")}}), "success",
		},
		"a gap":                 {joined(`{"timeline":{"limited":true}}`), one(homeserver.RoomSync{Limited: true}), "success"},
		"a gap as a text":       {joined(`{"timeline":{"limited":"true"}}`), one(homeserver.RoomSync{Limited: true}), "success"},
		"a gap of another name": {joined(`{"timeline":{"Limited":true}}`), one(homeserver.RoomSync{}), "success"},
		"bad events": {
			joined(`{"timeline":{"events":[null,7,` + text("$a") + `,[],{"type":7}]}}`),
			one(homeserver.RoomSync{Events: []homeserver.Event{{}, {}, event("$a"), {}, {}}}), "success",
		},
		"others that nobody wants": {joined(`{"timeline":{"events":[{"type":"m.room.member"},{"type":"x"},` + text("$a") + `]}}`), one(homeserver.RoomSync{Events: []homeserver.Event{event("$a")}}), "success"},
		"no events":                {joined(`{}`), one(homeserver.RoomSync{}), "success"},
		"a room that is null":      {joined(`null`), one(homeserver.RoomSync{Limited: true}), "success"},
		"a room that is a list":    {joined(`[]`), one(homeserver.RoomSync{Limited: true}), "success"},
		"a timeline of another type": {joined(`{"timeline":[],"state":{"events":[` + text("$a") + `]}}`),
			one(homeserver.RoomSync{Events: []homeserver.Event{event("$a")}, Limited: true}), "success"},
		"events of another type": {joined(`{"timeline":{"events":{}}}`), one(homeserver.RoomSync{Limited: true}), "success"},
		"one bad room of two": {
			`{"next_batch":"n","rooms":{"join":{"!a":7,"!b":{"timeline":{"events":[` + text("$b") + `]}}}}}`,
			homeserver.SyncResponse{Next: "n", Joined: map[string]homeserver.RoomSync{"!a": {Limited: true}, "!b": {Events: []homeserver.Event{event("$b")}}}}, "success",
		},
		"left":                         {`{"next_batch":"n","rooms":{"leave":{"!b":null,"!a":{}}}}`, homeserver.SyncResponse{Next: "n", Joined: map[string]homeserver.RoomSync{}, Left: []string{"!a", "!b"}}, "success"},
		"an invitation":                {invitation(`[{},` + member("@x:b", "join") + `,` + member("@a:b", "invite") + `]`), invited("@a:b"), "success"},
		"one that nobody has sent":     {invitation(`[]`), invited(""), "success"},
		"one that two have sent":       {invitation(`[` + member("@mod:b", "invite") + `,` + member("@a:b", "invite") + `]`), invited(""), "success"},
		"one that is no object":        {`{"next_batch":"n","rooms":{"invite":{"!i":[]}}}`, invited(""), "success"},
		"no position":                  {`{"rooms":{}}`, homeserver.SyncResponse{}, "upstream"},
		"an empty position":            {`{"next_batch":""}`, homeserver.SyncResponse{}, "upstream"},
		"a position of another type":   {`{"next_batch":7}`, homeserver.SyncResponse{}, "upstream"},
		"a position of another name":   {`{"Next_batch":"n"}`, homeserver.SyncResponse{}, "upstream"},
		"rooms that are a list":        {`{"next_batch":"n","rooms":[]}`, homeserver.SyncResponse{}, "upstream"},
		"joined rooms that are a list": {`{"next_batch":"n","rooms":{"join":[]}}`, homeserver.SyncResponse{}, "upstream"},
		"left rooms that are a list":   {`{"next_batch":"n","rooms":{"leave":["!a"]}}`, homeserver.SyncResponse{}, "upstream"},
		"invitations that are a text":  {`{"next_batch":"n","rooms":{"invite":"!a"}}`, homeserver.SyncResponse{}, "upstream"},
		"a list":                       {`[]`, homeserver.SyncResponse{}, "upstream"},
		"cut":                          {`{"next_batch":"n"`, homeserver.SyncResponse{}, "upstream"},
		"nothing said":                 {``, homeserver.SyncResponse{}, "upstream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := newClient(t, answering(t, tt.text).url, nil).Sync(t.Context(), homeserver.SyncRequest{Since: "s", Types: []string{ruleType}})
			checkError(t, err, tt.err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSyncIsBounded(t *testing.T) {
	const head, tail = `{"next_batch":"n","x":"`, `"}`
	for size, want := range map[int]string{homeserver.MaxSyncBytes: "success", homeserver.MaxSyncBytes + 1: "upstream"} {
		for kind, header := range map[string]string{"of a length": fmt.Sprintf("Content-Length: %d", size), "of none": "Connection: close"} {
			text := head + strings.Repeat("x", size-len(head)-len(tail)) + tail
			url := spoken(t, says("HTTP/1.1 200 OK\r\n"+header+"\r\n\r\n"+text))
			_, err := newClient(t, url, nil).Sync(t.Context(), homeserver.SyncRequest{Since: "s"})
			checkError(t, err, want)
			if (want == "upstream") != errors.Is(err, homeserver.ErrTooLong) {
				t.Errorf("%d bytes %s: %v", size, kind, err)
			}
		}
	}
}

// TestSyncAsksForWhatIsWanted looks at filters, which must never name no rooms.
func TestSyncAsksForWhatIsWanted(t *testing.T) {
	type part struct {
		Types []string
		Limit int
		Lazy  bool `json:"lazy_load_members"`
	}
	type filter struct {
		Presence, Account part
		Room              struct {
			Rooms           *[]string
			State, Timeline part
		}
	}
	home := answering(t, `{"next_batch":"n"}`)
	ask := func(r homeserver.SyncRequest) (f filter, query map[string][]string) {
		t.Helper()
		c := newClient(t, home.url, nil)
		if _, err := c.Sync(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		asked := home.requests()[0]
		if asked.Method != http.MethodGet || asked.URL.Path != "/_matrix/client/v3/sync" {
			t.Errorf("asked with %s for %s", asked.Method, asked.URL.Path)
		}
		query = asked.URL.Query()
		if err := json.Unmarshal([]byte(query["filter"][0]), &f); err != nil {
			t.Fatal(err)
		}
		return f, query
	}
	f, query := ask(homeserver.SyncRequest{Since: "s&t", Rooms: []string{"!a", "!b"}, Types: []string{"x", "y"}, Timeout: 1500 * time.Millisecond})
	if !slices.Equal(query["since"], []string{"s&t"}) || !slices.Equal(query["timeout"], []string{"1500"}) {
		t.Errorf("asked with %v", query)
	}
	var want filter
	want.Presence.Types = []string{}
	want.Room.Rooms = &[]string{"!a", "!b"}
	want.Room.State = part{Types: []string{"x", "y"}, Lazy: true}
	want.Room.Timeline = part{Types: []string{"x", "y", "m.room.redaction", "m.room.member"}, Limit: 100, Lazy: true}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	first, query := ask(homeserver.SyncRequest{Rooms: []string{"!a"}, Types: []string{"x"}, Timeout: -1})
	if _, ok := query["since"]; ok || !slices.Equal(query["timeout"], []string{"0"}) || first.Room.Timeline.Limit != 1 || first.Room.Rooms != nil || len(first.Room.Timeline.Types) > 0 {
		t.Errorf("asked first with %v", query)
	}
	if _, again := ask(homeserver.SyncRequest{Rooms: []string{"!a"}, Types: []string{"x"}}); again["filter"][0] == query["filter"][0] {
		t.Error("asked the same first question twice")
	}
	for name, rooms := range map[string][]string{"none": nil, "empty": {}, "too many": slices.Repeat([]string{"!" + strings.Repeat("r", 43)}, 200)} {
		if f, query := ask(homeserver.SyncRequest{Since: "s", Rooms: rooms}); f.Room.Rooms != nil || len(query["filter"][0]) > homeserver.MaxFilterBytes {
			t.Errorf("%s: asked for %d bytes", name, len(query["filter"][0]))
		}
	}
}

// TestSyncMayWait longer than other calls, but not for ever.
func TestSyncMayWait(t *testing.T) {
	url := handled(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(300 * time.Millisecond)
		_, _ = fmt.Fprint(w, `{"next_batch":"n"}`)
	})
	c := newClient(t, url, func(c *homeserver.Config) { c.FirstByteTimeout = 100 * time.Millisecond })
	if _, err := c.Sync(t.Context(), homeserver.SyncRequest{Since: "s", Timeout: time.Second}); err != nil {
		t.Error(err)
	}
	_, err := c.QuarantineChanges(t.Context(), 0)
	checkError(t, err, "unreachable")
}

// FuzzParseSync holds what is taken from an answer to what is in it.
func FuzzParseSync(f *testing.F) {
	f.Add([]byte(`{"next_batch":"n","rooms":{"join":{"!r":{"timeline":{"events":[{"type":"t"},7],"limited":false},"state":{"events":[null]}}},"leave":{"!l":{}},"invite":{"!i":{"invite_state":{"events":[{"type":"m.room.member","sender":"@a:b","content":{"membership":"invite"}}]}}}}}`))
	f.Add([]byte(`{"next_batch":"n","rooms":{"join":{"!r":null}}}`))
	f.Add([]byte(`{"next_batch":"n","rooms":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := homeserver.ParseSync(raw)
		if err != nil {
			if kinds(err) != "upstream" || !cmp.Equal(s, homeserver.SyncResponse{}) {
				t.Errorf("%+v beside %v", s, err)
			}
			return
		}
		var plain map[string]any
		if json.Unmarshal(raw, &plain) != nil || plain["next_batch"] != s.Next || s.Next == "" {
			t.Fatalf("the position became %q", s.Next)
		}
		rooms, _ := plain["rooms"].(map[string]any)
		for name, got := range map[string]int{"join": len(s.Joined), "leave": len(s.Left), "invite": len(s.Invites)} {
			if list, _ := rooms[name].(map[string]any); len(list) != got {
				t.Errorf("%d rooms of %s became %d", len(list), name, got)
			}
		}
		joined, _ := rooms["join"].(map[string]any)
		for id, room := range s.Joined {
			plain, ok := joined[id].(map[string]any)
			events := 0
			for _, part := range []string{"state", "timeline"} {
				section, _ := plain[part].(map[string]any)
				list, _ := section["events"].([]any)
				events += len(list)
			}
			timeline, _ := plain["timeline"].(map[string]any)
			if events != len(room.Events) || (!ok || timeline["limited"] == true) && !room.Limited {
				t.Errorf("%d events became %+v", events, room)
			}
		}
	})
}
