package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"mediagate/internal/synapsetest"
)

// items are pictures of a site: two that are blocked though Synapse serves them, a
// local and a remote one, and two that are not.
type items struct {
	local, remote             string
	cleanLocal, cleanRemote   string
	localBytes, remoteBytes   []byte
	harmless, harmlessFurther []byte
}

// blocked quarantines a picture and posts copies of it.
func (s *site) blocked(t *testing.T, other *site) items {
	t.Helper()
	bad := picture(t, "camera/exif-rotn-1.jpg")
	x := items{
		localBytes: smallCopy(t, bad, 61), remoteBytes: smallCopy(t, bad, 62),
		harmless: picture(t, "misc/c.png"), harmlessFurther: picture(t, "misc/pen-and-coaster.png"),
	}
	s.hs.Quarantine(t, s.admin.Token, s.hs.Upload(t, s.alice.Token, "image/jpeg", "cups.jpg", bad))
	x.local = s.hs.Upload(t, s.alice.Token, "image/jpeg", "cups.jpg", x.localBytes)
	x.remote = other.hs.Upload(t, other.alice.Token, "image/jpeg", "cups.jpg", x.remoteBytes)
	x.cleanLocal = s.hs.Upload(t, s.alice.Token, "image/png", "coaster.png", x.harmless)
	x.cleanRemote = other.hs.Upload(t, other.alice.Token, "image/png", "pen.png", x.harmlessFurther)
	soon(t, "copies of the picture are refused", func() bool {
		return raw(t, s.web, call{target: clientRoutes[0].path(x.local), header: []string{as(s.bob)}}).status == http.StatusNotFound
	})
	return x
}

const v1Media = "/_matrix/client/v1/media/"

// spellings are ways to name an item, by server and id. Legitimate ones serve what
// is clean.
var spellings = map[string]struct {
	spell      func(server, id string) string
	legitimate bool
	// synapse tells that Synapse alone serves the item's bytes by it, which shows
	// that there is something to refuse.
	synapse bool
}{
	"plain":                {spelled("download/%s/%s"), true, true},
	"empty file name":      {spelled("download/%s/%s/"), true, true},
	"file name":            {spelled("download/%s/%s/x.png"), true, true},
	"slash in file name":   {spelled("download/%s/%s/a%%2Fb"), true, true},
	"encoded letter":       {func(s, i string) string { return v1Media + "download/" + s + "/" + encoded(i[:1]) + i[1:] }, true, true},
	"encoded server":       {func(s, i string) string { return v1Media + "download/" + encoded(s) + "/" + i }, true, true},
	"legacy":               {func(s, i string) string { return "/_matrix/media/v3/download/" + s + "/" + i }, false, false},
	"two file names":       {spelled("download/%s/%s/x.png/"), false, false},
	"encoded twice":        {func(s, i string) string { return v1Media + "download/" + s + "/%25" + encoded(i[:1])[1:] + i[1:] }, false, false},
	"question mark":        {spelled("download/%s/%s%%3Fx=1"), false, false},
	"hash":                 {spelled("download/%s/%s%%23x"), false, false},
	"ampersand":            {spelled("download/%s/%s%%26x"), false, false},
	"encoded slash":        {spelled("download/%s/%s%%2F"), false, false},
	"encoded dots":         {spelled("download/%s/x%%2F..%%2F%s"), false, false},
	"not ASCII":            {spelled("download/%s/%s%%C3%%A9"), false, false},
	"doubled at the front": {func(s, i string) string { return "/" + v1Media + "download/" + s + "/" + i }, false, false},
	"doubled slash":        {func(s, i string) string { return "/_matrix/client//v1/media/download/" + s + "/" + i }, false, false},
	"doubled before item":  {spelled("download//%s/%s"), false, false},
	"dot":                  {spelled("./download/%s/%s"), false, false},
	"dots":                 {func(s, i string) string { return "/x/.." + v1Media + "download/" + s + "/" + i }, false, false},
	"dots inside":          {spelled("zz/../download/%s/%s"), false, false},
	"encoded dots inside":  {spelled("zz%%2F..%%2Fdownload/%s/%s"), false, false},
	"separator encoded":    {spelled("download%%2F%s/%s"), false, false},
	"tree encoded":         {func(s, i string) string { return "/%5Fmatrix/client/v1/media/download/" + s + "/" + i }, false, false},
	"route encoded":        {spelled("%%64ownload/%s/%s"), false, false},
	"route in capitals":    {spelled("Download/%s/%s"), false, false},
	"tree in capitals":     {func(s, i string) string { return "/_MATRIX/client/v1/media/download/" + s + "/" + i }, false, false},
	"semicolon":            {spelled("download/%s/%s;x=1"), false, false},
	"zero":                 {spelled("download/%s/%s%%00"), false, false},
	"newline":              {spelled("download/%s/%s%%0A"), false, false},
	"space":                {spelled("download/%s/%s%%20"), false, false},
	"absolute form":        {func(s, i string) string { return "http://localhost" + v1Media + "download/" + s + "/" + i }, false, false},
	"backslash":            {spelled(`download\%s/%s`), false, false},
	"unstable": {func(s, i string) string {
		return "/_matrix/client/unstable/org.matrix.msc3916/media/download/" + s + "/" + i
	}, false, false},
	"climbing file name":        {spelled("download/%s/%s/" + strings.Repeat("..%%2F", 9) + "x"), false, true},
	"climbing to another route": {spelled("download/%s/%s/" + strings.Repeat("..%%2F", 5) + "versions"), false, true},
	"climbing in lower case":    {spelled("download/%s/%s/" + strings.Repeat("%%2e%%2e%%2f", 5) + "versions"), false, true},
	"climbing to another item":  {spelled("download/%s/%s/..%%2Fx"), false, true},
	"thumbnail":                 {spelled("thumbnail/%s/%s?width=64&height=64"), true, false},
	"local copy":                {func(s, i string) string { return "/_matrix/media/unstable/local_copy/" + s + "/" + i }, false, false},
	"server in capitals":        {func(s, i string) string { return v1Media + "download/" + strings.ToUpper(s) + "/" + i }, false, false},
	"fragment":                  {spelled("download/%s/%s#x"), false, false},
	"fragment before":           {func(s, i string) string { return "/#" + v1Media + "download/" + s + "/" + i }, false, false},
}

