package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchangeBody is the body that creates an exchange.
func exchangeBody(name, more string) string {
	return `{"bank":"` + name + `","api":"synapse_quarantined","api_json":{"admin_api_url":"http://127.0.0.1:1"}` + more + `}`
}

func (g *gate) mustExchange(name, more string) {
	g.t.Helper()
	if a := g.json("POST", "/c/exchanges", exchangeBody(name, more)); a.status != 201 {
		g.t.Fatalf("create exchange: %d %s", a.status, a.body)
	}
}

// shownExchange is how an exchange is shown.
func shownExchange(url, name string, enabled bool) string {
	return fmt.Sprintf("{\n  \"admin_api_url\": %q,\n  \"name\": %q,\n  \"api\": \"synapse_quarantined\",\n  \"enabled\": %v\n}", url, name, enabled)
}

func TestExchangeAPIs(t *testing.T) {
	g := newGate(t, setup{})
	g.get("/c/exchanges/apis").want(t, 200, `["synapse_quarantined","matrix_policy_list"]`+"\n")
	const path = "/c/exchanges/api/synapse_quarantined"
	has := func(has bool) string {
		return fmt.Sprintf(`{"has_set_authentification":%v,"supports_authentification":true}`+"\n", has)
	}
	g.get(path).want(t, 200, has(false))
	g.get(path+"/schema").want(t, 200, `{"config_schema":{"fields":[{"choices":null,"default":null,`+
		`"help":"The address of the homeserver, which must serve /_synapse/admin and /_matrix/client there.",`+
		`"name":"admin_api_url","required":true,"type":"string"}]},`+
		`"credentials_schema":{"fields":[{"choices":null,"default":null,"help":"The access token of a server administrator.",`+
		`"name":"access_token","required":true,"type":"string"}]}}`+"\n")
	g.get("/c/exchanges/api/zz").want(t, 400, message("no such Exchange API 'zz'"))
	g.json("POST", "/c/exchanges/api/zz", "nope").want(t, 400, message("no such Exchange API 'zz'"))
	g.get("/c/exchanges/api/zz/schema").want(t, 404, message("Exchange API 'zz' not found"))

	// Each step starts from what the one before has left.
	for _, step := range []struct {
		body string
		has  bool
	}{
		{`{}`, false},
		{`{"credential_json":null}`, false},
		{`{"credential_json":{}}`, false},
		{`{"credential_json":{"access_token":"syt_a"}}`, true},
		{`{}`, true},
		{`{"credential_json":null,"other":1}`, true},
		{`{"credential_json":{"access_token":"syt_b"}}`, true},
		{`{"credential_json":{}}`, false},
	} {
		g.json("POST", path, step.body).want(t, 200, has(step.has))
		g.get(path).want(t, 200, has(step.has))
	}
	g.json("POST", path, `[]`).want(t, 400, message("this endpoint expects a json object payload"))
	g.json("POST", path, `null`).want(t, 400, message("this endpoint expects a json object payload"))
	for credential, want := range badCredentials {
		g.json("POST", path, `{"credential_json":`+credential+`}`).want(t, 400, message("%s", want))
	}
	g.get(path).want(t, 200, has(false))
}

// badCredentials are refused wherever a credential can be given, and none of
// their values is repeated.
var badCredentials = map[string]string{
	`"syt_a"`:                        "Field `credential_json` must be object",
	`["syt_a"]`:                      "Field `credential_json` must be object",
	`false`:                          "Field `credential_json` must be object",
	`{"syt_a":"x"}`:                  "Failed to parse `credential_json` - it has unexpected fields, allowed are ['access_token']",
	`{"access_token":"syt_a","x":1}`: "Failed to parse `credential_json` - it has unexpected fields, allowed are ['access_token']",
	`{"access_token":["syt_a"]}`:     "Failed to parse `credential_json` - wrong value type for field \"access_token\"",
	`{"access_token":12345}`:         "Failed to parse `credential_json` - wrong value type for field \"access_token\"",
	`{"access_token":null}`:          "Failed to parse `credential_json` - wrong value type for field \"access_token\"",
	`{"access_token":""}`:            "Failed to parse `credential_json` - access_token must hold one token, and nothing else",
	`{"access_token":"syt_a\n"}`:     "Failed to parse `credential_json` - access_token must hold one token, and nothing else",
	`{"access_token":"syt_ä"}`:       "Failed to parse `credential_json` - access_token must hold one token, and nothing else",
	`{"access_token":"` + strings.Repeat("x", 8193) + `"}`: "Failed to parse `credential_json` - access_token must hold one token, and nothing else",
}

