package bank_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/postgrestest"
)

// TestDatabasesOfOthersAreLeftAlone opens stores where somebody else's tables are.
func TestDatabasesOfOthersAreLeftAlone(t *testing.T) {
	const hma = `CREATE TABLE bank (id BIGINT, name TEXT); INSERT INTO bank VALUES (1, 'HMA'); CREATE TABLE exchange (id BIGINT); CREATE TABLE schema_version (version BIGINT)`
	t.Run("HMA's beside ours", func(t *testing.T) {
		location := postgrestest.NewDatabase(t)
		name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
		server.Exec(t, name, hma)
		s := openStore(t, location)
		createExchange(t, s, "X")
		addContent(t, s, bank.NewContent{Bank: "X", Signals: pictureSignals(1)})
		if err := s.DeleteBank(t.Context(), "HMA"); err != nil {
			t.Error(err)
		}
		if got := server.Exec(t, name, "SELECT id, name FROM public.bank"); got != "1|HMA" {
			t.Errorf("HMA's banks: %q", got)
		}
		if got := server.Exec(t, name, "SELECT COUNT(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"); got != "3" {
			t.Errorf("%s tables are where HMA's are", got)
		}
	})
	t.Run("in our schema", func(t *testing.T) {
		location := postgrestest.NewDatabase(t)
		name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
		server.Exec(t, name, "CREATE SCHEMA mediagate CREATE TABLE users (id BIGINT)")
		if _, err := bank.Open(t.Context(), location); err == nil || !strings.Contains(err.Error(), "not mediagate's") {
			t.Errorf("%v", err)
		}
		if got := server.Exec(t, name, "SELECT relname FROM pg_class WHERE relnamespace = 'mediagate'::regnamespace"); got != "users" {
			t.Errorf("tables %q", got)
		}
	})
	t.Run("in a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "homeserver.db")
		if err := bank.CreateVersion(t.Context(), "sqlite:"+path, 0, "DROP TABLE schema_version; CREATE TABLE users (id BIGINT)"); err != nil {
			t.Fatal(err)
		}
		if _, err := bank.Open(t.Context(), "sqlite:"+path); err == nil || !strings.Contains(err.Error(), "not mediagate's") {
			t.Errorf("%v", err)
		}
	})
}

// checkPrivate fails if an error tells a password, or any part of a URL.
func checkPrivate(t *testing.T, err error, hidden ...string) {
	t.Helper()
	if err == nil {
		t.Error("there is no error")
		return
	}
	for _, part := range hidden {
		if strings.Contains(err.Error(), part) {
			t.Errorf("the error has %q: %v", part, err)
		}
	}
}

func TestPostgresURLsAreNotRepeated(t *testing.T) {
	for _, location := range []string{
		"postgres://u:c4nary@h:port/db", "postgres://u:c4nary@h/db?sslmode=c4nary", "postgres://u:%zzc4nary@h/db", "postgresql://u:c4nary/c4nary@h/db",
		"postgres://u:c4nary@h/db?search_path=c4nary", "postgres://h/db?connect_timeout=c4nary", "postgres://h/db?sslpassword=c4nary&sslmode=x", "postgres+x://u:c4nary@h/db",
	} {
		for what, err := range map[string]error{"check": bank.CheckLocation(location), "open": errorOf(bank.Open(t.Context(), location))} {
			if checkPrivate(t, err, "c4nary"); t.Failed() {
				t.Fatal(what, location)
			}
		}
	}
	for _, location := range []string{"postgres://u:p@h/db", "postgresql://u@h:5433/db?sslmode=verify-full", "postgres:///db?host=/run/postgresql", "postgres://a:1,b:2/db?target_session_attrs=read-write"} {
		if err := bank.CheckLocation(location); err != nil {
			t.Errorf("%s: %v", location, err)
		}
	}
}

