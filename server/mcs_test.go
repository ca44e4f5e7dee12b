package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/internal/secret"
	"mediagate/server"
)

// upstream is a homeserver that answers as a test says, by media id, and remembers
// what it was asked.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // paths and queries
	token []string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	png, park := vector(t, "misc/c.png"), vector(t, "bridge-mods/aaa-orig.jpg")
	o := &upstream{}
	failure := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.asked = append(o.asked, r.URL.RequestURI())
		o.token = append(o.token, r.Header.Get("Authorization"))
		o.mu.Unlock()
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		h := w.Header()
		switch {
		case id == "png", id == "plain":
			h.Set("Content-Type", "image/png")
			h.Set("Content-Disposition", "inline; filename=c.png")
			h.Set("Cache-Control", "public,max-age=86400,s-maxage=0,proxy-revalidate")
			h.Set("ETag", "1")
			h.Set("Server", "Synapse")
			h.Set("Set-Cookie", "a=b")
			h.Set("Access-Control-Allow-Origin", "https://elsewhere.example")
			h.Set("Accept-Ranges", "bytes")
			if id == "png" {
				h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
			}
			if r.Header.Get("If-None-Match") == "1" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(png)
		case id == "bad":
			h.Set("Content-Type", "image/jpeg")
			_, _ = w.Write(park)
		case id == "half":
			h.Set("Content-Type", "image/jpeg")
			_, _ = w.Write(park[:200])
		case id == "video":
			h.Set("Content-Type", "video/mp4")
			_, _ = io.WriteString(w, "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom")
		case id == "notype":
			h["Content-Type"] = nil
			_, _ = w.Write(png)
		case id == "twotypes":
			h["Content-Type"] = []string{"image/png", "text/html"}
			_, _ = w.Write(png)
		case id == "large":
			h.Set("Content-Type", "image/png")
			h.Set("Content-Length", strconv.Itoa(1<<30))
			_, _ = w.Write(png)
		case id == "old":
			if strings.HasPrefix(r.URL.Path, "/_matrix/media/r0/") {
				h.Set("Content-Type", "image/png")
				_, _ = w.Write(png)
				return
			}
			failure(w, 400, `{"errcode":"M_UNRECOGNIZED","error":"x"}`)
		case id == "limited":
			h.Set("Retry-After", "7")
			failure(w, 429, `{"errcode":"M_LIMIT_EXCEEDED","error":"x"}`)
		case id == "page403": // of a proxy before the homeserver
			h.Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<html>canary of the proxy</html>")
		case strings.HasPrefix(id, "status"):
			code, _, _ := strings.Cut(strings.TrimPrefix(id, "status"), "_")
			_, errcode, _ := strings.Cut(id, "_")
			status, err := strconv.Atoi(code)
			if err != nil {
				t.Error(err)
			}
			failure(w, status, `{"errcode":"`+errcode+`","error":"canary of the homeserver"}`)
		default:
			failure(w, 404, `{"errcode":"M_NOT_FOUND","error":"x"}`)
		}
	}))
	t.Cleanup(o.Close)
	return o
}

// take returns what was asked since the last time.
func (o *upstream) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := o.asked
	o.asked = nil
	return asked
}

const mcsPath = "/_matrix/media_proxy/unstable"

