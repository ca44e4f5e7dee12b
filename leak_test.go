package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Secrets that mean nothing else, so that they can be searched for.
const (
	canaryKey      = "canary-key-6f1d2c9e40b7"
	canaryWrongKey = "canary-wrong-key-93ab17d5"
	canaryExporter = "canary-exporter-token-5d20"
	canaryFile     = "canary-file-name-81c4.jpg"
	canaryField    = "canary-field-77e0"
	canaryNote     = "canary-note-0be9"
	canaryURL      = "canary-url-2fa6"
	canaryMD5      = "0c7a11ac0c7a11ac0c7a11ac0c7a11ac"
	nearPicture    = "bridge-mods/blur-a-little.jpg"
)

// TestNothingSecretIsLoggedTracedOrCounted makes every kind of request with
// canaries in every place, at the level that logs most, and searches for them
// in all that operators and their tools get to see.
func TestNothingSecretIsLoggedTracedOrCounted(t *testing.T) {
	t.Parallel()
	spans := &collector{}
	exporter := httptest.NewServer(spans)
	defer exporter.Close()
	origin := httptest.NewServer(http.FileServer(http.Dir(filepath.Join("pdq", "testdata", "images"))))
	defer origin.Close()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(canaryKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := databaseIn(dir)
	maps.Copy(env, map[string]string{
		"MEDIAGATE_API_KEY_FILE":     keyFile,
		"MEDIAGATE_LOG_LEVEL":        "DEBUG",
		"MEDIAGATE_HMA_URL_HOSTS":    "127.0.0.1",
		"MEDIAGATE_HMA_URL_NETWORKS": "127.0.0.0/8",
		"OTEL_EXPORTER_OTLP_HEADERS": "authorization=" + canaryExporter,
	})
	maps.Copy(env, exportTo(exporter.URL))
	s := start(t, env)
	told := s.useWithCanaries(t, origin.URL)
	s.sendNonsense(t)
	breakStore(t, dir)
	told = append(told, s.useBroken(t)...)
	counted := s.metrics(t)
	s.stop(t)

	logged, traced := s.printed.String(), spans.String()
	for line := range strings.Lines(logged) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log has a line that is no JSON: %s", line)
		}
	}
	// What would hide a leak is an empty log: each must show what was done.
	for place, x := range map[string]struct {
		text string
		want []string
	}{
		"log": {logged, []string{
			`"route":"/v1/scan"`, `"route":"/m/raw_lookup"`, `"route":"none"`, `"msg":"request failed"`, `"msg":"index cannot be refreshed"`, `"trace_id"`,
		}},
		"spans":   {traced, []string{"POST /v1/scan", "GET /m/raw_lookup", "GET none", "media.decode", "bank.match", "/c/bank/:bank_name"}},
		"metrics": {counted, []string{`route="/v1/scan"`, `route="/m/raw_lookup"`, `route="none"`, "mediagate_matches_total"}},
	} {
		for _, want := range x.want {
			if !strings.Contains(x.text, want) {
				t.Errorf("the %s do not show %s", place, want)
			}
		}
	}
	for what, spellings := range canaries(t) {
		for place, text := range map[string]string{"log": logged, "spans": traced, "metrics": counted} {
			for _, spelling := range spellings {
				if at := strings.Index(text, spelling); at >= 0 {
					t.Errorf("%s is in the %s: …%q", what, place, text[max(0, at-100):at+len(spelling)])
				}
			}
		}
	}
	// The search finds what is there: callers are told what they asked.
	answers := strings.Join(told, "\n")
	for _, want := range []string{canaryMD5, hashOf(t, realPicture).PDQ, hashOf(t, nearPicture).SHA256} {
		if !strings.Contains(answers, want) {
			t.Errorf("no answer tells %s", want)
		}
	}
	for _, key := range []string{canaryKey, canaryWrongKey, canaryExporter} {
		if strings.Contains(answers, key) {
			t.Errorf("an answer contains %s", key)
		}
	}
}

