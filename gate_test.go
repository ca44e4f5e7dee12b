package main_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/internal/synapsetest"
)

// route is a way for a client to get at an item.
type route struct {
	name   string
	path   func(mxc string) string
	header func(s *site) string
}

var clientRoutes = []route{
	{"download", func(mxc string) string { return "/_matrix/client/v1/media/download/" + path(mxc) }, bobs},
	{"download with a file name", func(mxc string) string { return "/_matrix/client/v1/media/download/" + path(mxc) + "/cat.jpg" }, bobs},
	{"thumbnail", func(mxc string) string {
		return "/_matrix/client/v1/media/thumbnail/" + path(mxc) + "?width=64&height=64&method=scale"
	}, bobs},
}

// legacyRoutes emit media only where a homeserver has no authenticated media.
var legacyRoutes = []route{
	{"legacy download v3", func(mxc string) string { return "/_matrix/media/v3/download/" + path(mxc) }, nobodys},
	{"legacy download r0", func(mxc string) string { return "/_matrix/media/r0/download/" + path(mxc) + "/x" }, nobodys},
	{"legacy download v1", func(mxc string) string { return "/_matrix/media/v1/download/" + path(mxc) }, nobodys},
	{"legacy download with a token", func(mxc string) string { return "/_matrix/media/v3/download/" + path(mxc) }, bobs},
	{"legacy thumbnail", func(mxc string) string {
		return "/_matrix/media/v3/thumbnail/" + path(mxc) + "?width=64&height=64&method=crop"
	}, nobodys},
}

func bobs(s *site) string  { return as(s.bob) }
func nobodys(*site) string { return "X-Nothing: nothing" }

// TestGate runs what operators run: two homeservers that federate, one of them
// with authenticated media and one without, each with mediagate and nginx.
func TestGate(t *testing.T) {
	t.Parallel()
	first, second := synapsetest.StartPair(t, synapsetest.Options{Extra: fragment(t)}, synapsetest.Options{UnauthenticatedMedia: true})
	spans := &collector{}
	exporter := httptest.NewServer(spans)
	t.Cleanup(exporter.Close)
	strict, public := newSite(t, first, exportTo(exporter.URL)), newSite(t, second, nil)
	t.Run("quarantine blocks copies, authenticated media", func(t *testing.T) { strict.blocksCopies(t, public, clientRoutes) })
	t.Run("quarantine blocks copies, public media", func(t *testing.T) { public.blocksCopies(t, strict, append(clientRoutes, legacyRoutes...)) })
	blocked := strict.blocked(t, public)
	t.Run("no spelling serves what is blocked", func(t *testing.T) { strict.refusesSpellings(t, blocked) })
	t.Run("each kind of request is treated as decided", func(t *testing.T) { strict.treatsRequests(t, blocked) })
	t.Run("credentials are the homeserver's to judge", func(t *testing.T) { strict.judgesNoCredentials(t, blocked) })
	t.Run("parallel downloads cost one", func(t *testing.T) { strict.joinsDownloads(t) })
	t.Run("every process learns its homeserver's name", func(t *testing.T) { strict.tellsItsName(t) })
	t.Run("nothing secret is logged", func(t *testing.T) { strict.leaksNothing(t, spans) })
}

