package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/internal/secret"
	"mediagate/server"
)

// routing says what a route asks for.
type routing struct {
	role    server.Roles // 0: it is always there
	open    bool         // without a key
	methods string       // besides HEAD and OPTIONS
}

// allRoutes has every route there is: one that is new must be entered here.
var allRoutes = map[string]routing{
	"/healthz":         {0, true, "GET"},
	"/readyz":          {0, true, "GET"},
	"/status":          {0, true, "GET"},
	"/status/live":     {0, true, "GET"},
	"/site-map":        {0, true, "GET"},
	"/":                {0, false, "GET"},
	"/v1/openapi.yaml": {0, false, "GET"},

	"/h/hash":         {server.Hasher, false, "GET POST"},
	"/m/raw_lookup":   {server.Matcher, false, "GET"},
	"/m/lookup":       {server.Matcher, false, "GET POST"},
	"/m/index/status": {server.Matcher, false, "GET"},

	"/c/banks":                                      {server.Curator, false, "GET POST"},
	"/c/bank/:bank_name":                            {server.Curator, false, "GET PUT DELETE"},
	"/c/bank/:bank_name/content":                    {server.Curator, false, "POST"},
	"/c/bank/:bank_name/signal":                     {server.Curator, false, "POST"},
	"/c/bank/:bank_name/content/:content_id":        {server.Curator, false, "GET PUT DELETE"},
	"/c/exchanges":                                  {server.Curator, false, "GET POST"},
	"/c/exchanges/apis":                             {server.Curator, false, "GET"},
	"/c/exchanges/api/:api_name":                    {server.Curator, false, "GET POST"},
	"/c/exchanges/api/:api_name/schema":             {server.Curator, false, "GET"},
	"/c/exchange/:exchange_name":                    {server.Curator, false, "GET PUT DELETE"},
	"/c/exchange/:exchange_name/status":             {server.Curator, false, "GET"},
	"/c/exchange/:exchange_name/review":             {server.Curator, false, "GET"},
	"/c/exchange/:exchange_name/review/:content_id": {server.Curator, false, "POST"},
	"/v1/exchanges/:name/fetch":                     {server.Curator, false, "POST"},
	"/v1/prediction":                                {server.Curator, false, "GET"},

	"/v1/scan":              {server.Scanner, false, "POST"},
	mcsPath + "/scan/*":     {server.Scanner, true, "GET"},
	mcsPath + "/download/*": {server.Scanner, true, "GET"},
	"/_mediagate/check":     {server.Gate, true, "GET"},
}

// unknownPaths are paths that no process has, by the beginning that names the API.
var unknownPaths = map[string]string{
	"/h/": "/h/none", "/m/": "/m/none", "/c/": "/c/none", "/v1/": "/v1/none",
	"/_matrix/": mcsPath + "/none/foo/png", "/_mediagate/": "/_mediagate/none",
}

var roles = map[string]server.Roles{
	"HASHER": server.Hasher, "MATCHER": server.Matcher, "CURATOR": server.Curator, "CRON": server.Cron,
	"UI": server.UI, "SCANNER": server.Scanner, "GATE": server.Gate, "all": 0,
}

// testKeys are a request's keys, with what they open.
var testKeys = map[string]server.Roles{
	"general-key-0123456789": ^server.Roles(0), "general-key-rotated-00": ^server.Roles(0), "hasher-key-0123456789a": server.Hasher,
	"matcher-key-0123456789": server.Matcher, "curator-key-0123456789": server.Curator, "scanner-key-0123456789": server.Scanner,
	"both-key-0123456789abc": server.Hasher | server.Matcher, "unknown-key-0123456789": 0, "": 0,
}

func withKeys(c *server.Config) {
	c.APIKey = secret.New("general-key-0123456789\r\n\ngeneral-key-rotated-00\n")
	c.HasherKey = secret.New("both-key-0123456789abc\nhasher-key-0123456789a")
	c.MatcherKey = secret.New("matcher-key-0123456789\nboth-key-0123456789abc\n")
	c.CuratorKey, c.ScannerKey = secret.New("curator-key-0123456789"), secret.New("scanner-key-0123456789")
}