func TestExchangeRoutes(t *testing.T) {
	g := newGate(t, setup{})
	g.get("/c/exchanges").want(t, 200, "[]\n")
	g.json("POST", "/c/exchanges", exchangeBody("SYN", "")).want(t, 201, message("Created successfully"))
	g.get("/c/exchanges").want(t, 200, `["SYN"]`+"\n")
	g.get("/c/bank/SYN").want(t, 200, `{"matching_enabled_ratio":1.0,"name":"SYN"}`+"\n")
	shown := g.get("/c/exchange/SYN")
	shown.want(t, 200, shownExchange("http://127.0.0.1:1", "SYN", true))
	if shown.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", shown.header)
	}
	fresh := `{"checkpoint_ts":null,"fetched_items":0,"in_review":0,"last_error":null,"last_fetch_complete_ts":null,"last_fetch_succeeded":null,` +
		`"mode":"enforce","oldest_pending_ts":null,"pending_items":0,"report":null,"running_fetch_start_ts":null,"up_to_date":false}` + "\n"
	g.get("/c/exchange/SYN/status").want(t, 200, fresh)

	for _, step := range []struct {
		body    string
		enabled bool
	}{
		{`{"enabled":false}`, false}, {`{}`, false}, {`{"enabled":null,"api":"zz"}`, false}, {`{"enabled":"yes"}`, true}, {`{"enabled":0}`, false},
	} {
		g.json("PUT", "/c/exchange/SYN", step.body).want(t, 200, shownExchange("http://127.0.0.1:1", "SYN", step.enabled))
		g.get("/c/exchange/SYN").want(t, 200, shownExchange("http://127.0.0.1:1", "SYN", step.enabled))
	}
	g.get("/c/exchange/SYN/status").want(t, 200, fresh)

	// The bank's name may change; the exchange keeps its own.
	g.json("PUT", "/c/bank/SYN", `{"name":"RENAMED"}`)
	g.get("/c/exchanges").want(t, 200, `["SYN"]`+"\n")
	g.json("POST", "/c/exchanges", exchangeBody("SYN", "")).want(t, 403, message("Bank already exists"))
	for range 2 {
		g.send("DELETE", "/c/exchange/SYN", "").want(t, 200, message("Exchange deleted"))
	}
	g.get("/c/banks").want(t, 200, "[]\n")
	// Who deletes the bank deletes the exchange: it would have nowhere to fetch to.
	g.mustExchange("OTHER", "")
	g.send("DELETE", "/c/bank/OTHER", "").want(t, 200, message("Done"))
	g.get("/c/exchanges").want(t, 200, "[]\n")

	notFound := message("Exchange 'NONE' not found")
	g.get("/c/exchange/NONE").want(t, 404, notFound)
	g.get("/c/exchange/NONE/status").want(t, 404, notFound)
	g.json("PUT", "/c/exchange/NONE", `{"enabled":true}`).want(t, 404, notFound)
	g.json("PUT", "/c/exchange/NONE", `{}`).want(t, 404, notFound)
	g.send("DELETE", "/c/exchange/NONE", "").want(t, 200, message("Exchange deleted"))
}

