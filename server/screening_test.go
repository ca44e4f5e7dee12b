package server_test

import (
	"net/url"
	"testing"

	"mediagate/internal/workertest"
)

// TestOnlyItemsAreScreened asks by every way in which pictures come to be hashed:
// what is told or banked is exact, also of bytes that were screened before.
func TestOnlyItemsAreScreened(t *testing.T) {
	o := newUpstream(t)
	g := newGate(t, setup{homeserver: o.URL})
	g.mustBank("A")
	picture, address := vector(t, "misc/c.png"), url.QueryEscape(o.URL+"/bad")
	item := func(path string) func() answer {
		return func() answer { return g.send("GET", path, "", "Authorization", "Bearer token") }
	}
	checked := func(id string) func() answer {
		return func() answer {
			return g.send("GET", "/_mediagate/check", "", "X-Original-URI", "/_matrix/client/v1/media/download/foo/"+id,
				"X-Original-Method", "GET", "Authorization", "Bearer token")
		}
	}
	for _, step := range []struct {
		name string
		ask  func() answer
		path string // empty: nothing is hashed
	}{
		{"hook", checked("png"), "screened"},
		{"hook, other name", checked("plain"), ""},
		{"content scanner", item(mcsPath + "/scan/foo/bad"), "screened"},
		{"content scanner, download", item(mcsPath + "/download/foo/bad"), ""},
		{"bytes", func() answer { return g.send("POST", "/v1/scan", string(picture)) }, "exact"},
		{"bytes again", func() answer { return g.send("POST", "/v1/scan", string(picture)) }, ""},
		{"hash", func() answer { return g.upload("/h/hash", "photo", picture) }, "exact"},
		{"hash of a URL", func() answer { return g.get("/h/hash?content_type=photo&url=" + address) }, "exact"},
		{"lookup", func() answer { return g.upload("/m/lookup", "photo", picture) }, "exact"},
		{"lookup of a URL", func() answer { return g.get("/m/lookup?content_type=photo&url=" + address) }, "exact"},
		{"bank", func() answer { return g.upload("/c/bank/A/content", "photo", picture) }, "exact"},
		{"bank a URL", func() answer { return g.send("POST", "/c/bank/A/content?content_type=photo&url="+address, "") }, "exact"},
	} {
		before := workertest.Hashed(t, g.pool)
		if a := step.ask(); a.status != 200 && a.status != 201 {
			t.Errorf("%s: %d %s", step.name, a.status, a.body)
		}
		after := workertest.Hashed(t, g.pool)
		for _, path := range []string{"exact", "screened", "fallback"} {
			if hashed := after[path] > before[path]; hashed != (path == step.path) {
				t.Errorf("%s: counted as %v after %v", step.name, after, before)
			}
		}
	}
}
