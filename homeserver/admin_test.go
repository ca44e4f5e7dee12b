package homeserver_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/media"
)

// answering serves a JSON text, and keeps what it was asked.
func answering(t *testing.T, text string) *recorded {
	t.Helper()
	return record(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	})
}

// The shapes are those of Synapse 1.160, on PostgreSQL and on SQLite.
func TestQuarantineChanges(t *testing.T) {
	u := func(server, id string) media.URI { return media.URI{Server: server, ID: id} }
	tests := map[string]struct {
		page string
		from int64
		want homeserver.Changes
		err  string
	}{
		"PostgreSQL": {`{"next_batch":9,"changes":[{"origin":"a.test","media_id":"x","quarantined":true},{"origin":"b.test:8448","media_id":"y","quarantined":false}]}`, 7,
			homeserver.Changes{Changes: []homeserver.Change{{u("a.test", "x"), true}, {u("b.test:8448", "y"), false}}, Next: 9, More: true}, "success"},
		"SQLite": {`{"next_batch": 9, "changes": [{"origin": "a.test", "media_id": "x", "quarantined": 1}, {"origin": "a.test", "media_id": "x", "quarantined": 0}]}`, 7,
			homeserver.Changes{Changes: []homeserver.Change{{u("a.test", "x"), true}, {u("a.test", "x"), false}}, Next: 9, More: true}, "success"},
		"nothing new":           {`{"next_batch":7,"changes":[]}`, 7, homeserver.Changes{Next: 7}, "success"},
		"nothing, farther on":   {`{"next_batch":9,"changes":[]}`, 7, homeserver.Changes{Next: 9}, "success"},
		"nothing at all":        {`{"next_batch":0,"changes":[]}`, 0, homeserver.Changes{}, "success"},
		"more than we know":     {`{"next_batch":9,"changes":[],"x":{"y":[1]}}`, 7, homeserver.Changes{Next: 9}, "success"},
		"odd names":             {`{"next_batch":9,"changes":[{"origin":"A_b","media_id":"a/b?c#d%2F","quarantined":true}]}`, 7, homeserver.Changes{Changes: []homeserver.Change{{u("A_b", "a/b?c#d%2F"), true}}, Next: 9, More: true}, "success"},
		"preview of a page":     {`{"next_batch":9,"changes":[{"origin":"a.test","media_id":"2026-01-02_AbCd","quarantined":true}]}`, 7, homeserver.Changes{Changes: []homeserver.Change{{u("a.test", "2026-01-02_AbCd"), true}}, Next: 9, More: true}, "success"},
		"no name":               {`{"next_batch":9,"changes":[{"origin":null,"media_id":"x","quarantined":true},{"origin":"a.test","media_id":"","quarantined":true},{"quarantined":true},{}]}`, 7, homeserver.Changes{Next: 9, More: true, Malformed: 4}, "success"},
		"names of other things": {`{"next_batch":9,"changes":[{"origin":"..","media_id":"x","quarantined":true},{"origin":"a/b","media_id":"x","quarantined":true},{"origin":"a","media_id":"\u0000","quarantined":true}]}`, 7, homeserver.Changes{Next: 9, More: true, Malformed: 3}, "success"},
		"no truth":              {`{"next_batch":9,"changes":[{"origin":"a.test","media_id":"x"},{"origin":"a.test","media_id":"x","quarantined":null},{"origin":"a.test","media_id":"x","quarantined":true}]}`, 7, homeserver.Changes{Changes: []homeserver.Change{{u("a.test", "x"), true}}, Next: 9, More: true, Malformed: 2}, "success"},
		"truth as text":         {`{"next_batch":9,"changes":[{"origin":"a.test","media_id":"x","quarantined":"true"}]}`, 7, homeserver.Changes{}, "upstream"},
		"truth of 2":            {`{"next_batch":9,"changes":[{"origin":"a.test","media_id":"x","quarantined":2}]}`, 7, homeserver.Changes{}, "upstream"},
		"name as number":        {`{"next_batch":9,"changes":[{"origin":1,"media_id":"x","quarantined":true}]}`, 7, homeserver.Changes{}, "upstream"},
		"record of another kind": {
			`{"next_batch":9,"changes":["x"]}`, 7, homeserver.Changes{}, "upstream"},
		"no position":         {`{"changes":[]}`, 7, homeserver.Changes{}, "upstream"},
		"position of null":    {`{"next_batch":null,"changes":[]}`, 7, homeserver.Changes{}, "upstream"},
		"position as text":    {`{"next_batch":"9","changes":[]}`, 7, homeserver.Changes{}, "upstream"},
		"position as float":   {`{"next_batch":9.5,"changes":[]}`, 7, homeserver.Changes{}, "upstream"},
		"position below 0":    {`{"next_batch":-1,"changes":[]}`, 0, homeserver.Changes{}, "upstream"},
		"position of 64 bits": {`{"next_batch":9223372036854775808,"changes":[]}`, 7, homeserver.Changes{}, "upstream"},
		"backwards":           {`{"next_batch":6,"changes":[]}`, 7, homeserver.Changes{}, "upstream"},
		"stays with records":  {`{"next_batch":7,"changes":[{"origin":"a.test","media_id":"x","quarantined":true}]}`, 7, homeserver.Changes{}, "upstream"},
		"no changes":          {`{"next_batch":9}`, 7, homeserver.Changes{}, "upstream"},
		"changes of null":     {`{"next_batch":9,"changes":null}`, 7, homeserver.Changes{}, "upstream"},
		"changes as object":   {`{"next_batch":9,"changes":{}}`, 7, homeserver.Changes{}, "upstream"},
		"an error with 200":   {`{"errcode":"M_UNKNOWN","error":"x"}`, 7, homeserver.Changes{}, "upstream"},
		"null":                {`null`, 7, homeserver.Changes{}, "upstream"},
		"a list":              {`[]`, 7, homeserver.Changes{}, "upstream"},
		"nothing said":        {``, 7, homeserver.Changes{}, "upstream"},
		"a page":              {`<html>`, 7, homeserver.Changes{}, "upstream"},
		"half":                {`{"next_batch":9,"changes":[`, 7, homeserver.Changes{}, "upstream"},
		"two":                 {`{"next_batch":9,"changes":[]}{}`, 7, homeserver.Changes{}, "upstream"},
		"deep":                {strings.Repeat(`{"changes":[`, 20000), 7, homeserver.Changes{}, "upstream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			home := answering(t, tt.page)
			got, err := newClient(t, home.url, nil).QuarantineChanges(t.Context(), tt.from)
			checkError(t, err, tt.err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			asked := home.requests()
			if len(asked) != 1 || asked[0].RequestURI != fmt.Sprintf("/_synapse/admin/v1/media/quarantine_changes?from=%d", tt.from) ||
				asked[0].Header.Get("Authorization") != "Bearer "+serviceToken {
				t.Errorf("asked %d times, first for %s", len(asked), asked[0].RequestURI)
			}
		})
	}
}

