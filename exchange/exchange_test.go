package exchange_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/exchange"
	"mediagate/homeserver"
)

func synapseAPI(t testing.TB) exchange.API {
	t.Helper()
	api, ok := exchange.FindAPI(exchange.SynapseQuarantined)
	if !ok || api.Name != exchange.SynapseQuarantined {
		t.Fatalf("%+v, %v", api, ok)
	}
	return api
}

func TestAPIs(t *testing.T) {
	if api, ok := exchange.FindAPI("nothing"); ok {
		t.Errorf("%+v", api)
	}
	for _, api := range exchange.APIs() {
		if found, ok := exchange.FindAPI(api.Name); !ok || !reflect.DeepEqual(found, api) {
			t.Errorf("%s is found as %+v, %v", api.Name, found, ok)
		}
		for _, f := range append(api.Config, api.Credential...) {
			if f.Name == "" || f.Help == "" {
				t.Errorf("%s: %+v", api.Name, f)
			}
		}
	}
}

func TestCheckConfig(t *testing.T) {
	api := synapseAPI(t)
	for name, tt := range map[string]struct {
		given   map[string]any
		want    string
		problem *exchange.FieldError // of which Problem is only there or not
	}{
		"address":        {map[string]any{"admin_api_url": "http://127.0.0.1:8008"}, `{"admin_api_url":"http://127.0.0.1:8008"}`, nil},
		"below a path":   {map[string]any{"admin_api_url": "https://h/synapse/"}, `{"admin_api_url":"https://h/synapse/"}`, nil},
		"more fields":    {map[string]any{"admin_api_url": "http://h", "access_token": "t", "x": nil}, `{"admin_api_url":"http://h"}`, nil},
		"nothing":        {nil, "", &exchange.FieldError{Field: "admin_api_url", Missing: true}},
		"empty object":   {map[string]any{}, "", &exchange.FieldError{Field: "admin_api_url", Missing: true}},
		"null":           {map[string]any{"admin_api_url": nil}, "", &exchange.FieldError{Field: "admin_api_url"}},
		"a number":       {map[string]any{"admin_api_url": 8008.0}, "", &exchange.FieldError{Field: "admin_api_url"}},
		"a list":         {map[string]any{"admin_api_url": []any{"http://h"}}, "", &exchange.FieldError{Field: "admin_api_url"}},
		"empty":          {map[string]any{"admin_api_url": ""}, "", &exchange.FieldError{Field: "admin_api_url", Problem: "x"}},
		"no scheme":      {map[string]any{"admin_api_url": "h:8008"}, "", &exchange.FieldError{Field: "admin_api_url", Problem: "x"}},
		"another scheme": {map[string]any{"admin_api_url": "file:///etc/passwd"}, "", &exchange.FieldError{Field: "admin_api_url", Problem: "x"}},
		"user inside":    {map[string]any{"admin_api_url": "http://u:p@h"}, "", &exchange.FieldError{Field: "admin_api_url", Problem: "x"}},
		"query":          {map[string]any{"admin_api_url": "http://h?x=1"}, "", &exchange.FieldError{Field: "admin_api_url", Problem: "x"}},
		"newline":        {map[string]any{"admin_api_url": "http://h\r\nX: y"}, "", &exchange.FieldError{Field: "admin_api_url", Problem: "x"}},
	} {
		got, err := api.CheckConfig(tt.given)
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		checkFieldError(t, name, err, tt.problem)
	}
}

func TestCheckCredential(t *testing.T) {
	api := synapseAPI(t)
	bad := &exchange.FieldError{Field: "access_token", Problem: "x"}
	for name, tt := range map[string]struct {
		given   map[string]any
		want    string
		problem *exchange.FieldError
	}{
		"token":       {map[string]any{"access_token": "syt_abc"}, `{"access_token":"syt_abc"}`, nil},
		"more fields": {map[string]any{"access_token": "t", "admin_api_url": "http://h"}, `{"access_token":"t"}`, nil},
		"quotes":      {map[string]any{"access_token": `a"b\c`}, `{"access_token":"a\"b\\c"}`, nil},
		"longest":     {map[string]any{"access_token": strings.Repeat("t", 8192)}, `{"access_token":"` + strings.Repeat("t", 8192) + `"}`, nil},
		"longer":      {map[string]any{"access_token": strings.Repeat("t", 8193)}, "", bad},
		"nothing":     {nil, "", &exchange.FieldError{Field: "access_token", Missing: true}},
		"a number":    {map[string]any{"access_token": 1.0}, "", &exchange.FieldError{Field: "access_token"}},
		"empty":       {map[string]any{"access_token": ""}, "", bad},
		"space":       {map[string]any{"access_token": "s3cret canary"}, "", bad},
		"newline":     {map[string]any{"access_token": "s3cret-canary\nX: y"}, "", bad},
		"not ASCII":   {map[string]any{"access_token": "s3cret-canäry"}, "", bad},
	} {
		got, err := api.CheckCredential(tt.given)
		if got.Reveal() != tt.want {
			t.Errorf("%s: %q, want %q", name, got.Reveal(), tt.want)
		}
		checkFieldError(t, name, err, tt.problem)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error repeats the token: %v", name, err)
		}
	}
}