func spelled(format string) func(server, id string) string {
	return func(server, id string) string { return v1Media + fmt.Sprintf(format, server, id) }
}

// encoded writes every byte as a percent sign and digits.
func encoded(text string) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		fmt.Fprintf(&out, "%%%02x", b)
	}
	return out.String()
}

// refusesSpellings asks for items in every way that some server might understand,
// through nginx with either proxy_pass.
func (s *site) refusesSpellings(t *testing.T, x items) {
	for name, sp := range spellings {
		for which, mxc := range map[string]string{"local": x.local, "remote": x.remote} {
			server, id, _ := strings.Cut(path(mxc), "/")
			target := sp.spell(server, id)
			if sp.synapse {
				if status, _, body := s.hs.Do(t, "GET", target, s.bob.Token, nil); status != http.StatusOK || len(body) < 1000 {
					t.Errorf("%s, %s: Synapse alone answers %d", name, which, status)
				}
			}
			for how, address := range map[string]string{"as given": s.web, "with a mapped path": s.webMapped} {
				a := raw(t, address, call{target: target, header: []string{as(s.bob)}})
				if a.status < 400 && sp.synapse || bytes.Contains(a.body, x.localBytes[:64]) || bytes.Contains(a.body, x.remoteBytes[:64]) ||
					strings.HasPrefix(a.header.Get("Content-Type"), "image/") {
					t.Errorf("%s, %s, %s: %d with %d bytes of %s", name, which, how, a.status, len(a.body), a.header.Get("Content-Type"))
				}
			}
		}
		if !sp.legitimate {
			continue
		}
		for mxc, content := range map[string][]byte{x.cleanLocal: x.harmless, x.cleanRemote: x.harmlessFurther} {
			server, id, _ := strings.Cut(path(mxc), "/")
			a := raw(t, s.web, call{target: sp.spell(server, id), header: []string{as(s.bob)}})
			if a.status != http.StatusOK || name != "thumbnail" && !bytes.Equal(a.body, content) {
				t.Errorf("%s of a clean item: %d with %d bytes", name, a.status, len(a.body))
			}
		}
	}
}

