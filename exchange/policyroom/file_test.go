package policyroom

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestFilesAreRead(t *testing.T) {
	event := func(id, stateKey, content string) string {
		return `{"event_id":"` + id + `","type":"` + mediaType + `","state_key":"` + stateKey + `","sender":"@a:a","content":` + content + `}`
	}
	const rule = `{"m.pdqhash":{"hash":"` + someHash + `","quality":100}}`
	const redaction = `{"event_id":"$r","type":"m.room.redaction","sender":"@b:a","content":{"redacts":"$1"}}`
	for name, c := range map[string]struct {
		text    string
		hashes  bool
		count   []string
		refused map[Refusal]int
		problem string
	}{
		"array":                   {"[" + event("$1", "k", rule) + "," + event("$2", "l", `[]`) + "]", false, []string{"k"}, map[Refusal]int{NotAnObject: 1}, ""},
		"empty array":             {"[]\n", false, nil, nil, ""},
		"array in lines":          {"[\n" + event("$1", "k", rule) + ",\n" + event("$2", "l", rule) + "\n]\n", false, []string{"k", "l"}, nil, ""},
		"events":                  {event("$1", "k", rule) + "\n" + event("$2", "k", `{}`) + "\n", false, nil, nil, ""},
		"one event":               {event("$1", "k", rule), false, []string{"k"}, nil, ""},
		"a redaction":             {event("$1", "k", rule) + redaction, false, nil, nil, ""},
		"other events":            {`{"type":"m.room.message","event_id":"$0","content":{}}` + event("$1", "k", rule), false, []string{"k"}, nil, ""},
		"hashes":                  {someHash + "\n# comment\n\n " + strings.ToUpper(otherHash) + "\r\n", true, []string{"line 1", "line 4"}, nil, ""},
		"bad hashes":              {"x\n" + someHash + "\n" + someHash + "00", true, []string{"line 2"}, map[Refusal]int{MalformedHash: 2}, ""},
		"a comment":               {"#", true, nil, nil, ""},
		"a mark of the order":     {"\ufeff" + someHash, true, []string{"line 1"}, nil, ""},
		"a mark before an array":  {"\ufeff[]", false, nil, nil, ""},
		"the longest line":        {"#" + strings.Repeat("x", maxLine-2) + "\n" + someHash, true, []string{"line 2"}, nil, ""},
		"a line that is too long": {someHash + "\n#" + strings.Repeat("x", maxLine), true, nil, nil, "it is no list: line 2 is longer than 4096 bytes"},
		"nothing":                 {"", false, nil, nil, "it is no list: it is empty"},
		"cut off":                 {"[" + event("$1", "k", rule), false, nil, nil, "it is no list: it is cut off: EOF"},
		"cut off in an event":     {"[" + event("$1", "k", rule) + "," + event("$2", "k", rule)[:20], false, nil, nil, "it is no list: event 2: unexpected EOF"},
		"something behind":        {"[]x", false, nil, nil, "it is no list: there is something behind its end"},
		"another array":           {"[][]", false, nil, nil, "it is no list: there is something behind its end"},
		"another object":          {`{"errcode":"M_FORBIDDEN"}`, false, nil, nil, "it is no list: event 1: it has no type"},
		"lines of a bank":         {`{"type":"pdq","value":"` + someHash + `"}`, false, nil, nil, "it is no list: event 1: it has no id"},
		"no objects":              {`[7]`, false, nil, nil, "it is no list: event 1: an event must be an object"},
		"no JSON":                 {"[" + event("$1", "k", rule) + ";]", false, nil, nil, "it is no list: event 2: expected comma after array element"},
		"JSON that ends":          {event("$1", "k", rule) + "}", false, nil, nil, "it is no list: event 2: invalid character '}' looking for beginning of value"},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace([]Event{ban("$0", "before", "@a:a")})
			hashes, err := r.ReadFile(iotest.OneByteReader(strings.NewReader(c.text)))
			if hashes != c.hashes {
				t.Errorf("read as hashes: %v", hashes)
			}
			if c.problem != "" {
				if !errors.Is(err, ErrFile) || err.Error() != c.problem {
					t.Errorf("%v", err)
				}
				return
			}
			got := r.Rules(Trust{}, nil)
			if diff := cmp.Diff(c.count, keysOf(t, got.Rules)); diff != "" || err != nil {
				t.Errorf("%v, counting (-want +got):\n%s", err, diff)
			}
			if !maps.Equal(c.refused, got.Counts) {
				t.Errorf("refused %v", got.Counts)
			}
		})
	}
	broken := errors.New("broken")
	for _, begin := range []string{"", "[", "{", someHash} {
		var r Room
		if _, err := r.ReadFile(io.MultiReader(strings.NewReader(begin), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", begin, err)
		}
	}
}

