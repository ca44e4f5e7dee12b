package exchange_test

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/exchange"
	"mediagate/internal/postgrestest"
)

const (
	takeOverSeed   = 1
	takeOverRounds = 50
	takeOverItems  = 40
)

// TestEveryChangeIsAppliedOnce lets an administrator decide while three processes
// fetch. In each round the one that has the lease is killed, or stopped until its
// lease has ended and another one has it, and then it goes on: with a page in its
// hands, or a commit on its way. In the end each item that is in quarantine is banked
// once, and no other; and what the database has noted tells that no commit was made
// twice, or by somebody whose lease was another's.
func TestEveryChangeIsAppliedOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		location func(testing.TB) string
		rounds   int
	}{
		"postgres": {postgrestest.NewDatabase, takeOverRounds},
		"sqlite":   {func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "x.db") }, takeOverRounds / 5},
	} {
		t.Run(name, func(t *testing.T) {
			c := &chaos{
				fleet: newFleet(t, tt.location(t)), rng: rand.New(rand.NewPCG(takeOverSeed, 5)),
				state: make(map[string]bool), begun: make(map[string]int),
			}
			for n := range takeOverItems {
				c.add(local(fmt.Sprint(n)), text(n))
			}
			perform(t, c.db, c.notes()...)
			for range 3 {
				c.launch()
			}
			round := 0
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, round %d", takeOverSeed, round)
				}
			}()
			for ; round < tt.rounds; round++ {
				c.moderate(1 + c.rng.IntN(5))
				p := c.holding()
				switch round % 4 {
				case 0, 2:
					c.kill(p)
				case 1:
					c.stopFetching(p)
				case 3:
					c.stopCommitting(p)
				}
				c.moderate(c.rng.IntN(3))
				if round%10 == 9 {
					c.check()
				}
			}
			c.check()
			refused, noticed := 0, 0
			for _, p := range c.processes {
				log := strings.Join(p.log(), "\n")
				refused += strings.Count(log, "commit is refused")
				noticed += strings.Count(log, "exchange is not fetched here any more")
			}
			t.Logf("%d decisions, %d processes; a lease was lost %d times, and %d commits were refused", c.decisions, len(c.processes), noticed, refused)
			if refused == 0 {
				t.Error("nobody was refused: nothing was tested")
			}
		})
	}
}

// notes lets the database note what is committed, and by whom if it knows.
func (f *fleet) notes() []string {
	const lease = "(SELECT holder FROM lease)"
	if f.isPostgres() {
		return []string{
			"CREATE TABLE noted (n BIGSERIAL, what TEXT, key TEXT, holder TEXT, process TEXT)",
			`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				INSERT INTO mediagate.noted (what, key, holder, process)
				VALUES (TG_ARGV[0], CASE TG_ARGV[0] WHEN 'checkpoint' THEN to_jsonb(NEW)->>'checkpoint' WHEN 'remove' THEN to_jsonb(OLD)->>'key' ELSE to_jsonb(NEW)->>'key' END,
					` + lease + `, current_setting('application_name'));
				RETURN NULL; END $$`,
			"CREATE TRIGGER t1 AFTER UPDATE OF checkpoint ON exchange FOR EACH ROW EXECUTE FUNCTION note('checkpoint')",
			"CREATE TRIGGER t2 AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION note('bank')",
			"CREATE TRIGGER t3 AFTER DELETE ON source FOR EACH ROW EXECUTE FUNCTION note('remove')",
		}
	}
	return []string{
		"CREATE TABLE noted (n INTEGER PRIMARY KEY, what TEXT, key TEXT, holder TEXT, process TEXT)",
		"CREATE TRIGGER t1 AFTER UPDATE OF checkpoint ON exchange BEGIN INSERT INTO noted (what, key, holder, process) VALUES ('checkpoint', new.checkpoint, " + lease + ", ''); END",
		"CREATE TRIGGER t2 AFTER INSERT ON source BEGIN INSERT INTO noted (what, key, holder, process) VALUES ('bank', new.key, " + lease + ", ''); END",
		"CREATE TRIGGER t3 AFTER DELETE ON source BEGIN INSERT INTO noted (what, key, holder, process) VALUES ('remove', old.key, " + lease + ", ''); END",
	}
}