// fragment is what operators are told to merge into homeserver.yaml.
func fragment(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(config, "homeserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// blocksCopies is the reason for all of this. An administrator quarantines a
// picture. Copies of it, smaller and encoded again, that were posted here and on the
// other server, and that Synapse alone goes on to serve, are refused on every route
// within seconds, and served again as soon when the picture is taken out of
// quarantine.
func (s *site) blocksCopies(t *testing.T, other *site, routes []route) {
	bad, harmless := picture(t, realPicture), picture(t, "misc/c.png")
	original := s.hs.Upload(t, s.alice.Token, "image/jpeg", "cat.jpg", bad)
	copies := map[string]string{
		"local copy":  s.hs.Upload(t, s.bob.Token, "image/jpeg", "dog.jpg", smallCopy(t, bad, 60)),
		"remote copy": other.hs.Upload(t, other.bob.Token, "image/jpeg", "dog.jpg", smallCopy(t, bad, 70)),
	}
	unrelated := s.hs.Upload(t, s.bob.Token, "image/png", "coaster.png", harmless)
	served := func(r route, mxc string) answer {
		return raw(t, s.web, call{target: r.path(mxc), header: []string{r.header(s)}})
	}
	for name, mxc := range copies {
		for _, r := range routes {
			if a := served(r, mxc); a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "image/") {
				t.Fatalf("%s by %s is refused before anything was decided: %d %s", name, r.name, a.status, a.body)
			}
		}
	}

	s.hs.Quarantine(t, s.admin.Token, original)
	soon(t, "the picture is banked and its copies are refused", func() bool {
		return served(routes[0], copies["local copy"]).status == http.StatusNotFound
	})
	for name, mxc := range copies {
		for _, r := range routes {
			s.wantRefused(t, name+" by "+r.name, served(r, mxc))
		}
		s.wantUnclean(t, name, mxc)
		// Without us they are served, which is why we are there.
		if status, _, body := s.hs.Do(t, "GET", clientRoutes[0].path(mxc), s.bob.Token, nil); status != http.StatusOK || len(body) < 1000 {
			t.Errorf("Synapse itself refuses the %s (%d): then this test shows nothing", name, status)
		}
	}
	for _, r := range routes {
		if strings.Contains(r.name, "thumbnail") {
			continue // made anew by Synapse
		}
		if a := served(r, unrelated); a.status != http.StatusOK || !bytes.Equal(a.body, harmless) {
			t.Errorf("an unrelated picture by %s: %d, %d bytes of %d", r.name, a.status, len(a.body), len(harmless))
		}
	}
	s.wantClean(t, unrelated, harmless)

	s.hs.Unquarantine(t, s.admin.Token, original)
	soon(t, "the copies are served again", func() bool {
		return served(routes[0], copies["local copy"]).status == http.StatusOK
	})
	for name, mxc := range copies {
		for _, r := range routes {
			if a := served(r, mxc); a.status != http.StatusOK {
				t.Errorf("%s by %s is still refused: %d %s", name, r.name, a.status, a.body)
			}
		}
	}
	s.wantClean(t, copies["local copy"], smallCopy(t, bad, 60))
}

// wantRefused is what clients get of nginx in place of a blocked item: what they
// would get if there were none, readable by pages of any origin.
func (s *site) wantRefused(t *testing.T, what string, a answer) {
	t.Helper()
	if a.status != http.StatusNotFound || string(a.body) != `{"errcode":"M_NOT_FOUND","error":"Not found"}` ||
		a.header.Get("Content-Type") != "application/json" || a.header.Get("Access-Control-Allow-Origin") != "*" ||
		a.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d %v %.200s", what, a.status, a.header, a.body)
	}
}

const contentScanner = "/_matrix/media_proxy/unstable/"

// wantUnclean asks the content scanner, through nginx, about a blocked item.
func (s *site) wantUnclean(t *testing.T, what, mxc string) {
	t.Helper()
	a := raw(t, s.web, call{target: contentScanner + "scan/" + path(mxc), header: []string{as(s.bob)}})
	if v := decode[map[string]any](t, a.body); a.status != http.StatusOK || v["clean"] != false || len(v) != 2 {
		t.Errorf("scan of the %s: %d %s", what, a.status, a.body)
	}
	a = raw(t, s.web, call{target: contentScanner + "download/" + path(mxc), header: []string{as(s.bob)}})
	if e := decode[map[string]any](t, a.body); a.status != http.StatusForbidden || e["reason"] != "MCS_MEDIA_NOT_CLEAN" || len(e) != 2 {
		t.Errorf("download of the %s through the scanner: %d %s", what, a.status, a.body)
	}
}

// wantClean asks it about an item that is served.
func (s *site) wantClean(t *testing.T, mxc string, content []byte) {
	t.Helper()
	a := raw(t, s.web, call{target: contentScanner + "scan/" + path(mxc), header: []string{as(s.bob)}})
	if v := decode[map[string]any](t, a.body); a.status != http.StatusOK || v["clean"] != true {
		t.Errorf("scan of a clean item: %d %s", a.status, a.body)
	}
	a = raw(t, s.web, call{target: contentScanner + "download/" + path(mxc), header: []string{as(s.bob)}})
	if a.status != http.StatusOK || !bytes.Equal(a.body, content) {
		t.Errorf("download of a clean item: %d, %d bytes of %d", a.status, len(a.body), len(content))
	}
}