func TestAddPassword(t *testing.T) {
	const odd = "p@ss w/%:?&=+'\u00e9"
	server := postgrestest.Shared(t)
	name := postgrestest.DatabaseOf(t, postgrestest.NewDatabase(t))
	server.Exec(t, name, "CREATE ROLE odd LOGIN PASSWORD '"+strings.ReplaceAll(odd, "'", "''")+"'; GRANT CREATE ON DATABASE "+name+" TO odd")
	for _, location := range []string{"postgres://odd@" + server.Address() + "/" + name, "postgres://odd@" + server.Address() + "/" + name + "?sslmode=disable"} {
		checkPrivate(t, errorOf(bank.Open(t.Context(), location)), odd) // without it
		with, err := bank.AddPassword(location, odd)
		if err != nil {
			t.Fatal(err)
		}
		openStore(t, with)
		wrong, err := bank.AddPassword(location, "wr0ng-c4nary")
		if err != nil {
			t.Fatal(err)
		}
		err = errorOf(bank.Open(t.Context(), wrong))
		if checkPrivate(t, err, "c4nary"); !strings.Contains(err.Error(), "password authentication failed") {
			t.Errorf("%v", err)
		}
	}
	for _, location := range []string{"sqlite:x.db", "postgres://u:p@h/db", "postgres://h/db?password=p", "postgres://h/db?%zz"} {
		if with, err := bank.AddPassword(location, "x"); err == nil {
			t.Errorf("%s becomes %s", location, with)
		}
	}
}

