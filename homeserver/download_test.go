package homeserver_test

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
	"mediagate/media"
)

// recorded is a server that keeps what it is asked. answer may be nil: then it
// serves media.
type recorded struct {
	url string
	mu  sync.Mutex
	got []*http.Request
}

func record(t *testing.T, answer http.HandlerFunc) *recorded {
	t.Helper()
	r := &recorded{}
	r.url = handled(t, func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.got = append(r.got, req)
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
			return
		}
		w.Header().Set("Content-Type", "image/png")
		_, _ = io.WriteString(w, "hello")
	})
	return r
}

// requests returns what came since the last call.
func (r *recorded) requests() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// download reads an item as somebody.
func download(t *testing.T, c *homeserver.Client, item media.URI, as homeserver.Credential, o homeserver.Options) (string, error) {
	t.Helper()
	d, err := c.Download(t.Context(), item, as, o)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(d.Body)
	return string(content), errors.Join(err, d.Body.Close())
}

func TestDownloadAsksAsTold(t *testing.T) {
	home := record(t, nil)
	client := newClient(t, home.url+"/behind/a/path/", nil)
	const (
		v1 = "/behind/a/path/_matrix/client/v1/media/download/a.test/x?"
		v3 = "/behind/a/path/_matrix/media/v3/download/a.test/x?"
	)
	tests := map[string]struct {
		as            homeserver.Credential
		options       homeserver.Options
		uri           string
		authorization []string
		more          http.Header // besides what is in all
	}{
		"a user":    {homeserver.Bearer(userToken), homeserver.Options{}, v1 + "timeout_ms=8000", []string{"Bearer " + userToken}, nil},
		"a header":  {homeserver.Header("Basic x"), homeserver.Options{}, v1 + "timeout_ms=8000", []string{"Basic x"}, nil},
		"nobody":    {homeserver.Header(""), homeserver.Options{}, v1 + "timeout_ms=8000", nil, nil},
		"service":   {client.Service(), homeserver.Options{}, v1 + "timeout_ms=8000", []string{"Bearer " + serviceToken}, nil},
		"moderator": {client.Moderator(), homeserver.Options{}, v1 + "admin_unsafely_bypass_quarantine=true&timeout_ms=8000", []string{"Bearer " + serviceToken}, nil},
		"legacy":    {homeserver.Legacy(false), homeserver.Options{}, v3 + "timeout_ms=8000", nil, nil},
		"local":     {homeserver.Legacy(true), homeserver.Options{}, v3 + "allow_remote=false&timeout_ms=8000", nil, nil},
		"known": {homeserver.Bearer(userToken), homeserver.Options{ETag: `"e"`}, v1 + "timeout_ms=8000", []string{"Bearer " + userToken},
			http.Header{"If-None-Match": {`"e"`}}},
		"for IPv4": {homeserver.Legacy(false), homeserver.Options{For: netip.MustParseAddr("192.0.2.1")}, v3 + "timeout_ms=8000", nil,
			http.Header{"X-Forwarded-For": {"192.0.2.1"}}},
		"for IPv6": {homeserver.Legacy(false), homeserver.Options{For: netip.MustParseAddr("2001:db8::1")}, v3 + "timeout_ms=8000", nil,
			http.Header{"X-Forwarded-For": {"2001:db8::1"}}},
	}
	for name, tt := range tests {
		if content, err := download(t, client, item, tt.as, tt.options); content != "hello" || err != nil {
			t.Errorf("%s: %q, %v", name, content, err)
		}
		got := home.requests()
		if len(got) != 1 || got[0].Method != http.MethodGet || got[0].RequestURI != tt.uri {
			t.Fatalf("%s: asked %d times, first for %s", name, len(got), got[0].RequestURI)
		}
		want := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"mediagate"}}
		for k, v := range tt.more {
			want[k] = v
		}
		if tt.authorization != nil {
			want["Authorization"] = tt.authorization
		}
		if diff := cmp.Diff(want, got[0].Header); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestNamesAreEscapedOnce: whatever a name holds, it is one segment of a path.