// TestBeyondTheStream: Synapse's answer to a position that it never gave out, and
// other errors that are not it.
func TestBeyondTheStream(t *testing.T) {
	for name, tt := range map[string]struct {
		speak func(net.Conn, *http.Request)
		want  string
	}{
		"beyond":        {status("400 Bad", "M_INVALID_PARAM"), "beyond stream"},
		"another error": {status("400 Bad", "M_MISSING_PARAM"), "upstream"},
		"no such route": {status("400 Bad", "M_UNRECOGNIZED"), "not found, upstream"},
		"failing":       {status("500 No", "M_INVALID_PARAM"), "upstream"},
		"forbidden":     {status("403 No", "M_INVALID_PARAM"), "forbidden, upstream"},
	} {
		_, err := newClient(t, spoken(t, tt.speak), nil).QuarantineChanges(t.Context(), 7)
		if checkError(t, err, tt.want); t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestMediaInfo(t *testing.T) {
	digest := strings.Repeat("0123456789abcdef", 4)
	raw, err := hex.DecodeString(digest)
	if err != nil {
		t.Fatal(err)
	}
	// full is what Synapse says of a remote item.
	full := func(by, sha256 string) string {
		return `{"media_info":{"media_origin":"a.test","user_id":null,"media_id":"x","media_type":"image/png","media_length":5,"upload_name":null,` +
			`"created_ts":1,"filesystem_id":"f","url_cache":null,"last_access_ts":2,"quarantined_by":` + by + `,"authenticated":1,"safe_from_quarantine":null,"sha256":` + sha256 + `}}`
	}
	quoted := `"` + digest + `"`
	tests := map[string]struct {
		text string
		want homeserver.MediaInfo
		err  string
	}{
		"not quarantined":    {full("null", quoted), homeserver.MediaInfo{SHA256: raw}, "success"},
		"quarantined":        {full(`"@mod:a.test"`, quoted), homeserver.MediaInfo{Quarantined: true, SHA256: raw}, "success"},
		"by nobody known":    {full(`""`, quoted), homeserver.MediaInfo{Quarantined: true, SHA256: raw}, "success"},
		"no digest":          {full(`"@mod:a.test"`, "null"), homeserver.MediaInfo{Quarantined: true}, "success"},
		"upper case":         {full("null", strings.ToUpper(quoted)), homeserver.MediaInfo{SHA256: raw}, "success"},
		"few fields":         {`{"media_info":{}}`, homeserver.MediaInfo{}, "success"},
		"by a number":        {full("1", quoted), homeserver.MediaInfo{}, "upstream"},
		"a short digest":     {full("null", `"01"`), homeserver.MediaInfo{}, "upstream"},
		"an empty digest":    {full("null", `""`), homeserver.MediaInfo{}, "upstream"},
		"a long digest":      {full("null", `"`+digest+`00"`), homeserver.MediaInfo{}, "upstream"},
		"no digits":          {full("null", `"`+strings.Repeat("zz", 32)+`"`), homeserver.MediaInfo{}, "upstream"},
		"digest as number":   {full("null", `1`), homeserver.MediaInfo{}, "upstream"},
		"null":               {`{"media_info":null}`, homeserver.MediaInfo{}, "upstream"},
		"a list":             {`{"media_info":[]}`, homeserver.MediaInfo{}, "upstream"},
		"nothing in it":      {`{}`, homeserver.MediaInfo{}, "upstream"},
		"nothing":            {`null`, homeserver.MediaInfo{}, "upstream"},
		"nothing said":       {``, homeserver.MediaInfo{}, "upstream"},
		"a page":             {`<html>`, homeserver.MediaInfo{}, "upstream"},
		"an error with 200":  {`{"errcode":"M_NOT_FOUND"}`, homeserver.MediaInfo{}, "upstream"},
		"too long to be one": {`{"media_info":{"x":"` + strings.Repeat("x", homeserver.MaxCallBytes) + `"}}`, homeserver.MediaInfo{}, "upstream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			home := answering(t, tt.text)
			got, err := newClient(t, home.url, nil).MediaInfo(t.Context(), media.URI{Server: "a.test:1", ID: "x/y"})
			checkError(t, err, tt.err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			asked := home.requests()
			if len(asked) != 1 || asked[0].RequestURI != "/_synapse/admin/v1/media/a.test:1/x%2Fy" || asked[0].Header.Get("Authorization") != "Bearer "+serviceToken {
				t.Errorf("asked %d times, first for %s", len(asked), asked[0].RequestURI)
			}
		})
	}
}

// TestMediaInfoIsGoneOnlyIfTheHomeserverSaysSo: that a route is not known, by the
// homeserver or a proxy, says nothing about the item.
func TestMediaInfoIsGoneOnlyIfTheHomeserverSaysSo(t *testing.T) {
	for name, tt := range map[string]struct {
		speak func(net.Conn, *http.Request)
		want  string
	}{
		"gone":             {status("404 No", "M_NOT_FOUND"), "not found, upstream"},
		"route":            {status("404 No", "M_UNRECOGNIZED"), "upstream"},
		"route, with 400":  {status("400 No", "M_UNRECOGNIZED"), "upstream"},
		"a proxy's page":   {says("HTTP/1.1 404 No\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"), "upstream"},
		"a proxy's object": {says("HTTP/1.1 404 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"), "upstream"},
	} {
		_, err := newClient(t, spoken(t, tt.speak), nil).MediaInfo(t.Context(), item)
		if checkError(t, err, tt.want); t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestName(t *testing.T) {
	tests := map[string]struct{ text, want, err string }{
		"plain":          {`{"user_id":"@mediagate:a.test"}`, "a.test", "success"},
		"with a port":    {`{"user_id":"@mediagate:a.test:8448","device_id":"X","is_guest":false}`, "a.test:8448", "success"},
		"an address":     {`{"user_id":"@mediagate:[::1]:8448"}`, "[::1]:8448", "success"},
		"no server":      {`{"user_id":"@mediagate"}`, "", "upstream"},
		"empty server":   {`{"user_id":"@mediagate:"}`, "", "upstream"},
		"no name at all": {`{"user_id":"@mediagate:a/b"}`, "", "upstream"},
		"no user":        {`{}`, "", "upstream"},
		"null user":      {`{"user_id":null}`, "", "upstream"},
		"a number":       {`{"user_id":1}`, "", "upstream"},
		"null":           {`null`, "", "upstream"},
		"a list":         {`[]`, "", "upstream"},
		"nothing said":   {``, "", "upstream"},
		"garbage":        {`{"user_id":"@mediagate:a.test"`, "", "upstream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			home := answering(t, tt.text)
			client := newClient(t, home.url, nil)
			if client.IsLocal(media.URI{Server: tt.want, ID: "x"}) || len(home.requests()) > 0 {
				t.Error("it is known, or asked for, before Name")
			}
			for range 3 {
				got, err := client.Name(t.Context())
				checkError(t, err, tt.err)
				if got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
				if tt.want != "" && client.IsLocal(media.URI{Server: tt.want, ID: "x"}) != true {
					t.Error("its own item is not local")
				}
				for _, other := range []string{"", "b.test", strings.ToUpper(tt.want), tt.want + ".", "x" + tt.want} {
					if other != tt.want && client.IsLocal(media.URI{Server: other, ID: "x"}) {
						t.Errorf("an item of %q is local to %q", other, tt.want)
					}
				}
			}
			asked := home.requests()
			if len(asked) != 1 || asked[0].RequestURI != "/_matrix/client/v3/account/whoami" || asked[0].Header.Get("Authorization") != "Bearer "+serviceToken {
				t.Errorf("asked %d times, first for %s", len(asked), asked[0].RequestURI)
			}
		})
	}
}

func TestNameNeedsAToken(t *testing.T) {
	home := record(t, nil)
	client := newClient(t, home.url, func(c *homeserver.Config) { c.Token = secret.String{} })
	_, err := client.Name(t.Context())
	checkError(t, err, "unauthorized")
	if client.HasToken() || client.IsLocal(item) || len(home.requests()) > 0 {
		t.Error("the homeserver was asked without a token")
	}
}

// TestNameIsAskedAgainAfterAnError, but not at once, and one caller's end is
// nobody else's error.
func TestNameIsAskedAgainAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := newPiped(hang)
		client := home.client(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		_, err := client.Name(ctx)
		checkError(t, err, "canceled")
		home.answer.Store(func(c net.Conn) { status("500 No", "M_UNKNOWN")(c, &http.Request{}) })
		_, err = client.Name(t.Context())
		checkError(t, err, "upstream")
		home.answer.Store(func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{\"user_id\":\"@x:a.b\"}")(c, nil)
		})
		time.Sleep(homeserver.NameRetry)
		_, err = client.Name(t.Context())
		checkError(t, err, "upstream") // as before
		time.Sleep(time.Nanosecond)
		dials := home.dials.Load()
		for range 10 {
			if name, err := client.Name(t.Context()); name != "a.b" || err != nil {
				t.Errorf("%q, %v", name, err)
			}
		}
		time.Sleep(24 * time.Hour)
		if name, err := client.Name(t.Context()); name != "a.b" || err != nil {
			t.Errorf("%q, %v", name, err)
		}
		if n := home.dials.Load() - dials; n != 1 {
			t.Errorf("asked %d times for a name that is known", n)
		}
	})
}