// canaries are all spellings of what must not turn up.
func canaries(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for what, text := range map[string]string{
		"key": canaryKey, "wrong key": canaryWrongKey, "exporter's token": canaryExporter, "file name": canaryFile, "field name": canaryField,
		"note": canaryNote, "fetched URL": canaryURL,
	} {
		all[what] = []string{text, base64.StdEncoding.EncodeToString([]byte(text)), hex.EncodeToString([]byte(text))}
	}
	digests := map[string]string{"MD5 of a video": canaryMD5}
	for _, name := range []string{realPicture, nearPicture} {
		signals := hashOf(t, name)
		digests["PDQ of "+name], digests["MD5 of "+name], digests["SHA-256 of "+name] = signals.PDQ, signals.MD5, signals.SHA256
	}
	for what, text := range digests {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		all[what] = []string{
			string(raw), text, strings.ToUpper(text), base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
		}
	}
	return all
}

// useWithCanaries makes requests that hold canaries wherever they can, and
// returns the answers.
func (s *instance) useWithCanaries(t *testing.T, origin string) []string {
	t.Helper()
	var told []string
	ask := func(name string, r request, status int) {
		t.Helper()
		if _, own := r.header["Authorization"]; !own {
			r.header = mapWith(r.header, "Authorization", "Bearer "+canaryKey)
		}
		a := s.ask(t, r, status)
		told = append(told, name+": "+string(a.body))
	}
	hash, original, near := hashOf(t, realPicture).PDQ, picture(t, realPicture), picture(t, nearPicture)
	form := func(path, field string) request {
		return upload(t, path, field, canaryFile, near, map[string]string{"note": canaryNote, canaryField: canaryNote})
	}
	ask("make a bank", asJSON("POST", "/c/banks", `{"name":"CANARIES"}`), 201)
	ask("bank signals", asJSON("POST", "/c/bank/CANARIES/signal", `{"pdq":"`+hash+`","video_md5":"`+canaryMD5+`","note":"`+canaryNote+`"}`), 200)
	ask("bank a picture", form("/c/bank/CANARIES/content", "photo"), 200)
	for name, x := range map[string]struct {
		request
		status int
	}{
		"raw lookup":                {request{path: "/m/raw_lookup?signal_type=pdq&include_distance=true&signal=" + hash}, 200},
		"raw lookup in upper case":  {request{path: "/m/raw_lookup?signal_type=pdq&signal=" + strings.ToUpper(hash)}, 200},
		"raw lookup of MD5":         {request{path: "/m/raw_lookup?signal_type=video_md5&signal=" + canaryMD5}, 200},
		"lookup":                    {request{path: "/m/lookup?signal_type=pdq&signal=" + hash}, 200},
		"lookup of a file":          {form("/m/lookup", "photo"), 200},
		"lookup with a seed":        {request{path: "/m/lookup?signal_type=pdq&signal=" + hash + "&seed=" + hash}, 200},
		"lookup of no hash":         {request{path: "/m/lookup?signal_type=video_md5&signal=x" + canaryMD5}, 400},
		"lookup of no type":         {request{path: "/m/lookup?signal_type=" + hash + "&signal=" + hash}, 400},
		"lookup of nothing":         {request{path: "/m/raw_lookup?" + hash + "=" + canaryField}, 422},
		"lookup with semicolons":    {request{path: "/m/raw_lookup?signal_type=pdq;signal=" + hash}, 422},
		"lookup by a wrong method":  {request{method: "PATCH", path: "/m/lookup?signal=" + hash}, 405},
		"lookup with doubled slash": {request{path: "/m//raw_lookup?signal_type=pdq&signal=" + hash}, 308},
		"hash":                      {upload(t, "/h/hash", "photo", canaryFile, original, nil), 200},
		"hash of a wrong field":     {form("/h/hash", canaryField), 400},
		"hash of a video":           {form("/h/hash", "video"), 200},
		"scan of the picture":       {request{path: "/v1/scan", body: bytes.NewReader(original)}, 200},
		"scan of a copy":            {request{path: "/v1/scan", body: bytes.NewReader(near)}, 200},
		"scan of a form":            {form("/v1/scan", "photo"), 415},
		"scan of half a picture":    {request{path: "/v1/scan?" + canaryFile, body: bytes.NewReader(original[:len(original)/2])}, 200},
		"content":                   {request{path: "/c/bank/CANARIES/content/1?include_signals=true"}, 200},
		"note":                      {asJSON("PUT", "/c/bank/CANARIES/content/1", `{"note":"`+canaryNote+` again"}`), 200},
		"hash in unknown path":      {request{path: "/m/nope/" + hash}, 404},
		"hash in unknown v1 path":   {request{path: "/v1/" + hash}, 404},
		"hash as path":              {request{path: "/" + strings.ToUpper(hash)}, 404},
		"hash as bank":              {request{path: "/c/bank/" + hash}, 404},
		"hash as deleted bank":      {request{method: "DELETE", path: "/c/bank/" + hash}, 200},
		"hash as bank of a content": {request{path: "/c/bank/" + hash + "/content/1"}, 404},
		"hash as content":           {request{path: "/c/bank/CANARIES/content/" + hash}, 404},
		"hash as name":              {asJSON("POST", "/c/banks", `{"name":"`+hash+`"}`), 400},
		"hash of a wrong type":      {asJSON("POST", "/c/banks", `{"name":5,"`+hash+`":"`+canaryNote+`"}`), 422},
		"hash that is too long":     {asJSON("POST", "/c/bank/CANARIES/signal", `{"pdq":"`+hash+hash+`"}`), 400},
		"hash as a key":             {asJSON("POST", "/c/bank/CANARIES/signal", `{"`+hash+`":"`+hash+`"}`), 400},
		"hash in bad JSON":          {asJSON("POST", "/c/bank/CANARIES/signal", `{"pdq":"`+hash+`",`), 400},
		"hash in no JSON":           {request{path: "/c/bank/CANARIES/signal", body: strings.NewReader(hash)}, 415},
		"wrong key":                 {request{path: "/m/lookup?signal=" + hash, header: map[string]string{"Authorization": "Bearer " + canaryWrongKey}}, 401},
		"wrong key for v1":          {request{path: "/v1/scan", header: map[string]string{"Authorization": "Bearer " + canaryWrongKey}, body: bytes.NewReader(near)}, 401},
		"key in another form":       {request{path: "/c/banks", header: map[string]string{"Authorization": "Basic " + canaryKey}}, 401},
		"key in the query alone":    {request{path: "/c/banks?access_token=" + canaryKey, header: map[string]string{"Authorization": ""}}, 401},
		"key in the query too":      {request{path: "/c/banks?access_token=" + canaryKey}, 200},
		"key in an unknown path":    {request{path: "/" + canaryKey}, 404},
		"URL":                       {request{path: "/h/hash?url=" + origin + "/" + realPicture + "?" + canaryURL}, 200},
		"URL of nothing":            {request{path: "/h/hash?content_type=photo&url=" + origin + "/" + canaryURL}, 400},
		"URL that nobody answers":   {request{path: "/h/hash?url=http://127.0.0.1:1/" + canaryURL}, 400},
		"URL of a host not listed":  {request{path: "/m/lookup?url=http://" + canaryURL + ".example/"}, 400},
	} {
		ask(name, x.request, x.status)
	}
	return told
}