// chaos is what happens to a fleet.
type chaos struct {
	*fleet
	rng       *rand.Rand
	state     map[string]bool // by key: is it in quarantine?
	begun     map[string]int  // by key: how often it was put there from outside
	decisions int
}

// launch starts one more process.
func (c *chaos) launch() {
	c.t.Helper()
	e := c.errand
	e.Hasty, e.Lease, e.Renew, e.StandBy = true, 300*time.Millisecond, 100*time.Millisecond, 40*time.Millisecond
	if c.isPostgres() {
		e.Store += "&application_name=" + nameOf(len(c.processes))
	}
	c.processes = append(c.processes, begin(c.t, e))
}

// nameOf is how the database knows a process.
func nameOf(number int) string { return fmt.Sprintf("process-%d", number) }

// moderate changes an administrator's mind about some items.
func (c *chaos) moderate(times int) {
	for range times {
		item, now := local(fmt.Sprint(c.rng.IntN(takeOverItems))), c.rng.IntN(3) != 0
		key := exchange.Key(item.Server, item.ID)
		if now {
			c.quarantine(item)
		} else {
			c.unquarantine(item)
		}
		if now && !c.state[key] {
			c.begun[key]++
		}
		c.state[key] = now
		c.decisions++
		time.Sleep(time.Duration(c.rng.IntN(30)) * time.Millisecond) // so that they come in several pages
	}
}

// holding waits until a process has the lease.
func (c *chaos) holding() (p *process) {
	c.t.Helper()
	await(c.t, "a process has the lease", func() bool { p = c.holder(); return p != nil })
	return p
}

// kill ends a process in the middle of whatever it does.
func (c *chaos) kill(p *process) {
	c.t.Helper()
	c.moderate(1)
	time.Sleep(time.Duration(c.rng.IntN(20)) * time.Millisecond) // the point of the crash, not a wait for anything
	p.send(syscall.SIGKILL)
	<-p.ended
	c.launch()
}

