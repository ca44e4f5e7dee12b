package bank_test

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"mediagate/bank"
)

func itemDigest(uri string) string {
	digest := sha256.Sum256([]byte(uri))
	return string(digest[:])
}

// put banks one key of the exchange LIST.
func putNamed(t *testing.T, s *bank.Store, key string, n bank.Named) error {
	t.Helper()
	return s.Commit(t.Context(), "LIST", bank.Fetched{Put: []bank.SourceContent{{Key: key, Named: n, Alone: true}}, Completed: true})
}

func TestNamesAreMatchedUntilTheirSourceGoes(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.newStore(t)
		if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "LIST", API: "x", Config: "{}", Enabled: true}); err != nil {
			t.Fatal(err)
		}
		for key, n := range map[string]bank.Named{
			"item": {Item: itemDigest("mxc://a.test/one")}, "server": {Servers: "Bad.test"},
			"port": {Servers: "odd.test:8448"}, "glob": {Servers: "*.evil.test"}, "one": {Servers: "x?.test"},
		} {
			if err := putNamed(t, s, key, n); err != nil {
				t.Fatal(err)
			}
		}
		x, live := newIndexer(s)
		want := func(server, id, types string) {
			t.Helper()
			if err := x.Refresh(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range load(t, live).Named(server, id) {
				if !m.Enabled || m.Bank.Name != "LIST" {
					t.Errorf("%+v", m)
				}
				got = append(got, string(m.Type))
			}
			if strings.Join(got, " ") != types {
				t.Errorf("mxc://%s/%s is matched by %q, want %q", server, id, got, types)
			}
		}
		want("a.test", "one", "mxc")
		want("a.test", "two", "")
		want("A.test", "one", "") // another item
		want("bad.test", "x", "server")
		want("BAD.TEST:8448", "x", "server")
		want("sub.bad.test", "x", "")
		want("odd.test:8448", "x", "server")
		want("odd.test", "x", "")
		want("odd.test:1", "x", "")
		want("a.evil.test", "x", "server")
		want("a.b.evil.test:80", "x", "server")
		want("evil.test", "x", "")
		want("a.evil.test.good", "x", "")
		want("xy.test", "x", "server")
		want("x.test", "x", "")
		if err := s.Commit(t.Context(), "LIST", bank.Fetched{Removed: []string{"item", "server"}}); err != nil {
			t.Fatal(err)
		}
		want("a.test", "one", "")
		want("bad.test", "x", "")
		if err := putNamed(t, s, "glob", bank.Named{Servers: "good.test"}); err != nil {
			t.Fatal(err)
		}
		want("a.evil.test", "x", "")
		want("good.test", "x", "server")
		if err := putNamed(t, s, "longest", bank.Named{Servers: strings.Repeat("a", 255)}); err != nil {
			t.Error(err)
		}
		for name, n := range map[string]bank.Named{
			"nothing": {}, "both": {Item: itemDigest("x"), Servers: "y"}, "short": {Item: "x"}, "long": {Servers: strings.Repeat("a", 256)},
		} {
			if err := putNamed(t, s, "bad", n); err == nil {
				t.Errorf("%s is banked", name)
			}
		}
		if err := s.Commit(t.Context(), "LIST", bank.Fetched{Put: []bank.SourceContent{{Key: "k", Named: bank.Named{Servers: "y"}, Signals: pictureSignals(1), Alone: true}}}); !errors.Is(err, bank.ErrNamed) {
			t.Errorf("a name with signals: %v", err)
		}
	})
}

// TestPatternsOfServersAreFoundAmongMany has random ones, of few letters.
func TestPatternsOfServersAreFoundAmongMany(t *testing.T) {
	s := onSQLite.newStore(t)
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "LIST", API: "x", Config: "{}", Enabled: true}); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(letters string, most int) string {
		text := make([]byte, 1+random.IntN(most))
		for i := range text {
			text[i] = letters[random.IntN(len(letters))]
		}
		return string(text)
	}
	patterns := make([]string, 1000)
	put := make([]bank.SourceContent, len(patterns))
	for i := range put {
		patterns[i] = draw("ab..*?", 6) + draw("ab..b:8", 6)
		put[i] = bank.SourceContent{Key: strconv.Itoa(i), Named: bank.Named{Servers: patterns[i]}, Alone: true}
	}
	if err := s.Commit(t.Context(), "LIST", bank.Fetched{Put: put, Completed: true}); err != nil {
		t.Fatal(err)
	}
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	found := 0
	for range 2000 {
		server := draw("ab...", 8) + []string{"", ":8", ":88"}[random.IntN(3)]
		got := make(map[int64]bool)
		matches := load(t, live).Named(server, "x")
		for _, m := range matches {
			got[m.Content] = true
		}
		want := 0
		for _, pattern := range patterns {
			if bank.MatchesServer(pattern, server) {
				want++
			}
		}
		if len(matches) != want || len(got) != want {
			t.Fatalf("%q is matched %d times by %d patterns, want %d", server, len(matches), len(got), want)
		}
		found += want
	}
	if found < 2000 {
		t.Errorf("%d were found", found)
	}
}

func FuzzServerPattern(f *testing.F) {
	f.Add("*.evil.test", "a.evil.test")
	f.Add("**?*", "x")
	f.Add("[::1]", "[::1]:80")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 255 || len(name) > 255 {
			return
		}
		if got, want := bank.GlobMatches(pattern, name), plainGlob(pattern, name); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

// plainGlob fills a table of which beginnings match.
func plainGlob(pattern, name string) bool {
	row := make([]bool, len(name)+1)
	row[0] = true
	for _, p := range []byte(pattern) {
		next := make([]bool, len(row))
		next[0] = p == '*' && row[0]
		for i := range len(name) {
			next[i+1] = p == '*' && (next[i] || row[i+1]) || (p == '?' || p == name[i]) && p != '*' && row[i]
		}
		row = next
	}
	return row[len(name)]
}
