package homeserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/internal/synapsetest"
)

const ruleType = "m.policy.media_hash"

// member is somebody at a real homeserver, asking it directly.
type member struct {
	t *testing.T
	s *synapsetest.Server
	synapsetest.User
}

// ask makes a request of the client API and returns a field of its answer.
func (m member) ask(method, path, body, field string) string {
	m.t.Helper()
	status, _, answer := m.s.Do(m.t, method, "/_matrix/client/v3"+path, m.Token, strings.NewReader(body))
	var fields map[string]any
	if err := json.Unmarshal(answer, &fields); err != nil || status != http.StatusOK {
		m.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	text, _ := fields[field].(string)
	return text
}

func (m member) createRoom(version, more string) string {
	m.t.Helper()
	return m.ask(http.MethodPost, "/createRoom", `{"room_version":"`+version+`"`+more+`}`, "room_id")
}

func (m member) set(room, stateKey, content string) string {
	m.t.Helper()
	return m.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/state/"+ruleType+"/"+url.PathEscape(stateKey), content, "event_id")
}

func (m member) redact(room, event, txn string) string {
	m.t.Helper()
	return m.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/redact/"+url.PathEscape(event)+"/"+txn, `{}`, "event_id")
}

func (m member) say(room, txn string) {
	m.t.Helper()
	m.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/send/m.room.message/"+txn, `{"msgtype":"m.text","body":"x"}`, "event_id")
}

func (m member) do(room, what string, user synapsetest.User) {
	m.t.Helper()
	m.ask(http.MethodPost, "/rooms/"+url.PathEscape(room)+"/"+what, `{"user_id":"`+user.ID+`"}`, "")
}

// client is ours, with the member's token.
func (m member) client() *homeserver.Client {
	m.t.Helper()
	return newClient(m.t, m.s.URL, func(c *homeserver.Config) { c.Token = secret.New(m.Token) })
}

// state reads the events of our type, by state key.
func state(t *testing.T, c *homeserver.Client, room string) map[string]homeserver.Event {
	t.Helper()
	found := make(map[string]homeserver.Event)
	if err := c.RoomState(t.Context(), room, func(e homeserver.Event) error {
		if e.Type == ruleType {
			found[*e.StateKey] = e
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func synced(t *testing.T, c *homeserver.Client, since string, timeout time.Duration, rooms ...string) homeserver.SyncResponse {
	t.Helper()
	s, err := c.Sync(t.Context(), homeserver.SyncRequest{Since: since, Rooms: rooms, Types: []string{ruleType}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// told is what matters of events, one a line.
func told(events []homeserver.Event) (lines []string) {
	for _, e := range events {
		key := "-"
		if e.StateKey != nil {
			key = *e.StateKey
		}
		lines = append(lines, fmt.Sprintf("%s %s %s redacts %q, redacted by %q", e.Type, key, e.Content, e.Redacts, e.RedactedBy))
	}
	return lines
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestRoomsOfSynapse goes through all of it on two servers, because they take
// seconds to boot: a list on one, and who follows it on the other.
func TestRoomsOfSynapse(t *testing.T) {
	home, far := synapsetest.StartPair(t, synapsetest.Options{}, synapsetest.Options{})
	bot := member{t, home, home.Register(t, "bot", false)}
	owner := member{t, far, far.Register(t, "owner", false)}
	c := bot.client()
	ctx := t.Context()
	if user, err := c.User(ctx); user != bot.ID || err != nil {
		t.Errorf("the user is %q, %v", user, err)
	}

	for _, version := range []string{"10", "11", "12"} {
		t.Run("version "+version, func(t *testing.T) {
			bot, owner := member{t, home, bot.User}, member{t, far, owner.User}
			room := owner.createRoom(version, `,"preset":"public_chat","room_alias_name":"list`+version+`"`)
			alias := "#list" + version + ":" + far.Name
			first := owner.set(room, "a/b", `{"x":1}`)

			// Into it by alias, and by id with servers.
			if id, servers, err := c.ResolveAlias(ctx, alias); id != room || !slices.Equal(servers, []string{far.Name}) || err != nil {
				t.Errorf("the alias names %q on %q, %v", id, servers, err)
			}
			if _, err := c.Join(ctx, room, nil); version == "12" {
				checkError(t, err, "not found, upstream")
			}
			if id, err := c.Join(ctx, alias, nil); id != room || err != nil {
				t.Fatalf("joined %q, %v", id, err)
			}
			if err := c.Leave(ctx, room); err != nil {
				t.Fatal(err)
			}
			if id, err := c.Join(ctx, room, []string{far.Name}); id != room || err != nil {
				t.Fatalf("joined %q, %v", id, err)
			}
			var next string
			await(t, "the room in a first sync", func() bool {
				s := synced(t, c, "", 0, room)
				next = s.Next
				r, ok := s.Joined[room]
				if len(r.Events) > 0 {
					t.Errorf("at first %+v", r)
				}
				return ok
			})

			// A change, a redaction and an empty content, as they happen.
			second := owner.set(room, "c", `{"y":2}`)
			sync := func(events int) []homeserver.Event {
				t.Helper()
				var all []homeserver.Event
				await(t, "events", func() bool {
					s := synced(t, c, next, time.Second, room)
					next = s.Next
					all = append(all, s.Joined[room].Events...)
					return len(all) >= events
				})
				return all
			}
			got := sync(1)
			if diff := cmp.Diff([]string{ruleType + ` c {"y":2} redacts "", redacted by ""`}, told(got)); diff != "" || got[0].ID != second || got[0].Sender != owner.ID {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			owner.redact(room, first, "t1")
			owner.set(room, "c", `{}`)
			got = sync(2)
			if diff := cmp.Diff([]string{
				`m.room.redaction - {"redacts":"` + first + `"} redacts "` + first + `", redacted by ""`,
				ruleType + ` c {} redacts "", redacted by ""`,
			}, told(got)); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			// The same, told by the state and once more from the beginning.
			want := map[string]homeserver.Event{
				"a/b": {ID: first, Type: ruleType, StateKey: p("a/b"), Sender: owner.ID, Content: json.RawMessage(`{}`), RedactedBy: owner.ID},
				"c":   got[1],
			}
			if diff := cmp.Diff(want, state(t, c, room)); diff != "" {
				t.Errorf("the state (-want +got):\n%s", diff)
			}
			for key, event := range want {
				if got, err := c.StateEvent(ctx, room, ruleType, key); !cmp.Equal(got, event) || err != nil {
					t.Errorf("the event of %s is %+v, %v", key, got, err)
				}
			}
			_, err := c.StateEvent(ctx, room, ruleType, "none")
			checkError(t, err, "not found, upstream")

			// Writing takes power.
			_, err = c.SendState(ctx, room, ruleType, "d", struct{}{})
			checkError(t, err, "forbidden, upstream")
			checkError(t, c.Redact(ctx, room, second, "t", "r"), "forbidden, upstream")
			creators := ""
			if version != "12" {
				creators = `,"` + owner.ID + `":100`
			}
			owner.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/state/m.room.power_levels/", `{"users":{"`+bot.ID+`":50`+creators+`}}`, "")
			var own string
			await(t, "power", func() bool {
				own, err = c.SendState(ctx, room, ruleType, "d?#", map[string]int{"z": 3})
				return err == nil
			})
			if again, err := c.SendState(ctx, room, ruleType, "d?#", map[string]int{"z": 3}); again != own || err != nil {
				t.Errorf("the same again is %q, %v", again, err)
			}
			for range 2 {
				if err := c.Redact(ctx, room, own, "t2", "gone"); err != nil {
					t.Fatal(err)
				}
			}
			if e := state(t, c, room)["d?#"]; string(e.Content) != "{}" || e.RedactedBy != bot.ID || e.Sender != bot.ID {
				t.Errorf("redacted, it is %+v", e)
			}
			if n := len(sync(2)); n != 2 {
				t.Errorf("%d events of one that was set and redacted", n)
			}

			// Thrown out, the state is told as it was, to who asks for it.
			owner.do(room, "kick", bot.User)
			await(t, "the kick", func() bool {
				s := synced(t, c, next, time.Second, room)
				next = s.Next
				return slices.Contains(s.Left, room)
			})
			owner.set(room, "later", `{"x":1}`)
			if _, ok := state(t, c, room)["later"]; ok {
				t.Error("what came later is told")
			}
			membership, err := c.StateEvent(ctx, room, "m.room.member", bot.ID)
			if err != nil || !strings.Contains(string(membership.Content), `"leave"`) {
				t.Errorf("the own membership is %s, %v", membership.Content, err)
			}
			checkError(t, c.Leave(ctx, room), "forbidden, upstream")
		})
	}
	_, _, err := c.ResolveAlias(ctx, "#nothing:"+far.Name)
	checkError(t, err, "not found, upstream")
}

func p[T any](v T) *T { return &v }

// TestSyncOfSynapse is about what a sync tells beside events, on one server.
func TestSyncOfSynapse(t *testing.T) {
	home := synapsetest.Start(t, synapsetest.Options{})
	bot, owner := member{t, home, home.Register(t, "bot", false)}, member{t, home, home.Register(t, "owner", false)}
	c := bot.client()
	room := owner.createRoom("12", `,"preset":"public_chat"`)
	var rules []string
	for i := range 4 {
		rules = append(rules, owner.set(room, fmt.Sprint(i), `{"x":1}`))
	}
	if _, err := c.Join(t.Context(), room, nil); err != nil {
		t.Fatal(err)
	}
	next := synced(t, c, "", 0, room).Next

	// An invitation is told, and a room that was joined, though the filter names
	// another one, which may be one that the user is not in.
	invited := owner.createRoom("12", `,"preset":"private_chat","invite":["`+bot.ID+`"]`)
	want := []homeserver.Invite{{Room: invited, Inviter: owner.ID}}
	for name, s := range map[string]homeserver.SyncResponse{
		"at first": synced(t, c, "", 0, room), "later": synced(t, c, next, 0, room), "asked for another room": synced(t, c, next, 0, "!x:a.test"),
		"asked for all rooms": synced(t, c, next, 0),
	} {
		if diff := cmp.Diff(want, s.Invites); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	next = synced(t, c, next, 0, room).Next
	if _, err := c.Join(t.Context(), invited, nil); err != nil {
		t.Fatal(err)
	}
	s := synced(t, c, next, 0, room)
	if r, ok := s.Joined[invited]; !ok || !r.Limited || len(s.Invites) > 0 {
		t.Errorf("of a room just joined: %+v", s)
	}
	first := synced(t, c, "", 0, "!x:a.test")
	if len(first.Joined) != 2 || len(first.Joined[room].Events) > 0 {
		t.Errorf("a first sync tells %+v", first)
	}
	if err := c.Leave(t.Context(), invited); err != nil {
		t.Fatal(err)
	}
	if left := synced(t, c, s.Next, 0, room, invited).Left; !slices.Equal(left, []string{invited}) {
		t.Errorf("left %q, want what was left", left)
	}

	// A sync waits, and is told at once.
	next = synced(t, c, "", 0, room).Next
	set := make(chan homeserver.SyncResponse)
	go func() {
		s, _ := c.Sync(t.Context(), homeserver.SyncRequest{Since: next, Rooms: []string{room}, Types: []string{ruleType}, Timeout: 60 * time.Second})
		set <- s
	}()
	time.Sleep(200 * time.Millisecond)
	owner.set(room, "0", `{"x":2}`)
	if s := <-set; len(s.Joined[room].Events) != 1 {
		t.Errorf("woken with %+v", s)
	} else {
		next = s.Next
	}

	// A gap is told, unless Synapse withholds one of the events that it has counted:
	// then all before the last 100 are lost, though none of these is wanted.
	for i, fill := range []func(){
		func() {
			for j := range 101 {
				owner.set(room, "gap", fmt.Sprintf(`{"x":%d}`, j))
			}
		},
		func() {
			for j := range 100 {
				owner.say(room, fmt.Sprint(j))
			}
			owner.redact(room, "$unknown", "withheld")
		},
	} {
		owner.redact(room, rules[1+i], fmt.Sprint("t", i))
		fill()
		s := synced(t, c, next, 0, room)
		next = s.Next
		r, withheld := s.Joined[room], i == 1
		if r.Limited == withheld || slices.ContainsFunc(r.Events, func(e homeserver.Event) bool { return e.Redacts != "" }) {
			t.Errorf("beyond a gap, withheld %v: limited %v, %q", withheld, r.Limited, told(r.Events))
		}
		if e := state(t, c, room)[fmt.Sprint(1+i)]; e.RedactedBy != owner.ID {
			t.Errorf("the state tells %+v", e)
		}
	}

	_, err := c.Sync(t.Context(), homeserver.SyncRequest{Since: "nonsense"})
	checkError(t, err, "upstream")
}
