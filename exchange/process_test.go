package exchange_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/internal/workertest"
	"mediagate/media"
)

// fetchCommand makes this test binary a process that fetches and nothing else.
const fetchCommand = "fetch-for-a-test"

// errand is what such a process is told, as JSON.
type errand struct {
	Store, Homeserver, Worker string
	// Hasty processes wait for less. Their leases last as long as is said here;
	// the rest have those of the product.
	Hasty                 bool
	Lease, Renew, StandBy time.Duration
}

// fetchAlone is the process. Its log goes to stdout.
func fetchAlone(text string) error {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	servers := homeserver.Config{
		URL: e.Homeserver, Token: secret.New(adminToken), FirstByteTimeout: patience, DownloadTimeout: patience, MinRate: 1000, RateWindow: 2 * time.Second,
	}
	home, err := homeserver.New(servers)
	if err != nil {
		return err
	}
	store, err := bank.Open(ctx, e.Store)
	if err != nil {
		return err
	}
	var limits media.Config
	if err := env.ParseWithOptions(&limits, env.Options{Environment: map[string]string{}}); err != nil {
		return err
	}
	pool := media.NewPool([]string{e.Worker}, limits)
	defer pool.Close()
	f := exchange.NewFetcher(exchange.Config{Interval: 20 * time.Millisecond, Downloads: 2}, servers, home, store, pool, slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	if e.Hasty {
		f.Hasten()
		f.SetLease(e.Lease, e.Renew, e.StandBy)
	}
	if err := f.Run(ctx); err != nil {
		return err
	}
	return store.Close()
}

// process is a running one.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once it has ended

	mu      sync.Mutex
	holders []string // the names under which it has had the lease
	lines   []string
}

// begin starts a process. It ends with the test.
func begin(t *testing.T, e errand) *process {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command("/proc/self/exe", fetchCommand, string(text)), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.read(out)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.send(syscall.SIGKILL)
		<-p.ended
		if t.Failed() {
			t.Logf("process %d:\n%s", p.cmd.Process.Pid, strings.Join(p.log(), "\n"))
		}
	})
	return p
}

// read notes what the process logs.
func (p *process) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var said struct{ Msg, Holder string }
		_ = json.Unmarshal(lines.Bytes(), &said) // a panic is no JSON
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		if said.Msg == "exchange is fetched here" {
			p.holders = append(p.holders, said.Holder)
		}
		p.mu.Unlock()
	}
}

func (p *process) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

func (p *process) send(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// halt stops a process, and returns when none of its threads runs any more: until then
// it may still take a lock.
func (p *process) halt(t *testing.T) {
	t.Helper()
	p.send(syscall.SIGSTOP)
	await(t, "the process has stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				continue // it has ended
			}
			// The name before the state is in brackets, and may have any in it.
			_, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
			if !strings.HasPrefix(state, "T") && !strings.HasPrefix(state, "Z") {
				return false
			}
		}
		return true
	})
}

// runs tells whether a process has not ended.
func (p *process) runs() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// was tells whether a process has had the lease under that name.
func (p *process) was(holder string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.holders, holder)
}

// fleet is some processes that fetch for one store.
type fleet struct {
	*synapse
	t         *testing.T
	errand    errand
	db        *sql.DB
	processes []*process
}

func newFleet(t *testing.T, at string) *fleet {
	t.Helper()
	s := startSynapse(t)
	store, err := bank.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return &fleet{synapse: s, t: t, db: openDatabase(t, at), errand: errand{
		Store: at, Homeserver: s.url(), Worker: workertest.Command(t)[0],
	}}
}

func (f *fleet) isPostgres() bool { return strings.HasPrefix(f.errand.Store, "postgres:") }

// holder is the process that has the lease, nil if none has that is known to.
func (f *fleet) holder() *process {
	f.t.Helper()
	var name string
	err := f.db.QueryRowContext(f.t.Context(), "SELECT holder FROM lease WHERE name = $1", exchange.Lease(home)).Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		f.t.Fatal(err)
	}
	i := slices.IndexFunc(f.processes, func(p *process) bool { return p.was(name) })
	if i < 0 || !f.processes[i].runs() {
		return nil
	}
	return f.processes[i]
}

// TestKilledHolderIsReplacedIn15s, with the times of the product.
func TestKilledHolderIsReplacedIn15s(t *testing.T) {
	t.Parallel()
	f := newFleet(t, location(t))
	for range 2 {
		f.processes = append(f.processes, begin(t, f.errand))
	}
	var first, second *process
	await(t, "one has the lease", func() bool { first = f.holder(); return first != nil })
	other := f.processes[1-slices.Index(f.processes, first)]
	await(t, "the other one stands by", func() bool {
		return strings.Contains(strings.Join(other.log(), "\n"), "exchange is left to another process")
	})
	first.send(syscall.SIGKILL)
	killed := time.Now()
	<-first.ended // until then it is known as the holder
	for second == nil && time.Since(killed) < 15*time.Second {
		time.Sleep(10 * time.Millisecond)
		second = f.holder()
	}
	if second != other {
		t.Fatalf("nobody has taken over in %s", time.Since(killed))
	}
	f.add(local("a"), text(1))
	f.quarantine(local("a"))
	await(t, "the successor fetches", func() bool { return f.number("SELECT COUNT(*) FROM source") == 1 })
	// One that is ended by its operator is replaced at once.
	third := begin(t, f.errand)
	f.processes = append(f.processes, third)
	await(t, "a third one stands by", func() bool {
		return strings.Contains(strings.Join(third.log(), "\n"), "exchange is left to another process")
	})
	second.send(syscall.SIGTERM)
	ended := time.Now()
	for f.holder() != third && time.Since(ended) < 8*time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	if f.holder() != third {
		t.Fatalf("nobody has taken over in %s", time.Since(ended))
	}
	if <-second.ended; second.err != nil {
		t.Errorf("ended by its operator: %v", second.err)
	}
}

func (f *fleet) number(query string) (n int64) {
	f.t.Helper()
	if err := f.db.QueryRowContext(f.t.Context(), query).Scan(&n); err != nil {
		f.t.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	return n
}