// treatsRequests makes requests of all kinds for items that are blocked and that
// are not.
func (s *site) treatsRequests(t *testing.T, x items) {
	bad, good := v1Media+"download/"+path(x.local), v1Media+"download/"+path(x.cleanLocal)
	auth := as(s.bob)
	for name, tt := range map[string]struct {
		call
		status int
	}{
		"HEAD of a blocked item":        {call{"HEAD", bad, []string{auth}}, 404},
		"HEAD":                          {call{"HEAD", good, []string{auth}}, 200},
		"preflight":                     {call{"OPTIONS", bad, nil}, 204},
		"conditional, blocked":          {call{"", bad, []string{auth, "If-None-Match: 1"}}, 404},
		"conditional":                   {call{"", good, []string{auth, "If-None-Match: 1"}}, 304},
		"range, blocked":                {call{"", bad, []string{auth, "Range: bytes=0-3"}}, 404},
		"range":                         {call{"", good, []string{auth, "Range: bytes=0-3"}}, 200},
		"token in the query, blocked":   {call{"", bad + "?access_token=" + s.bob.Token, nil}, 404},
		"token in the query":            {call{"", good + "?access_token=" + s.bob.Token, nil}, 200},
		"token in header and query":     {call{"", good + "?access_token=" + s.bob.Token, []string{auth}}, 404},
		"two tokens in the query":       {call{"", good + "?access_token=" + s.bob.Token + "&access_token=" + s.alice.Token, nil}, 404},
		"no token, blocked":             {call{"", bad, nil}, 404},
		"no token":                      {call{"", good, nil}, 401},
		"wrong token, blocked":          {call{"", bad, []string{"Authorization: Bearer nonsense"}}, 404},
		"wrong token":                   {call{"", good, []string{"Authorization: Bearer nonsense"}}, 401},
		"basic authentication":          {call{"", good, []string{"Authorization: Basic Ym9iOmJvYg=="}}, 404},
		"signature on a client's route": {call{"", good, []string{`Authorization: X-Matrix origin="a",key="b",sig="c"`}}, 404},
		"bypass by a user":              {call{"", good + "?admin_unsafely_bypass_quarantine=true", []string{auth}}, 404},
		"bypass by an administrator":    {call{"", bad + "?admin_unsafely_bypass_quarantine=true", []string{as(s.admin)}}, 404},
		"encoded bypass":                {call{"", bad + "?admin%5Funsafely_bypass_quarantine=true", []string{as(s.admin)}}, 404},
		"other parameters":              {call{"", good + "?timeout_ms=20000&allow_redirect=true", []string{auth}}, 200},
		"forged original URI":           {call{"", bad, []string{auth, "X-Original-URI: /_matrix/client/versions"}}, 404},
		"forged URI with underscores":   {call{"", bad, []string{auth, "X_Original_URI: /_matrix/client/versions"}}, 404},
		"forged method":                 {call{"", bad, []string{auth, "X-Original-Method: OPTIONS"}}, 404},
		"forged connection header":      {call{"", bad, []string{auth, "Connection: X-Original-URI"}}, 404},
		"posting to an item":            {call{"POST", bad, []string{auth, "Content-Length: 0"}}, 404},
		"upload limits":                 {call{"", v1Media + "config", []string{auth}}, 200},
		"another route":                 {call{"", "/_matrix/client/versions", nil}, 200},
		"federation, blocked":           {call{"", "/_matrix/federation/v1/media/download/" + strings.Split(x.local, "/")[3], []string{`Authorization: X-Matrix origin="a",key="b",sig="c"`}}, 404},
		"federation, forged signature":  {call{"", "/_matrix/federation/v1/media/download/" + strings.Split(x.cleanLocal, "/")[3], []string{`Authorization: X-Matrix origin="a",key="b",sig="c"`}}, 400},
		"federation with a user's token": {call{"", "/_matrix/federation/v1/media/download/" + strings.Split(x.cleanLocal, "/")[3],
			[]string{auth}}, 404},
	} {
		if a := raw(t, s.web, tt.call); a.status != tt.status {
			t.Errorf("%s: %d, want %d: %.200s", name, a.status, tt.status, a.body)
		} else if a.status == 404 && tt.method != "HEAD" && tt.method != "POST" {
			s.wantRefused(t, name, a)
		}
	}
	// The hook itself cannot be asked from outside.
	if a := raw(t, s.web, call{target: "/_mediagate/check"}); a.status != 404 {
		t.Errorf("the hook from outside: %d", a.status)
	}
}

