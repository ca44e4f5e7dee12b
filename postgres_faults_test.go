package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mediagate/internal/postgrestest"
	"mediagate/internal/synapsetest"
)

// TestMatchingGoesOnWhenPostgresFails lets one PostgreSQL server fail in every way
// there is, under two mediagates: one whose banks clients change, and one that
// fetches what a Synapse quarantines. After each fault what was acknowledged is
// there, all else wholly there or wholly not, no decision is missed, and all the
// time the same is matched.
func TestMatchingGoesOnWhenPostgresFails(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	server := postgrestest.StartIn(t, disk, "max_wal_size=32MB", "min_wal_size=32MB")
	f := &faultyStore{server: server, rng: rand.New(rand.NewPCG(crashSeed, 5))}
	f.begin(t)
	f.match(t)
	run := func(name string, test func(t *testing.T)) {
		if !t.Run(name, test) {
			t.FailNow()
		}
	}
	for n := range 4 {
		run(fmt.Sprintf("seed=%d/killed=%d", crashSeed, n), func(t *testing.T) {
			f.outage(t, "failed to connect", func() { server.Kill(t) }, func() { server.Restart(t) })
		})
	}
	run("a process of it is killed", func(t *testing.T) {
		f.outage(t, "", func() {
			var all []int
			for _, text := range strings.Fields(server.Exec(t, "postgres", "SELECT pid FROM pg_stat_activity WHERE usename = '"+postgrestest.User+"' AND pid <> pg_backend_pid()")) {
				pid, err := strconv.Atoi(text)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, pid)
			}
			if err := syscall.Kill(all[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it has taken all others along", func() bool {
				return !slices.ContainsFunc(all, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
			})
			// Of the connections that broke, those that were used within the last second
			// are not looked at before they are used again.
			time.Sleep(1500 * time.Millisecond)
		}, func() {})
	})
	run("it is read-only", func(t *testing.T) {
		set := func(value string) {
			server.Exec(t, "postgres", "ALTER SYSTEM SET default_transaction_read_only = "+value)
			server.Exec(t, "postgres", "SELECT pg_reload_conf()")
		}
		f.outage(t, "read-only transaction", func() { set("on") }, func() { set("off") })
	})
	run("it hangs", func(t *testing.T) {
		f.outage(t, "does not answer", func() { server.Pause(t) }, func() {
			for _, s := range []*instance{f.curated, f.gate} {
				s.await(t, "it is not ready", func() bool { return s.readiness(t) == http.StatusServiceUnavailable })
				if a := s.ask(t, request{path: "/readyz"}, http.StatusServiceUnavailable); !bytes.Contains(a.body, []byte("the bank store cannot be read")) {
					t.Errorf("it says %q", a.body)
				}
				if age := s.metric(t, "mediagate_index_age_seconds"); age < maxAge.Seconds() {
					t.Errorf("the index is %v seconds old", age)
				}
			}
			server.Resume(t)
		})
	})
	run("its disk is full", func(t *testing.T) {
		if disk == "" {
			synapsetest.RequireOrSkip(t, "mount", errors.New("only root can mount a small disk"))
		}
		f.outage(t, "No space left on device", func() { fill(t, disk) }, func() {
			// Until here there was room in its log, without which it ends.
			var err error
			for n := 0; err == nil && n < 20; n++ {
				_, err = server.TryExec(t, "postgres", "SELECT pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()")
			}
			if err == nil {
				t.Error("the server finds room for its log")
			}
			server.Kill(t)
			if err := os.Remove(ballast(disk)); err != nil {
				t.Fatal(err)
			}
			server.Restart(t)
		})
	})
	t.Logf("%d changes were acknowledged; of those under way at a fault %d had had their effect and %d had not; %d decisions; matched %d times",
		f.acknowledged, f.had, f.hadNot, f.decisions, f.matched.count())
	if f.had+f.hadNot == 0 {
		t.Error("no change was ever under way at a fault")
	}
}

// maxAge is how old an index may be here.
const maxAge = 4 * time.Second

// faultyStore is a PostgreSQL server and who depends on it.
type faultyStore struct {
	server *postgrestest.Server
	rng    *rand.Rand
	// curated is the mediagate of the clients, and the moderation's is gate.
	curated *instance
	history
	*moderation
	databases map[*instance]string
	matched   *matching
}

