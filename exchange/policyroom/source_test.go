package policyroom

import (
	"errors"
	"testing"
)

func TestSourcesAreRead(t *testing.T) {
	for text, want := range map[string]struct {
		key Key
		id  string
	}{
		"m.policy.media_hash/k/$1":        {Key{"m.policy.media_hash", "k"}, "$1"},
		"m.policy.media_hash//$1":         {Key{"m.policy.media_hash", ""}, "$1"},
		"m.policy.media_hash/a%2Fb/$1":    {Key{"m.policy.media_hash", "a/b"}, "$1"},
		"m.policy.media_hash/%F0%9F%98/$": {Key{"m.policy.media_hash", "\xf0\x9f\x98"}, "$"},
		"m.policy.media_hash/k/$1/2+3":    {Key{"m.policy.media_hash", "k"}, "$1/2+3"}, // an id of room version 3
		"m.policy.media_hash/k/$1:a.org":  {Key{"m.policy.media_hash", "k"}, "$1:a.org"},
	} {
		key, id, err := ParseSource(text)
		if key != want.key || id != want.id || err != nil {
			t.Errorf("%s: %+v, %q, %v", text, key, id, err)
		}
		if got := want.key.Source(want.id); got != text {
			t.Errorf("%s is written %s", text, got)
		}
	}
	for _, text := range []string{"", "/", "//", "a", "a/b", "a/b/", "/b/$1", "a/%/$1", "a/%zz/$1", "a/%2f/$1", "a/%61/$1", "a/b c/$1"} {
		if key, id, err := ParseSource(text); !errors.Is(err, ErrSource) || key != (Key{}) || id != "" {
			t.Errorf("%q: %+v, %q, %v", text, key, id, err)
		}
	}
}

// What is read as one source is that one, and no text is another's.
func FuzzParseSource(f *testing.F) {
	f.Add("m.policy.media_hash/k/$1", "m.policy.media_hash", "k", "$1")
	f.Add("m.policy.media_hash/a%2Fb/$1/2", "m.policy.media_hash", "a/b", "$1/2")
	f.Add("a/%/b", "a", "%/é\xff", "")
	f.Fuzz(func(t *testing.T, text, eventType, stateKey, id string) {
		if key, id, err := ParseSource(text); err == nil && key.Source(id) != text {
			t.Errorf("%q is read as that of %+v, %q", text, key, id)
		}
		if _, known := kinds[eventType]; !known || id == "" {
			return
		}
		key := Key{eventType, stateKey}
		if back, event, err := ParseSource(key.Source(id)); back != key || event != id || err != nil {
			t.Errorf("%+v, %q: %+v, %q, %v", key, id, back, event, err)
		}
	})
}
