package bank_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"mediagate/bank"
)

// offAndOn exports a bank that has one hash twice, first turned off and then banked
// again, with so many contents between them.
func offAndOn(t *testing.T, e engine, between int) string {
	t.Helper()
	s := e.newStore(t)
	imports(t, s, one(`"created":1700000000,"disable_until":0`), bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 1, AddedOff: 1})
	if between > 0 {
		imports(t, s, list(0, between), bank.Import{Bank: "A"}, bank.Imported{Added: int64(between)})
	}
	again, err := bank.ParseSignal(bank.PDQ, hex64)
	if err != nil {
		t.Fatal(err)
	}
	addContent(t, s, bank.NewContent{Bank: "A", Signals: []bank.Signal{again}})
	return exported(t, s, "A")
}

// blocked tells whether the hash of offAndOn is matched.
func blocked(t *testing.T, s *bank.Store) bool {
	t.Helper()
	on := fmt.Sprintf("SELECT COUNT(*) FROM content c JOIN signal s ON s.content = c.id WHERE c.disable_until = 1 AND s.value = "+blobOf(s), hex64)
	n, err := s.Query(t.Context(), on)
	if err != nil {
		t.Fatal(err)
	}
	return n != "0"
}

// blobOf spells bytes, given in hexadecimal digits, for the engine of a store.
func blobOf(s *bank.Store) string {
	if s.OnSQLite() {
		return "x'%s'"
	}
	return `'\x%s'`
}

func TestWhatWasBankedAgainIsImportedOn(t *testing.T) {
	eachEngine(t, testWhatWasBankedAgainIsImportedOn)
}

func testWhatWasBankedAgainIsImportedOn(t *testing.T, e engine) {
	for name, between := range map[string]int{"in one batch": 0, "in two batches": 1500} {
		t.Run(name, func(t *testing.T) {
			export, all := offAndOn(t, e, between), int64(between+2)
			into := bank.Import{Bank: "B", Create: true}
			s := e.newStore(t)
			imports(t, s, export, into, bank.Imported{Added: all, AddedOff: 1})
			if !blocked(t, s) {
				t.Error("it is turned off")
			}
			imports(t, s, export, into, bank.Imported{Skipped: all})
			// What somebody turns off here stays off.
			if err := s.Exec(t.Context(), "UPDATE content SET disable_until = 0"); err != nil {
				t.Fatal(err)
			}
			imports(t, s, export, into, bank.Imported{Skipped: all, SkippedOff: all - 1})
			if blocked(t, s) {
				t.Error("it is turned on again")
			}
			// It also does if it came from elsewhere.
			s = e.newStore(t)
			imports(t, s, one(`"disable_until":0`), into, bank.Imported{Added: 1, AddedOff: 1})
			imports(t, s, export, into, bank.Imported{Added: int64(between), Skipped: 2, SkippedOff: 1})
			if blocked(t, s) {
				t.Error("it is turned on")
			}
		})
	}
}

func TestWhatWasBankedAgainIsImportedOnAfterABreak(t *testing.T) {
	eachEngine(t, testWhatWasBankedAgainIsImportedOnAfterABreak)
}

// testWhatWasBankedAgainIsImportedOnAfterABreak breaks an import off between the
// content that is off and the one that is on.
func testWhatWasBankedAgainIsImportedOnAfterABreak(t *testing.T, e engine) {
	export := offAndOn(t, e, 1500)
	s := e.newStore(t)
	into := bank.Import{Bank: "B", Create: true}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	half := export[:len(export)*4/5]
	n, err := s.Import(ctx, io.MultiReader(strings.NewReader(half), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, io.EOF
	})), into)
	if !errors.Is(err, context.Canceled) || n.Added != 1000 || n.AddedOff != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	imports(t, s, export, into, bank.Imported{Added: 502, Skipped: 1000})
	if !blocked(t, s) {
		t.Error("it is turned off")
	}
}

// TestNullIsAsIfItWereLeftOut banks a hash with nothing said about it, in two ways.
func TestNullIsAsIfItWereLeftOut(t *testing.T) {
	var got [2]string
	for i, text := range []string{
		one(`"created":7`),
		`{"type":"pdq","value":"` + hex64 + `","quality":null,"hasher":null,"variant":null,"signals":null,"id":null,"bank":null,` +
			`"disable_until":null,"note":null,"metadata":null,"end":null,"banks":null,"created":7}`,
	} {
		s := onSQLite.newStore(t)
		imports(t, s, text, bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 1})
		got[i] = exported(t, s)
	}
	if got[0] != got[1] || !strings.Contains(got[1], `"disable_until":1,`) || strings.Contains(got[1], "quality") {
		t.Errorf("%s\n%s", got[0], got[1])
	}
}