func (f *faultyStore) begin(t *testing.T) {
	t.Helper()
	env := func() (map[string]string, string) {
		name := postgrestest.DatabaseOf(t, f.server.NewDatabase(t))
		return map[string]string{
			"MEDIAGATE_DATABASE_URL":      fmt.Sprintf("postgres://%s:%s@%s/%s", postgrestest.User, postgrestest.Password, f.server.Address(), name),
			"MEDIAGATE_INDEX_MAX_AGE":     maxAge.String(),
			"MEDIAGATE_MEDIA_WORKERS":     "1",
			"MEDIAGATE_EXCHANGE_INTERVAL": "100ms",
		}, name
	}
	curated, first := env()
	fetching, second := env()
	f.curated = start(t, curated)
	s := &site{hs: synapsetest.Start(t, synapsetest.Options{})}
	s.admin, s.alice = s.hs.Register(t, "admin", true), s.hs.Register(t, "alice", false)
	s.gate = start(t, s.environment(t, fetching))
	f.databases = map[*instance]string{f.curated: first, s.gate: second}
	f.moderation = &moderation{site: s, rng: rand.New(rand.NewPCG(crashSeed, 6)), banked: func(t *testing.T) int {
		t.Helper()
		n, err := strconv.Atoi(f.server.Exec(t, second, "SELECT COUNT(*) FROM mediagate.content"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}}
	for range 6 {
		f.post(t)
	}
	f.given = map[int64]bool{}
	for i := range uint64(crashClients) {
		f.clients = append(f.clients, &curator{name: fmt.Sprintf("CURATOR_%d", i), rng: rand.New(rand.NewPCG(crashSeed, 100+i)), state: state{}})
	}
}

// match banks a picture and asks for it until the test ends.
func (f *faultyStore) match(t *testing.T) {
	t.Helper()
	known := entry{PDQ: hashOf(t, realPicture).PDQ, VideoMD5: "0123456789abcdef0123456789abcdef", DisableUntil: enabled}
	f.curated.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"KNOWN"}`), http.StatusCreated)
	added := f.curated.ask(t, asJSON(http.MethodPost, "/c/bank/KNOWN/signal", fmt.Sprintf(`{"pdq":%q,"video_md5":%q,"note":""}`, known.PDQ, known.VideoMD5)), http.StatusOK)
	id := decode[struct{ ID int64 }](t, added.body).ID
	f.give(t, id)
	f.clients = append(f.clients, &curator{name: "KNOWN", state: state{"KNOWN": {id: known}}})
	f.matched = beginMatching(t, f.curated, known, id)
}

// outage lets the server fail while clients and moderators work. says is what the
// exchange's status tells meanwhile; without it the fault does not last.
func (f *faultyStore) outage(t *testing.T, says string, begin, end func()) {
	over := make(chan struct{})
	failures := map[*instance]float64{}
	for s := range f.databases {
		failures[s] = s.metric(t, failedRefreshes)
	}
	acknowledgements := 3 + f.rng.IntN(20)
	delay := time.Duration(f.rng.IntN(3000)) * time.Microsecond
	begun, worked := make(chan struct{}), make(chan int, 1)
	go func() {
		worked <- f.work(t, f.curated, acknowledgements, func() { close(begun) }, over)
	}()
	for range 1 + f.rng.IntN(4) {
		f.decide(t)
	}
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("the clients do not get on")
	}
	time.Sleep(delay) // the point of the fault, not a wait for anything
	begin()
	if says != "" {
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			f.quarantine(t) // or there may be nothing to be written
			told, _ := f.status(t)["last_error"].(string)
			if strings.Contains(told, says) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the exchange's status says %q, want %q", told, says)
			}
		}
	}
	var n int
	if says != "" {
		n = <-worked // all of them have failed
	}
	end()
	close(over)
	if says == "" {
		n = <-worked
	}
	if n < acknowledgements {
		t.Errorf("the clients stopped after %d changes", n)
	}
	for s := range f.databases {
		f.await(t, s)
	}
	f.history.check(t, f.curated)
	f.moderation.check(t)
	eventually(t, "the exchange's status tells no error", func() bool { return f.status(t)["last_error"] == nil })
	if says == "failed to connect" {
		for s, before := range failures {
			if s.metric(t, failedRefreshes) <= before || len(s.printed.lines("index cannot be refreshed")) == 0 {
				t.Error("neither metrics nor logs tell that the index was not refreshed")
			}
		}
	}
	if err := f.matched.failure(); err != nil {
		t.Fatal(err)
	}
	for s := range f.databases {
		if strings.Contains(s.printed.String(), postgrestest.Password) {
			t.Error("the password is logged")
		}
	}
}

// quarantine posts a new file and puts it into quarantine.
func (m *moderation) quarantine(t *testing.T) {
	t.Helper()
	content := fmt.Appendf(nil, "file %d", len(m.files))
	name := m.hs.Upload(t, m.alice.Token, "application/octet-stream", "x", content)
	m.files = append(m.files, file{content: content, names: []string{name}, quarantined: true})
	m.hs.Quarantine(t, m.admin.Token, name)
}

const failedRefreshes = `mediagate_index_refreshes_total{outcome="failed"}`

// await waits until an instance matches what its database holds.
func (f *faultyStore) await(t *testing.T, s *instance) {
	t.Helper()
	s.await(t, "its index is its store's", func() bool {
		epoch, err := f.server.TryExec(t, f.databases[s], "SELECT value FROM mediagate.meta WHERE key = 'epoch'")
		return err == nil && strconv.FormatFloat(s.metric(t, "mediagate_index_epoch"), 'f', -1, 64) == epoch && s.readiness(t) == http.StatusOK
	})
	// A request may still find a connection that has ended since, and says so.
	s.await(t, "its connections are new ones", func() bool {
		for range 8 {
			a, err := s.send(t.Context(), request{path: "/c/banks"})
			if err != nil || a.status != http.StatusOK && a.status != http.StatusServiceUnavailable {
				t.Errorf("%d, %v", a.status, err)
			}
			if a.status != http.StatusOK {
				return false
			}
		}
		return true
	})
}

// matching asks again and again for what must not change.
type matching struct {
	stop chan struct{}
	run  sync.WaitGroup

	mu  sync.Mutex
	n   int
	err error
}

func beginMatching(t *testing.T, s *instance, known entry, id int64) *matching {
	m := &matching{stop: make(chan struct{})}
	blocked, clean := picture(t, realPicture), picture(t, "misc/c.png")
	found := fmt.Sprintf(`{"matches":[%d]}`, id)
	questions := []struct {
		ask  func() request
		want string
	}{
		{func() request { return request{path: "/m/raw_lookup?" + lookupOf("video_md5", known.VideoMD5)} }, found},
		{func() request { return request{path: "/m/raw_lookup?" + lookupOf("pdq", known.PDQ)} }, found},
		{func() request { return request{path: "/v1/scan", body: bytes.NewReader(blocked)} }, `"outcome":"blocked"`},
		{func() request { return request{path: "/v1/scan", body: bytes.NewReader(clean)} }, `"outcome":"clean"`},
	}
	m.run.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-m.stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			q := questions[i%len(questions)]
			r := q.ask()
			a, err := s.send(t.Context(), r)
			if err == nil && (a.status != http.StatusOK || !strings.Contains(strings.ReplaceAll(string(a.body), " ", ""), q.want)) {
				err = fmt.Errorf("%s: status %d: %s, want %s", r.path, a.status, a.body, q.want)
			}
			m.mu.Lock()
			m.n++
			if m.err == nil {
				m.err = err
			}
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		close(m.stop)
		m.run.Wait()
	})
	return m
}

// failure is the first answer that was wrong, or missing.
func (m *matching) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *matching) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// smallDisk mounts one, and returns where; nothing if that is not allowed.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "disk") // a test's own has a path that is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // empty, or still in use
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "size=400m,mode=0755"); err != nil {
		t.Logf("no small disk: %v", err)
		return ""
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func ballast(disk string) string { return filepath.Join(disk, "ballast") }

// fill leaves no room on a disk.
func fill(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(ballast(disk), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, lot := range []int{1 << 20, 1 << 12} {
		block := slices.Repeat([]byte{1}, lot)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
