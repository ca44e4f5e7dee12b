package main_test

import (
	"bytes"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pictures "image"

	xdraw "golang.org/x/image/draw"

	"mediagate/internal/synapsetest"
)

// fault is what goes wrong between mediagate and its homeserver.
type fault string

const (
	noFault   fault = ""
	html      fault = "a page with status 200"
	limited   fault = "429"
	broken    fault = "500"
	cutOff    fault = "cut in the middle"
	slow      fault = "a byte a second"
	hanging   fault = "no answer"
	noLicence fault = "401 for the administrator's routes"
)

// faulty stands between mediagate and a homeserver and fails as it is told.
type faulty struct {
	*httptest.Server
	fault atomic.Pointer[fault]
}

func newFaulty(t *testing.T, target string) *faulty {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{}
	f.set(noFault)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := *f.fault.Load()
		switch admin := strings.HasPrefix(r.URL.Path, "/_synapse/"); {
		case now == noFault, now == noLicence && !admin:
			pass.ServeHTTP(w, r)
		case now == noLicence:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errcode":"M_UNKNOWN_TOKEN","error":"Invalid access token passed."}`)
		case now == html:
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<h1>Under maintenance</h1>")
		case now == limited:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests"}`)
		case now == broken:
			w.WriteHeader(http.StatusInternalServerError)
		case now == hanging:
			<-r.Context().Done()
		default: // cutOff, slow
			w.Header().Set("Content-Type", "image/jpeg")
			w.Header().Set("Content-Disposition", "inline")
			w.Header().Set("Content-Length", "100000")
			for now == slow && r.Context().Err() == nil {
				_, _ = w.Write([]byte{0xFF})
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
			_, _ = w.Write(make([]byte, 50000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *faulty) set(now fault) { f.fault.Store(&now) }

// TestGateFailsClosedAndRecoversAlone breaks each thing that mediagate depends on:
// nothing is served and nothing is called blocked, what is already known goes on to
// be judged, and when the fault is over all that was missed is made up for.
func TestGateFailsClosedAndRecoversAlone(t *testing.T) {
	t.Parallel()
	hs := synapsetest.Start(t, synapsetest.Options{})
	between := newFaulty(t, hs.URL)
	s := &site{hs: hs, admin: hs.Register(t, "admin", true), alice: hs.Register(t, "alice", false), bob: hs.Register(t, "bob", false)}
	dir := t.TempDir()
	env := s.environment(t, map[string]string{
		"MEDIAGATE_HOMESERVER_URL": between.URL, "MEDIAGATE_HOMESERVER_FIRST_BYTE_TIMEOUT": "1s", "MEDIAGATE_HOMESERVER_RATE_WINDOW": "1s",
		"MEDIAGATE_DATABASE_URL": databaseIn(dir)["MEDIAGATE_DATABASE_URL"],
		// One picture at a time, and hardly any waiting.
		"MEDIAGATE_MEDIA_WORKERS": "1", "MEDIAGATE_MEDIA_QUEUE": "1", "MEDIAGATE_MEDIA_QUEUE_WAIT": "100ms",
	})
	s.gate = start(t, env)
	s.web, s.webMapped = synapsetest.FreeAddress(t), synapsetest.FreeAddress(t)
	s.nginx = synapsetest.StartNginx(t, s.nginxConfig(t, "mediagate.conf"))
	open, openMapped := synapsetest.FreeAddress(t), synapsetest.FreeAddress(t)
	failOpen := &site{hs: hs, gate: s.gate, web: open, webMapped: openMapped}
	failOpen.nginx = synapsetest.StartNginx(t, failOpen.nginxConfig(t, "mediagate-fail-open.conf"))

	n := 0
	// fresh is a picture that nobody has asked about.
	fresh := func(name string) (mxc string) {
		n++
		return hs.Upload(t, s.alice.Token, "image/jpeg", "x.jpg", smallCopy(t, picture(t, name), 50+n%40))
	}
	serves := func(mxc string) bool {
		return raw(t, s.web, call{target: v1Media + "download/" + path(mxc), header: []string{as(s.bob)}}).status == http.StatusOK
	}
	known := fresh("misc/c.png")
	bad := hs.Upload(t, s.alice.Token, "image/jpeg", "x.jpg", picture(t, realPicture))
	copyOfBad := fresh(realPicture)
	if !serves(known) {
		t.Fatal("a clean item is refused")
	}
	hs.Quarantine(t, s.admin.Token, bad)
	soon(t, "a copy is refused", func() bool { return !serves(copyOfBad) })

	// nothingIsKnown is what clients get of an item that was not looked at.
	nothingIsKnown := func(t *testing.T, what, mxc string) {
		t.Helper()
		a := raw(t, s.web, call{target: v1Media + "download/" + path(mxc), header: []string{as(s.bob)}})
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
			a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(string(a.body), `"M_UNKNOWN"`) {
			t.Errorf("%s: nginx answers %d %v %.200s", what, a.status, a.header, a.body)
		}
		for _, route := range []string{"scan/", "download/"} {
			a := raw(t, s.web, call{target: contentScanner + route + path(mxc), header: []string{as(s.bob)}})
			e := decode[map[string]any](t, a.body)
			if a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable || e["reason"] != "MCS_MEDIA_REQUEST_FAILED" {
				t.Errorf("%s: the content scanner answers %d %.200s to %s", what, a.status, a.body, route)
			}
		}
	}
	for _, now := range []fault{html, limited, broken, cutOff, slow, hanging} {
		t.Run(string(now), func(t *testing.T) {
			item, copied := fresh("misc/pen-and-coaster.png"), fresh(realPicture)
			between.set(now)
			nothingIsKnown(t, string(now), item)
			nothingIsKnown(t, string(now)+", copy", copied)
			if !serves(known) || serves(copyOfBad) {
				t.Error("what is known is not judged any more")
			}
			if a := raw(t, open, call{target: v1Media + "download/" + path(item), header: []string{as(s.bob)}}); a.status != http.StatusOK {
				t.Errorf("the variant that fails open answers %d", a.status)
			}
			if a := raw(t, open, call{target: v1Media + "download/" + path(copyOfBad), header: []string{as(s.bob)}}); a.status != http.StatusNotFound {
				t.Errorf("the variant that fails open answers %d for what is known to be bad", a.status)
			}
			between.set(noFault)
			soon(t, "the item is served", func() bool { return serves(item) })
			soon(t, "the copy is refused, not unknown", func() bool {
				return raw(t, s.web, call{target: v1Media + "download/" + path(copied), header: []string{as(s.bob)}}).status == http.StatusNotFound
			})
		})
	}
	t.Run("quarantined while it cannot be fetched", func(t *testing.T) {
		original := hs.Upload(t, s.alice.Token, "image/jpeg", "x.jpg", picture(t, "camera/exif-rotn-6.jpg"))
		copied := fresh("camera/exif-rotn-6.jpg")
		if !serves(copied) {
			t.Fatal("a clean item is refused")
		}
		for _, now := range []fault{noLicence, hanging, broken} {
			between.set(now)
			hs.Quarantine(t, s.admin.Token, original)
			eventually(t, "the exchange says that it fails", func() bool { return s.status(t)["last_fetch_succeeded"] == false })
			between.set(noFault)
			eventually(t, "the copy is refused", func() bool { return !serves(copied) })
			hs.Unquarantine(t, s.admin.Token, original)
			soon(t, "the copy is served", func() bool { return serves(copied) })
		}
		if st := s.status(t); st["last_fetch_succeeded"] != true || st["last_error"] != nil {
			t.Errorf("status: %v", st)
		}
	})
	t.Run("the store is locked", func(t *testing.T) {
		original := hs.Upload(t, s.alice.Token, "image/png", "x.png", picture(t, "misc/small.jpg"))
		lock, err := openStore(t, dir).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		hs.Quarantine(t, s.admin.Token, original)
		again := hs.Upload(t, s.bob.Token, "image/png", "x.png", append(picture(t, "misc/small.jpg"), 0))
		for range 3 {
			if !serves(known) || serves(copyOfBad) || !serves(again) {
				t.Error("items are not judged while the store is locked")
			}
		}
		if _, err := lock.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was quarantined meanwhile is banked", func() bool { return s.status(t)["pending_items"] == 0.0 && s.status(t)["fetched_items"].(float64) >= 2 })
	})
	t.Run("all decoders are busy", func(t *testing.T) {
		large := enlarged(t, picture(t, "misc/c.png"), 2400, 1800)
		var all []string
		for i := range 8 {
			all = append(all, hs.Upload(t, s.alice.Token, "image/jpeg", "x.jpg", append(bytes.Clone(large), byte(i))))
		}
		answers := make([]answer, len(all))
		var asked sync.WaitGroup
		for i, mxc := range all {
			asked.Go(func() {
				var err error
				if answers[i], err = sendRaw(t, s.web, call{target: v1Media + "download/" + path(mxc), header: []string{as(s.bob)}}); err != nil {
					t.Error(err)
				}
			})
		}
		asked.Wait()
		refused := 0
		for _, a := range answers {
			switch a.status {
			case http.StatusOK:
			case http.StatusServiceUnavailable:
				refused++
			default:
				t.Errorf("under load an item is answered with %d: %.200s", a.status, a.body)
			}
		}
		if refused == 0 {
			t.Error("nothing was ever too much")
		}
		for _, mxc := range all {
			soon(t, "an item is served when it is quiet", func() bool { return serves(mxc) })
		}
	})
	t.Run("the homeserver is stopped", func(t *testing.T) {
		item, original := fresh("misc/pen-and-coaster.png"), hs.Upload(t, s.alice.Token, "image/jpeg", "x.jpg", picture(t, "camera/exif-rotn-1.jpg"))
		copied := fresh("camera/exif-rotn-1.jpg")
		if !serves(copied) {
			t.Fatal("a clean item is refused")
		}
		hs.Stop(t)
		a := raw(t, s.web, call{target: contentScanner + "scan/" + path(item), header: []string{as(s.bob)}})
		if a.status != http.StatusBadGateway {
			t.Errorf("the content scanner answers %d %s", a.status, a.body)
		}
		eventually(t, "the exchange says that it fails", func() bool { return s.status(t)["last_fetch_succeeded"] == false })
		hs.Restart(t, synapsetest.Options{})
		soon(t, "the item is served", func() bool { return serves(item) })
		hs.Quarantine(t, s.admin.Token, original)
		eventually(t, "a copy of what is quarantined then is refused", func() bool { return !serves(copied) })
	})
	t.Run("the token is revoked", func(t *testing.T) {
		hs.Logout(t, s.admin.Token)
		eventually(t, "the exchange says so", func() bool {
			problem, _ := s.status(t)["last_error"].(string)
			return strings.Contains(problem, "M_UNKNOWN_TOKEN")
		})
		if !serves(known) || serves(copyOfBad) {
			t.Error("what is known is not judged any more")
		}
	})
	t.Run("mediagate is gone", func(t *testing.T) {
		s.gate.stop(t)
		a := raw(t, s.web, call{target: v1Media + "download/" + path(known), header: []string{as(s.bob)}})
		if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), `"M_UNKNOWN"`) {
			t.Errorf("nginx answers %d %s", a.status, a.body)
		}
		if a := raw(t, open, call{target: v1Media + "download/" + path(copyOfBad), header: []string{as(s.bob)}}); a.status != http.StatusOK {
			t.Errorf("the variant that fails open answers %d %s", a.status, a.body)
		}
		eventually(t, "it logs what was not checked", func() bool { return strings.Contains(failOpen.unchecked(t), path(copyOfBad)) })
		if strings.Contains(failOpen.unchecked(t), s.bob.Token) {
			t.Error("the log of what was not checked holds a token")
		}
	})
}

// status is what the API says of the homeserver's exchange.
func (s *site) status(t *testing.T) map[string]any {
	t.Helper()
	return decode[map[string]any](t, s.gate.ask(t, request{path: "/c/exchange/SYNAPSE_QUARANTINE/status"}, http.StatusOK).body)
}

// enlarged is a picture in that size, as JPEG.
func enlarged(t *testing.T, content []byte, width, height int) []byte {
	t.Helper()
	img, _, err := pictures.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	large := pictures.NewRGBA(pictures.Rect(0, 0, width, height))
	xdraw.ApproxBiLinear.Scale(large, large.Rect, img, img.Bounds(), xdraw.Src, nil)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, large, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
