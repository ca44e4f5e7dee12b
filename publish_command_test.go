package main_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"mediagate/internal/synapsetest"
)

// TestBankIsPublishedByCommand, by a server, and taken back.
func TestBankIsPublishedByCommand(t *testing.T) {
	t.Parallel()
	s := &site{hs: synapsetest.Start(t, synapsetest.Options{})}
	s.admin, s.alice = s.hs.Register(t, "admin", true), s.hs.Register(t, "alice", false)
	env := s.environment(t, nil)
	run := func(status int, args ...string) string {
		t.Helper()
		out, err := command(t, env, args...).CombinedOutput()
		if code := exitCode(t, err); code != status || strings.Contains(string(out), s.admin.Token) {
			t.Errorf("%v: exit status %d: %s", args, code, out)
		}
		return string(out)
	}
	if out := run(1, "publish", "list"); out != "mediagate: publish list: open store: there is no store\n" {
		t.Errorf("without a store it says %q", out)
	}
	maker := launch(t, mapWith(env, "MEDIAGATE_ROLES", "CURATOR,HASHER"))
	maker.awaitListening(t)
	maker.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"OWN"}`), http.StatusCreated)
	maker.ask(t, upload(t, "/c/bank/OWN/content", "photo", "c4n4ry.jpg", picture(t, realPicture), nil), http.StatusOK)
	maker.ask(t, asJSON(http.MethodPut, "/c/bank/OWN/content/1", `{"note":"c4n4ry"}`), http.StatusOK)
	maker.stop(t)
	status, _, answer := s.hs.Do(t, http.MethodPost, "/_matrix/client/v3/createRoom", s.alice.Token, strings.NewReader(
		`{"preset":"public_chat","room_alias_name":"list","room_version":"11","power_level_content_override":{"users":{"`+s.alice.ID+`":100,"`+s.admin.ID+`":50}}}`))
	found := regexp.MustCompile(`"room_id":"([^"]+)"`).FindSubmatch(answer)
	if found == nil {
		t.Fatalf("%d %s", status, answer)
	}
	room := string(found[1])
	said := func() string {
		_, _, state := s.hs.Do(t, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/state", s.alice.Token, nil)
		return string(state)
	}

	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"publish"}, "usage: mediagate publish list"},
		{[]string{"publish", "x"}, `there is no command "x"`},
		{[]string{"publish", "list", "x"}, "it takes no names"},
		{[]string{"publish", "add", "OWN"}, "it needs the name of a bank and a room"},
		{[]string{"publish", "add", "OWN", "room"}, `"room" is neither the id of a room nor an alias`},
		{[]string{"publish", "add", "NONE", "#list:" + s.hs.Name}, "bank not found"},
		{[]string{"publish", "add", "OWN", "#none:" + s.hs.Name}, "404 M_NOT_FOUND"},
		{[]string{"publish", "remove"}, "it needs the name of one bank"},
		{[]string{"publish", "remove", "OWN"}, "the bank is not published"},
		{[]string{"publish", "preview", "NONE"}, "bank not found"},
		{[]string{"publish", "preview"}, "it needs the name of one bank, and perhaps a room"},
		{[]string{"publish", "preview", "OWN", "room"}, `"room" is neither the id of a room nor an alias`},
		{[]string{"publish", "preview", "OWN", "#none:" + s.hs.Name}, "404 M_NOT_FOUND"},
		{[]string{"publish", "preview", "OWN", room}, "403 M_FORBIDDEN"},
	} {
		if out := run(1, tt.args...); !strings.Contains(out, tt.want) {
			t.Errorf("%v: it says %q", tt.args, out)
		}
	}
	if out := run(0, "publish", "preview", "OWN"); out != "send content 1\n1 to send, 0 to redact, 0 kept, 0 left to others\n" {
		t.Errorf("at first the preview is %q", out)
	}
	// What is in a room before is told if it is asked for.
	ask := func(method, path, body string) string {
		t.Helper()
		status, _, answer := s.hs.Do(t, method, "/_matrix/client/v3/"+path, s.admin.Token, strings.NewReader(body))
		if status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, status, answer)
		}
		return regexp.MustCompile(`\$[^"]*`).FindString(string(answer))
	}
	ask(http.MethodPost, "join/"+url.PathEscape(room), "{}")
	hash := strings.Repeat("0f", 32)
	earlier := ask(http.MethodPut, "rooms/"+url.PathEscape(room)+"/state/space.midnightthoughts.policy.media_hash/"+fmt.Sprintf("%x", sha256.Sum256([]byte(hash))),
		`{"space.midnightthoughts.pdqhash":{"hash":"`+hash+`"}}`)
	for _, name := range []string{room, "#list:" + s.hs.Name} {
		if out := run(0, "publish", "preview", "OWN", name); out != "send content 1\nredact event "+earlier+"\n1 to send, 1 to redact, 0 kept, 0 left to others\n" {
			t.Errorf("into %s the preview is %q", name, out)
		}
	}
	ask(http.MethodPut, "rooms/"+url.PathEscape(room)+"/redact/"+url.PathEscape(earlier)+"/x", "{}")

	if out := run(0, "publish", "add", "OWN", "#list:"+s.hs.Name); out != "OWN is published into "+room+"\n" {
		t.Errorf("it says %q", out)
	}
	if out := run(1, "publish", "add", "OWN", room); !strings.Contains(out, "the bank is published already") {
		t.Errorf("it says %q", out)
	}
	if strings.Contains(said(), "pdqhash") {
		t.Error("it is published before there is a server")
	}

	gate := start(t, env)
	listed := regexp.MustCompile(`(?m)^OWN +` + regexp.QuoteMeta(room) + ` +\S+ +on +\S+Z +1 +-$`)
	gate.await(t, "it is published", func() bool { return listed.MatchString(run(0, "publish", "list")) })
	if state := said(); !strings.Contains(state, hashOf(t, realPicture).PDQ) || strings.Contains(state, "c4n4ry") {
		t.Errorf("the room holds %s", state)
	}
	if out := run(0, "publish", "list", "--json"); !strings.Contains(out, `"published":1,"problem":""`) {
		t.Errorf("it is listed as %s", out)
	}
	if got := gate.metric(t, `mediagate_publish_events_total{bank="OWN",outcome="sent"}`); got != 1 {
		t.Errorf("%g events are counted", got)
	}
	if out := run(0, "publish", "preview", "OWN"); out != "0 to send, 0 to redact, 1 kept, 0 left to others\n" {
		t.Errorf("then the preview is %q", out)
	}
	if out := run(0, "publish", "remove", "OWN", "--redact"); !strings.HasPrefix(out, "OWN is being taken back") {
		t.Errorf("it says %q", out)
	}
	gate.await(t, "it is taken back", func() bool { return run(0, "publish", "list", "--json") == "" })
	if strings.Contains(said(), "pdqhash") {
		t.Error("the room holds it still")
	}
}
