package media_test

import (
	"errors"
	"strings"
	"testing"

	"mediagate/media"
)

func TestParseURI(t *testing.T) {
	tests := map[string]struct {
		in   string
		want media.URI // zero: malformed
	}{
		"plain":              {"mxc://example.org/AbC_123-x", media.URI{Server: "example.org", ID: "AbC_123-x"}},
		"port":               {"mxc://localhost:8448/a", media.URI{Server: "localhost:8448", ID: "a"}},
		"IPv4":               {"mxc://127.0.0.1:80/a", media.URI{Server: "127.0.0.1:80", ID: "a"}},
		"IPv6":               {"mxc://[::1]:8448/a", media.URI{Server: "[::1]:8448", ID: "a"}},
		"preview":            {"mxc://a/2026-11-21_DxgBBoCRMXYycxNI", media.URI{Server: "a", ID: "2026-11-21_DxgBBoCRMXYycxNI"}},
		"Dendrite":           {"mxc://a/abc=", media.URI{Server: "a", ID: "abc="}},
		"longest id":         {"mxc://a/" + strings.Repeat("a", 255), media.URI{Server: "a", ID: strings.Repeat("a", 255)}},
		"longest server":     {"mxc://" + strings.Repeat("a", 255) + "/a", media.URI{Server: strings.Repeat("a", 255), ID: "a"}},
		"id too long":        {"mxc://a/" + strings.Repeat("a", 256), media.URI{}},
		"server too long":    {"mxc://" + strings.Repeat("a", 256) + "/a", media.URI{}},
		"name and port long": {"mxc://" + strings.Repeat("a", 250) + ":12345/a", media.URI{}},
		"no id":              {"mxc://example.org", media.URI{}},
		"empty id":           {"mxc://example.org/", media.URI{}},
		"empty server":       {"mxc:///a", media.URI{}},
		"two segments":       {"mxc://a/b/c", media.URI{}},
		"trailing slash":     {"mxc://a/b/", media.URI{}},
		"query":              {"mxc://a/b?x=1", media.URI{}},
		"fragment":           {"mxc://a/b#c", media.URI{}},
		"percent":            {"mxc://a/%61", media.URI{}},
		"dots":               {"mxc://a/..", media.URI{}},
		"dots as server":     {"mxc://../a", media.URI{}},
		"dot as server":      {"mxc://./a", media.URI{}},
		"other scheme":       {"https://a/b", media.URI{}},
		"upper-case scheme":  {"MXC://a/b", media.URI{}},
		"user":               {"mxc://u@a/b", media.URI{}},
		"underscore":         {"mxc://a_b/c", media.URI{}},
		"long port":          {"mxc://a:123456/b", media.URI{}},
		"empty port":         {"mxc://a:/b", media.URI{}},
		"newline":            {"mxc://a/b\n", media.URI{}},
		"NUL":                {"mxc://a/b\x00", media.URI{}},
		"non-ASCII":          {"mxc://a/é", media.URI{}},
		"empty":              {"", media.URI{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := media.ParseURI(tt.in)
			if got != tt.want || (tt.want == media.URI{}) != errors.Is(err, media.ErrMalformed) {
				t.Errorf("ParseURI(%q) = %v, %v", tt.in, got, err)
			}
			if err == nil && got.String() != tt.in {
				t.Errorf("ParseURI(%q).String() = %q", tt.in, got)
			}
		})
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("mxc://[::1]:8448/a")
	f.Add("mxc://a/b/../c")
	f.Fuzz(func(t *testing.T, in string) {
		u, err := media.ParseURI(in)
		if err != nil {
			return
		}
		if u.String() != in {
			t.Errorf("%q is read as %q", in, u)
		}
		if strings.ContainsAny(u.Server+u.ID, "/?#%\\@ \t\r\n\x00") || u.Server == "" || u.ID == "" {
			t.Errorf("%q passes as %#v", in, u)
		}
	})
}
