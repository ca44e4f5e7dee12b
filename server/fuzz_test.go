package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzRequests sends anything to every API: nothing panics, nothing is answered
// in a form that its API does not have, and no body is scanned clean that is no
// picture.
func FuzzRequests(f *testing.F) {
	form := "--B\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"\"\r\n\r\nGIF89a\r\n--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n--B--\r\n"
	for _, seed := range [][4]string{
		{"POST", "/h/hash?types=pdq", "multipart/form-data; boundary=B", form},
		{"POST", "/c/bank/A/content", "multipart/form-data; boundary=B", form},
		{"POST", "/c/bank/A/content?url=http://127.0.0.1:1/", "application/json", `{"metadata":{"json":{"a":1}},"note":"n"}`},
		{"POST", "/m/lookup?seed=1&banks=A,B", "multipart/form-data; boundary=B", form},
		{"POST", "/c/banks", "application/json", `{"name":"A","enabled_ratio":"0.5","enabled":"yes"}`},
		{"PUT", "/c/bank/A", "application/x+json", `{"enabled":2}`},
		{"POST", "/c/bank/A/signal", "application/json", `{"video_md5":"00000000000000000000000000000000"}`},
		{"PUT", "/c/bank/A/content/1", "application/json", `{"disable_until_ts":"1_0","note":null}`},
		{"GET", "/m/raw_lookup?signal=%ff&signal_type=pdq&include_distance=on", "", ""},
		{"GET", "/c//bank/%2FA", "", ""},
		{"POST", "/c/exchanges", "application/json", exchangeBody("X", "")},
		{"PUT", "/c/exchange/X", "application/json", `{"enabled":"on"}`},
		{"GET", "/c/exchange/X/status", "", ""},
		{"POST", "/c/exchange/X/review/1", "application/json", `{"block":"on"}`},
		{"PUT", "/c/bank/A", "application/json", `{"agree":"1","breaker":1e3,"monitor":true}`},
		{"POST", "/v1/exchanges/X/fetch", "", ""},
		{"POST", "/v1/scan", "image/png", "\x89PNG\r\n\x1a\n"},
		{"FOO", "/", "text/plain", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	g := newGate(f, setup{})
	g.mustBank("A")
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		req.Method, req.URL = method, u
		req.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, req)
		out := w.Body.String()
		if !slices.Contains([]int{200, 201, 202, 302, 308, 400, 403, 404, 405, 409, 413, 415, 422, 503}, w.Code) {
			t.Errorf("status %d: %s", w.Code, out)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && method != http.MethodHead && !json.Valid([]byte(out)) {
			t.Errorf("status %d with what is no JSON: %s", w.Code, out)
		}
		if strings.Contains(out, `"outcome":"clean"`) && len(body) < 40 {
			t.Errorf("%q is clean", body)
		}
	})
}
