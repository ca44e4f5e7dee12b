package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"

	"mediagate/internal/bombtest"
	"mediagate/internal/secret"
	"mediagate/media"
	"mediagate/server"
)

// described holds an answer against the API's own description.
func (g *gate) described(t *testing.T, method, path string, a answer) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(g.send("GET", "/v1/openapi.yaml", "", "Authorization", "Bearer key").body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatal(err)
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader([]byte(a.body))),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%d %s does not follow the description: %v", a.status, a.body, err)
	}
}

func TestScan(t *testing.T) {
	g := newGate(t, setup{media: func(c *media.Config) { c.MaxBytes = 5 << 20 }})
	g.mustBank("A")
	if a := g.upload("/c/bank/A/content", "photo", vector(t, "bridge-mods/aaa-orig.jpg")); a.status != 200 {
		t.Fatal(a)
	}
	tests := map[string]struct {
		body    []byte
		headers []string
		status  int
		outcome string // or the error's constant
	}{
		"near copy":            {vector(t, "bridge-mods/shrink-a-lot.jpg"), nil, 200, "blocked"},
		"same bytes":           {vector(t, "bridge-mods/aaa-orig.jpg"), nil, 200, "blocked"},
		"other picture":        {vector(t, "misc/c.png"), nil, 200, "clean"},
		"alpha":                {vector(t, "formats/rgba-alpha-gradient.png"), nil, 200, "blocked"},
		"text":                 {[]byte("hello"), nil, 200, "opaque"},
		"empty":                {nil, nil, 200, "unscannable"},
		"bomb":                 {bombtest.WebP16384(), nil, 200, "unscannable"},
		"animation":            {vector(t, "formats/animated.webp"), nil, 200, "unscannable"},
		"sent by curl":         {vector(t, "misc/c.png"), []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, "clean"},
		"lying about its type": {vector(t, "misc/c.png"), []string{"Content-Type", "text/html; charset=x"}, 200, "clean"},
		"identity":             {[]byte("x"), []string{"Content-Encoding", "identity"}, 200, "opaque"},
		"compressed":           {[]byte("x"), []string{"Content-Encoding", "gzip"}, 415, "unsupported_media_type"},
		"a form":               {[]byte("--B\r\n"), []string{"Content-Type", "multipart/form-data; boundary=B"}, 415, "unsupported_media_type"},
		"at the limit":         {make([]byte, 5<<20), nil, 200, "opaque"},
		"one past it":          {make([]byte, 5<<20+1), nil, 413, "too_large"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := g.send("POST", "/v1/scan", string(tt.body), tt.headers...)
			var got struct{ Outcome, Error string }
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != tt.status || got.Outcome+got.Error != tt.outcome {
				t.Errorf("%d %s, want %d %s", a.status, a.body, tt.status, tt.outcome)
			}
			g.described(t, "POST", "/v1/scan", a)
		})
	}
}

func TestV1Errors(t *testing.T) {
	g := newGate(t, setup{config: func(c *server.Config) { c.APIKey = secret.New("key") }})
	key := []string{"Authorization", "Bearer key"}
	for name, tt := range map[string]struct {
		method, path string
		headers      []string
		status       int
		code         string
	}{
		"no key":       {"POST", "/v1/scan", nil, 401, "unauthorized"},
		"unknown path": {"GET", "/v1/nope", key, 404, "not_found"},
		"wrong method": {"GET", "/v1/scan", key, 405, "method_not_allowed"},

		"prediction, no key":       {"GET", "/v1/prediction?bank=A", nil, 401, "unauthorized"},
		"prediction, no bank":      {"GET", "/v1/prediction", key, 400, "bad_request"},
		"prediction, no such bank": {"GET", "/v1/prediction?bank=A", key, 404, "not_found"},
		"prediction, odd bank":     {"GET", "/v1/prediction?bank=%00%ff", key, 404, "not_found"},
		"prediction, wrong method": {"POST", "/v1/prediction?bank=A", key, 405, "method_not_allowed"},

		"fetch, no key":           {"POST", "/v1/exchanges/A/fetch", nil, 401, "unauthorized"},
		"fetch, no such exchange": {"POST", "/v1/exchanges/A/fetch", key, 404, "not_found"},
		"fetch, no exchange":      {"POST", "/v1/exchanges/fetch", key, 404, "not_found"},
		"fetch, odd exchange":     {"POST", "/v1/exchanges/%2e%2e%2f%00é/fetch", key, 404, "not_found"},
		"fetch, wrong method":     {"GET", "/v1/exchanges/A/fetch", key, 405, "method_not_allowed"},
	} {
		a := g.send(tt.method, tt.path, "", tt.headers...)
		if a.status != tt.status || !strings.Contains(a.body, `"error":"`+tt.code+`"`) || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s %s", name, a.status, a.header.Get("Content-Type"), a.body)
		}
	}
	none := newGate(t, setup{noIndex: true})
	for path, method := range map[string]string{"/v1/scan": "POST", "/v1/prediction?bank=A": "GET"} {
		a := none.send(method, path, "x")
		if a.status != 503 {
			t.Errorf("%s: %d", path, a.status)
		}
		none.described(t, method, path, a)
	}
}
