package redistest_test

import (
	"net"
	"slices"
	"testing"

	"mediagate/internal/redistest"
)

func TestServerIsKilledAndComesBack(t *testing.T) {
	s := redistest.Start(t)
	s.Do(t, "SET", "saved", "1")
	s.Do(t, "SAVE")
	s.Do(t, "SET", "lost", "2")
	s.Kill(t)
	if c, err := net.Dial("tcp", s.Address()); err == nil {
		_ = c.Close()
		t.Error("a killed server takes connections")
	}
	s.Restart(t)
	if got := s.Keys(t); !slices.Equal(got, []string{"saved"}) {
		t.Errorf("%q", got)
	}
	s.Flush(t)
	if got := s.Keys(t); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
