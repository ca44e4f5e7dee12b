package main_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/internal/redistest"
)

// TestProcessesShareWhatTheyFindOut, and go on, start and end as they do otherwise
// when there is no Redis any more.
func TestProcessesShareWhatTheyFindOut(t *testing.T) {
	redis := redistest.Start(t)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"MEDIAGATE_REDIS_URL": redis.URL(), "MEDIAGATE_REDIS_KEY_FILE": path}
	picture, err := os.ReadFile("pdq/testdata/images/formats/rgb.png")
	if err != nil {
		t.Fatal(err)
	}
	scan := func(s *instance, content []byte) []byte {
		t.Helper()
		return s.ask(t, request{path: "/v1/scan", body: bytes.NewReader(content)}, http.StatusOK).body
	}
	first, second := start(t, env), start(t, env)
	want := scan(first, picture)
	const shared = `mediagate_cache_lookups_total{by="content",outcome="shared"}`
	first.await(t, "the first has told what it found out", func() bool { return len(redis.Keys(t)) > 0 })
	if got := scan(second, picture); !bytes.Equal(got, want) {
		t.Errorf("the first says %s, the second %s", want, got)
	}
	if first.metric(t, shared) != 0 || second.metric(t, shared) != 1 || second.metric(t, `mediagate_hashes_total{path="exact"}`) != 1 {
		t.Errorf("the second did not take the first one's word:\n%s", second.metrics(t))
	}
	redis.Kill(t)
	third := start(t, env)
	for _, s := range []*instance{first, second, third} {
		if got := scan(s, picture); !bytes.Equal(got, want) {
			t.Errorf("without Redis: %s, want %s", got, want)
		}
		s.signal(t)
		if err := s.wait(); err != nil {
			t.Errorf("it ended with: %v", err)
		}
	}
}
