package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"mediagate/media"
	"mediagate/server"
)

// origin serves what the HMA API is asked to fetch.
func origin(t *testing.T) *httptest.Server {
	t.Helper()
	content := vector(t, "formats/rgb.png")
	mux := http.NewServeMux()
	serve := func(path, contentType string, body []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			if contentType == "" {
				w.Header()["Content-Type"] = nil
			}
			_, _ = w.Write(body)
		})
	}
	serve("/rgb.png", "image/png", content)
	serve("/video", "video/mp4", []byte("abc"))
	serve("/page", "text/html", content)
	serve("/bare", "", content)
	serve("/large", "image/png", make([]byte, 200_001))
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) {
		for range 300 {
			_, _ = w.Write(make([]byte, 1000))
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/packed", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asked for %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write([]byte("\x1f\x8b\x08\x00"))
	})
	ts := httptest.NewServer(mux)
	t.Cleanup(ts.Close)
	return ts
}

const pngHash = "d8f8f0cec4f4a84f0637022a078f67f0b36e2ee5b6621e1d33e6239c4e9c9b22"

func TestHashURL(t *testing.T) {
	g := newGate(t, setup{media: func(c *media.Config) { c.MaxBytes = 200_000 }})
	o := origin(t)
	hash := func(path, more string) answer { return g.get("/h/hash?url=" + url.QueryEscape(o.URL+path) + more) }
	hash("/rgb.png", "").want(t, 200, `{"pdq":"`+pngHash+`"}`+"\n")
	hash("/video", "").want(t, 200, `{"video_md5":"900150983cd24fb0d6963f7d28e17f72"}`+"\n")
	hash("/page", "&content_type=photo").want(t, 200, `{"pdq":"`+pngHash+`"}`+"\n")
	hash("/bare", "&content_type=photo&types=pdq").want(t, 200, `{"pdq":"`+pngHash+`"}`+"\n")
	hash("/redirect?to=/rgb.png", "").want(t, 200, `{"pdq":"`+pngHash+`"}`+"\n")
	unsupported := "unsupported url ContentType: '%s', if you know the expected type, provide it with the content_type query param"
	for path, want := range map[string]string{
		"/page":                           fmt.Sprintf(unsupported, "text/html"),
		"/bare":                           fmt.Sprintf(unsupported, ""),
		"/empty":                          "Failed to fetch URL: status 204",
		"/missing":                        "Failed to fetch URL: status 404",
		"/cut":                            "Failed to fetch URL: the connection failed",
		"/loop":                           "Invalid or unsafe URL provided",
		"/packed":                         "photo cannot be decoded: its type is application/gzip",
		"/redirect?to=http://evil.com":    "Invalid or unsafe URL provided",
		"/redirect?to=file:///etc/passwd": "Invalid or unsafe URL provided",
	} {
		hash(path, "").want(t, 400, message("%s", want))
	}
	hash("/rgb.png", "&content_type=x").want(t, 400, message("no such content_type: 'x'"))
	hash("/rgb.png", "&types=zz").want(t, 400, message("signal type 'zz' doesn't exist or is disabled"))
	hash("/rgb.png", "&types=,").want(t, 400, message("empty signal type selection"))
	hash("/large", "").want(t, 413, message("Content too large"))
	hash("/chunked", "&content_type=video").want(t, 413, message("Content too large"))

	g.mustBank("A")
	add := "/c/bank/A/content?url=" + url.QueryEscape(o.URL+"/rgb.png")
	g.send("POST", add, "").want(t, 200, `{"id":1,"signals":{"pdq":"`+pngHash+`"}}`+"\n")
	g.json("POST", add, `{"metadata":{"content_uri":"u","json_data":{}},"note":"n"}`).want(t, 200, `{"id":2,"signals":{"pdq":"`+pngHash+`"}}`+"\n")
	g.json("POST", add, `{"note":5}`).want(t, 400, message("note should be a string"))
	matches := `{"A":[{"bank_content_id":1,"distance":"0"},{"bank_content_id":2,"distance":"0"}]}`
	lookup := "/m/lookup?url=" + url.QueryEscape(o.URL+"/rgb.png")
	g.get(lookup).want(t, 200, `{"pdq":`+matches+"}\n")
	g.get(lookup+"&signal_type=pdq&signal=ignored").want(t, 200, matches+"\n")
	g.get(lookup+"&signal_type=video_md5").want(t, 200, "{}\n")
	g.get("/m/lookup?url="+url.QueryEscape(o.URL+"/video")).want(t, 200, `{"video_md5":{}}`+"\n")
}

func TestUnsafeURLsAreRefused(t *testing.T) {
	g := newGate(t, setup{config: func(c *server.Config) {
		c.HMA.URLHosts, c.HMA.URLNetworks = []string{"example.com", "localhost", "127.0.0.1"}, nil
	}})
	for _, address := range []string{
		"", "x", "//example.com", "ftp://example.com", "file:///etc/passwd", "javascript:alert(1)", "data:text/plain,x", "ws://example.com",
		"gopher://example.com", "http://", "http:///example.com", "http://example.com:", "http://example.com:abc", "http://example.com:99999",
		"http://evil.com", "http://example.com.evil.com", "http://evilexample.com", "http://evil.com/example.com", "http://evil.com#example.com",
		"http://user@example.com", "http://user:pw@example.com", "http://example.com@evil.com", "http://[::1]/", "http://github.com",
		// Listed, but not at an address that may be dialled.
		"http://127.0.0.1:1/", "http://localhost:1/",
		// Other spellings of an address are other hosts.
		"http://0/", "http://0x7f.1/", "http://2130706433/", "http://127.1/", "http://169.254.169.254/",
	} {
		for _, path := range []string{"/h/hash?url=", "/m/lookup?types=pdq&url="} {
			if address == "" && strings.HasPrefix(path, "/m") {
				continue
			}
			a := g.get(path + url.QueryEscape(address))
			if a.status != 400 || a.body != message("Invalid or unsafe URL provided") {
				t.Errorf("%s: %d %s", address, a.status, a.body)
			}
		}
	}
	off := newGate(t, setup{config: func(c *server.Config) { c.HMA.URLHosts = nil }})
	off.get("/h/hash?url=http://example.com").want(t, 403, message("fetching URLs is off: MEDIAGATE_HMA_URL_HOSTS lists no host"))
	off.get("/m/lookup?url=http://example.com").want(t, 403, message("fetching URLs is off: MEDIAGATE_HMA_URL_HOSTS lists no host"))
}

// TestEveryPrivateAddressIsRefused dials nothing: with any host allowed, the
// guard refuses before the connection.
func TestEveryPrivateAddressIsRefused(t *testing.T) {
	g := newGate(t, setup{config: func(c *server.Config) {
		c.HMA.URLHosts, c.HMA.URLNetworks = []string{"*"}, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	}})
	for _, host := range []string{
		"127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.1",
		"192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
	} {
		g.get("/h/hash?url="+url.QueryEscape("http://"+host+":9/")).want(t, 400, message("Invalid or unsafe URL provided"))
	}
	// The one that is listed is dialled, in vain.
	g.get("/h/hash?url="+url.QueryEscape("http://127.0.0.9:9/")).want(t, 400, message("Failed to fetch URL: the connection failed"))
}
