package bank_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// ledger is what writers know of what they have written.
type ledger struct {
	mu       sync.Mutex
	returned map[byte]bool // by content: with or without an error
	run      sync.WaitGroup
}

// beginWriters lets some goroutines add contents until stop is closed.
func beginWriters(t *testing.T, s *bank.Store, stop <-chan struct{}) *ledger {
	l := &ledger{returned: make(map[byte]bool)}
	var next atomic.Int64
	for range 3 {
		l.run.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := next.Add(1)
				if n > 199 {
					return
				}
				_, err := s.AddContent(t.Context(), bank.NewContent{Bank: "A", Signals: pictureSignals(byte(n))})
				l.mu.Lock()
				l.returned[byte(n)] = err == nil
				l.mu.Unlock()
				if time.Sleep(time.Millisecond); err != nil {
					time.Sleep(500 * time.Millisecond) // or all numbers are used up before the server is back
				}
			}
		})
	}
	return l
}

// acknowledged counts what has returned without an error.
func (l *ledger) acknowledged() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ok := range l.returned {
		if ok {
			n++
		}
	}
	return n
}

// check holds a store to the ledger: what was acknowledged is there, and all that
// is there is whole.
func (l *ledger) check(t *testing.T, s *bank.Store) {
	t.Helper()
	ix := fresh(t, s)
	there := 0
	for n := range byte(200) {
		signals := pictureSignals(n)
		bySHA, byMD5 := texts(ix.SHA256([]byte(signals[0].Value))), texts(ix.MD5([]byte(signals[1].Value)))
		if len(bySHA) > 1 || len(bySHA) != len(byMD5) {
			t.Errorf("content %d is there as %v and %v", n, bySHA, byMD5)
		}
		if there += len(bySHA); l.returned[n] && len(bySHA) != 1 {
			t.Errorf("content %d was acknowledged and is lost", n)
		}
	}
	if got := ix.Len(bank.PDQ); got != there {
		t.Errorf("%d hashes of %d contents", got, there)
	}
	// One epoch for the bank, and one for each content that is there.
	if got := epochOf(t, s); got != int64(there)+1 {
		t.Errorf("epoch %d with %d contents", got, there)
	}
}

// TestServerIsKilledWhileWriting kills the whole server, which is careful here,
// several times.
func TestServerIsKilledWhileWriting(t *testing.T) {
	server := postgrestest.Start(t)
	s := openStore(t, server.NewDatabase(t))
	createBank(t, s, "A")
	stop := make(chan struct{})
	l := beginWriters(t, s, stop)
	for range 2 {
		before := l.acknowledged()
		for deadline := time.Now().Add(30 * time.Second); l.acknowledged() < before+10 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		server.Kill(t)
		server.Restart(t)
	}
	close(stop)
	l.run.Wait()
	if got := l.acknowledged(); got < 20 || got == len(l.returned) {
		t.Errorf("%d of %d were acknowledged: nothing was tested", got, len(l.returned))
	}
	l.check(t, s) // the store has found the server again
}

// TestConnectionsAreKilledWhileWriting ends connections as an administrator does,
// and a proxy.
func TestConnectionsAreKilledWhileWriting(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
	s := openStore(t, location)
	createBank(t, s, "A")
	stop := make(chan struct{})
	l := beginWriters(t, s, stop)
	for range 6 {
		before := l.acknowledged()
		for deadline := time.Now().Add(30 * time.Second); l.acknowledged() < before+3 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
	}
	close(stop)
	l.run.Wait()
	l.check(t, s)
}

// TestServerIsKilledInTheMiddleOfABatch: what was not committed is wholly absent.
func TestServerIsKilledInTheMiddleOfABatch(t *testing.T) {
	server := postgrestest.Start(t)
	s := openStore(t, server.NewDatabase(t))
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}})
	epoch := epochOf(t, s)
	err := s.ChangeSlowly(t.Context(), "X", banked("b", 2), func() { server.Kill(t) })
	if err == nil {
		t.Error("committed to a server that is not there")
	}
	if _, err := s.Epoch(t.Context()); err == nil {
		t.Error("read from a server that is not there")
	}
	server.Restart(t)
	if got := epochOf(t, s); got != epoch {
		t.Errorf("epoch %d, want %d", got, epoch)
	}
	checkCounts(t, s, "X", 1, 0)
	if contentOf(t, s, "X", 1) == 0 || contentOf(t, s, "X", 2) != 0 {
		t.Error("what is banked is not what was committed")
	}
	commit(t, s, "X", bank.Fetched{From: "1", To: "2", Put: []bank.SourceContent{banked("b", 2)}})
}

// TestCommitIsCutOff loses the connection when the commit is on its way to the
// server, and when its answer is on its way back.
func TestCommitIsCutOff(t *testing.T) {
	for name, arrives := range map[string]bool{"before it arrives": false, "before it is answered": true} {
		t.Run(name, func(t *testing.T) {
			location := postgrestest.NewDatabase(t)
			server := postgrestest.Shared(t)
			p := startProxy(t, server.Address(), arrives)
			s := openStore(t, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", postgrestest.User, postgrestest.Password, p.address, postgrestest.DatabaseOf(t, location)))
			direct := openStore(t, location)
			createBank(t, s, "A")
			p.cut.Store(true)
			_, err := s.AddContent(t.Context(), bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
			if err == nil || !strings.Contains(err.Error(), "commit: ") {
				t.Errorf("%v, want an error of the commit", err)
			}
			p.cut.Store(false)
			if p.cuts.Load() != 1 {
				t.Errorf("%d connections were cut", p.cuts.Load())
			}
			id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2)})
			want := map[bool]int{true: 1}[arrives]
			// A server that has lost its client may take a moment to notice.
			for deadline := time.Now().Add(5 * time.Second); len(fresh(t, direct).SHA256(digest(1))) != want && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			if got := fresh(t, direct).SHA256(digest(1)); len(got) != want {
				t.Errorf("%v, want %d", got, want)
			}
			if c, err := direct.Content(t.Context(), "A", id); err != nil || len(c.Signals) != 4 {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}

// proxy passes connections on. With cut, one that sends a commit is closed.
type proxy struct {
	address string
	cut     atomic.Bool
	cuts    atomic.Int64
}

func startProxy(t *testing.T, to string, arrives bool) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{address: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			var silent atomic.Bool
			go func() {
				defer func() { _ = client.Close() }()
				_, _ = io.Copy(writerFunc(func(b []byte) (int, error) {
					if silent.Load() {
						return 0, io.ErrClosedPipe
					}
					return client.Write(b)
				}), server)
			}()
			go func() {
				defer func() { _ = server.Close() }()
				_, _ = io.Copy(writerFunc(func(b []byte) (int, error) {
					if !p.cut.Load() || !bytes.Contains(b, []byte("commit\x00")) {
						return server.Write(b)
					}
					p.cuts.Add(1)
					silent.Store(true)
					if arrives {
						_, _ = server.Write(b)
						time.Sleep(100 * time.Millisecond) // or the server gives up what it has not read
					}
					_ = client.Close()
					return 0, io.ErrClosedPipe
				}), client)
			}()
		}
	}()
	return p
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