func TestNamesAreEscapedOnce(t *testing.T) {
	home := record(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	client := newClient(t, home.url, nil)
	for _, id := range []string{
		"x", "a?b=c", "a%b", "%2F", "%252e", "a#b", "a/b", "/", "../../x", "..%2f..", "a b", "a+b", "a;b", "a,b", "é", "a\\b", "%zz", "a&b", "%00", "...",
		"a@b:c", "[", strings.Repeat("x", 255), strings.Repeat("/", 255),
	} {
		for _, server := range []string{"a.test", "a.test:8448", "[::1]:8448", "a%b?c#d", "é.test"} {
			named := media.URI{Server: server, ID: id}
			_, err := download(t, client, named, homeserver.Bearer(userToken), homeserver.Options{})
			checkError(t, err, "not found, upstream")
			_, err = download(t, client, named, homeserver.Legacy(false), homeserver.Options{})
			checkError(t, err, "not found, upstream")
			_, err = client.MediaInfo(t.Context(), named)
			checkError(t, err, "upstream")
			var got []string
			for _, r := range home.requests() {
				path, _, _ := strings.Cut(r.RequestURI, "?")
				parts := strings.Split(path, "/")
				for i := range parts {
					part, err := url.PathUnescape(parts[i])
					if err != nil || strings.ContainsAny(parts[i], "?#") {
						t.Errorf("%q: asked for %q", named, r.RequestURI)
					}
					parts[i] = part
				}
				if !slices.Equal(parts[len(parts)-2:], []string{server, id}) {
					t.Errorf("%q: asked for %q", named, r.RequestURI)
				}
				got = append(got, strings.Join(parts[:len(parts)-2], "/"))
			}
			want := []string{"/_matrix/client/v1/media/download", "/_matrix/media/v3/download", "/_matrix/media/r0/download", "/_synapse/admin/v1/media"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", named, diff)
			}
		}
	}
}

// TestNamesThatNoAddressCanHold are not asked for: with them a path would be
// another one.
func TestNamesThatNoAddressCanHold(t *testing.T) {
	home := record(t, nil)
	client := newClient(t, home.url, nil)
	for _, named := range []media.URI{
		{}, {Server: "a.test"}, {ID: "x"}, {Server: "..", ID: "x"}, {Server: ".", ID: "x"}, {Server: "a.test", ID: ".."}, {Server: "a.test", ID: "."},
		{Server: "a/b", ID: "x"}, {Server: "a.test", ID: "a\nb"}, {Server: "a\x00b", ID: "x"}, {Server: "a.test", ID: "\xff"},
		{Server: "a.test", ID: strings.Repeat("x", 256)}, {Server: strings.Repeat("x", 256), ID: "x"},
	} {
		for _, as := range []homeserver.Credential{homeserver.Bearer(userToken), homeserver.Legacy(false)} {
			_, err := download(t, client, named, as, homeserver.Options{})
			checkError(t, err, "not found")
		}
		_, err := client.MediaInfo(t.Context(), named)
		checkError(t, err, "not found")
	}
	if got := home.requests(); len(got) > 0 {
		t.Errorf("asked for %s", got[0].RequestURI)
	}
}

// TestFallback: only what says that the route or the media is not there is asked
// for by the older one, and nothing with a credential.
func TestFallback(t *testing.T) {
	const v1, v3, r0 = "/_matrix/client/v1/media/download/a.test/x", "/_matrix/media/v3/download/a.test/x", "/_matrix/media/r0/download/a.test/x"
	tests := map[string]struct {
		as     homeserver.Credential
		status map[string]int // by path, 200 if it is not there
		code   string
		want   []string
		err    string
	}{
		"there":              {homeserver.Legacy(false), nil, "", []string{v3}, "success"},
		"404":                {homeserver.Legacy(false), map[string]int{v3: 404}, "M_NOT_FOUND", []string{v3, r0}, "success"},
		"404 unrecognized":   {homeserver.Legacy(true), map[string]int{v3: 404}, "M_UNRECOGNIZED", []string{v3, r0}, "success"},
		"400 unrecognized":   {homeserver.Legacy(false), map[string]int{v3: 400}, "M_UNRECOGNIZED", []string{v3, r0}, "success"},
		"400":                {homeserver.Legacy(false), map[string]int{v3: 400}, "M_UNKNOWN", []string{v3}, "upstream"},
		"401":                {homeserver.Legacy(false), map[string]int{v3: 401}, "M_UNRECOGNIZED", []string{v3}, "unauthorized, upstream"},
		"403":                {homeserver.Legacy(false), map[string]int{v3: 403}, "M_UNRECOGNIZED", []string{v3}, "forbidden, upstream"},
		"429":                {homeserver.Legacy(false), map[string]int{v3: 429}, "M_UNRECOGNIZED", []string{v3}, "upstream"},
		"500":                {homeserver.Legacy(false), map[string]int{v3: 500}, "M_UNRECOGNIZED", []string{v3}, "upstream"},
		"404, then 404":      {homeserver.Legacy(false), map[string]int{v3: 404, r0: 404}, "M_NOT_FOUND", []string{v3, r0}, "not found, upstream"},
		"404, then 500":      {homeserver.Legacy(false), map[string]int{v3: 404, r0: 500}, "M_NOT_FOUND", []string{v3, r0}, "upstream"},
		"a user's 404":       {homeserver.Bearer(userToken), map[string]int{v1: 404}, "M_NOT_FOUND", []string{v1}, "not found, upstream"},
		"a user's old route": {homeserver.Bearer(userToken), map[string]int{v1: 404}, "M_UNRECOGNIZED", []string{v1}, "not found, upstream"},
		"a user's 401":       {homeserver.Bearer(userToken), map[string]int{v1: 401}, "M_UNKNOWN_TOKEN", []string{v1}, "unauthorized, upstream"},
		"nobody's 401":       {homeserver.Header(""), map[string]int{v1: 401}, "M_MISSING_TOKEN", []string{v1}, "unauthorized, upstream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			home := record(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "image/png")
				if status := tt.status[r.URL.Path]; status != 0 {
					w.WriteHeader(status)
					_, _ = io.WriteString(w, `{"errcode":"`+tt.code+`"}`)
				}
			})
			_, err := download(t, newClient(t, home.url, nil), item, tt.as, homeserver.Options{})
			checkError(t, err, tt.err)
			var got []string
			for _, r := range home.requests() {
				got = append(got, r.URL.Path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnmodifiedMediaIsNotSent(t *testing.T) {
	home := record(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"new"`)
		w.Header().Set("Content-Type", "image/png")
		switch {
		case r.Header.Get("Authorization") != "Bearer "+userToken:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errcode":"M_UNKNOWN_TOKEN"}`)
		case r.Header.Get("If-None-Match") == `"new"`:
			w.WriteHeader(http.StatusNotModified)
		default:
			_, _ = io.WriteString(w, "hello")
		}
	})
	client := newClient(t, home.url, nil)
	for etag, want := range map[string]string{`"new"`: "not modified", `"old"`: "success", "": "success"} {
		d, err := client.Download(t.Context(), item, homeserver.Bearer(userToken), homeserver.Options{ETag: etag})
		checkError(t, err, want)
		if err != nil {
			continue
		}
		if d.ETag != `"new"` || d.Length != 5 || d.Header.Get("Content-Type") != "image/png" {
			t.Errorf("etag %q: %+v", etag, d)
		}
		if err := d.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := download(t, client, item, homeserver.Bearer("other"), homeserver.Options{ETag: `"new"`})
	checkError(t, err, "unauthorized, upstream")
}

// TestLengthIsUnknownOfChunks and is not made up.
func TestLengthIsUnknownOfChunks(t *testing.T) {
	client := newClient(t, spoken(t, says(chunked+"5\r\nhello\r\n0\r\n\r\n")), nil)
	d, err := client.Download(t.Context(), item, homeserver.Legacy(false), homeserver.Options{})
	if err != nil || d.Length != -1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if content, err := io.ReadAll(d.Body); string(content) != "hello" || err != nil {
		t.Errorf("%q, %v", content, err)
	}
	if err := d.Body.Close(); err != nil {
		t.Error(err)
	}
}

// TestHeaderThatCannotBeSent: what a caller calls its credential may be anything.
func TestHeaderThatCannotBeSent(t *testing.T) {
	home := record(t, nil)
	client := newClient(t, home.url, nil)
	for _, header := range []string{"Bearer " + userToken + "\r\nX: y", "Bearer " + userToken + "\x00", userToken + "\n"} {
		_, err := download(t, client, item, homeserver.Header(header), homeserver.Options{})
		checkError(t, err, "unreachable")
	}
	if got := home.requests(); len(got) > 0 {
		t.Errorf("asked with %q", got[0].Header)
	}
}
