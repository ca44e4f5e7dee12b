package bank_test

import (
	"os"
	"path/filepath"
	"testing"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Tests{M: m}.Run()) }

// engine is a database that stores can be in. What a store does is tested on each.
type engine struct {
	name string
	// location returns the URL of a store that is not there yet.
	location func(t testing.TB) string
	// blob writes bytes in a statement, in its hexadecimal digits.
	blob string
}

var (
	onSQLite = engine{"sqlite", func(t testing.TB) string {
		return "sqlite:" + filepath.Join(t.TempDir(), "new folder", "100%?#.db")
	}, "x'%x'"}
	onPostgres = engine{"postgres", postgrestest.NewDatabase, `'\x%x'`}
)

// eachEngine runs a test on every engine that this machine has.
func eachEngine(t *testing.T, test func(t *testing.T, e engine)) {
	for _, e := range []engine{onSQLite, onPostgres} {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
	}
}

func (e engine) newStore(t testing.TB) *bank.Store {
	t.Helper()
	return openStore(t, e.location(t))
}

func openStore(t testing.TB, location string) *bank.Store {
	t.Helper()
	s, err := bank.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
