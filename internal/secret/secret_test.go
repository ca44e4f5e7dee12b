package secret_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"mediagate/internal/secret"
)

const canary = "s3cret-canary"

// told tells whether a text holds the canary, in any form that fmt gives to bytes.
func told(text string) bool {
	for _, form := range []string{"%s", "%x", "%X", "% x", "% X", "%# x", "%v", "%d", "%o", "%b", "%q"} {
		for _, value := range []any{canary, []byte(canary)} {
			if strings.Contains(text, strings.Trim(fmt.Sprintf(form, value), `"[]`)) {
				return true
			}
		}
	}
	return false
}

// bare has a secret's value and none of its methods.
type bare secret.String

// failure is an error that holds a secret, and prints all it has.
type failure struct{ key secret.String }

func (f failure) Error() string {
	type plain failure
	return fmt.Sprintf("%v %+v %#v", plain(f), plain(f), plain(f))
}

// holders are the ways to hold a secret: where fmt can call its methods, and where
// it cannot.
func holders(s secret.String) map[string]any {
	type exported struct{ Key secret.String }
	type unexported struct{ key secret.String }
	type pointer struct{ key *secret.String }
	type slice struct{ keys []secret.String }
	type array struct{ keys [1]secret.String }
	type mapped struct{ keys map[string]secret.String }
	type mappedPointer struct{ keys map[string]*secret.String }
	type boxed struct{ key any }
	type stringer struct{ key fmt.Stringer }
	type embedded struct{ secret.String }
	type deep struct {
		inner struct{ keys []struct{ key secret.String } }
	}
	type pointers struct{ p **unexported }
	u, p := unexported{s}, &s
	up := &u
	var d deep
	d.inner.keys = []struct{ key secret.String }{{s}}
	return map[string]any{
		"itself": s, "its pointer": p, "pointer to that": &p, "slice": []secret.String{s}, "slice of pointers": []*secret.String{p},
		"array": [1]secret.String{s}, "map": map[string]secret.String{"k": s}, "anything": []any{s, p, u},
		"exported": exported{s}, "pointer to exported": &exported{s}, "slice of exported": []exported{{s}},
		"unexported": u, "pointer to unexported": up, "slice of unexported": []unexported{u}, "slice of pointers to unexported": []*unexported{up},
		"map of unexported": map[string]unexported{"k": u}, "map of pointers": map[string]*unexported{"k": up}, "pointer to slice": &[]unexported{u},
		"pointer in a field": pointer{p}, "slice in a field": slice{[]secret.String{s}}, "array in a field": array{[1]secret.String{s}},
		"map in a field": mapped{map[string]secret.String{"k": s}}, "map of pointers in a field": mappedPointer{map[string]*secret.String{"k": p}},
		"interface in a field": boxed{s}, "struct in that": boxed{u}, "stringer in a field": stringer{s},
		"embedded": embedded{s}, "deep": d, "pointers": pointers{&up}, "without methods": bare(s), "field without methods": struct{ b bare }{bare(s)},
		"error": failure{s}, "wrapped error": fmt.Errorf("read %v: %w", u, failure{s}), "joined errors": errors.Join(failure{s}, fmt.Errorf("%#v", u)),
		"reflected": reflect.ValueOf(s), "its field, reflected": reflect.ValueOf(s).Field(0), "field, reflected": reflect.ValueOf(u).Field(0),
	}
}

// TestNothingPrintsASecret prints whatever holds one, in every way.
func TestNothingPrintsASecret(t *testing.T) {
	for name, holder := range holders(secret.New(canary)) {
		for _, verb := range "vsqxXdobcUtTpeEfFgGw" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "#+", "30.20", ".5", "# "} {
				format := "%" + flags + string(verb)
				if text := fmt.Sprintf(format, holder); told(text) {
					t.Errorf("%s: %s prints %s", name, format, text)
				}
			}
		}
		if text := fmt.Sprint(holder) + fmt.Sprintln(holder); told(text) {
			t.Errorf("%s: printed as %s", name, text)
		}
		raw, err := json.Marshal(holder)
		if told(string(raw)) || told(fmt.Sprint(err)) {
			t.Errorf("%s: marshalled as %s, %v", name, raw, err)
		}
		var log strings.Builder
		for _, handler := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
			slog.New(handler).With("before", holder).Info("x", "thing", holder, slog.Group("g", "thing", holder))
		}
		if told(log.String()) {
			t.Errorf("%s: logged as %s", name, log.String())
		}
		if _, reflected := holder.(reflect.Value); reflected {
			continue // which templates and cmp take for what they are of
		}
		var page strings.Builder
		if err := template.Must(template.New("").Parse("{{.}} {{printf `%#v` .}}")).Execute(&page, holder); told(page.String()) || told(fmt.Sprint(err)) {
			t.Errorf("%s: written as %s, %v", name, page.String(), err)
		}
		all := cmp.Exporter(func(reflect.Type) bool { return true })
		if text := cmp.Diff(holder, holders(secret.New("other"))[name], all); told(text) {
			t.Errorf("%s: compared as %s", name, text)
		}
	}
}

// TestASecretSaysThatItIsOne where it can be asked.
func TestASecretSaysThatItIsOne(t *testing.T) {
	s := secret.New(canary)
	holder := struct{ Key secret.String }{s}
	for name, text := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%+v": fmt.Sprintf("%+v", holder), "%#v": fmt.Sprintf("%#v", holder), "%s": fmt.Sprintf("%s", &holder), "%q": fmt.Sprintf("%q", s),
	} {
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if raw, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": holder}); string(raw) != `{"a":"[redacted]","b":"[redacted]","c":{"Key":"[redacted]"}}` {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestValue(t *testing.T) {
	for name, tt := range map[string]struct {
		s    secret.String
		want string
	}{"none": {secret.String{}, ""}, "empty": {secret.New(""), ""}, "one": {secret.New(canary), canary}} {
		if got := tt.s.Reveal(); got != tt.want || tt.s.Empty() != (tt.want == "") || !tt.s.Equal(tt.want) || tt.s.Equal(tt.want+"x") {
			t.Errorf("%s: %q, empty: %t", name, got, tt.s.Empty())
		}
	}
}

func TestUnmarshalText(t *testing.T) {
	var s secret.String
	text := []byte(" key with spaces \r\n\n")
	if err := s.UnmarshalText(text); err != nil || s.Reveal() != " key with spaces " {
		t.Errorf("%q, %v", s.Reveal(), err)
	}
	before := s
	clear(text) // the caller's buffer
	if err := s.UnmarshalText([]byte("new")); err != nil || s.Reveal() != "new" || before.Reveal() != " key with spaces " {
		t.Errorf("%q and %q, %v", s.Reveal(), before.Reveal(), err)
	}
	if err := s.UnmarshalText([]byte("\n")); err != nil || !s.Empty() {
		t.Errorf("%q, %v", s.Reveal(), err)
	}
}

func TestEqual(t *testing.T) {
	s := secret.New("abc")
	for given, want := range map[string]bool{"abc": true, "abd": false, "ab": false, "": false, "abcd": false} {
		if s.Equal(given) != want {
			t.Errorf("Equal(%q) = %v", given, !want)
		}
	}
}