func TestCreateExchange(t *testing.T) {
	g := newGate(t, setup{})
	g.mustBank("TAKEN")
	g.mustExchange("SYN", "")
	const url = `"api_json":{"admin_api_url":"http://127.0.0.1:1"}`
	const parse = "Failed to parse `api_json` - "
	for body, want := range map[string]string{
		`[]`:                                       "the body must be a JSON object",
		`{}`:                                       "bank is required",
		`{"bank":null}`:                            "bank is required",
		`{"bank":5}`:                               "Field `bank` must be string",
		`{"bank":""}`:                              "Field `bank` must match /^[A-Z0-9_]+$/",
		`{"bank":"lower"}`:                         "Field `bank` must match /^[A-Z0-9_]+$/",
		`{"bank":"A\n"}`:                           "Field `bank` must match /^[A-Z0-9_]+$/",
		`{"bank":"A-B","api_json":[]}`:             "Field `bank` must match /^[A-Z0-9_]+$/",
		`{"bank":"A","api_json":[]}`:               "Field `api_json` must be object",
		`{"bank":"A","api_json":null}`:             "Field `api_json` must be object",
		`{"bank":"A"}`:                             "Field `api_type` is required",
		`{"bank":"A","api":null}`:                  "Field `api_type` is required",
		`{"bank":"A","api":"zz"}`:                  "No such exchange type 'zz'",
		`{"bank":"A","api":"sample"}`:              "No such exchange type 'sample'",
		`{"bank":"A","api":5}`:                     "No such exchange type '5'",
		`{"bank":"A","api":["zz"]}`:                "No such exchange type '['zz']'",
		`{"bank":"A","api_type":"zz"}`:             "Field `api_type` is required",
		`{"bank":"A","api":"synapse_quarantined"}`: parse + `missing value for field "admin_api_url"`,
		`{"bank":"A","api":"synapse_quarantined","api_json":{"enabled":1}}`: parse + `missing value for field "admin_api_url"`,
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":5}}`: parse +
			`wrong value type for field "admin_api_url" - should be "str" instead of value "5" of type "int"`,
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":null}}`: parse +
			`wrong value type for field "admin_api_url" - should be "str" instead of value "None" of type "NoneType"`,
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":"http://127.0.0.1:1","enabled":"true"}}`: parse +
			`wrong value type for field "enabled" - should be "bool" instead of value "true" of type "str"`,
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":"http://127.0.0.1:1","enabled":1}}`: parse +
			`wrong value type for field "enabled" - should be "bool" instead of value "1" of type "int"`,
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":"ftp://x"}}`: parse +
			"admin_api_url must be an address like http://127.0.0.1:8008",
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":"http://user:secret@x"}}`: parse +
			"admin_api_url must be an address like http://127.0.0.1:8008",
		// The name may begin with a digit for the exchange, but not for its bank.
		`{"bank":"1A","api":"synapse_quarantined",` + url + `}`:                               "Bank names must be UPPER_WITH_UNDERSCORE",
		`{"bank":"` + strings.Repeat("A", 256) + `","api":"synapse_quarantined",` + url + `}`: "Bank names must be UPPER_WITH_UNDERSCORE",
	} {
		g.json("POST", "/c/exchanges", body).want(t, 400, message("%s", want))
	}
	for credential, want := range badCredentials {
		g.json("POST", "/c/exchanges", exchangeBody("A", `,"credential_json":`+credential)).want(t, 400, message("%s", want))
	}
	for _, name := range []string{"TAKEN", "SYN"} {
		g.json("POST", "/c/exchanges", exchangeBody(name, "")).want(t, 403, message("Bank already exists"))
	}
	g.get("/c/exchanges").want(t, 200, `["SYN"]`+"\n")
	g.send("POST", "/c/exchanges", exchangeBody("A", ""), "Content-Type", "text/plain").
		want(t, 415, message("Did not attempt to load JSON data because the request Content-Type was not 'application/json'."))
	g.json("POST", "/c/exchanges", exchangeBody("A", `,"x":"`+strings.Repeat("x", 1<<20)+`"`)).
		want(t, 413, message("The data value transmitted exceeds the capacity limit."))

	for name, tt := range map[string]struct {
		config, more string
		enabled      bool
	}{
		"_LEADING":                {``, ``, true},
		strings.Repeat("A", 255):  {``, ``, true},
		"OFF":                     {`,"enabled":false`, ``, false},
		"ON":                      {`,"enabled":true`, ``, true},
		"OTHER_NAME":              {`,"name":"X","api":"zz","access_token":"x"`, ``, true},
		"WITHOUT_CREDENTIAL":      {``, `,"credential_json":null`, true},
		"WITH_EMPTY_CREDENTIAL":   {``, `,"credential_json":{}`, true},
		"WITH_CREDENTIAL":         {``, `,"credential_json":{"access_token":"syt_a"}`, true},
		"WITH_LONGEST_CREDENTIAL": {``, `,"credential_json":{"access_token":"` + strings.Repeat("x", 8192) + `"}`, true},
	} {
		g.json("POST", "/c/exchanges", `{"bank":"`+name+`","api":"synapse_quarantined","api_json":{"admin_api_url":"https://é.example/base"`+tt.config+`}`+tt.more+`}`).
			want(t, 201, message("Created successfully"))
		g.get("/c/exchange/"+name).want(t, 200, strings.NewReplacer("é", `\u00e9`).Replace(shownExchange("https://é.example/base", name, tt.enabled)))
	}
}