func mapWith(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	maps.Copy(out, m)
	return out
}

// sendNonsense sends what Go's own server answers, or nobody.
func (s *instance) sendNonsense(t *testing.T) {
	t.Helper()
	hash := hashOf(t, realPicture).PDQ
	authorized := "Host: localhost\r\nAuthorization: Bearer " + canaryKey + "\r\n"
	for name, text := range map[string]string{
		"bad request line":    "GET /m/lookup?signal=" + hash + " " + canaryKey + "\r\n\r\n",
		"bad version":         "GET /m/lookup?signal=" + hash + " HTTP/9.9\r\n" + authorized + "\r\n",
		"bad escape":          "GET /m/%zz" + hash + " HTTP/1.1\r\n" + authorized + "\r\n",
		"bad header":          "GET /m/lookup?signal=" + hash + " HTTP/1.1\r\n" + authorized + canaryKey + "\r\n\r\n",
		"bad host":            "GET /m/lookup?signal=" + hash + " HTTP/1.1\r\nHost: a b " + hash + "\r\n\r\n",
		"bad length":          "POST /v1/scan HTTP/1.1\r\n" + authorized + "Content-Length: " + canaryKey + "\r\n\r\n",
		"bad chunk":           "POST /v1/scan HTTP/1.1\r\n" + authorized + "Transfer-Encoding: chunked\r\n\r\n" + canaryKey + "\r\n",
		"bad encoding":        "POST /v1/scan HTTP/1.1\r\n" + authorized + "Transfer-Encoding: " + canaryKey + "\r\n\r\n",
		"bad expectation":     "POST /v1/scan HTTP/1.1\r\n" + authorized + "Expect: " + canaryKey + "\r\n\r\n",
		"large header":        "GET / HTTP/1.1\r\n" + authorized + strings.Repeat("X-A: "+canaryKey+"\r\n", 2000) + "\r\n",
		"short body":          "POST /c/bank/CANARIES/signal HTTP/1.1\r\n" + authorized + "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n" + hash,
		"user in the address": "GET http://" + canaryKey + ":" + canaryKey + "@localhost/m/lookup?signal=" + hash + " HTTP/1.1\r\n" + authorized + "\r\n",
		"all options":         "OPTIONS * HTTP/1.1\r\n" + authorized + "\r\n",
		"not HTTP":            "\x16\x03\x01" + canaryKey + hash,
		"HTTP/2":              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + canaryKey,
		"nothing":             "",
	} {
		if err := s.sendText(t.Context(), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sendText writes and reads until the other side is done.
func (s *instance) sendText(ctx context.Context, text string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(s.api, "http://"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // all is said
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, conn) // a reset is an answer too
	return nil
}

// useBroken meets the errors of a store that does not work.
func (s *instance) useBroken(t *testing.T) []string {
	t.Helper()
	var told []string
	hash := hashOf(t, nearPicture).PDQ
	for _, r := range []request{
		asJSON("POST", "/c/bank/CANARIES/signal", `{"pdq":"`+hash+`","note":"`+canaryNote+`"}`),
		asJSON("PUT", "/c/bank/CANARIES/content/1", `{"note":"`+canaryNote+`"}`),
		asJSON("POST", "/c/banks", `{"name":"CANARIES_TOO"}`),
		{path: "/c/bank/CANARIES/content/1?include_signals=true"},
		{method: "DELETE", path: "/c/bank/CANARIES/content/1"},
	} {
		r.header = mapWith(r.header, "Authorization", "Bearer "+canaryKey)
		told = append(told, string(s.ask(t, r, 500).body))
	}
	s.await(t, "it notices that the store is broken", func() bool { return len(s.printed.lines("index cannot be refreshed")) > 0 })
	return told
}

// exportTo is the environment that sends spans to a collector, and soon.
func exportTo(url string) map[string]string {
	return map[string]string{
		"OTEL_TRACES_EXPORTER":        "otlp",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_EXPORTER_OTLP_ENDPOINT": url,
		"OTEL_BSP_SCHEDULE_DELAY":     "50",
	}
}

// collector is where spans are exported to. It keeps them as they come.
type collector struct {
	mu    sync.Mutex
	spans bytes.Buffer
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.spans.ReadFrom(r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans.String()
}