func TestDatabaseMustHaveUnicode(t *testing.T) {
	location := postgrestest.Shared(t).NewDatabase(t, "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
	if _, err := bank.Open(t.Context(), location); err == nil || !strings.Contains(err.Error(), "SQL_ASCII") {
		t.Errorf("%v", err)
	}
}

// TestUserWithoutRights may use a schema that an administrator has made, and is
// told how if there is none.
func TestUserWithoutRights(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
	server.Exec(t, name, "CREATE ROLE guarded LOGIN PASSWORD 'p'")
	mine := "postgres://guarded:p@" + server.Address() + "/" + name
	if _, err := bank.Open(t.Context(), mine); err == nil || !strings.Contains(err.Error(), "CREATE SCHEMA mediagate AUTHORIZATION") {
		t.Errorf("%v", err)
	}
	server.Exec(t, name, "CREATE SCHEMA mediagate AUTHORIZATION guarded")
	createBank(t, openStore(t, mine), "A")
}

// TestTextsAreOrderedByTheirBytes in a database whose locale orders otherwise.
func TestTextsAreOrderedByTheirBytes(t *testing.T) {
	server := postgrestest.Shared(t)
	if server.Exec(t, "postgres", "SELECT COUNT(*) FROM pg_collation WHERE collname = 'en-x-icu'") == "0" {
		t.Skip("this PostgreSQL knows no other locales")
	}
	location := server.NewDatabase(t, "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C.UTF-8'")
	name := postgrestest.DatabaseOf(t, location)
	if got := server.Exec(t, name, "SELECT 'b' < 'C'"); got != "t" {
		t.Fatal("the locale is not what the test is about")
	}
	s := openStore(t, location)
	createExchange(t, s, "X")
	var all []bank.Pending
	for _, key := range []string{"b", "C", "\u00e9", "a", "B"} {
		all = append(all, pending(key, "hash"))
	}
	commit(t, s, "X", bank.Fetched{Pending: all})
	list, err := s.Pending(t.Context(), "X", time.Now(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, p := range list {
		got += p.Key
	}
	if got != "BCab\u00e9" {
		t.Errorf("%q", got)
	}
	if left := server.Exec(t, name, `SELECT relname, attname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
		WHERE relnamespace = 'mediagate'::regnamespace AND atttypid = 'text'::regtype AND attcollation <> '"C"'::regcollation`); left != "" {
		t.Errorf("ordered by the locale: %s", left)
	}
}

// TestSessionSettings: what the operator has set for all must not cost what was
// committed, nor let a lost process hold up the others; what the URL says holds.
func TestSessionSettings(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
	server.Exec(t, name, "ALTER DATABASE "+name+" SET synchronous_commit = off; ALTER DATABASE "+name+" SET lock_timeout = 0")
	s := openStore(t, location+"&statement_timeout=77s")
	for setting, want := range map[string]string{
		"synchronous_commit": "on", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "10s", "statement_timeout": "77s",
		"search_path": "mediagate", "application_name": "mediagate", "client_connection_check_interval": "5s",
	} {
		if got, err := s.Query(t.Context(), "SHOW "+setting); err != nil || got != want {
			t.Errorf("%s = %s, %v, want %s", setting, got, err, want)
		}
	}
	server.Exec(t, name, "ALTER DATABASE "+name+" SET synchronous_commit = remote_apply")
	if got, err := openStore(t, location).Query(t.Context(), "SHOW synchronous_commit"); err != nil || got != "remote_apply" {
		t.Errorf("%s, %v: more was asked for, and not given", got, err)
	}
}

// TestReadOnlyDatabase is a standby, or a full disk that somebody has reacted to.
func TestReadOnlyDatabase(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
	s := openStore(t, location)
	createBank(t, s, "A")
	id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	setReadOnly := func(on string) {
		server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = "+on)
		server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
	}
	setReadOnly("on")
	again := openStore(t, location) // as after a restart
	for _, s := range []*bank.Store{s, again} {
		var err error
		for range 3 { // connections that were ended say so first
			if _, err = s.AddContent(t.Context(), bank.NewContent{Bank: "A", Signals: pictureSignals(2)}); err == nil {
				t.Fatal("a read-only database takes a content")
			}
		}
		if !strings.Contains(err.Error(), "read-only") {
			t.Errorf("%v", err)
		}
		if c, err := s.Content(t.Context(), "A", id); err != nil || len(c.Signals) != 4 {
			t.Errorf("%+v, %v", c, err)
		}
		if got := fresh(t, s).SHA256(digest(1)); len(got) != 1 {
			t.Errorf("%v", got)
		}
	}
	setReadOnly("off")
	awaitWrites(t, s)
}

// awaitWrites waits until a store that was in trouble works.
func awaitWrites(t *testing.T, s *bank.Store) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := s.AddContent(t.Context(), bank.NewContent{Bank: "A", Signals: pictureSignals(200)})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not recover: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestStoppedWriterIsPutAside holds the lock without doing anything, as a process
// that was stopped.
func TestStoppedWriterIsPutAside(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	s, other := openStore(t, location+"&idle_in_transaction_session_timeout=300ms"), openStore(t, location)
	createExchange(t, s, "X")
	err := s.ChangeSlowly(t.Context(), "X", banked("late", 1), func() {
		commit(t, other, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("quick", 2)}})
	})
	if err == nil {
		t.Error("the stopped one has committed what nobody waited for")
	}
	if contentOf(t, other, "X", 1) != 0 || contentOf(t, other, "X", 2) == 0 {
		t.Error("what is banked is not what was committed")
	}
	commit(t, s, "X", bank.Fetched{From: "1", To: "2", Put: []bank.SourceContent{banked("late", 1)}})
}

// TestDeadlineEndsAWait: whoever waits for the lock gives up in time, and its store
// goes on.
func TestDeadlineEndsAWait(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	s, other := openStore(t, location), openStore(t, location)
	createExchange(t, s, "X")
	err := s.ChangeSlowly(t.Context(), "X", banked("a", 1), func() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := other.EnableExchange(ctx, "X", false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if !exchangeOf(t, other, "X").Enabled {
			t.Error("what was given up took place")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.EnableExchange(t.Context(), "X", false); err != nil {
		t.Error(err)
	}
	if exchangeOf(t, s, "X").Enabled || contentOf(t, s, "X", 1) == 0 {
		t.Error("not what was committed")
	}
}

// TestPasswordFileOfPostgres is read as PostgreSQL's own programs read it.
func TestPasswordFileOfPostgres(t *testing.T) {
	location := postgrestest.NewDatabase(t)
	name, server := postgrestest.DatabaseOf(t, location), postgrestest.Shared(t)
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("127.0.0.1:*:*:"+postgrestest.User+":"+postgrestest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	openStore(t, "postgres://"+postgrestest.User+"@"+server.Address()+"/"+name+"?passfile="+url.QueryEscape(file))
}