func checkFieldError(t *testing.T, name string, err error, want *exchange.FieldError) {
	t.Helper()
	if want == nil {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	var got *exchange.FieldError
	if !errors.As(err, &got) {
		t.Errorf("%s: %v, want a FieldError", name, err)
		return
	}
	if got.Field != want.Field || got.Missing != want.Missing || (got.Problem != "") != (want.Problem != "") {
		t.Errorf("%s: %+v, want %+v", name, got, want)
	}
	if !strings.Contains(err.Error(), want.Field) {
		t.Errorf("%s: %q does not name the field", name, err)
	}
}

func TestCheckpointsAreReadAsTheyWereWritten(t *testing.T) {
	for text, want := range map[string]struct {
		from  int64
		again bool
	}{
		"":                            {0, false},
		`{"from_id":0}`:               {0, false},
		`{"from_id":17}`:              {17, false},
		`{"from_id":17,"again":true}`: {17, true},
	} {
		from, again, written, err := exchange.ParseCheckpoint(text)
		if err != nil || from != want.from || again != want.again || written != text && text != "" {
			t.Errorf("%q: %d, %v, %q, %v", text, from, again, written, err)
		}
	}
	for _, text := range []string{"17", `"17"`, `{"from_id":"17"}`, `{"from_id":-1}`, `{"from_id":1.5}`, `{"from_id":17`, `{"from_id":17}x`, `[]`, " "} {
		if from, _, _, err := exchange.ParseCheckpoint(text); err == nil {
			t.Errorf("%q is read as %d", text, from)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add("")
	f.Add(`{"from_id":17}`)
	f.Add(`{"from_id":17,"again":true}`)
	f.Add(`{"from_id":-1}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		from, again, written, err := exchange.ParseCheckpoint(text)
		if err != nil {
			return
		}
		if from < 0 {
			t.Errorf("%q is before the beginning", text)
		}
		same, sameAgain, twice, err := exchange.ParseCheckpoint(written)
		if err != nil || same != from || sameAgain != again || twice != written {
			t.Errorf("%q is written as %q and then read as %d, %v, %v", text, written, same, again, err)
		}
	})
}

// What is pending is found again under the names that homeservers give, whatever
// those are.
func FuzzKey(f *testing.F) {
	f.Add("matrix.org", "abc")
	f.Add("h", "a/b")
	f.Add("mxc:", "x")
	f.Add("[::1]:8448", "ü?#%2F")
	f.Fuzz(func(t *testing.T, server, id string) {
		gotServer, gotID, err := exchange.ParseKey(exchange.Key(server, id))
		if server == "" || id == "" || strings.Contains(server, "/") {
			return // no homeserver client passes these on
		}
		if err != nil || gotServer != server || gotID != id {
			t.Errorf("%q and %q are read as %q and %q, %v", server, id, gotServer, gotID, err)
		}
	})
}

// Whatever is accepted can be stored, read again, and used; whatever is refused
// says which field is wrong.
func FuzzCheckConfig(f *testing.F) {
	f.Add([]byte(`{"admin_api_url":"http://127.0.0.1:8008","access_token":"t"}`))
	f.Add([]byte(`{"admin_api_url":"http://[::1]/x/","access_token":"a\"b"}`))
	f.Add([]byte(`{"admin_api_url":1,"access_token":null}`))
	f.Add([]byte(`{"admin_api_url":"http://u@h","access_token":"a\nb"}`))
	f.Add([]byte(`{}`))
	api := synapseAPI(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var given map[string]any
		if json.Unmarshal(raw, &given) != nil {
			return
		}
		config, err := api.CheckConfig(given)
		fields := readBack(t, config, err, "admin_api_url", given)
		if err == nil {
			if _, err := homeserver.New(homeserver.Config{URL: fields["admin_api_url"]}); err != nil {
				t.Errorf("%q is accepted: %v", fields["admin_api_url"], err)
			}
		}
		credential, err := api.CheckCredential(given)
		fields = readBack(t, credential.Reveal(), err, "access_token", given)
		if token := fields["access_token"]; err == nil && (token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })) {
			t.Errorf("token %q is accepted", token)
		}
		if err == nil && credential.String() != "[redacted]" {
			t.Errorf("printed as %s", credential)
		}
	})
}

// readBack checks what one of the checks returned.
func readBack(t *testing.T, stored string, err error, field string, given map[string]any) map[string]string {
	t.Helper()
	if err != nil {
		var wrong *exchange.FieldError
		if !errors.As(err, &wrong) || wrong.Field != field || stored != "" {
			t.Errorf("%v, with %q", err, stored)
		}
		return nil
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(stored), &fields); err != nil {
		t.Errorf("%q cannot be read: %v", stored, err)
	}
	if diff := cmp.Diff(map[string]string{field: given[field].(string)}, fields); diff != "" {
		t.Errorf("(-given +stored):\n%s", diff)
	}
	return fields
}
