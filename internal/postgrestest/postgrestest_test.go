package postgrestest_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"mediagate/internal/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Tests{M: m}.Run()) }

func TestServerIsKilledAndComesBack(t *testing.T) {
	s := postgrestest.Start(t)
	name := postgrestest.DatabaseOf(t, s.NewDatabase(t))
	s.Exec(t, name, "CREATE TABLE kept (n BIGINT); INSERT INTO kept VALUES (7), (8)")
	s.Kill(t)
	if c, err := net.Dial("tcp", s.Address()); err == nil {
		_ = c.Close()
		t.Error("a killed server takes connections")
	}
	s.Restart(t)
	if got := s.Exec(t, name, "SELECT n, n + 1 FROM kept ORDER BY n"); got != "7|8\n8|9" {
		t.Errorf("%q", got)
	}
}

func TestDatabasesAreApart(t *testing.T) {
	s := postgrestest.Shared(t)
	for range 2 {
		s.Exec(t, postgrestest.DatabaseOf(t, postgrestest.NewDatabase(t)), "CREATE TABLE mine (n BIGINT)")
	}
}

func TestServerIsPausedAndGoesOn(t *testing.T) {
	s := postgrestest.Start(t)
	asked := func() error {
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }() // it has served
		if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		// Whether it would encrypt.
		if _, err := c.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
			t.Fatal(err)
		}
		_, err = c.Read(make([]byte, 1))
		return err
	}
	s.Pause(t)
	if err := asked(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a paused server answers, or refuses: %v", err)
	}
	s.Resume(t)
	if got := s.Exec(t, "postgres", "SELECT 7"); got != "7" {
		t.Errorf("%q", got)
	}
}