// mcsAnswers are what clients are told, with a token and by the id's story.
var mcsAnswers = map[string]struct {
	path   string
	status int
	body   map[string]any
}{
	"scan, clean":                 {"/scan/foo/png", 200, map[string]any{"clean": true, "info": "File is clean"}},
	"scan, opaque":                {"/scan/foo/video", 200, map[string]any{"clean": true, "info": "File is clean"}},
	"scan, blocked":               {"/scan/foo/bad", 200, map[string]any{"clean": false, "info": "***VIRUS DETECTED***"}},
	"scan, unscannable":           {"/scan/foo/half", 200, map[string]any{"clean": false, "info": "***VIRUS DETECTED***"}},
	"download, blocked":           {"/download/foo/bad", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "***VIRUS DETECTED***")},
	"download, unscannable":       {"/download/foo/half", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "***VIRUS DETECTED***")},
	"scan, three parts":           {"/scan/foo/bar/baz", 200, map[string]any{"clean": false, "info": "Malformed media ID"}},
	"download, three parts":       {"/download/foo/bar/baz", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, one part":          {"/download/foo", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, empty id":          {"/download/foo/", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, climbing":          {"/download/../bar", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, climbing, encoded": {"/download/%2e%2e/bar", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, dot":               {"/download/foo/.", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, odd server":        {"/download/foo@bar/x", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, encoded twice":     {"/download/foo/p%256eg", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"download, extra slash":       {"/download//foo/png", 403, mcsBody("MCS_MEDIA_NOT_CLEAN", "Malformed media ID")},
	"scan, missing":               {"/scan/foo/missing", 404, mcsBody("M_NOT_FOUND", "File not found")},
	"scan, unknown route":         {"/scan/foo/status400_M_UNRECOGNIZED", 404, mcsBody("M_NOT_FOUND", "File not found")},
	"scan, missing token":         {"/scan/foo/status401_M_MISSING_TOKEN", 401, mcsBody("M_MISSING_TOKEN", "Access token missing from request")},
	"scan, unknown token":         {"/scan/foo/status401_M_UNKNOWN_TOKEN", 401, mcsBody("M_UNKNOWN_TOKEN", "Invalid access token passed")},
	"scan, other 401":             {"/scan/foo/status401_M_FORBIDDEN", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"scan, forbidden":             {"/scan/foo/status403_M_FORBIDDEN", 404, mcsBody("M_NOT_FOUND", "File not found")},
	"scan, forbidden by a proxy":  {"/scan/foo/page403", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"download, forbidden":         {"/download/foo/status403_M_FORBIDDEN", 404, mcsBody("M_NOT_FOUND", "File not found")},
	"scan, forbidden, no code":    {"/scan/foo/status403_", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"scan, gone":                  {"/scan/foo/status410_M_UNKNOWN", 404, mcsBody("M_NOT_FOUND", "File not found")},
	"scan, failing":               {"/scan/foo/status500_M_UNKNOWN", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"scan, no content":            {"/scan/foo/status204_", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"scan, not uploaded yet":      {"/scan/foo/status504_M_NOT_YET_UPLOADED", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"scan, limited":               {"/scan/foo/limited", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an error")},
	"scan, no type":               {"/scan/foo/notype", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an invalid amount of Content-Type headers")},
	"scan, two types":             {"/scan/foo/twotypes", 502, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The remote server responded with an invalid amount of Content-Type headers")},
	"scan, too large":             {"/scan/foo/large", 413, mcsBody("MCS_MEDIA_REQUEST_FAILED", "The file is too large to be scanned")},
	"unknown path":                {"/nonexistent", 404, map[string]any{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}},
	"trailing slash":              {"/scan/", 200, map[string]any{"clean": false, "info": "Malformed media ID"}},
}

func mcsBody(reason, info string) map[string]any {
	return map[string]any{"reason": reason, "info": info}
}

func TestContentScannerAnswers(t *testing.T) {
	o := newUpstream(t)
	g := newGate(t, setup{homeserver: o.URL})
	g.bankPark()
	for name, tt := range mcsAnswers {
		t.Run(name, func(t *testing.T) {
			o.take()
			for range 2 { // the second time some of it is known
				a := g.send("GET", mcsPath+tt.path, "", "Authorization", "Bearer token")
				var body map[string]any
				if err := json.Unmarshal([]byte(a.body), &body); err != nil {
					t.Fatalf("%d %v: %s", a.status, err, a.body)
				}
				if diff := cmp.Diff(tt.body, body); a.status != tt.status || diff != "" {
					t.Errorf("status %d, want %d (-want +got):\n%s", a.status, tt.status, diff)
				}
				wantCORS(t, a)
				if head := g.send("HEAD", mcsPath+tt.path, "", "Authorization", "Bearer token"); head.status != tt.status || head.body != "" {
					t.Errorf("HEAD: %d %q", head.status, head.body)
				}
			}
			if asked := o.take(); strings.Contains(name, "Malformed") && len(asked) > 0 {
				t.Errorf("the homeserver was asked %q about no item", asked)
			}
		})
	}
	if a := g.send("GET", mcsPath+"/scan/foo/limited", "", "Authorization", "Bearer token"); a.header.Get("Retry-After") == "" {
		t.Error("how long the homeserver wants to be left alone is lost")
	}
	for _, path := range []string{"/scan/foo/png", "/download/foo/png"} {
		a := g.send("POST", mcsPath+path, "x", "Authorization", "Bearer token")
		if a.status != 405 || !strings.Contains(a.body, `"M_UNRECOGNIZED"`) {
			t.Errorf("POST %s: %d %s", path, a.status, a.body)
		}
		wantCORS(t, a)
	}
	for _, path := range []string{mcsPath + "/scan/foo/png", mcsPath + "/nonexistent", "/_matrix/media_proxy/anything"} {
		a := g.send("OPTIONS", path, "")
		if a.status != 200 || a.body != "" || a.header.Get("Content-Length") != "0" {
			t.Errorf("OPTIONS %s: %d %q", path, a.status, a.body)
		}
		wantCORS(t, a)
	}
	for from, to := range map[string]string{
		"/_matrix//media_proxy/unstable/scan/foo/png?a=b": mcsPath + "/scan/foo/png?a=b", mcsPath + "//scan/foo/png": mcsPath + "/scan/foo/png",
	} {
		if a := g.get(from); a.status != 308 || a.header.Get("Location") != to {
			t.Errorf("%s: %d to %q", from, a.status, a.header.Get("Location"))
		}
	}
}

func wantCORS(t *testing.T, a answer) {
	t.Helper()
	got := []string{a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Access-Control-Allow-Methods"), a.header.Get("Access-Control-Allow-Headers")}
	want := []string{"*", "GET, POST, OPTIONS", "Origin, X-Requested-With, Content-Type, Accept, Authorization"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CORS (-want +got):\n%s", diff)
	}
}

// bankPark banks the picture that the origin serves as "bad".
func (g *gate) bankPark() {
	g.t.Helper()
	for _, a := range []answer{g.json("POST", "/c/banks", `{"name":"BAD"}`), g.upload("/c/bank/BAD/content", "photo", vector(g.t, "bridge-mods/aaa-orig.jpg"))} {
		if a.status/100 != 2 {
			g.t.Fatal(a)
		}
	}
}

func TestContentScannerServesWithChosenHeaders(t *testing.T) {
	o := newUpstream(t)
	g := newGate(t, setup{homeserver: o.URL})
	for id, policy := range map[string]string{
		"png": "sandbox; default-src 'none'",
		"plain": "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; " +
			"media-src 'self'; object-src 'self';",
	} {
		a := g.send("GET", mcsPath+"/download/foo/"+id, "", "Authorization", "Bearer token", "Range", "bytes=0-3", "If-None-Match", "1")
		if a.status != 200 || a.body != string(vector(t, "misc/c.png")) {
			t.Fatalf("%d, %d bytes", a.status, len(a.body))
		}
		wantCORS(t, a)
		for name, want := range map[string]string{
			"Content-Type": "image/png", "Content-Disposition": "inline; filename=c.png", "Content-Security-Policy": policy,
			"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=300", "ETag": "1", "Content-Length": strconv.Itoa(len(a.body)),
			"Server": "", "Set-Cookie": "", "Accept-Ranges": "", "Content-Encoding": "",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s of %s: %q, want %q", name, id, got, want)
			}
		}
		head := g.send("HEAD", mcsPath+"/download/foo/"+id, "", "Authorization", "Bearer token")
		if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
			t.Errorf("HEAD: %d, %s bytes", head.status, head.header.Get("Content-Length"))
		}
	}
}

// TestContentScannerAsksByTheRightRoute: with credentials by the routes that want
// them and no other, without by the others, and never with what a URL holds.
func TestContentScannerAsksByTheRightRoute(t *testing.T) {
	o := newUpstream(t)
	g := newGate(t, setup{homeserver: o.URL})
	ask := func(path string, header ...string) []string {
		o.take()
		g.send("GET", mcsPath+path, "", header...)
		return o.take()
	}
	const timeout = "?timeout_ms=8000"
	for name, tt := range map[string]struct{ got, want []string }{
		"with a token":       {ask("/scan/foo/png", "Authorization", "Bearer one"), []string{"/_matrix/client/v1/media/download/foo/png" + timeout}},
		"without":            {ask("/scan/foo/plain?access_token=canary&admin_unsafely_bypass_quarantine=true"), []string{"/_matrix/media/v3/download/foo/plain" + timeout}},
		"missing, token":     {ask("/scan/foo/missing", "Authorization", "Bearer two"), []string{"/_matrix/client/v1/media/download/foo/missing" + timeout}},
		"missing, without":   {ask("/scan/foo/missing"), []string{"/_matrix/media/v3/download/foo/missing" + timeout, "/_matrix/media/r0/download/foo/missing" + timeout}},
		"missing once more":  {ask("/scan/foo/missing"), nil},
		"old routes alone":   {ask("/download/foo/old"), []string{"/_matrix/media/v3/download/foo/old" + timeout, "/_matrix/media/r0/download/foo/old" + timeout}},
		"two tokens":         {ask("/scan/foo/png", "Authorization", "Bearer one", "Authorization", "Bearer two"), nil},
		"another, not known": {ask("/scan/foo/png", "Authorization", "Bearer three"), []string{"/_matrix/client/v1/media/download/foo/png" + timeout}},
		"the first again":    {ask("/scan/foo/png", "Authorization", "Bearer one"), nil},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, token := range o.token {
		if token != "" && !strings.HasPrefix(token, "Bearer ") || strings.Contains(token, "canary") {
			t.Errorf("the homeserver was asked with %q", token)
		}
	}
}

// TestGateRoutesNeedTheirOwnKeys: the hook its secret, the content scanner none,
// everything else the API key; and without a homeserver neither is there.
func TestGateRoutesNeedTheirOwnKeys(t *testing.T) {
	o := newUpstream(t)
	var log strings.Builder
	g := newGate(t, setup{homeserver: o.URL, log: &log, config: func(c *server.Config) {
		c.APIKey, c.HookSecret = secret.New("key"), secret.New("canary-secret")
	}})
	const uri = "/_matrix/client/v1/media/download/foo/png"
	for name, tt := range map[string]struct {
		got    answer
		status int
	}{
		"hook":                    {g.send("GET", "/_mediagate/check", "", "X-Original-URI", uri, "X-Mediagate-Secret", "canary-secret", "Authorization", "Bearer t"), 200},
		"hook without secret":     {g.send("GET", "/_mediagate/check", "", "X-Original-URI", uri), 503},
		"hook with a wrong one":   {g.send("GET", "/_mediagate/check", "", "X-Original-URI", uri, "X-Mediagate-Secret", "canary-wrong"), 503},
		"hook with two":           {g.send("GET", "/_mediagate/check", "", "X-Original-URI", uri, "X-Mediagate-Secret", "canary-secret", "X-Mediagate-Secret", "x"), 503},
		"hook with the API key":   {g.send("GET", "/_mediagate/check", "", "X-Original-URI", uri, "Authorization", "Bearer key"), 503},
		"hook without URI":        {g.send("GET", "/_mediagate/check", "", "X-Mediagate-Secret", "canary-secret"), 503},
		"hook with two URIs":      {g.send("GET", "/_mediagate/check", "", "X-Original-URI", "/", "X-Original-URI", uri, "X-Mediagate-Secret", "canary-secret"), 403},
		"content scanner":         {g.send("GET", mcsPath+"/scan/foo/png", "", "Authorization", "Bearer t"), 200},
		"API with a user's token": {g.send("GET", "/c/banks", "", "Authorization", "Bearer t"), 401},
		"API with the key":        {g.send("GET", "/c/banks", "", "Authorization", "Bearer key"), 200},
		"API with the secret":     {g.send("GET", "/c/banks", "", "X-Mediagate-Secret", "canary-secret"), 401},
		"path like a gate's":      {g.send("GET", "/_mediagate/check/../../c/banks", ""), 404},
	} {
		if tt.got.status != tt.status {
			t.Errorf("%s: %d, want %d: %s", name, tt.got.status, tt.status, tt.got.body)
		}
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log holds a secret: %s", log.String())
	}
	without := newGate(t, setup{})
	for _, path := range []string{"/_mediagate/check", mcsPath + "/scan/foo/png"} {
		if a := without.send("GET", path, "", "X-Original-URI", uri); a.status != 404 {
			t.Errorf("%s without a homeserver: %d", path, a.status)
		}
	}
}

// TestAnyLineOfTheHooksSecretsIsGood, and nothing that only looks like one: so that
// it can be changed while the proxy still sends the old one.
func TestAnyLineOfTheHooksSecretsIsGood(t *testing.T) {
	g := newGate(t, setup{homeserver: newUpstream(t).URL, config: func(c *server.Config) {
		c.APIKey, c.HookSecret = secret.New("key"), secret.New("the old one\r\n\n \nthe new one")
	}})
	for given, status := range map[string]int{
		"the old one": 200, "the new one": 200, "": 503, "the old one\r": 503, "the old": 503, "the old one, the new one": 503, "key": 503,
	} {
		r := httptest.NewRequest(http.MethodGet, "/_mediagate/check", nil)
		r.Header = http.Header{"X-Original-Uri": {"/"}, "X-Mediagate-Secret": {given}} // as it is, which a client would not send
		w := httptest.NewRecorder()
		if g.handler.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%q: %d, want %d", given, w.Code, status)
		}
	}
	for _, given := range []string{"the old one", "the new one"} {
		if a := g.send("GET", "/c/banks", "", "Authorization", "Bearer "+given); a.status != 401 {
			t.Errorf("the API with %q: %d", given, a.status)
		}
	}
	blank := newGate(t, setup{homeserver: newUpstream(t).URL, config: func(c *server.Config) { c.HookSecret = secret.New("\n \n") }})
	for _, header := range [][]string{nil, {"X-Mediagate-Secret", ""}} {
		if a := blank.send("GET", "/_mediagate/check", "", append(header, "X-Original-URI", "/")...); a.status != 503 {
			t.Errorf("lines without a secret, and %q: %d", header, a.status)
		}
	}
}

// TestHomeserverIsToldTheClientsAddress by the content scanner: whom a trusted proxy
// names, and nobody else.
func TestHomeserverIsToldTheClientsAddress(t *testing.T) {
	var told atomic.Value
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told.Store(r.Header.Get("X-Forwarded-For"))
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(hs.Close)
	g := newGate(t, setup{homeserver: hs.URL, config: func(c *server.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	}})
	for i, tt := range []struct {
		from  string
		named []string
		want  string
	}{
		{"127.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"10.1.2.3:1", []string{"192.0.2.2"}, "192.0.2.2"},
		{"[::ffff:10.1.2.3]:1", []string{"192.0.2.3"}, "192.0.2.3"},
		{"[2001:db8::1]:1", []string{"192.0.2.4"}, "192.0.2.4"},
		{"10.1.2.3:1", nil, "10.1.2.3"},
		{"10.1.2.3:1", []string{"192.0.2.5, 192.0.2.6"}, "10.1.2.3"},
		{"10.1.2.3:1", []string{"192.0.2.5", "192.0.2.6"}, "10.1.2.3"},
		{"10.1.2.3:1", []string{"unknown"}, "10.1.2.3"},
		{"10.2.0.1:1", []string{"192.0.2.7"}, "10.2.0.1"},
		{"[2001:db9::1]:1", []string{"192.0.2.8"}, "2001:db9::1"},
	} {
		told.Store("")
		r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("%s/scan/foo/item%d", mcsPath, i), nil)
		r.RemoteAddr = tt.from
		r.Header = http.Header{"X-Forwarded-For": tt.named, "Authorization": {"Bearer token"}}
		if g.handler.ServeHTTP(httptest.NewRecorder(), r); told.Load() != tt.want {
			t.Errorf("%s says %q: the homeserver is told %q, want %q", tt.from, tt.named, told.Load(), tt.want)
		}
	}
}

// TestHookAnswers asks about routes and items of every kind.
func TestHookAnswers(t *testing.T) {
	o := newUpstream(t)
	g := newGate(t, setup{homeserver: o.URL})
	g.bankPark()
	const v1, v3 = "/_matrix/client/v1/media/download/foo/", "/_matrix/media/v3/download/foo/"
	for name, tt := range map[string]struct {
		uri, method, authorization string
		status                     int
		verdict                    string
	}{
		"clean":                              {v1 + "png", "GET", "Bearer t", 200, "clean"},
		"opaque":                             {v1 + "video", "GET", "Bearer t", 200, "opaque"},
		"blocked":                            {v1 + "bad", "GET", "Bearer t", 403, "blocked"},
		"blocked, thumbnail":                 {"/_matrix/client/v1/media/thumbnail/foo/bad?width=1&height=1", "GET", "Bearer t", 403, "blocked"},
		"unscannable":                        {v1 + "half", "GET", "Bearer t", 403, "unscannable"},
		"too large":                          {v1 + "large", "GET", "Bearer t", 403, "too_large"},
		"missing":                            {v1 + "missing", "GET", "Bearer t", 403, "not_found"},
		"refused with his own token":         {v1 + "status401_M_UNKNOWN_TOKEN", "GET", "Bearer t", 200, "unauthorized"},
		"forbidden to him":                   {v1 + "status403_M_FORBIDDEN", "GET", "Bearer t", 200, "unauthorized"},
		"limited":                            {v1 + "limited", "GET", "Bearer t", 503, "unavailable"},
		"failing":                            {v1 + "status500_M_UNKNOWN", "GET", "Bearer t", 503, "unavailable"},
		"bad gateway":                        {v1 + "status502_M_UNKNOWN", "GET", "Bearer t", 503, "unavailable"},
		"legacy":                             {v3 + "plain", "GET", "", 200, "clean"},
		"legacy, blocked":                    {v3 + "bad", "GET", "", 403, "blocked"},
		"legacy, refused":                    {v3 + "status401_M_MISSING_TOKEN", "GET", "", 200, "unauthorized"},
		"legacy with a token, refused":       {v3 + "status403_M_FORBIDDEN", "GET", "Bearer nonsense", 403, "forbidden"},
		"federation without a token of ours": {"/_matrix/federation/v1/media/download/png", "GET", `X-Matrix origin="a"`, 503, "unavailable"},
		"federation with a user's token":     {"/_matrix/federation/v1/media/download/png", "GET", "Bearer t", 403, "credential"},
		"basic":                              {v1 + "png", "GET", "Basic x", 403, "credential"},
		"empty token":                        {v1 + "png", "GET", "Bearer ", 403, "credential"},
		"token with a space":                 {v1 + "png", "GET", "Bearer a b", 403, "credential"},
		"preflight":                          {v1 + "bad", "OPTIONS", "", 200, "preflight"},
		"upload":                             {"/_matrix/media/v3/upload", "POST", "Bearer t", 200, "harmless"},
		"other":                              {"/_matrix/client/v3/sync", "GET", "Bearer t", 200, "other"},
		"not canonical":                      {"/_matrix/client/v1/media//download/foo/png", "GET", "Bearer t", 403, "route"},
	} {
		a := g.send("GET", "/_mediagate/check", "", "X-Original-URI", tt.uri, "X-Original-Method", tt.method, "Authorization", tt.authorization)
		if tt.authorization == "" {
			a = g.send("GET", "/_mediagate/check", "", "X-Original-URI", tt.uri, "X-Original-Method", tt.method)
		}
		if a.status != tt.status || a.header.Get("X-Mediagate-Verdict") != tt.verdict || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q, want %d %q", name, a.status, a.header.Get("X-Mediagate-Verdict"), tt.status, tt.verdict)
		}
		if a.status == 503 && a.header.Get("Retry-After") == "" || a.status == 401 {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
	}
}

// TestLegacyRefusalIsNoPassWithAToken: Synapse looks at no token on the legacy
// routes. Had the hook asked with it, a wrong one would open them.
func TestLegacyRefusalIsNoPassWithAToken(t *testing.T) {
	o := newUpstream(t)
	g := newGate(t, setup{homeserver: o.URL})
	g.bankPark()
	a := g.send("GET", "/_mediagate/check", "", "X-Original-URI", "/_matrix/media/v3/download/foo/bad", "Authorization", "Bearer nonsense")
	if a.status != 403 {
		t.Errorf("status %d", a.status)
	}
	for _, token := range o.token {
		if token != "" {
			t.Errorf("asked with %q", token)
		}
	}
}