// stopFetching stops a process that is waiting for a page. Another one fetches that,
// too, and commits it, before the first one goes on.
func (c *chaos) stopFetching(p *process) {
	c.t.Helper()
	release := c.hold()
	c.moderate(1 + c.rng.IntN(3))
	await(c.t, "a page is waited for", func() bool { return c.count("held changes") > 0 })
	// In SQLite it would keep all others from writing if it was stopped while it writes.
	tx, err := c.db.BeginTx(c.t.Context(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	p.halt(c.t)
	if err := tx.Rollback(); err != nil {
		c.t.Fatal(err)
	}
	release()
	await(c.t, "another process has the lease", func() bool { other := c.holder(); return other != nil && other != p })
	// It may have been stopped while it was committing something else. Then the others
	// have to wait.
	for deadline := time.Now().Add(time.Second); c.unread() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	c.moderate(c.rng.IntN(3))
	p.send(syscall.SIGCONT)
}

// stopCommitting stops a process that is waiting for its turn to commit. It gets it
// when its lease is another's.
func (c *chaos) stopCommitting(p *process) {
	c.t.Helper()
	tx, err := c.db.BeginTx(c.t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(c.t.Context(), "UPDATE meta SET value = value WHERE key = 'epoch'")
	}
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { p.send(syscall.SIGCONT) }()
	defer func() { _ = tx.Rollback() }() // it has been, unless the test has failed
	for !c.committing(p) {
		c.moderate(1)
	}
	p.halt(c.t)
	taken := func() bool { other := c.holder(); return other != nil && other != p }
	if c.isPostgres() {
		// To take a lease is possible while somebody commits.
		await(c.t, "another process has the lease", taken)
	}
	if err := tx.Rollback(); err != nil {
		c.t.Fatal(err)
	}
	await(c.t, "another process has the lease", taken)
}

// committing tells whether a process waits for its turn to commit. SQLite does not
// know: it is given the time to.
func (c *chaos) committing(p *process) bool {
	c.t.Helper()
	if !c.isPostgres() {
		time.Sleep(200 * time.Millisecond)
		return true
	}
	return c.number("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = '"+
		nameOf(slices.Index(c.processes, p))+"'") > 0
}

// unread tells whether the stream has more than was committed.
func (c *chaos) unread() bool {
	c.t.Helper()
	var last int64
	c.change(func(st *state) { last = st.last })
	return c.text("SELECT checkpoint FROM exchange") != fmt.Sprintf(`{"from_id":%d}`, last)
}

// check waits until all that was decided is banked, and holds it to what the database
// has noted.
func (c *chaos) check() {
	c.t.Helper()
	await(c.t, "the stream is read to its end, and nothing is pending", func() bool {
		return !c.unread() && c.number("SELECT (SELECT COUNT(*) FROM pending) + (SELECT 1 - completed FROM exchange)") == 0
	})
	want := make(map[string]int)
	for key := range maps.Keys(c.state) {
		if c.state[key] {
			want[key] = 1
		}
	}
	got := make(map[string]int)
	for _, row := range c.rows("SELECT o.key, '', '', '' FROM source o JOIN signal s ON s.content = o.content AND s.type = 'md5'") {
		got[row.what]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("what is banked: (-decided +banked)\n%s", diff)
	}
	if n := c.number("SELECT COUNT(*) FROM content"); n != int64(len(want)) {
		c.t.Errorf("%d contents are banked, want %d", n, len(want))
	}
	banked := make(map[string]bool)
	begun := make(map[string]int)
	last, repeated, contents := int64(0), 0, int64(0)
	for n, row := range c.rows("SELECT what, key, holder, process FROM noted ORDER BY n") {
		switch row.what {
		case "checkpoint":
			at, _, _, err := exchange.ParseCheckpoint(row.key)
			if err != nil || at < last {
				c.t.Errorf("note %d: checkpoint %s after %d, %v", n, row.key, last, err)
			}
			if at == last {
				repeated++ // to tell that all was read
			}
			last = at
		default:
			now := row.what == "bank"
			if banked[row.key] == now {
				c.t.Errorf("note %d: %s %s, which is done", n, row.what, row.key)
			}
			if banked[row.key] = now; now {
				begun[row.key]++
				contents++
			}
		}
		if number := 0; c.isPostgres() {
			if _, err := fmt.Sscanf(row.process, "process-%d", &number); err != nil || !c.processes[number].was(row.holder) {
				c.t.Errorf("note %d: committed by %s, and the lease is that of %s", n, row.process, row.holder)
			}
		}
	}
	if repeated > 1 {
		c.t.Errorf("%d commits for the same place in the stream", repeated)
	}
	for key, n := range begun {
		if n > c.begun[key] {
			c.t.Errorf("%s was banked %d times, and quarantined %d times", key, n, c.begun[key])
		}
	}
	if made := c.number("SELECT value FROM meta WHERE key = 'content_id'"); made != contents {
		c.t.Errorf("%d contents were made for what was banked %d times", made, contents)
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// row is what was noted.
type row struct{ what, key, holder, process string }

func (c *chaos) rows(query string) (list []row) {
	c.t.Helper()
	rows, err := c.db.QueryContext(c.t.Context(), query)
	if err != nil {
		c.t.Fatal(err)
	}
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.what, &r.key, &r.holder, &r.process); err != nil {
			c.t.Fatal(err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	return list
}

func (c *chaos) text(query string) (value string) {
	c.t.Helper()
	if err := c.db.QueryRowContext(c.t.Context(), query).Scan(&value); err != nil && !errors.Is(err, sql.ErrNoRows) {
		c.t.Fatal(err)
	}
	return value
}