func TestFilesHaveABound(t *testing.T) {
	for n, want := range map[int]error{5: nil, 6: errTooLong, 7: errTooLong} {
		got, err := io.ReadAll(&bounded{bytes.NewReader(make([]byte, n)), 6})
		if !errors.Is(err, want) || len(got) > 6 {
			t.Errorf("%d of %d bytes, %v", len(got), n, err)
		}
	}
	if err := malformed(1, fmt.Errorf("read: %w", errTooLong)); strings.Contains(err.Error(), "event 1") || !errors.Is(err, ErrFile) {
		t.Error(err)
	}
}

// Whatever a file has, it is read or refused, and what is read can be read again.
func FuzzReadFile(f *testing.F) {
	f.Add([]byte(`[{"event_id":"$1","type":"m.policy.media_hash","state_key":"k","sender":"@a:a","content":{"m.pdqhash":{"hash":"` + someHash + `","quality":100}}}]`))
	f.Add([]byte(`{"type":"m.room.redaction","event_id":"$r","redacts":"$1"}{"type":"m.room.power_levels","event_id":"$p","state_key":"","content":{"users":{"@a:a":"50"}}}`))
	f.Add([]byte(someHash + "\n# x\n" + otherHash))
	f.Add([]byte("\ufeff[]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r Room
		if _, err := r.ReadFile(bytes.NewReader(text)); err != nil {
			return
		}
		r.Warnings()
		entries := r.Entries()
		for _, e := range entries {
			if e.Key.StateKey != shorten(e.Key.StateKey) {
				t.Errorf("a key of %d bytes is kept", len(e.Key.StateKey))
			}
		}
		got := r.Rules(Trust{}, nil)
		if len(got.Rules) > len(entries) {
			t.Errorf("%d rules in %d events", len(got.Rules), len(entries))
		}
		if again := r.Rules(Trust{}, slices.Collect(maps.Keys(got.Rules))); len(again.Removed) > 0 || len(again.Rules) != len(got.Rules) {
			t.Errorf("what is banked is removed: %v", again.Removed)
		}
	})
}

func TestWriters(t *testing.T) {
	for name, c := range map[string]struct {
		state     []Event
		users     []string
		everybody bool
	}{
		"no levels":      {[]Event{created(`"11"`)}, []string{"@maker:a"}, true},
		"creators":       {[]Event{created(`"12"`), power(`{"users":{"@mod:a":50,"@weak:a":49}}`)}, []string{"@maker:a", "@mod:a", "@second:a"}, false},
		"everybody":      {[]Event{created(`"11"`), power(`{"users":{"@bad:a":-1},"users_default":50}`)}, nil, true},
		"administrators": {[]Event{created(`"11"`), power(`{"users":{"@mod:a":50,"@root:a":100},"events":{"` + mediaType + `":100}}`)}, []string{"@root:a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var r Room
			r.Replace(c.state)
			users, everybody := r.Writers(mediaType)
			if diff := cmp.Diff(c.users, users); diff != "" || everybody != c.everybody {
				t.Errorf("everybody %v (-want +got):\n%s", everybody, diff)
			}
		})
	}
}

func TestEntries(t *testing.T) {
	var r Room
	r.Replace([]Event{power(`{}`), ban("$2", "b", "@x:a"), ban("$1", "a", "@y:a"), stateEvent("$3", mediaType, "c", "@x:a", `{}`), stateEvent("$4", mediaType, "d", "@x:a", `[]`)})
	rule, _ := parse(mediaHash, ban("", "", "").Content)
	named := func(r Rule, sender string) *Rule { r.Sender = sender; return &r }
	want := []Entry{
		{Key{mediaType, "a"}, "$1", "@y:a", named(*rule, "@y:a")}, {Key{mediaType, "b"}, "$2", "@x:a", named(*rule, "@x:a")}, {Key{mediaType, "d"}, "$4", "@x:a", nil},
	}
	if diff := cmp.Diff(want, r.Entries()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