// TestManyMayAskForTheName at once.
func TestManyMayAskForTheName(t *testing.T) {
	client := newClient(t, answering(t, `{"user_id":"@x:a.test"}`).url, nil)
	var all sync.WaitGroup
	var wrong atomic.Int64
	for range 50 {
		all.Go(func() {
			if name, err := client.Name(t.Context()); name != "a.test" || err != nil {
				wrong.Add(1)
			}
		})
	}
	all.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d callers got no name", n)
	}
}

// FuzzParseChanges holds whatever is taken from a page to what can be asked for
// and stored.
func FuzzParseChanges(f *testing.F) {
	f.Add([]byte(`{"next_batch":9,"changes":[{"origin":"a.test","media_id":"x","quarantined":true},{"origin":"b","media_id":"y","quarantined":0}]}`))
	f.Add([]byte(`{"next_batch":0,"changes":[{"origin":null,"media_id":"..","quarantined":null}]}`))
	f.Add([]byte(`{"next_batch":-1,"changes":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		page, err := homeserver.ParseChanges(raw)
		if err != nil {
			if kinds(err) != "upstream" || !cmp.Equal(page, homeserver.Changes{}) {
				t.Errorf("%+v beside %v", page, err)
			}
			return
		}
		var plain struct{ Changes []json.RawMessage }
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatalf("it is no JSON: %v", err)
		}
		if page.Next < 0 || page.Malformed+len(page.Changes) != len(plain.Changes) || page.More != (len(plain.Changes) > 0) {
			t.Errorf("%d records became %+v", len(plain.Changes), page)
		}
		for _, c := range page.Changes {
			if !homeserver.IsItem(c.Item) {
				t.Errorf("no item: %q", c.Item)
			}
		}
	})
}

// FuzzParseMediaInfo holds digests to their length.
func FuzzParseMediaInfo(f *testing.F) {
	f.Add([]byte(`{"media_info":{"quarantined_by":"@x:a.test","sha256":"` + strings.Repeat("00", 32) + `"}}`))
	f.Add([]byte(`{"media_info":{"quarantined_by":null,"sha256":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		info, err := homeserver.ParseMediaInfo(raw)
		if err != nil && (kinds(err) != "upstream" || !cmp.Equal(info, homeserver.MediaInfo{})) {
			t.Errorf("%+v beside %v", info, err)
		}
		if info.SHA256 != nil && len(info.SHA256) != 32 {
			t.Errorf("a digest of %d bytes", len(info.SHA256))
		}
	})
}
