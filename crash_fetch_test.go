package main_test

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"mediagate/internal/synapsetest"
)

// TestFetchSurvivesKill kills mediagate again and again while an administrator
// quarantines and lets go, in the middle of fetching, committing and swapping. In
// the end, and every few crashes, the bank holds each file that is in quarantine
// once, and no other: no decision is missed, and none is applied twice.
func TestFetchSurvivesKill(t *testing.T) {
	t.Parallel()
	rounds := crashes
	if testing.Short() {
		rounds = crashesShort
	}
	s := &site{hs: synapsetest.Start(t, synapsetest.Options{})}
	s.admin, s.alice = s.hs.Register(t, "admin", true), s.hs.Register(t, "alice", false)
	dir := t.TempDir()
	env := s.environment(t, map[string]string{
		"MEDIAGATE_EXCHANGE_INTERVAL": "100ms", "MEDIAGATE_MEDIA_WORKERS": "1", "MEDIAGATE_DATABASE_URL": databaseIn(dir)["MEDIAGATE_DATABASE_URL"],
	})
	m := &moderation{site: s, rng: rand.New(rand.NewPCG(crashSeed, 77)), banked: func(t *testing.T) (n int) {
		t.Helper()
		db := openStore(t, dir)
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM content").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return n
	}}
	for range 12 {
		m.post(t)
	}
	for round := range rounds {
		ok := t.Run(fmt.Sprintf("seed=%d/crash=%d", crashSeed, round), func(t *testing.T) {
			s.gate = launch(t, env)
			if round%3 != 0 {
				s.gate.awaitReady(t)
			}
			for range 1 + m.rng.IntN(4) {
				m.decide(t)
			}
			time.Sleep(time.Duration(m.rng.IntN(200)) * time.Millisecond) // the point of the crash, not a wait for anything
			s.gate.kill()
			if waits := s.gate.printed.lines("exchange is left to another process"); len(waits) > 0 {
				t.Errorf("it waited for a process that was killed: %v", waits)
			}
			if round%10 == 9 {
				s.gate = start(t, env)
				m.check(t)
			}
		})
		if !ok {
			t.FailNow()
		}
	}
	s.gate = start(t, env)
	m.check(t)
	t.Logf("%d decisions about %d files under %d names", m.decisions, len(m.files), m.names)
}

// moderation is what an administrator has decided.
type moderation struct {
	*site
	banked    func(t *testing.T) int // how many contents there are in the database
	rng       *rand.Rand
	files     []file
	decisions int
	names     int
}

// file is one content, under one or more names. Synapse decides about contents.
type file struct {
	content     []byte
	names       []string
	quarantined bool
}

// post uploads a new file, or one that there is under another name.
func (m *moderation) post(t *testing.T) {
	t.Helper()
	m.names++
	if len(m.files) > 0 && m.rng.IntN(3) == 0 {
		f := &m.files[m.rng.IntN(len(m.files))]
		f.names = append(f.names, m.hs.Upload(t, m.alice.Token, "application/octet-stream", "x", f.content))
		return
	}
	content := make([]byte, 2000)
	for i := range content {
		content[i] = byte(m.rng.Uint32())
	}
	m.files = append(m.files, file{content: content, names: []string{m.hs.Upload(t, m.alice.Token, "application/octet-stream", "x", content)}})
}

// decide posts something, or puts a file into quarantine or takes it out.
func (m *moderation) decide(t *testing.T) {
	t.Helper()
	if m.rng.IntN(5) == 0 && m.names < 60 {
		m.post(t)
		return
	}
	m.decisions++
	f := &m.files[m.rng.IntN(len(m.files))]
	name := f.names[m.rng.IntN(len(f.names))]
	if f.quarantined = m.rng.IntN(3) != 0; f.quarantined {
		m.hs.Quarantine(t, m.admin.Token, name)
	} else {
		m.hs.Unquarantine(t, m.admin.Token, name)
	}
}

// check waits until the bank is what was decided, and looks once more whether it
// stays so.
func (m *moderation) check(t *testing.T) {
	t.Helper()
	difference := ""
	settled := func() bool {
		difference = m.difference(t)
		return difference == ""
	}
	for deadline := time.Now().Add(patience); !settled(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(difference)
		}
	}
	m.gate.ask(t, request{method: http.MethodPost, path: "/v1/exchanges/SYNAPSE_QUARANTINE/fetch"}, http.StatusAccepted)
	if !settled() {
		t.Fatal(difference)
	}
}

// difference says how the bank is not what was decided.
func (m *moderation) difference(t *testing.T) string {
	t.Helper()
	want := 0
	for i, f := range m.files {
		sum := md5.Sum(f.content)
		found := m.gate.found(t, "video_md5", hex.EncodeToString(sum[:]))
		switch {
		case f.quarantined && len(found) != 1:
			return fmt.Sprintf("file %d of %v is in quarantine and banked %d times", i, f.names, len(found))
		case !f.quarantined && len(found) != 0:
			return fmt.Sprintf("file %d of %v is not in quarantine and banked as %v", i, f.names, found)
		case f.quarantined:
			want++
		}
	}
	if banked := m.banked(t); banked != want {
		return fmt.Sprintf("%d contents are banked, want %d", banked, want)
	}
	if st := m.status(t); st["pending_items"] != 0.0 {
		return fmt.Sprintf("%v items are pending", st["pending_items"])
	}
	return ""
}
