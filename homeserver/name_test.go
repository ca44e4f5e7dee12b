package homeserver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/media"
)

func withoutToken(c *homeserver.Config) { c.Token = secret.String{} }

// TestNameIsLearnt by whoami, or, without a token or if that is refused, by what
// needs none.
func TestNameIsLearnt(t *testing.T) {
	const whoami, keys = "/_matrix/client/v3/account/whoami", "/_matrix/key/v2/server"
	user, key := `{"user_id":"@x:a.test"}`, `{"server_name":"a.test","verify_keys":{}}`
	for name, tt := range map[string]struct {
		change       func(*homeserver.Config)
		whoami, keys string // empty is an error
		asked        []string
	}{
		"token":              {nil, user, key, []string{whoami}},
		"token, no keys":     {nil, user, "", []string{whoami}},
		"token that is gone": {nil, "", key, []string{whoami, keys}},
		"no user":            {nil, `{"user_id":"a.test"}`, key, []string{whoami, keys}},
		"no token":           {withoutToken, user, key, []string{keys}},
	} {
		t.Run(name, func(t *testing.T) {
			home := record(t, func(w http.ResponseWriter, r *http.Request) {
				text := map[string]string{whoami: tt.whoami, keys: tt.keys}[r.URL.Path]
				if text == "" {
					w.WriteHeader(http.StatusUnauthorized)
					text = `{"errcode":"M_UNKNOWN_TOKEN"}`
				}
				_, _ = w.Write([]byte(text))
			})
			client := newClient(t, home.url, tt.change)
			var log bytes.Buffer
			if err := client.LearnName(t.Context(), slog.New(slog.NewTextHandler(&log, nil))); err != nil {
				t.Error(err)
			}
			if !client.IsLocal(item) || client.IsLocal(media.URI{Server: "b.test", ID: "x"}) {
				t.Error("the name is not what it was told")
			}
			var asked []string
			for _, r := range home.requests() {
				asked = append(asked, r.URL.Path)
				if sent := r.Header.Get("Authorization"); (sent != "") != (r.URL.Path == whoami) {
					t.Errorf("%s was asked with %q", r.URL.Path, sent)
				}
			}
			if fmt.Sprint(asked) != fmt.Sprint(tt.asked) {
				t.Errorf("asked %v, want %v", asked, tt.asked)
			}
			checkSecrets(t, log.String())
			if name, err := client.Name(t.Context()); client.HasToken() && (name != "a.test" || err != nil) {
				t.Errorf("%q, %v", name, err)
			} else if !client.HasToken() {
				checkError(t, err, "unauthorized") // what needs the token is not done without it
			}
			if n := len(home.requests()); n > 0 {
				t.Errorf("asked %d times more for a name that is known", n)
			}
		})
	}
}

// TestNameIsAskedForUntilItIsKnown: meanwhile nothing is local, and nobody waits.
func TestNameIsAskedForUntilItIsKnown(t *testing.T) {
	answer := func(body string) func(net.Conn) {
		return func(c net.Conn) {
			says(fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))(c, nil)
		}
	}
	for name, first := range map[string]func(net.Conn){
		"nothing":      hang,
		"refusal":      func(c net.Conn) { status("403 No", "M_FORBIDDEN")(c, &http.Request{}) },
		"unknown path": func(c net.Conn) { status("404 No", "M_UNRECOGNIZED")(c, &http.Request{}) },
		"garbage":      answer(`<html>`),
		"no name":      answer(`{}`),
		"empty name":   answer(`{"server_name":""}`),
		"odd name":     answer(`{"server_name":"a/b"}`),
		"a number":     answer(`{"server_name":1}`),
		"too long":     answer(`{"server_name":"` + strings.Repeat("a", 300) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				home := newPiped(first)
				client := home.client(t, withoutToken)
				var log bytes.Buffer
				learnt := make(chan error, 1)
				go func() { learnt <- client.LearnName(t.Context(), slog.New(slog.NewTextHandler(&log, nil))) }()
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := home.dials.Load(); client.IsLocal(item) || n < 10 || n > 30 {
					t.Errorf("asked %d times in an hour, local: %v", n, client.IsLocal(item))
				}
				home.answer.Store(answer(`{"server_name":"a.test"}`))
				time.Sleep(homeserver.LastPause + time.Minute)
				synctest.Wait()
				if err := <-learnt; err != nil || !client.IsLocal(item) {
					t.Errorf("%v, local: %v", err, client.IsLocal(item))
				}
				if n := strings.Count(log.String(), "does not tell its name"); n != 1 {
					t.Errorf("logged %d times: %s", n, log.String())
				}
			})
		})
	}
}

// TestLearningEndsWithItsContext while it asks, and while it waits.
func TestLearningEndsWithItsContext(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 10*time.Second + 500*time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			client := newPiped(hang).client(t, nil)
			if err := client.LearnName(ctx, slog.New(slog.DiscardHandler)); err != nil || client.IsLocal(item) {
				t.Errorf("after %s: %v", after, err)
			}
		})
	}
}

// TestErrorsDoNotUndoTheName: what is learnt while somebody else is refused stays.
func TestErrorsDoNotUndoTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := newPiped(func(c net.Conn) {
			time.Sleep(time.Second)
			status("500 No", "M_UNKNOWN")(c, &http.Request{})
		})
		client := home.client(t, nil)
		refused := make(chan error, 1)
		go func() {
			_, err := client.Name(t.Context())
			refused <- err
		}()
		time.Sleep(time.Second / 2)
		home.answer.Store(func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 23\r\n\r\n{\"user_id\":\"@x:a.test\"}")(c, nil)
		})
		if err := client.LearnName(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		checkError(t, <-refused, "upstream")
		if !client.IsLocal(item) {
			t.Error("the name is forgotten")
		}
	})
}
