package homeserver_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
)

// listed lets the homeserver redirect to where the tests' servers listen.
func listed(c *homeserver.Config) {
	c.RedirectNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// redirecting is a homeserver that answers with a status and a place.
func redirecting(t *testing.T, status int, location string) string {
	t.Helper()
	return handled(t, func(w http.ResponseWriter, _ *http.Request) {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.Header().Set("Set-Cookie", "session="+userToken)
		w.WriteHeader(status)
	})
}

// everything is all that a download can be asked with.
var everything = homeserver.Options{ETag: `"e"`, For: netip.MustParseAddr("192.0.2.1")}

// TestRedirectsCarryNoCredential sends downloads on to a sink.
func TestRedirectsCarryNoCredential(t *testing.T) {
	sink := record(t, nil)
	for _, status := range []int{301, 302, 303, 304, 305, 306, 307, 308} {
		client := newClient(t, redirecting(t, status, sink.url+"/bucket/x?signed=1#part"), listed)
		for name, as := range map[string]homeserver.Credential{"user": homeserver.Bearer(userToken), "moderator": client.Moderator()} {
			content, err := download(t, client, item, as, everything)
			got := sink.requests()
			switch status {
			case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
				if content != "hello" || err != nil || len(got) != 1 || got[0].RequestURI != "/bucket/x?signed=1" {
					t.Fatalf("%d as %s: %q, %v, %d requests", status, name, content, err, len(got))
				}
				if diff := cmp.Diff(http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"mediagate"}}, got[0].Header); diff != "" {
					t.Errorf("%d as %s: the sink got (-want +got):\n%s", status, name, diff)
				}
			case http.StatusNotModified:
				checkError(t, err, "not modified")
			default:
				checkError(t, err, "upstream")
			}
			if status < http.StatusTemporaryRedirect && len(got) > 0 {
				t.Errorf("%d as %s: the sink was asked", status, name)
			}
		}
		// What is no download goes nowhere else.
		for name, call := range calls {
			checkError(t, call(t.Context(), client), "upstream")
			if got := sink.requests(); len(got) > 0 {
				t.Errorf("%d: %s asked the sink", status, name)
			}
		}
	}
}

// TestRedirectsToRefusedPlaces has a sink listen that must hear nothing. The
// token is in the place itself, to be seen in errors.
func TestRedirectsToRefusedPlaces(t *testing.T) {
	sink := record(t, nil)
	u, err := url.Parse(sink.url)
	if err != nil {
		t.Fatal(err)
	}
	port := u.Port()
	const query = "/?access_token=" + userToken
	tests := map[string]struct {
		to     string
		config func(*homeserver.Config)
		want   string
	}{
		"a private address":         {sink.url + query, nil, "unreachable"},
		"its name":                  {"http://localhost:" + port + query, nil, "unreachable"},
		"any address":               {"http://0.0.0.0:" + port + query, nil, "unreachable"},
		"another of the network":    {"http://127.1.2.3:" + port + query, nil, "unreachable"},
		"IPv4 in IPv6":              {"http://[::ffff:127.0.0.1]:" + port + query, nil, "unreachable"},
		"IPv4 in NAT64":             {"http://[64:ff9b::7f00:1]:" + port + query, nil, "unreachable"},
		"IPv6":                      {"http://[::1]:" + port + query, nil, "unreachable"},
		"one number":                {"http://2130706433:" + port + query, nil, "unreachable"},
		"hexadecimal":               {"http://0x7f.1:" + port + query, nil, "unreachable"},
		"metadata of a cloud":       {"http://169.254.169.254" + query, nil, "unreachable"},
		"of another network listed": {sink.url + query, func(c *homeserver.Config) { c.RedirectNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, "unreachable"},
		"without a host":            {"//" + u.Host + query, nil, "unreachable"},
		"the homeserver itself":     {"/_matrix/client/v1/media/download/a.test/y" + query, nil, "unreachable"},
		"a user":                    {"http://u:" + userToken + "@" + u.Host, listed, "upstream"},
		"a user without a word":     {"http://@" + u.Host, listed, "upstream"},
		"a file":                    {"file:///etc/passwd" + query, listed, "upstream"},
		"gopher":                    {"gopher://" + u.Host + query, listed, "upstream"},
		"data":                      {"data:image/png,x", listed, "upstream"},
		"no address":                {"http://%zz/" + userToken, listed, "unreachable"},
		"no host":                   {"http:///" + query, listed, "unreachable"},
		"nowhere":                   {"", listed, "upstream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, redirecting(t, http.StatusTemporaryRedirect, tt.to), tt.config)
			_, err := download(t, client, item, homeserver.Bearer(userToken), everything)
			checkError(t, err, tt.want)
			if got := sink.requests(); len(got) > 0 {
				t.Errorf("the sink was asked for %s", got[0].RequestURI)
			}
		})
	}
}

