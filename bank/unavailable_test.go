package bank_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// TestUnavailableIsWhatTimeHeals asks a server that goes away, comes back, refuses to
// write and refuses the user.
func TestUnavailableIsWhatTimeHeals(t *testing.T) {
	server := postgrestest.Start(t)
	location := server.NewDatabase(t)
	name := postgrestest.DatabaseOf(t, location)
	s := openStore(t, location)
	expect := func(what string, err error, unavailable bool) {
		t.Helper()
		if err == nil || bank.IsUnavailable(err) != unavailable || bank.IsUnavailable(fmt.Errorf("wrapped: %w", err)) != unavailable {
			t.Errorf("%s: unavailable: %v: %v", what, bank.IsUnavailable(err), err)
		}
	}
	_, err := s.Bank(t.Context(), "NONE")
	expect("no such bank", err, false)
	_, err = s.CreateBank(t.Context(), bank.Bank{Name: "lower"})
	expect("bad name", err, false)
	expect("an answer that breaks off", bank.Ended(t.Context()), true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Banks(ctx)
	expect("given up", err, false)

	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	readOnly := openStore(t, location)
	_, err = readOnly.CreateBank(t.Context(), bank.Bank{Name: "A"})
	expect("read-only", err, true)
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = off")

	if _, err := readOnly.Banks(t.Context()); err != nil {
		t.Errorf("what is read-only cannot be read: %v", err)
	}
	server.Kill(t)
	for range 10 { // the first find connections that were there, the others none
		_, err = s.Banks(t.Context())
		expect("read while it is away", err, true)
		_, err = s.CreateBank(t.Context(), bank.Bank{Name: "A"})
		expect("write while it is away", err, true)
	}
	expect("open while it is away", errorOf(bank.Open(t.Context(), location)), true)
	server.Restart(t)
	if _, err := s.CreateBank(t.Context(), bank.Bank{Name: "A"}); err != nil {
		t.Error(err)
	}
	expect("wrong password", errorOf(bank.Open(t.Context(), fmt.Sprintf("postgres://%s:wrong@%s/%s", postgrestest.User, server.Address(), name))), false)
	expect("no such database", errorOf(bank.Open(t.Context(), strings.Replace(location, name, "none", 1))), false)

	expect("no folder", errorOf(bank.Open(t.Context(), "sqlite:/proc/none/x.db")), false)
	for _, other := range []error{io.EOF, io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: errors.New("x")}, context.DeadlineExceeded, bank.ErrNotReady} {
		expect("of something else", other, false)
	}
	if bank.IsUnavailable(nil) {
		t.Error("nothing is unavailable")
	}
}

// TestUnavailableFile is one that somebody else writes to.
func TestUnavailableFile(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for i := range 2 {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, err = c.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		if (err != nil) != (i == 1) || bank.IsUnavailable(err) != (i == 1) || bank.IsLocked(err) != (i == 1) {
			t.Errorf("writer %d: %v", i, err)
		}
	}
}
