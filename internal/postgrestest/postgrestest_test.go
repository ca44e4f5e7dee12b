package postgrestest_test

import (
	"net"
	"os"
	"testing"

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