func TestExchangeMethods(t *testing.T) {
	g := newGate(t, setup{})
	g.mustExchange("SYN", "")
	for path, allow := range map[string]string{
		"/c/exchanges":                                "GET, HEAD, OPTIONS, POST",
		"/c/exchanges/apis":                           "GET, HEAD, OPTIONS",
		"/c/exchanges/api/synapse_quarantined":        "GET, HEAD, OPTIONS, POST",
		"/c/exchanges/api/synapse_quarantined/schema": "GET, HEAD, OPTIONS",
		"/c/exchange/SYN":                             "DELETE, GET, HEAD, OPTIONS, PUT",
		"/c/exchange/SYN/status":                      "GET, HEAD, OPTIONS",
		"/c/exchange/SYN/review":                      "GET, HEAD, OPTIONS",
	} {
		a := g.send("OPTIONS", path, "")
		a.want(t, 200, "")
		if a.header.Get("Allow") != allow {
			t.Errorf("%s allows %q, want %q", path, a.header.Get("Allow"), allow)
		}
		g.send("HEAD", path, "").want(t, 200, "")
		if a := g.send("PATCH", path, ""); a.status != 405 || !strings.Contains(a.body, "Method Not Allowed") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"/c/exchange", "/c/exchange/", "/c/exchanges/", "/c/exchanges/api", "/c/exchange/SYN/nope", "/c/exchanges/api/x/nope"} {
		if a := g.get(path); a.status != 404 || !strings.HasPrefix(a.body, "<!doctype html>") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	var rules []string
	if err := json.Unmarshal([]byte(g.get("/site-map").body), &rules); err != nil || !slices.IsSorted(rules) {
		t.Fatal(rules, err)
	}
	for _, rule := range []string{
		"/c/exchange/<string:exchange_name>", "/c/exchange/<string:exchange_name>/review",
		"/c/exchange/<string:exchange_name>/review/<int:content_id>", "/c/exchange/<string:exchange_name>/status", "/c/exchanges",
		"/c/exchanges/api/<string:api_name>", "/c/exchanges/api/<string:api_name>/schema", "/c/exchanges/apis",
	} {
		if !slices.Contains(rules, rule) {
			t.Errorf("the site map has no %s", rule)
		}
	}
}

// fakeSynapse serves what exchanges read of a homeserver.
type fakeSynapse struct {
	url   string
	token string

	mu      sync.Mutex
	changes []fakeChange
	media   map[string][]byte // nil of what cannot be delivered
}

type fakeChange struct {
	Origin      string `json:"origin"`
	ID          string `json:"media_id"`
	Quarantined bool   `json:"quarantined"`
}

func newFakeSynapse(t *testing.T, token string) *fakeSynapse {
	t.Helper()
	f := &fakeSynapse{token: token, media: make(map[string][]byte)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_synapse/admin/v1/media/quarantine_changes", f.serveChanges)
	mux.HandleFunc("GET /_synapse/admin/v1/media/{origin}/{id}", f.serveInfo)
	mux.HandleFunc("GET /_matrix/client/v1/media/download/{origin}/{id}", f.serveMedia)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		f.mu.Lock()
		known := given == "Bearer "+f.token
		f.mu.Unlock()
		if !known {
			// A proxy that tells what it was sent is no reason to repeat it.
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"errcode":"M_UNKNOWN_TOKEN","error":"%s"}`, given)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(ts.Close)
	f.url = ts.URL
	return f
}

func (f *fakeSynapse) serveChanges(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	_ = json.NewEncoder(w).Encode(map[string]any{"next_batch": len(f.changes), "changes": append([]fakeChange{}, f.changes[from:]...)})
}

func (f *fakeSynapse) serveInfo(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info := map[string]any{"quarantined_by": nil}
	for _, c := range f.changes {
		if c.ID == r.PathValue("id") {
			info["quarantined_by"] = nil
			if c.Quarantined {
				info["quarantined_by"] = "@admin:hs.example"
			}
		}
	}
	if content := f.media[r.PathValue("id")]; content != nil {
		info["sha256"] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"media_info": info})
}

func (f *fakeSynapse) serveMedia(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	content := f.media[r.PathValue("id")]
	f.mu.Unlock()
	if content == nil {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, `{"errcode":"M_UNKNOWN","error":"`+r.Header.Get("Authorization")+`"}`)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write(content)
}

func (f *fakeSynapse) quarantine(id string, content []byte, quarantined bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.media[id] = content
	f.changes = append(f.changes, fakeChange{"hs.example", id, quarantined})
}

func (f *fakeSynapse) setToken(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token = token
}

// status is an exchange's status.
type status struct {
	Checkpoint *int64  `json:"checkpoint_ts"`
	Fetched    int     `json:"fetched_items"`
	Error      *string `json:"last_error"`
	Finished   *int64  `json:"last_fetch_complete_ts"`
	Succeeded  *bool   `json:"last_fetch_succeeded"`
	Oldest     *int64  `json:"oldest_pending_ts"`
	Pending    int     `json:"pending_items"`
	Started    *int64  `json:"running_fetch_start_ts"`
	UpToDate   bool    `json:"up_to_date"`
}

func (s status) succeeded() bool {
	return s.Succeeded != nil && *s.Succeeded && s.UpToDate && s.Error == nil
}

// until asks again and again until the answer holds, and fails if it never does.
func (g *gate) until(what string, ask func() answer, holds func(answer) bool) {
	g.t.Helper()
	var a answer
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if a = ask(); holds(a) {
			return
		}
	}
	g.t.Fatalf("never %s: %d %s", what, a.status, a.body)
}

// await returns an exchange's status once it holds.
func (g *gate) await(exchange, what string, holds func(status) bool) (s status) {
	g.t.Helper()
	g.until(exchange+" "+what, func() answer { return g.get("/c/exchange/" + exchange + "/status") }, func(a answer) bool {
		s = status{}
		return a.status == 200 && json.Unmarshal([]byte(a.body), &s) == nil && holds(s)
	})
	return s
}

// awaitOutcome scans a content until the outcome is that one.
func (g *gate) awaitOutcome(content []byte, outcome string) {
	g.t.Helper()
	g.until(outcome, func() answer { return g.send("POST", "/v1/scan", string(content)) },
		func(a answer) bool { return strings.Contains(a.body, `"outcome":"`+outcome+`"`) })
}

// TestExchangeIsFetched follows a content from its quarantine to the end of it.
// Exchanges fetch by themselves when they begin, and within an hour only when they
// are told to.
func TestExchangeIsFetched(t *testing.T) {
	synapse := newFakeSynapse(t, "syt_home")
	content := vector(t, "formats/rgb.png")
	g := newGate(t, setup{homeserver: synapse.url, token: "syt_home"})
	const name, fetch = "SYNAPSE_QUARANTINE", "/v1/exchanges/SYNAPSE_QUARANTINE/fetch"
	first := g.await(name, "fetched", status.succeeded)
	if first.Fetched != 0 || first.Pending != 0 || first.Oldest != nil || first.Checkpoint != nil || *first.Finished < time.Now().Add(-time.Minute).Unix() {
		t.Errorf("%+v", first)
	}
	g.get("/c/exchange/"+name).want(t, 200, shownExchange(synapse.url, name, true))
	g.get("/c/exchanges/api/synapse_quarantined").want(t, 200, `{"has_set_authentification":true,"supports_authentification":true}`+"\n")
	g.awaitOutcome(content, "clean")

	synapse.quarantine("one", content, true)
	synapse.quarantine("gone", nil, true)
	a := g.send("POST", fetch, "")
	a.want(t, 202, `{"exchange":"SYNAPSE_QUARANTINE","fetching":true}`+"\n")
	g.described(t, "POST", fetch, a)
	g.awaitOutcome(content, "blocked")
	s := g.await(name, "through", func(s status) bool { return s.Fetched == 1 && s.Pending == 1 })
	if s.Oldest == nil || *s.Oldest < time.Now().Add(-time.Minute).Unix() || !s.succeeded() {
		t.Errorf("%+v", s)
	}
	g.until("found", func() answer { return g.get("/m/lookup?bypass_coinflip=true&signal_type=pdq&signal=" + pngHash) },
		func(a answer) bool {
			return a.body == `{"SYNAPSE_QUARANTINE":[{"bank_content_id":1,"distance":"0"}]}`+"\n"
		})

	synapse.quarantine("one", content, false)
	g.send("POST", fetch, "")
	g.awaitOutcome(content, "clean")
	g.await(name, "empty", func(s status) bool { return s.Fetched == 0 && s.Pending == 1 })

	// What was fetched stays while the exchange is off.
	synapse.quarantine("one", content, true)
	g.send("POST", fetch, "")
	g.awaitOutcome(content, "blocked")
	g.json("PUT", "/c/exchange/"+name, `{"enabled":false}`).want(t, 200, shownExchange(synapse.url, name, false))
	a = g.send("POST", fetch, "")
	a.want(t, 409, `{"error":"conflict","message":"the exchange is off"}`+"\n")
	g.described(t, "POST", fetch, a)
	g.awaitOutcome(content, "blocked")
	off := g.await(name, "off", func(s status) bool { return s.Started == nil })
	if !off.succeeded() || off.Fetched != 1 {
		t.Errorf("%+v", off)
	}
	// It begins again by itself.
	synapse.quarantine("one", content, false)
	g.json("PUT", "/c/exchange/"+name, `{"enabled":true}`).want(t, 200, shownExchange(synapse.url, name, true))
	g.awaitOutcome(content, "clean")
	a = g.send("POST", "/v1/exchanges/NONE/fetch", "")
	a.want(t, 404, `{"error":"not_found","message":"there is no such exchange"}`+"\n")
	g.described(t, "POST", fetch, a)
}

// TestDeletingTheHomeserversExchangeBeginsAnew: what it banked goes with it, and all
// is fetched once more, before which nothing is judged.
func TestDeletingTheHomeserversExchangeBeginsAnew(t *testing.T) {
	var log lockedBuffer
	synapse := newFakeSynapse(t, "syt_home")
	content := vector(t, "formats/rgb.png")
	synapse.quarantine("one", content, true)
	g := newGate(t, setup{homeserver: synapse.url, token: "syt_home", log: &log})
	g.await("SYNAPSE_QUARANTINE", "through", func(s status) bool { return s.succeeded() && s.Fetched == 1 && s.Pending == 0 })
	g.send("POST", "/v1/exchanges/SYNAPSE_QUARANTINE/fetch", "") // nothing is judged before one finds that all is done
	g.awaitOutcome(content, "blocked")
	g.send("DELETE", "/c/exchange/SYNAPSE_QUARANTINE", "").want(t, 200, message("Exchange deleted"))
	g.await("SYNAPSE_QUARANTINE", "through again", func(s status) bool { return s.succeeded() && s.Fetched == 1 && s.Pending == 0 })
	g.awaitOutcome(content, "blocked")
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("somebody must act: %s", log.String())
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestExchangesUseTheirCredentials has two homeservers, each with a token of its
// own, and shows that no token comes out anywhere.
func TestExchangesUseTheirCredentials(t *testing.T) {
	var log, said lockedBuffer
	home, other := newFakeSynapse(t, "syt_CANARY_home"), newFakeSynapse(t, "syt_CANARY_other")
	content := vector(t, "formats/rgb.png")
	other.quarantine("one", content, true)
	g := newGate(t, setup{homeserver: home.url, token: "syt_CANARY_home", log: &log})
	ask := func(method, path, body string) answer {
		a := g.json(method, path, body)
		_, _ = fmt.Fprintln(&said, a.status, a.header, a.body)
		return a
	}
	create := func(name, more string) {
		t.Helper()
		body := `{"bank":"` + name + `","api":"synapse_quarantined","api_json":{"admin_api_url":"` + other.url + `"}` + more + `}`
		if a := ask("POST", "/c/exchanges", body); a.status != 201 {
			t.Fatal(a)
		}
		ask("GET", "/c/exchange/"+name, "")
	}
	failed := func(name, why string) {
		t.Helper()
		s := g.await(name, "failed", func(s status) bool { return s.Error != nil })
		_, _ = fmt.Fprintln(&said, *s.Error)
		if !strings.Contains(*s.Error, why) || s.UpToDate || s.Succeeded == nil || *s.Succeeded {
			t.Errorf("%s: %+v %s, want %s", name, s, *s.Error, why)
		}
	}
	g.await("SYNAPSE_QUARANTINE", "fetched", status.succeeded)
	ask("GET", "/c/exchange/SYNAPSE_QUARANTINE", "")

	create("NONE", "")
	failed("NONE", "needs a credential of its own")
	create("WRONG", `,"credential_json":{"access_token":"syt_CANARY_wrong"}`)
	failed("WRONG", "401 M_UNKNOWN_TOKEN")
	create("RIGHT", `,"credential_json":{"access_token":"syt_CANARY_other"}`)
	g.await("RIGHT", "fetched", func(s status) bool { return s.succeeded() && s.Fetched == 1 })

	// One for all of the kind goes to the configured homeserver only.
	const api = "/c/exchanges/api/synapse_quarantined"
	ask("POST", api, `{"credential_json":{"access_token":"syt_CANARY_other"}}`)
	ask("POST", "/v1/exchanges/NONE/fetch", "")
	ask("POST", "/v1/exchanges/SYNAPSE_QUARANTINE/fetch", "")
	failed("SYNAPSE_QUARANTINE", "401 M_UNKNOWN_TOKEN")
	failed("NONE", "needs a credential of its own")
	home.setToken("syt_CANARY_other")
	ask("POST", "/v1/exchanges/SYNAPSE_QUARANTINE/fetch", "")
	g.await("SYNAPSE_QUARANTINE", "fetched again", status.succeeded)
	home.setToken("syt_CANARY_home")
	ask("POST", api, `{"credential_json":{}}`)
	ask("POST", "/v1/exchanges/SYNAPSE_QUARANTINE/fetch", "")
	ask("GET", api, "")
	ask("GET", api+"/schema", "")

	for _, body := range []string{
		`{"credential_json":"syt_CANARY_x"}`, `{"credential_json":{"syt_CANARY_x":1}}`, `{"credential_json":{"access_token":["syt_CANARY_x"]}}`,
		`{"credential_json":{"access_token":"syt_CANARY_x\n"}}`, `{"credential_json":{"access_token":"x","y":"syt_CANARY_x"}}`,
	} {
		if a := ask("POST", api, body); a.status != 400 {
			t.Errorf("%s: %d", body, a.status)
		}
		if a := ask("POST", "/c/exchanges", strings.TrimSuffix(exchangeBody("X", ","+body[1:]), "}")); a.status != 400 {
			t.Errorf("%s: %d", body, a.status)
		}
	}
	for _, name := range []string{"NONE", "WRONG", "RIGHT", "SYNAPSE_QUARANTINE"} {
		ask("GET", "/c/exchange/"+name+"/status", "")
		ask("PUT", "/c/exchange/"+name, `{"enabled":false}`)
		ask("DELETE", "/c/exchange/"+name, "")
	}
	if strings.Contains(said.String(), "CANARY") || strings.Contains(log.String(), "CANARY") {
		t.Errorf("a token came out:\n%s\n%s", said.String(), log.String())
	}
	if said.String() == "" || !strings.Contains(log.String(), "exchange cannot be fetched") {
		t.Error("nothing was heard")
	}
}

// FuzzExchangeBodies sends anything to the routes that take configurations and
// credentials. What is taken can be shown and is what was sent, and no answer
// holds a credential.
func FuzzExchangeBodies(f *testing.F) {
	for _, body := range []string{
		exchangeBody("A", ""),
		exchangeBody("A1_", `,"credential_json":{"access_token":"syt_a"}`),
		`{"bank":"A","api":"synapse_quarantined","api_json":{"admin_api_url":"https://[::1]:8/é?","enabled":false,"name":1}}`,
		`{"bank":["A"],"api":{"a":[null]},"api_json":{"enabled":1e400}}`,
		`{"credential_json":{"access_token":"syt_a"}}`,
		`{"credential_json":{"access_token":{"syt_a":true},"x":0}}`,
		`{"credential_json":[]}`,
		"nope",
	} {
		f.Add(body)
	}
	g := newGate(f, setup{})
	send := func(t *testing.T, method, path, body string) (int, string) {
		req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, req)
		if out := w.Body.String(); !json.Valid([]byte(out)) {
			t.Fatalf("%s %s: %d with what is no JSON: %s", method, path, w.Code, out)
		}
		return w.Code, w.Body.String()
	}
	f.Fuzz(func(t *testing.T, body string) {
		const api = "/c/exchanges/api/synapse_quarantined"
		code, out := send(t, "POST", api, body)
		if code != 200 && code != 400 {
			t.Errorf("credential: %d %s", code, out)
		}
		tellsNoToken(t, body, out)
		code, out = send(t, "POST", "/c/exchanges", body)
		if code != 201 && code != 400 {
			t.Errorf("exchange: %d %s", code, out)
		}
		tellsNoToken(t, body, out)
		var names []string
		_, out = send(t, "GET", "/c/exchanges", "")
		if err := json.Unmarshal([]byte(out), &names); err != nil || len(names) != code-400 && code == 400 || len(names) != 1 && code == 201 {
			t.Fatalf("after %d there are %s", code, out)
		}
		for _, name := range names {
			var shown struct{ Name, API string }
			status, out := send(t, "GET", "/c/exchange/"+name, "")
			if err := json.Unmarshal([]byte(out), &shown); err != nil || status != 200 || shown.Name != name || shown.API != "synapse_quarantined" {
				t.Errorf("%d %s", status, out)
			}
			tellsNoToken(t, body, out)
			if status, out := send(t, "GET", "/c/exchange/"+name+"/status", ""); status != 200 {
				t.Errorf("%d %s", status, out)
			}
			send(t, "DELETE", "/c/exchange/"+name, "")
		}
		if status, out := send(t, "POST", api, `{"credential_json":{}}`); status != 200 || strings.Contains(out, `"has_set_authentification":true`) {
			t.Errorf("%d %s", status, out)
		}
	})
}

// tellsNoToken holds an answer against the credential that a body gives. Short
// ones are words of ours.
func tellsNoToken(t *testing.T, body, out string) {
	t.Helper()
	var given struct {
		Credential struct {
			Token string `json:"access_token"`
		} `json:"credential_json"`
	}
	if json.Unmarshal([]byte(body), &given) == nil && len(given.Credential.Token) > 12 && strings.Contains(out, given.Credential.Token) {
		t.Errorf("%s is answered with %s", body, out)
	}
}
