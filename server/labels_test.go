package server_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
	"mediagate/media"
	"mediagate/server"
)

// labelled is what a test reads of an answer.
type labelled struct {
	Outcome string
	Matches []struct {
		Bank                       string
		Enforced, Monitor, Allowed bool
		Labels                     *struct {
			Recommendation string
			Harms          []string
		}
	}
}

// text says what an answer tells of its matches, "-" for no labels.
func (l labelled) text() string {
	out := l.Outcome
	for _, m := range l.Matches {
		out += "; " + m.Bank
		for word, is := range map[string]bool{" blocks": m.Enforced, " monitor": m.Monitor, " allowed": m.Allowed} {
			if is {
				out += word
			}
		}
		if m.Labels == nil {
			out += " -"
			continue
		}
		out += " " + m.Labels.Recommendation + "[" + strings.Join(m.Labels.Harms, ",") + "]"
	}
	return out
}

// digested banks the bytes of a text, with metadata.
func (g *gate) digested(bankName, content, metadata string) {
	g.t.Helper()
	_, err := g.store.AddContent(g.t.Context(), bank.NewContent{
		Bank: bankName, Signals: bank.SignalsOf(media.Digest([]byte(content)))[:1], Metadata: metadata,
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) flagged(b bank.Bank) {
	g.t.Helper()
	b.Ratio = 1
	if _, err := g.store.CreateBank(g.t.Context(), b); err != nil {
		g.t.Fatal(err)
	}
}

// matched asks until an answer says so much of its matches.
func (g *gate) matched(t *testing.T, content, want string) {
	t.Helper()
	g.until(want, func() answer { return g.send("POST", "/v1/scan", content) }, func(a answer) bool {
		var l labelled
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		g.described(t, "POST", "/v1/scan", a)
		return l.text() == want
	})
}

func TestMatchesAreLabelled(t *testing.T) {
	g := newGate(t, setup{})
	g.flagged(bank.Bank{Name: "LIST", Monitor: true})
	g.flagged(bank.Bank{Name: "GOOD", Allow: true})
	g.flagged(bank.Bank{Name: "ON"})
	g.digested("LIST", "x", `{"json":{"recommendation":"takedown","harms":["a.b","c"]}}`)
	g.digested("GOOD", "x", `{"json":{"recommendation":7,"harms":"a"}}`)
	g.digested("LIST", "x", `{"json":{"harms":["`+strings.Repeat("x", 64<<10)+`"]}}`)
	g.digested("ON", "x", "")
	g.matched(t, "x", "blocked; ON blocks -; LIST monitor takedown[a.b,c]; GOOD allowed -; LIST monitor -")
	g.matched(t, "y", "opaque")
}

// TestScansDoNotWaitForTheStore: labels are left out when there is nobody to ask, and the
// decision is there.
func TestScansDoNotWaitForTheStore(t *testing.T) {
	postgres := postgrestest.Start(t)
	g := newGate(t, setup{database: postgres.NewDatabase(t)})
	g.flagged(bank.Bank{Name: "ON"})
	g.digested("ON", "x", `{"json":{"recommendation":"ban"}}`)
	g.matched(t, "x", "blocked; ON blocks ban[]")
	postgres.Pause(t)
	t.Cleanup(func() { postgres.Resume(t) })
	for range 10 { // more than may wait at once
		a := g.send("POST", "/v1/scan", "x")
		var l labelled
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || l.text() != "blocked; ON blocks -" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

func TestPrediction(t *testing.T) {
	g := newGate(t, setup{})
	g.flagged(bank.Bank{Name: "LIST", Monitor: true})
	var a answer
	g.until("the bank is there", func() answer {
		a = g.get("/v1/prediction?bank=LIST")
		return a
	}, func(a answer) bool { return a.status != 404 })
	const none = `{"bank":"LIST","seen":0,"seen_requests":0,"contents":0,"requests":0,"since":null}`
	if a.status != 200 || strings.TrimSpace(a.body) != none {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.described(t, "GET", "/v1/prediction?bank=LIST", a)
	g.digested("LIST", "x", "")
	g.matched(t, "x", "opaque; LIST monitor -")
	before := g.get("/v1/prediction?bank=LIST")
	for _, content := range []string{"x", "x", "y"} {
		g.send("POST", "/v1/scan", content)
	}
	type told struct{ Seen, Seen_Requests, Contents, Requests int64 } //nolint:revive // as in the answer
	read := func(a answer) (p told) {
		t.Helper()
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		g.described(t, "GET", "/v1/prediction?bank=LIST", a)
		return p
	}
	was, is := read(before), read(g.get("/v1/prediction?bank=LIST"))
	want := told{was.Seen + 1, was.Seen_Requests + 3, 1, was.Requests + 2}
	if diff := cmp.Diff(want, is); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseLabels(f *testing.F) {
	for _, seed := range []string{
		"", "null", "[]", `{"json":null}`, `{"json":{"recommendation":null,"harms":null}}`, `{"json":{"recommendation":"ban","harms":["a",7,null]}}`,
		`{"JSON":{"recommendation":"ban"},"json":7}`, `{"json":{"harms":{"a":"b"}}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, metadata string) {
		recommendation, harms, ok := server.ParseLabels(metadata)
		if ok != (recommendation != "" || len(harms) > 0) || len(recommendation)+len(strings.Join(harms, "")) > 3*len(metadata) {
			t.Errorf("%q, %q, %v", recommendation, harms, ok)
		}
	})
}
