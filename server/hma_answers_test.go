package server_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorded is one request to HMA's framework and what it answered.
type recorded struct {
	Name, Method, Path string
	Headers            map[string]string
	Body               *string
	Status             int
	RespHeaders        struct {
		ContentType *string `json:"content-type"`
		Allow       []string
		Location    *string
	} `json:"resp_headers"`
	RespBody string `json:"resp_body"`
}

// departures are the recorded answers that ours differ from, with the reason.
// Names match by prefix.
var departures = map[string]string{
	"405-patch-signal-type":       "type configuration is not served yet",
	"options-signal-type":         "type configuration is not served yet",
	"405-patch-content-type":      "type configuration is not served yet",
	"405-patch-compare":           "comparison is not served yet",
	"405-get-compare":             "comparison is not served yet",
	"options-compare":             "comparison is not served yet",
	"raw-compare":                 "comparison is not served yet",
	"create-nan":                  "NaN and Infinity are no JSON: the body counts as unreadable",
	"create-name-nan":             "NaN and Infinity are no JSON: the body counts as unreadable",
	"create-enabled-nan":          "NaN and Infinity are no JSON: the body counts as unreadable",
	"create-missing-big-input":    "NaN and Infinity are no JSON: the body counts as unreadable",
	"raw-content-put-ts-nan":      "NaN and Infinity are no JSON: the body counts as unreadable",
	"metadata-numbers":            "NaN and Infinity are no JSON: the body counts as unreadable",
	"create-string-":              "a JSON string that holds JSON is not unpacked",
	"create-lone-surrogate":       "HMA fails; ours reads U+FFFD and goes on",
	"raw-signal-array-500":        "HMA fails; ours says what was wrong",
	"raw-exchanges-null-500":      "HMA fails; ours says what was wrong",
	"raw-content-put-null-500":    "HMA fails; ours says what was wrong",
	"raw-content-put-ts-null-500": "HMA fails; ours says what was wrong",
	"raw-content-put-ts-inf-500":  "HMA fails; ours says what was wrong",
	"path-content-5000-digits":    "HMA fails; ours has no such content",
	"leading-double-slash":        "a success; TestLeadingSlashesCountOnce has it",
	"leading-triple-slash":        "a success; TestLeadingSlashesCountOnce has it",
}

// TestFrameworkAnswers plays the recorded requests, over a raw connection so that
// no client tidies the path.
func TestFrameworkAnswers(t *testing.T) {
	raw, err := os.ReadFile("testdata/hma-answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, setup{})
	if a := g.json("POST", "/c/banks", `{"name":"A"}`); a.status != 201 {
		t.Fatal(a)
	}
	if a := g.json("POST", "/c/bank/A/signal", `{"video_md5":"00000000000000000000000000000000"}`); a.status != 200 {
		t.Fatal(a)
	}
	played := 0
	for _, r := range all {
		for prefix := range departures {
			if strings.HasPrefix(r.Name, prefix) {
				r.Name = ""
			}
		}
		if r.Name == "" {
			continue
		}
		played++
		// What was recorded knows every exchange API.
		r.Path = strings.ReplaceAll(r.Path, "/c/exchanges/api/x", "/c/exchanges/api/synapse_quarantined")
		t.Run(r.Name, func(t *testing.T) {
			got := g.play(t, r)
			want := answer{status: r.Status, body: r.RespBody}
			if r.RespHeaders.Location != nil {
				// Ours are relative, so that they hold behind a proxy with TLS.
				*r.RespHeaders.Location = strings.TrimPrefix(*r.RespHeaders.Location, "http://localhost")
				want.body = strings.ReplaceAll(want.body, "http://localhost", "")
			}
			if got.status != want.status || got.body != want.body {
				t.Errorf("(-want +got):\n%s", cmp.Diff([]any{want.status, want.body}, []any{got.status, got.body}))
			}
			if r.RespHeaders.ContentType != nil && got.header.Get("Content-Type") != *r.RespHeaders.ContentType {
				t.Errorf("content type %q, want %q", got.header.Get("Content-Type"), *r.RespHeaders.ContentType)
			}
			if r.RespHeaders.Location != nil && got.header.Get("Location") != *r.RespHeaders.Location {
				t.Errorf("location %q, want %q", got.header.Get("Location"), *r.RespHeaders.Location)
			}
			if r.RespHeaders.Allow != nil {
				allow := strings.Split(got.header.Get("Allow"), ", ")
				slices.Sort(allow)
				if diff := cmp.Diff(r.RespHeaders.Allow, allow); diff != "" {
					t.Errorf("allowed methods (-want +got):\n%s", diff)
				}
			}
		})
	}
	if played < 150 {
		t.Errorf("only %d requests were played", played)
	}
}

func TestLeadingSlashesCountOnce(t *testing.T) {
	g := newGate(t, setup{})
	g.get("//c/banks").want(t, 200, "[]\n")
	g.get("///c/banks").want(t, 200, "[]\n")
}

func (g *gate) play(t *testing.T, r recorded) answer {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var out strings.Builder
	out.WriteString(r.Method + " " + r.Path + " HTTP/1.1\r\nConnection: close\r\n")
	body := ""
	if r.Body != nil {
		body = *r.Body
	}
	headers := http.Header{"Host": {"localhost"}}
	for name, value := range r.Headers {
		headers.Set(name, value)
	}
	if r.Body != nil {
		headers.Set("Content-Length", jsonText(t, len(body)))
	}
	for name, values := range headers {
		out.WriteString(name + ": " + values[0] + "\r\n")
	}
	if _, err := io.WriteString(conn, out.String()+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.Method})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
