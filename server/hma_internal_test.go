package server

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPythonRandom(t *testing.T) {
	// First values of random.Random(seed).random() in CPython 3.13.
	for seed, want := range map[string]float64{
		"1234": 0.24836460312826447, "abc": 0.7720246314157545, "": 0.9602256525641875, "1": 0.4782479962566343,
		"2": 0.5558450440322502, "3": 0.8677521680526462, "99": 0.8300354458393776, "content-123": 0.9523770924322945,
		"0": 0.3616904771377427,
	} {
		if got := pythonRandom(seed); got != want {
			t.Errorf("%q: %v, want %v", seed, got, want)
		}
	}
}

func TestFloatsAreWrittenAsPythonDoes(t *testing.T) {
	for f, want := range map[float64]string{
		1: "1.0", 0: "0.0", 0.5: "0.5", -1: "-1.0", 1e15: "1000000000000000.0", 1e16: "1e+16", 1e22: "1e+22",
		0.0001: "0.0001", 0.00001: "1e-05", 1.5e-7: "1.5e-07", 123456789012345680: "1.2345678901234568e+17",
		math.Inf(1): "Infinity", math.Inf(-1): "-Infinity",
	} {
		if got := strings.TrimSpace(string(resultJSON(f))); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
	if got := string(resultJSON(math.Copysign(0, -1))); got != "-0.0\n" {
		t.Errorf("minus zero: %s", got)
	}
}

func TestResultsAreSortedASCII(t *testing.T) {
	in := object{{"b", "é\u2028😀<>&/\x00\x7f\"\\\b\f\n\r\t"}, {"a", []any{nil, true, 1, int64(2)}}}
	want := `{"a":[null,true,1,2],"b":"\u00e9\u2028\ud83d\ude00<>&/\u0000\u007f\"\\\b\f\n\r\t"}` + "\n"
	if got := string(resultJSON(in)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzParseJSON compares with the standard library, which what is written must
// also be read by.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,"x\u00e9",null,true],"a":{}}`, `[[[[]]]]`, `"\ud800"`, `1e400`, `{"a":1,}`, "\xef\xbb\xbf{}", "-0", "0.1e-7"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		doc, err := parseJSON([]byte(raw))
		text := strings.TrimPrefix(raw, "\xef\xbb\xbf")
		if err != nil {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is read", raw)
		}
		for _, out := range [][]byte{resultJSON(doc), quotedJSON(doc)} {
			if strings.Contains(string(out), "Infinity") {
				continue // a number too large, which Python writes like that
			}
			var a, b any
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				return // likewise
			}
			if err := json.Unmarshal(out, &b); err != nil || !utf8.Valid(out) || !reflect.DeepEqual(a, b) {
				t.Errorf("%q is written as %q: %v", raw, out, err)
			}
		}
	})
}

func FuzzQueryParameters(f *testing.F) {
	f.Add("a=1&b=%FF%C3%A9&=x&a=2&%zz=%4&c;d=e+f")
	f.Fuzz(func(t *testing.T, raw string) {
		seen := map[string]bool{}
		for _, m := range queryParameters(raw) {
			value, ok := m.value.(string)
			if !ok || seen[m.key] {
				t.Errorf("%q twice, or no text", m.key)
			}
			if utf8.ValidString(raw) && !utf8.ValidString(value+m.key) {
				t.Errorf("%q is read as %q", raw, value)
			}
			seen[m.key] = true
		}
	})
}

func FuzzLaxValues(f *testing.F) {
	f.Add(" +1_000.5e-3 ")
	f.Add("nan")
	f.Add("TRUE")
	f.Fuzz(func(t *testing.T, s string) {
		if v, ok := laxFloat(s); !ok && v != 0 && !math.IsInf(v, 0) {
			t.Errorf("%q: a value beside a refusal", s)
		}
		if _, err := timestamp(s); err == nil && strings.TrimSpace(s) == "" {
			t.Errorf("%q is a time", s)
		}
		laxBool(s)
	})
}
