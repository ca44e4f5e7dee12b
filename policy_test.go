package main_test

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mediagate/internal/synapsetest"
)

// listWriter is a moderator of policy rooms.
type listWriter struct {
	t  *testing.T
	hs *synapsetest.Server
	synapsetest.User
	sent int
}

// ask makes a request of the client API and returns a field of its answer.
func (l *listWriter) ask(method, path string, body any, field string) string {
	l.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		l.t.Fatal(err)
	}
	status, _, answer := l.hs.Do(l.t, method, "/_matrix/client/v3"+path, l.Token, strings.NewReader(string(raw)))
	var fields map[string]any
	if err := json.Unmarshal(answer, &fields); err != nil || status != http.StatusOK {
		l.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	text, _ := fields[field].(string)
	return text
}

// createList makes a public room.
func (l *listWriter) createList(version, alias string) string {
	l.t.Helper()
	return l.ask(http.MethodPost, "/createRoom", map[string]any{
		"preset": "public_chat", "room_version": version, "room_alias_name": alias, "creation_content": map[string]any{"type": "m.policy"},
	}, "room_id")
}

func (l *listWriter) set(room, kind, key string, content any) string {
	l.t.Helper()
	return l.ask(http.MethodPut, "/rooms/"+url.PathEscape(room)+"/state/"+kind+"/"+url.PathEscape(key), content, "event_id")
}

func (l *listWriter) redact(room, event string) {
	l.t.Helper()
	l.sent++
	l.ask(http.MethodPut, fmt.Sprintf("/rooms/%s/redact/%s/%d", url.PathEscape(room), url.PathEscape(event), l.sent), struct{}{}, "event_id")
}

// subscribe has a gate follow a room.
func (s *instance) subscribe(t *testing.T, name string, config map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"bank": name, "api": "matrix_policy_list", "api_json": config})
	if err != nil {
		t.Fatal(err)
	}
	s.ask(t, asJSON(http.MethodPost, "/c/exchanges", string(body)), http.StatusCreated)
}

// listStatus is what the status of an exchange tells of a policy list.
type listStatus struct {
	LastError *string `json:"last_error"`
	Fetched   int     `json:"fetched_items"`
	Mode      string  `json:"mode"`
	InReview  int     `json:"in_review"`
	Hits      int     `json:"monitor_hits"`
	Report    struct {
		Room    string         `json:"room_id"`
		Synced  *int64         `json:"synced_ts"`
		Refused map[string]int `json:"refused"`
	} `json:"report"`
}

func (s *instance) listStatus(t *testing.T, name string) listStatus {
	t.Helper()
	return decode[listStatus](t, s.ask(t, request{path: "/c/exchange/" + name + "/status"}, http.StatusOK).body)
}

func (s *instance) promote(t *testing.T, name string) {
	t.Helper()
	s.ask(t, asJSON(http.MethodPut, "/c/exchange/"+name, `{"monitor":false}`), http.StatusOK)
}

// hashes are those of a content, by type.
type hashes struct{ pdq, md5, sha256 string }

func (s *instance) hash(t *testing.T, content []byte) hashes {
	t.Helper()
	a := decode[map[string]string](t, s.ask(t, upload(t, "/h/hash", "photo", "x.jpg", content, nil), http.StatusOK).body)
	return hashes{a["pdq"], fmt.Sprintf("%x", md5.Sum(content)), fmt.Sprintf("%x", sha256.Sum256(content))}
}

