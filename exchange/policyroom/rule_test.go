package policyroom

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
)

const (
	someHash   = "d8f8f0cce0f4a84f0e370a22028f67f0b36e2ed596623e1d33e6b39c4e9c9b22"
	otherHash  = "f8f8f0cee0f4a84f06370a22028f67f0b36e2ed596621e1d33e6b39c4e9c9b22"
	someDigest = "0123456789abcdef0123456789abcdef"
)

func signal(t *testing.T, kind bank.SignalType, digits string, quality int) bank.Signal {
	t.Helper()
	s, err := bank.ParseSignal(kind, digits)
	if err != nil {
		t.Fatal(err)
	}
	s.Quality = quality
	return s
}

func TestHashesAreReadInEveryForm(t *testing.T) {
	pdq := func(quality int) []bank.Signal { return []bank.Signal{signal(t, bank.PDQ, someHash, quality)} }
	for name, c := range map[string]struct {
		content string
		rule    *Rule
		refused []Refusal
	}{
		"last form":          {`{"m.pdqhash":{"hash":"` + someHash + `","quality":"100"},"reason":"Meow"}`, &Rule{Signals: pdq(100)}, nil},
		"unstable":           {`{"space.midnightthoughts.pdqhash":{"hash":"` + someHash + `","quality":"100"}}`, &Rule{Signals: pdq(100)}, nil},
		"both spellings":     {`{"m.pdqhash":{"hash":"` + someHash + `","quality":80},"space.midnightthoughts.pdqhash":{"hash":"` + otherHash + `","quality":100}}`, &Rule{Signals: pdq(80)}, nil},
		"first form":         {`{"type":"m.pdqhash","hash":"` + someHash + `","quality":"99"}`, &Rule{Signals: pdq(99)}, nil},
		"upper case":         {`{"m.pdqhash":{"hash":"` + strings.ToUpper(someHash) + `","quality":50}}`, &Rule{Signals: pdq(50)}, nil},
		"fraction":           {`{"m.pdqhash":{"hash":"` + someHash + `","quality":99.5}}`, &Rule{Signals: pdq(99)}, nil},
		"fraction as text":   {`{"m.pdqhash":{"hash":"` + someHash + `","quality":"5e1"}}`, &Rule{Signals: pdq(50)}, nil},
		"digests":            {`{"io.github.mediagate.md5":{"hash":"` + someDigest + `"},"io.github.mediagate.sha256":{"hash":"` + someHash + `"}}`, &Rule{Signals: []bank.Signal{signal(t, bank.MD5, someDigest, -1), signal(t, bank.SHA256, someHash, -1)}}, nil},
		"one of two":         {`{"m.pdqhash":{"hash":"` + someHash + `"},"io.github.mediagate.md5":{"hash":"` + someDigest + `"}}`, &Rule{Signals: []bank.Signal{signal(t, bank.MD5, someDigest, -1)}}, []Refusal{MissingQuality}},
		"recommendation":     {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":"org.matrix.msc4204.takedown","harms":["org.matrix.msc4456.child_safety.csam",7,"A b"]}`, &Rule{Signals: pdq(100), Recommendation: "takedown", Harms: []string{"org.matrix.msc4456.child_safety.csam"}}, nil},
		"no recommendation":  {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":null}`, &Rule{Signals: pdq(100)}, nil},
		"taken back":         {`{}`, nil, nil},
		"no content":         {`null`, nil, []Refusal{NotAnObject}},
		"array":              {`[]`, nil, []Refusal{NotAnObject}},
		"nothing":            {``, nil, []Refusal{NotAnObject}},
		"only a reason":      {`{"reason":"x"}`, nil, []Refusal{NoHash}},
		"unknown hash":       {`{"m.photodna":{"hash":"00"}}`, nil, []Refusal{UnknownHashType}},
		"low quality":        {`{"m.pdqhash":{"hash":"` + someHash + `","quality":"49"}}`, nil, []Refusal{LowQuality}},
		"almost good":        {`{"m.pdqhash":{"hash":"` + someHash + `","quality":49.999}}`, nil, []Refusal{LowQuality}},
		"no quality":         {`{"m.pdqhash":{"hash":"` + someHash + `"}}`, nil, []Refusal{MissingQuality}},
		"quality null":       {`{"m.pdqhash":{"hash":"` + someHash + `","quality":null}}`, nil, []Refusal{MissingQuality}},
		"quality beyond":     {`{"m.pdqhash":{"hash":"` + someHash + `","quality":1e3}}`, nil, []Refusal{MissingQuality}},
		"quality infinite":   {`{"m.pdqhash":{"hash":"` + someHash + `","quality":"inf"}}`, nil, []Refusal{MissingQuality}},
		"short":              {`{"m.pdqhash":{"hash":"` + someHash[2:] + `","quality":100}}`, nil, []Refusal{MalformedHash}},
		"long":               {`{"m.pdqhash":{"hash":"` + someHash + `00","quality":100}}`, nil, []Refusal{MalformedHash}},
		"spaces":             {`{"io.github.mediagate.md5":{"hash":" ` + someDigest + `"}}`, nil, []Refusal{MalformedHash}},
		"hash is a list":     {`{"m.pdqhash":{"hash":["` + someHash + `"],"quality":100}}`, nil, []Refusal{MalformedHash}},
		"null hash":          {`{"m.pdqhash":null}`, nil, []Refusal{MalformedHash}},
		"unknown wish":       {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":"m.watch"}`, nil, []Refusal{UnknownRecommendation}},
		"allowed":            {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":"m.allow"}`, &Rule{Signals: pdq(100), Recommendation: "allow"}, []Refusal{RecommendsAllowing}},
		"allowed by Mjolnir": {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":"org.matrix.mjolnir.allow"}`, &Rule{Signals: pdq(100), Recommendation: "allow"}, []Refusal{RecommendsAllowing}},
		"unbanned":           {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":"fi.mau.meowlnir.unban"}`, &Rule{Signals: pdq(100), Recommendation: "allow"}, []Refusal{RecommendsAllowing}},
		"wish of other kind": {`{"m.pdqhash":{"hash":"` + someHash + `","quality":100},"recommendation":["m.ban"]}`, nil, []Refusal{UnknownRecommendation}},
	} {
		t.Run(name, func(t *testing.T) {
			rule, refused := parse(mediaHash, json.RawMessage(c.content))
			if diff := cmp.Diff(c.rule, rule); diff != "" {
				t.Errorf("rule (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.refused, refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

func TestItemsAndServersAreRead(t *testing.T) {
	digest := strings.Repeat("\x01", 32)
	const encoded = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
	for name, c := range map[string]struct {
		kind    kind
		content string
		rule    *Rule
		refused []Refusal
	}{
		"item":              {mediaItem, `{"hashes":{"sha256":"` + encoded + `="},"recommendation":"m.takedown"}`, &Rule{Item: digest, Recommendation: "takedown"}, nil},
		"item, unpadded":    {mediaItem, `{"hashes":{"sha256":"` + encoded + `"}}`, &Rule{Item: digest}, nil},
		"item, short":       {mediaItem, `{"hashes":{"sha256":"AQEB"}}`, nil, []Refusal{MalformedHash}},
		"item, not strict":  {mediaItem, `{"hashes":{"sha256":"` + encoded[:42] + `F"}}`, nil, []Refusal{MalformedHash}},
		"item without hash": {mediaItem, `{"hashes":[]}`, nil, []Refusal{NoHash}},
		"servers":           {server, `{"entity":"*.example.org","recommendation":"m.ban","reason":"x"}`, &Rule{Servers: "*.example.org", Recommendation: "ban"}, nil},
		"servers, no wish":  {server, `{"entity":"*.example.org"}`, nil, []Refusal{UnknownRecommendation}},
		"no servers":        {server, `{"recommendation":"m.ban"}`, nil, []Refusal{MalformedEntity}},
		"servers, a path":   {server, `{"entity":"a/b","recommendation":"m.ban"}`, nil, []Refusal{MalformedEntity}},
	} {
		t.Run(name, func(t *testing.T) {
			rule, refused := parse(c.kind, json.RawMessage(c.content))
			if diff := cmp.Diff(c.rule, rule); diff != "" {
				t.Errorf("rule (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.refused, refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// What comes from anybody must neither panic nor count without a hash that is whole.
func FuzzParse(f *testing.F) {
	f.Add(0, []byte(`{"m.pdqhash":{"hash":"`+someHash+`","quality":"100"}}`))
	f.Add(0, []byte(`{"type":"m.pdqhash","hash":"`+someHash+`","quality":"99"}`))
	f.Add(1, []byte(`{"hashes":{"sha256":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}}`))
	f.Add(2, []byte(`{"entity":"*.example.org","recommendation":"m.ban","harms":["a"]}`))
	f.Fuzz(func(t *testing.T, n int, content []byte) {
		k := kind(uint(n) % 3)
		rule, refused := parse(k, content)
		if rule == nil {
			return
		}
		sizes := map[bank.SignalType]int{bank.PDQ: 32, bank.MD5: 16, bank.SHA256: 32}
		for _, s := range rule.Signals {
			if len(s.Value) != sizes[s.Type] || s.Type == bank.PDQ && (s.Quality < minQuality || s.Quality > 100) {
				t.Errorf("%v counts", s)
			}
		}
		whole := map[kind]bool{mediaHash: len(rule.Signals) > 0, mediaItem: len(rule.Item) == 32, server: rule.Servers != "" && rule.Recommendation != ""}
		if !whole[k] {
			t.Errorf("a rule of kind %d bans nothing: %+v, refused %v", k, rule, refused)
		}
	})
}