// asked answers without a network.
func (g *gate) asked(method, path, key string) answer {
	g.t.Helper()
	r := httptest.NewRequestWithContext(g.t.Context(), method, path, http.NoBody)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

func TestEveryRouteHasOneOwner(t *testing.T) {
	o := newUpstream(t)
	for name, role := range roles {
		g := newGate(t, setup{homeserver: o.URL, config: func(c *server.Config) { c.Roles = role }})
		want, got := map[string][]string{}, map[string][]string{}
		for pattern, r := range allRoutes {
			if r.role != 0 && !role.Has(r.role) {
				continue
			}
			want[pattern] = strings.Fields(r.methods)
		}
		for _, r := range g.server.Routes() {
			if known, ok := allRoutes[r.Pattern]; !r.Owned || !ok || known.role != r.Role || known.open != r.Open {
				t.Errorf("%s: %s %s is not owned as it should be: %+v", name, r.Method, r.Pattern, r)
			}
			if r.Method != http.MethodHead && r.Method != http.MethodOptions {
				got[r.Pattern] = append(got[r.Pattern], r.Method)
			}
		}
		for _, methods := range []map[string][]string{want, got} {
			for _, list := range methods {
				slices.Sort(list)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s has other routes (-want +got):\n%s", name, diff)
		}
	}
}

// TestKeysOpenTheirRolesOnly asks every route with every method and every key in
// processes of each role alone and of all.
func TestKeysOpenTheirRolesOnly(t *testing.T) {
	o := newUpstream(t)
	methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
	for name, role := range roles {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, setup{homeserver: o.URL, config: func(c *server.Config) { c.Roles = role; withKeys(c) }})
			for pattern, r := range allRoutes {
				path := strings.NewReplacer(":bank_name", "X", ":content_id", "1", ":api_name", "x", ":exchange_name", "X", ":name", "X", "*", "foo/png").Replace(pattern)
				for _, method := range methods {
					for key, opens := range testKeys {
						a := g.asked(method, path, key)
						if r.role != 0 && !role.Has(r.role) {
							g.checkAbsent(t, method, path, key, opens, a)
							continue
						}
						want := "let in"
						switch {
						case r.open:
						case opens == 0:
							want = "401"
						case r.role != 0 && opens&r.role == 0:
							want = "403"
						}
						if got := judged(a, path, method); got != want {
							t.Errorf("%s %s with %q: %s, want %s: %d %s", method, path, key, got, want, a.status, a.body)
						}
						wrong := !strings.Contains(r.methods, method) && method != "OPTIONS" && (method != "HEAD" || !strings.Contains(r.methods, "GET") || pattern == "/v1/openapi.yaml")
						if want == "let in" && wrong != (a.status == http.StatusMethodNotAllowed) {
							t.Errorf("%s %s with %q: %d", method, path, key, a.status)
						}
					}
				}
			}
		})
	}
}

// judged names what the key was found to be.
func judged(a answer, path, method string) string {
	denied, forbidden := "Authentication required", `{"message":"the key is not for this path"}`+"\n"
	if strings.HasPrefix(path, "/v1/") {
		denied = `{"error":"unauthorized","message":"send the key as Authorization: Bearer"}` + "\n"
		forbidden = `{"error":"forbidden","message":"the key is not for this path"}` + "\n"
	}
	switch {
	case a.status == http.StatusUnauthorized && (a.body == denied || method == "HEAD"):
		return "401"
	case a.status == http.StatusForbidden && (a.body == forbidden || method == "HEAD"):
		return "403"
	case a.status == http.StatusUnauthorized || strings.Contains(a.body, "the key"):
		return "odd"
	default:
		return "let in"
	}
}

// checkAbsent expects what a path is answered that never was there.
func (g *gate) checkAbsent(t *testing.T, method, path, key string, opens server.Roles, a answer) {
	t.Helper()
	for prefix, unknown := range unknownPaths {
		if !strings.HasPrefix(path, prefix) {
			continue
		}
		want := g.asked(method, unknown, key)
		if a.status != want.status || a.body != want.body || !cmp.Equal(a.header, want.header) {
			t.Errorf("%s %s with %q: %v, but a path that does not exist: %v", method, path, key, a, want)
		}
		status := http.StatusNotFound
		if opens == 0 && prefix != "/_matrix/" && prefix != "/_mediagate/" {
			status = http.StatusUnauthorized
		}
		if a.status != status {
			t.Errorf("%s %s with %q: %d, want %d", method, path, key, a.status, status)
		}
		return
	}
	t.Errorf("%s is of no API", path)
}