func TestRedirectsEnd(t *testing.T) {
	var url string
	hops := record(t, func(w http.ResponseWriter, r *http.Request) {
		left, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		if err != nil || left == 0 {
			w.Header().Set("Content-Type", "image/png")
			return
		}
		http.Redirect(w, r, fmt.Sprintf("%s/%d", url, left-1), http.StatusPermanentRedirect)
	})
	url = hops.url
	for n, want := range map[int]string{1: "success", homeserver.MaxRedirects: "success", homeserver.MaxRedirects + 1: "upstream", 1000: "upstream"} {
		client := newClient(t, redirecting(t, http.StatusPermanentRedirect, fmt.Sprintf("%s/%d", url, n-1)), listed)
		_, err := download(t, client, item, homeserver.Bearer(userToken), everything)
		checkError(t, err, want)
		if got := hops.requests(); len(got) != min(n, homeserver.MaxRedirects) {
			t.Errorf("%d redirects: %d were followed", n, len(got))
		}
	}
}

// TestRedirectTargetSaysNothingAboutTheCaller: it is asked without his credential.
// That it refuses must not be taken for the homeserver's word about him, by which
// he could be let through, or logged out.
func TestRedirectTargetSaysNothingAboutTheCaller(t *testing.T) {
	for _, status := range []int{201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 410, 429, 500} {
		target := handled(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status != http.StatusNoContent && status != http.StatusNotModified {
				_, _ = fmt.Fprint(w, `{"errcode":"M_UNKNOWN_TOKEN"}`)
			}
		})
		client := newClient(t, redirecting(t, http.StatusTemporaryRedirect, target), listed)
		for _, as := range []homeserver.Credential{homeserver.Bearer(userToken), homeserver.Legacy(false)} {
			_, err := download(t, client, item, as, everything)
			if checkError(t, err, "upstream"); t.Failed() {
				t.Fatalf("status %d", status)
			}
		}
	}
}

// TestRedirectTargetIsHeldToTheSame as a homeserver that serves media itself.
func TestRedirectTargetIsHeldToTheSame(t *testing.T) {
	for name, tt := range map[string]struct{ answer, want string }{
		"media":     {sized + "0123456789", "success"},
		"a page":    {strings.Replace(sized, "image/png", "text/html", 1) + "0123456789", "upstream"},
		"cut":       {sized, "broken"},
		"no length": {mediaHead + "Connection: close\r\n\r\n0123456789", "upstream"},
		"no type":   {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "upstream, content type"},
		"packed":    {mediaHead + "Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "upstream"},
	} {
		client := newClient(t, redirecting(t, http.StatusTemporaryRedirect, spoken(t, says(tt.answer))), listed)
		_, err := download(t, client, item, homeserver.Bearer(userToken), everything)
		if got := kinds(err); got != tt.want {
			t.Errorf("%s: %q, want %q: %v", name, got, tt.want, err)
		}
	}
}
