package synapsetest

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// FreeAddress returns 127.0.0.1 with a port that nobody listens on. For a minute
// the kernel gives it to nobody who does not ask for it by number: neither to
// connections nor to other listeners on port 0, in whatever process.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it has served
	address := l.Addr().String()
	// A connection in TIME_WAIT is in the way of everybody but those who name the
	// port and set SO_REUSEADDR, as servers do.
	dialed, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dialed.Close() }() // it has served
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// The side that closes first waits.
	if err := errors.Join(accepted.Close(), dialed.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	if _, err := dialed.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("read from the closed connection: %v", err)
	}
	return address
}

// port is what stands behind the last colon.
func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