// TestRoutesWithoutAKeyOfTheirOwnAreClosed: one key is enough to close everything.
func TestRoutesWithoutAKeyOfTheirOwnAreClosed(t *testing.T) {
	g := newGate(t, setup{config: func(c *server.Config) { c.HasherKey = secret.New("hasher-key-0123456789a") }})
	for path, want := range map[string]int{"/c/banks": 403, "/m/index/status": 403, "/v1/openapi.yaml": 200, "/none": 404, "/h/hash": 422} {
		g.get(path).want(t, 401, map[bool]string{
			true: `{"error":"unauthorized","message":"send the key as Authorization: Bearer"}` + "\n", false: "Authentication required",
		}[strings.HasPrefix(path, "/v1/")])
		if a := g.asked("GET", path, "hasher-key-0123456789a"); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
}

func TestSiteMapListsWhatIsThere(t *testing.T) {
	for name, role := range roles {
		g := newGate(t, setup{config: func(c *server.Config) { c.Roles = role }})
		var rules []string
		if err := json.Unmarshal([]byte(g.get("/site-map").body), &rules); err != nil || !slices.IsSorted(rules) {
			t.Errorf("%s: %v, %v", name, rules, err)
		}
		for prefix, of := range map[string]server.Roles{"/h/": server.Hasher, "/m/": server.Matcher, "/c/": server.Curator} {
			if there := slices.ContainsFunc(rules, func(rule string) bool { return strings.HasPrefix(rule, prefix) }); there != role.Has(of) {
				t.Errorf("%s: %s is listed: %v", name, prefix, there)
			}
		}
		for _, rule := range []string{"/", "/status", "/status/live", "/site-map"} {
			if !slices.Contains(rules, rule) {
				t.Errorf("%s: %s is not listed", name, rule)
			}
		}
	}
}

// TestLookupsOfMediaNeedAHasher, as in HMA, whose clients look for the words.
func TestLookupsOfMediaNeedAHasher(t *testing.T) {
	const missing = "Hashing is disabled, missing role"
	g := newGate(t, setup{config: func(c *server.Config) { c.Roles = server.Matcher }})
	g.get("/m/lookup?url=http://127.0.0.1/x").want(t, 403, message(missing))
	g.upload("/m/lookup", "photo", vector(t, "formats/rgb.png")).want(t, 403, message(missing))
	g.send("POST", "/m/lookup", "").want(t, 403, message(missing))
	g.get("/m/lookup?signal_type=pdq&signal="+pngHash).want(t, 200, "{}\n")
	g.get("/m/lookup").want(t, 400, message("Either url or both signal and signal_type are required"))
	both := newGate(t, setup{config: func(c *server.Config) { c.Roles = server.Matcher | server.Hasher }})
	both.upload("/m/lookup", "photo", vector(t, "formats/rgb.png")).want(t, 200, `{"pdq":{}}`+"\n")
}

// TestHealthIsThatOfTheRoles: who compares nothing needs no index, and who hashes
// only needs nothing at all.
func TestHealthIsThatOfTheRoles(t *testing.T) {
	for _, role := range roles {
		none := newGate(t, setup{noIndex: true, config: func(c *server.Config) { c.Roles = role }})
		status, ready, said := 200, "ready\n", "I-AM-ALIVE"
		if role.Match() {
			status, ready, said = 503, "index not loaded\n", "INDEX-NOT-LOADED"
		}
		none.get("/readyz").want(t, status, ready)
		none.get("/status").want(t, status, said)
		if err := none.store.Close(); err != nil {
			t.Fatal(err)
		}
		if role == server.Curator || role == server.Cron {
			none.until("not ready", func() answer { return none.get("/readyz") }, func(a answer) bool { return a.status == 503 })
			status, ready = 503, "the bank store cannot be read\n"
		}
		none.get("/readyz").want(t, status, ready)
	}
	// Lookups answer from what is loaded, whichever exchange has not been fetched.
	for role, want := range map[server.Roles]string{server.Matcher: "ready\n", server.Scanner: "an exchange has not been fetched once\n", server.Gate: "an exchange has not been fetched once\n"} {
		g := newGate(t, setup{homeserver: "http://127.0.0.1:1", token: "syt_x", config: func(c *server.Config) { c.Roles = role }})
		g.until("ready as far as it can be", func() answer { return g.get("/readyz") }, func(a answer) bool { return a.body == want })
	}
}

// TestCuratorAloneWaitsForNoIndex: there is none that would come to hold a change.
func TestCuratorAloneWaitsForNoIndex(t *testing.T) {
	var log strings.Builder
	g := newGate(t, setup{log: &log, config: func(c *server.Config) { c.Roles = server.Curator }})
	g.mustBank("A")
	g.upload("/c/bank/A/content", "photo", vector(t, "formats/rgb.png")).want(t, 200, `{"id":1,"signals":{"pdq":"`+pngHash+`"}}`+"\n")
	if strings.Contains(log.String(), "not matched yet") {
		t.Error("it waited")
	}
}

// TestFetchElsewhere: whoever does not fetch says so, and shows what the store has.
func TestFetchElsewhere(t *testing.T) {
	synapse := newFakeSynapse(t, "syt_home")
	path := filepath.Join(t.TempDir(), "shared.db")
	curator := newGate(t, setup{store: path, homeserver: synapse.url, token: "syt_home", config: func(c *server.Config) { c.Roles = server.Curator }})
	const name, fetch = "SYNAPSE_QUARANTINE", "/v1/exchanges/SYNAPSE_QUARANTINE/fetch"
	elsewhere := func() {
		t.Helper()
		a := curator.send("POST", fetch, "")
		a.want(t, 202, `{"exchange":"SYNAPSE_QUARANTINE","fetching":false}`+"\n")
		curator.described(t, "POST", fetch, a)
	}
	elsewhere()
	if s := curator.get("/c/exchange/" + name + "/status"); !strings.Contains(s.body, `"last_fetch_succeeded":null`) {
		t.Error(s)
	}
	newGate(t, setup{store: path, homeserver: synapse.url, token: "syt_home", config: func(c *server.Config) { c.Roles = server.Cron }})
	curator.await(name, "fetched elsewhere", status.succeeded)
	elsewhere()
	curator.json("PUT", "/c/exchange/"+name, `{"enabled":false}`)
	if a := curator.send("POST", fetch, ""); a.status != 409 {
		t.Error(a)
	}
}

// TestRefusalsAreDescribed holds what keys and roles lead to against the API's own
// description.
func TestRefusalsAreDescribed(t *testing.T) {
	keyed := newGate(t, setup{config: func(c *server.Config) {
		c.APIKey, c.HasherKey = secret.New("key"), secret.New("hasher-key-0123456789a") // the description is read with the first
	}})
	without := newGate(t, setup{config: func(c *server.Config) { c.Roles = server.Hasher }})
	for _, path := range []string{"/v1/scan", "/v1/exchanges/X/fetch"} {
		for _, key := range []string{"hasher-key-0123456789a", "unknown-key-0123456789", ""} {
			a := keyed.asked("POST", path, key)
			if a.status != 401 && a.status != 403 {
				t.Errorf("%s with %q: %v", path, key, a)
			}
			keyed.described(t, "POST", path, a)
		}
		a := without.asked("POST", path, "")
		if a.status != 404 {
			t.Errorf("%s: %v", path, a)
		}
		without.described(t, "POST", path, a)
	}
}

// TestSpellingsOpenNothing: a key for lookups comes to no bank, however it is asked
// for.
func TestSpellingsOpenNothing(t *testing.T) {
	g := newGate(t, setup{config: withKeys})
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	if a := g.send("POST", "/c/banks", `{"name":"HIDDEN"}`, append(bearer("curator-key-0123456789"), "Content-Type", "application/json")...); a.status != 201 {
		t.Fatal(a)
	}
	for _, key := range []string{"matcher-key-0123456789", "scanner-key-0123456789", ""} {
		for _, path := range []string{
			"/c/banks", "/c//banks", "//c/banks", "/c/banks/", "/c/banks?x=/m/", "/C/banks", "/m/../c/banks", "/m/..%2fc/banks", "/m/%2e%2e/c/banks", "/c%2fbanks", "/%63/banks",
			"/c/./banks", "/c/banks;/m/", "/c/bank/HIDDEN", "/c/bank/%48IDDEN", "/c/bank//HIDDEN", "/_matrix/../c/banks", "/_matrix/media_proxy/unstable/scan/../../../../c/banks",
			"/_mediagate/../c/banks", "/healthz/../c/banks", "/status%2f..%2fc/banks", "/readyz/c/banks",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
				headers := bearer(key)
				if key == "" {
					headers = nil
				}
				a := g.send(method, path, `{"name":"OTHER"}`, append(headers, "Content-Type", "application/json", "X-HTTP-Method-Override", "GET")...)
				if a.status < 400 || strings.Contains(a.body, "HIDDEN") {
					t.Errorf("%s %s with %q: %d %s", method, path, key, a.status, a.body)
				}
			}
		}
	}
	if a := g.send("GET", "/c/banks", "", bearer("curator-key-0123456789")...); a.status != 200 || strings.Count(a.body, "name") != 1 {
		t.Error(a)
	}
}