// TestPolicyRooms has a gate follow lists that are written on another server, which
// federates: one by its alias, one by its id and a server that is in it.
func TestPolicyRooms(t *testing.T) {
	t.Parallel()
	ours, theirs := synapsetest.StartPair(t, synapsetest.Options{Extra: fragment(t)}, synapsetest.Options{})
	s := newSite(t, ours, nil)
	writer := &listWriter{t: t, hs: theirs, User: theirs.Register(t, "moderator", false)}
	first, second := writer.createList("12", "list"), writer.createList("10", "other")
	s.gate.subscribe(t, "FIRST", map[string]any{"room": "#list:" + theirs.Name, "servers": true})
	s.gate.subscribe(t, "SECOND", map[string]any{"room": second, "via": []string{theirs.Name}})
	for name, room := range map[string]string{"FIRST": first, "SECOND": second} {
		eventually(t, name+" is followed", func() bool {
			r := s.gate.listStatus(t, name).Report
			return r.Synced != nil && r.Room == room
		})
	}
	bad := picture(t, realPicture)
	known := s.gate.hash(t, bad)
	copies := [][]byte{bad, smallCopy(t, bad, 60), smallCopy(t, bad, 75)}
	var posted []string
	poster := theirs.Register(t, "poster", false)
	for i, content := range copies {
		if i == 0 { // on the other server
			posted = append(posted, theirs.Upload(t, poster.Token, "image/jpeg", "cat.jpg", content))
			continue
		}
		posted = append(posted, ours.Upload(t, s.bob.Token, "image/jpeg", "cat.jpg", content))
	}
	harmless := ours.Upload(t, s.bob.Token, "image/png", "coaster.png", picture(t, "misc/c.png"))
	served := func(mxc string) bool {
		return raw(t, s.web, call{target: clientRoutes[0].path(mxc), header: []string{bobs(s)}}).status == http.StatusOK
	}
	all := func(want bool) func() bool {
		return func() bool {
			for _, mxc := range posted {
				if served(mxc) != want {
					return false
				}
			}
			return true
		}
	}
	if !all(true)() || !served(harmless) {
		t.Fatal("pictures are refused before anything was decided")
	}
	pdqRule := map[string]any{"space.midnightthoughts.pdqhash": map[string]any{"hash": known.pdq, "quality": "100"}, "reason": "Meow"}
	const unstable = "space.midnightthoughts.policy.media_hash"

	t.Run("monitor", func(t *testing.T) {
		writer.set(first, unstable, known.pdq, pdqRule)
		soon(t, "the hash is banked", func() bool { return s.gate.listStatus(t, "FIRST").Fetched == 1 })
		if got := s.gate.listStatus(t, "FIRST").Mode; got != "monitor" {
			t.Errorf("a new list is in mode %q", got)
		}
		soon(t, "matches are counted", func() bool {
			return all(true)() && s.gate.listStatus(t, "FIRST").Hits > 0 && s.gate.metric(t, `mediagate_monitor_matches_total{bank="FIRST"}`) > 0
		})
		type prediction struct{ Contents, Requests, Seen int64 }
		predicted := decode[prediction](t, s.gate.ask(t, request{path: "/v1/prediction?bank=FIRST"}, http.StatusOK).body)
		s.gate.promote(t, "FIRST")
		soon(t, "the copies are refused", all(false))
		if predicted.Contents != int64(len(posted)) {
			t.Errorf("predicted was %+v, %d contents are blocked", predicted, len(posted))
		}
		writer.set(first, unstable, known.pdq, struct{}{})
		soon(t, "the copies are served", all(true))
	})

	item := sha256.Sum256([]byte(posted[0]))
	object := func(hash string) map[string]any { return map[string]any{"hash": hash, "quality": 100} }
	for name, rule := range map[string]struct {
		kind    string
		content map[string]any
		copies  int // of the posted pictures, how many are blocked
	}{
		"last revision":       {"m.policy.media_hash", map[string]any{"m.pdqhash": object(known.pdq)}, 3},
		"last revision, seed": {unstable, pdqRule, 3},
		"first revision":      {unstable, map[string]any{"type": "space.midnightthoughts.pdqhash", "hash": known.pdq, "quality": "100"}, 3},
		"several hashes":      {unstable, map[string]any{"org.example.photodna": object("x"), "m.pdqhash": object(known.pdq), "io.github.mediagate.md5": object(known.md5)}, 3},
		"MD5":                 {unstable, map[string]any{"io.github.mediagate.md5": object(known.md5)}, 1},
		"SHA-256, a takedown": {unstable, map[string]any{"io.github.mediagate.sha256": object(known.sha256), "recommendation": "m.takedown"}, 1},
		"an item":             {"org.matrix.msc4207.mxc", map[string]any{"hashes": map[string]any{"sha256": base64.StdEncoding.EncodeToString(item[:])}, "recommendation": "m.takedown"}, 1},
		"a server":            {"m.policy.rule.server", map[string]any{"entity": theirs.Name, "recommendation": "m.ban"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			blocked := func(n int) func() bool {
				return func() bool {
					for i, mxc := range posted {
						if served(mxc) == (i < n) {
							return false
						}
					}
					return true
				}
			}
			for way, lift := range map[string]func(event string){
				"emptied":  func(string) { writer.set(first, rule.kind, "key", struct{}{}) },
				"redacted": func(event string) { writer.redact(first, event) },
				"changed": func(string) {
					writer.set(first, rule.kind, "key", map[string]any{"m.pdqhash": object(strings.Repeat("0f", 16) + strings.Repeat("33", 16))})
				},
			} {
				event := writer.set(first, rule.kind, "key", rule.content)
				soon(t, "what it bans is refused", blocked(rule.copies))
				lift(event)
				soon(t, "it is served when the rule is "+way, blocked(0))
			}
		})
	}

	t.Run("by id", func(t *testing.T) {
		writer.set(second, unstable, "k", pdqRule)
		soon(t, "the hash is banked", func() bool { return s.gate.listStatus(t, "SECOND").Fetched == 1 })
		s.gate.promote(t, "SECOND")
		soon(t, "the copies are refused", all(false))
		if !served(harmless) {
			t.Error("an unrelated picture is refused")
		}
		// Unsubscribing lifts all that only this list has banned.
		s.gate.ask(t, request{method: http.MethodDelete, path: "/c/exchange/SECOND"}, http.StatusOK)
		soon(t, "the copies are served", all(true))
	})
	t.Run("publisher and subscriber", func(t *testing.T) { publishEachOther(t, s, newSite(t, theirs, nil), bad) })
}

