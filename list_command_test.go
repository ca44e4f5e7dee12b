package main_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/internal/synapsetest"
)

const logo = "d8f8f0cce0f4a84f0e370a22028f67f0b36e2ed596623e1d33e6b39c4e9c9b22"

// TestAllowedPicturesAreLinted makes a bank of a logo, and has a list come near to it.
func TestAllowedPicturesAreLinted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := databaseIn(dir)
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	store, err := bank.Open(t.Context(), env["MEDIAGATE_DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }() // only read from here on
	b, err := store.CreateBank(t.Context(), bank.Bank{Name: "LOGOS", Ratio: 1, Allow: true})
	if err != nil {
		t.Fatal(err)
	}
	signal, err := bank.ParseSignal(bank.PDQ, logo)
	if err != nil {
		t.Fatal(err)
	}
	signal.Quality = 100
	if _, err := store.AddContent(t.Context(), bank.NewContent{Bank: b.Name, Signals: []bank.Signal{signal}}); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "list")
	near := "0" + logo[1:] // three bits of it
	if err := os.WriteFile(list, []byte(near+"\n"+strings.Repeat("12345678", 8)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(t, env, "list", "lint", list, "--allow", "LOGOS").CombinedOutput()
	if code := exitCode(t, err); code != 1 || !strings.Contains(string(out), "near_allowed") {
		t.Errorf("exit status %d: %s", code, out)
	}
	if out, err := command(t, env, "list", "lint", list).CombinedOutput(); err == nil || strings.Contains(string(out), "near_allowed") {
		t.Errorf("without the bank: %v: %s", err, out)
	}
}

// TestRoomIsLinted reads a room of a real homeserver, by its id and by its alias.
func TestRoomIsLinted(t *testing.T) {
	t.Parallel()
	s := &site{hs: synapsetest.Start(t, synapsetest.Options{})}
	s.admin, s.alice = s.hs.Register(t, "admin", true), s.hs.Register(t, "alice", false)
	env := s.environment(t, nil)
	ask := func(user synapsetest.User, method, path, body, field string) string {
		t.Helper()
		status, _, raw := s.hs.Do(t, method, "/_matrix/client/v3"+path, user.Token, strings.NewReader(body))
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil || status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, status, raw)
		}
		text, _ := fields[field].(string)
		return text
	}
	room := ask(s.alice, http.MethodPost, "/createRoom", `{"room_alias_name":"list","preset":"public_chat","room_version":"12"}`, "room_id")
	at := "/rooms/" + url.PathEscape(room)
	set := func(key, content string) string {
		return ask(s.alice, http.MethodPut, at+"/state/m.policy.media_hash/"+key, content, "event_id")
	}
	set("good", `{"m.pdqhash":{"hash":"`+logo+`","quality":"100"}}`)
	run := func(status int, args ...string) string {
		t.Helper()
		out, err := command(t, env, append([]string{"list", "lint"}, args...)...).CombinedOutput()
		if code := exitCode(t, err); code != status || strings.Contains(string(out), s.admin.Token) {
			t.Errorf("%v: exit status %d: %s", args, code, out)
		}
		return string(out)
	}
	if out := run(1, room); !strings.HasPrefix(out, "mediagate: list lint: read room state: ") {
		t.Errorf("of a room that it has not joined it says %q", out)
	}
	ask(s.admin, http.MethodPost, "/join/"+url.PathEscape(room), `{}`, "room_id")
	if out := run(0, room); !strings.Contains(out, "m.policy.media_hash may be written by "+s.alice.ID+"\n") || !strings.Contains(out, "counts") {
		t.Errorf("it says %q", out)
	}
	bad := set("bad", `{"m.pdqhash":{"hash":"`+strings.Repeat("0", 64)+`","quality":"100"}}`)
	redacted := set("redacted", `{"m.pdqhash":{"hash":"`+strings.Repeat("0", 64)+`","quality":"100"}}`)
	ask(s.alice, http.MethodPut, at+"/redact/"+url.PathEscape(redacted)+"/1", `{}`, "event_id")
	_, domain, _ := strings.Cut(s.alice.ID, ":")
	if out := run(1, "#list:"+domain); !strings.Contains(out, bad) || strings.Contains(out, redacted) || !strings.HasSuffix(out, "mediagate: list lint: 1 entry is refused\n") {
		t.Errorf("it says %q", out)
	}
	if out := run(1, "#none:"+domain); !strings.HasPrefix(out, "mediagate: list lint: resolve alias: ") {
		t.Errorf("of a room that is not there it says %q", out)
	}
}