// judgesNoCredentials: whom Synapse refuses gets nothing, whatever is in a cache,
// and a token that is revoked is of no use at once.
func (s *site) judgesNoCredentials(t *testing.T, x items) {
	carol := s.hs.Register(t, "carol", false)
	scan, download := contentScanner+"scan/"+path(x.cleanLocal), contentScanner+"download/"+path(x.cleanLocal)
	for _, target := range []string{scan, download} {
		if a := raw(t, s.web, call{target: target, header: []string{as(carol)}}); a.status != 200 {
			t.Fatalf("%s: %d %s", target, a.status, a.body)
		}
	}
	for name, header := range map[string]string{"nobody": "X-Nothing: nothing", "somebody else's guess": "Authorization: Bearer " + carol.Token + "x"} {
		for _, target := range []string{scan, download} {
			want := 401
			if name == "nobody" {
				want = 404 // the routes without authentication do not have it
			}
			if a := raw(t, s.web, call{target: target, header: []string{header}}); a.status != want || bytes.Contains(a.body, x.harmless[:64]) {
				t.Errorf("%s by %s: %d %.100s", target, name, a.status, a.body)
			}
		}
	}
	s.hs.Logout(t, carol.Token)
	if a := raw(t, s.web, call{target: download, header: []string{as(carol)}}); a.status != 401 {
		t.Errorf("download with a revoked token: %d", a.status)
	}
	if a := raw(t, s.web, call{target: v1Media + "download/" + path(x.cleanLocal), header: []string{as(carol)}}); a.status != 401 {
		t.Errorf("download with a revoked token, through nginx: %d", a.status)
	}
}

// joinsDownloads has many clients want one item at once.
func (s *site) joinsDownloads(t *testing.T) {
	const clients = 50
	downloads := func() float64 {
		return s.gate.metric(t, `mediagate_homeserver_requests_total{call="download",outcome="ok"}`)
	}
	atOnce := func(target string, header func(i int) string, check func(i int, a answer)) {
		var all sync.WaitGroup
		ready := make(chan struct{})
		for i := range clients {
			all.Go(func() {
				<-ready
				a, err := sendRaw(t, s.web, call{target: target, header: []string{header(i)}})
				if err != nil {
					t.Error(err)
					return
				}
				check(i, a)
			})
		}
		close(ready)
		all.Wait()
	}
	content := picture(t, "misc/rgb.jpeg")
	whole := func(_ int, a answer) {
		if a.status != 200 || !bytes.Equal(a.body, content) {
			t.Errorf("%d, %d bytes: %.100s", a.status, len(a.body), a.body)
		}
	}
	fresh := s.hs.Upload(t, s.alice.Token, "image/jpeg", "x.jpg", content)
	before := downloads()
	atOnce(v1Media+"download/"+path(fresh), func(int) string { return as(s.bob) }, whole)
	if n := downloads() - before; n != 1 {
		t.Errorf("%d clients with one token cost %v downloads through the hook", clients, n)
	}
	// Of the content scanner's clients those that come at the same time share one.
	tokens := make([]synapsetest.User, 5)
	for i := range tokens {
		tokens[i] = s.hs.Register(t, fmt.Sprintf("client%d", i), false)
	}
	mixed := func(i int) string {
		if i%2 == 0 {
			return "Authorization: Bearer " + base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprint("nobody", i)))
		}
		return as(tokens[i%len(tokens)])
	}
	atOnce(contentScanner+"download/"+path(fresh), mixed, func(i int, a answer) {
		if i%2 == 0 && (a.status != 401 || bytes.Contains(a.body, content[:64])) {
			t.Errorf("a client whom the homeserver refuses: %d, %d bytes", a.status, len(a.body))
		} else if i%2 == 1 {
			whole(i, a)
		}
	})
}

// leaksNothing looks for tokens in all that was logged and traced until now.
func (s *site) leaksNothing(t *testing.T, spans *collector) {
	eventually(t, "spans have arrived", func() bool { return strings.Contains(spans.String(), "homeserver.download") })
	for place, text := range map[string]string{
		"log": s.gate.printed.String(), "spans": spans.String(), "metrics": s.gate.metrics(t), "access log of nginx": s.accessLog(t),
	} {
		if len(text) < 1000 {
			t.Errorf("the %s hold next to nothing: %s", place, text)
		}
		for _, user := range []synapsetest.User{s.admin, s.alice, s.bob} {
			if at := strings.Index(text, user.Token); at >= 0 {
				t.Errorf("the token of %s is in the %s: …%q", user.ID, place, text[max(0, at-100):at])
			}
		}
	}
	if !strings.Contains(s.accessLog(t), v1Media+"download/") {
		t.Error("the access log does not show what was asked")
	}
}