// publishEachOther has two gates publish a bank of their own and follow one another. What
// one banks is blocked at the other, and lifted again, and nothing comes back.
func publishEachOther(t *testing.T, first, second *site, content []byte) {
	t.Helper()
	both := []*site{first, second}
	var rooms []string
	for i, s := range both {
		writer := &listWriter{t: t, hs: s.hs, User: s.admin}
		rooms = append(rooms, writer.createList("11", fmt.Sprint("published", i)))
		s.gate.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"OWN"}`), http.StatusCreated)
		if out, err := command(t, s.env, "publish", "add", "OWN", rooms[i]).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for i, s := range both {
		other := both[1-i]
		s.gate.subscribe(t, "THEIRS", map[string]any{"room": rooms[1-i], "via": []string{other.hs.Name}})
		eventually(t, "the other one is followed", func() bool { return s.gate.listStatus(t, "THEIRS").Report.Synced != nil })
		s.gate.promote(t, "THEIRS")
	}
	mxc := second.hs.Upload(t, second.bob.Token, "image/jpeg", "cat.jpg", smallCopy(t, content, 65))
	served := func() bool {
		return raw(t, second.web, call{target: clientRoutes[0].path(mxc), header: []string{bobs(second)}}).status == http.StatusOK
	}
	if !served() {
		t.Fatal("the copy is refused before anything was decided")
	}
	for range 2 {
		added := first.gate.ask(t, upload(t, "/c/bank/OWN/content", "photo", "cat.jpg", content, nil), http.StatusOK)
		soon(t, "what one has banked is refused by the other", func() bool { return !served() })
		id := decode[struct{ ID int64 }](t, added.body).ID
		first.gate.ask(t, request{method: http.MethodDelete, path: fmt.Sprint("/c/bank/OWN/content/", id)}, http.StatusOK)
		soon(t, "what it has taken back is served by the other", served)
	}
	// Nothing of it has come back.
	status, _, body := second.hs.Do(t, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(rooms[1])+"/state", second.admin.Token, nil)
	if status != http.StatusOK || strings.Contains(string(body), "media_hash") {
		t.Errorf("%d, the subscriber has published %s", status, body)
	}
	if n := first.gate.listStatus(t, "THEIRS").Fetched; n != 0 {
		t.Errorf("%d entries came back", n)
	}
}
