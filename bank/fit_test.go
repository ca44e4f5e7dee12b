package bank_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
)

// TestExportOfWhatEarlierProgramsTookIsImported has contents that can no more be banked,
// and one that can.
func TestExportOfWhatEarlierProgramsTookIsImported(t *testing.T) {
	eachEngine(t, testExportOfWhatEarlierProgramsTookIsImported)
}

func testExportOfWhatEarlierProgramsTookIsImported(t *testing.T, e engine) {
	quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	long := strings.Repeat("é", 256)
	worst := `{"json":{"` + strings.Repeat(`\u007f`, 1<<20) + `":Infinity}}` // a request of 1 MiB
	for name, tt := range map[string]struct{ set, note, metadata string }{
		"infinity":        {"metadata = " + quoted(`{"json":{"a":Infinity}}`), "n", `{"json":{"unfit_metadata":"{\"json\":{\"a\":Infinity}}"}}`},
		"the longest":     {"metadata = " + quoted(worst), "n", `{"json":{"unfit_metadata":"{\"json\":{\"` + strings.Repeat(`\\u007f`, 1<<20) + `\":Infinity}}"}}`},
		"a list":          {"metadata = '[1]'", "n", `{"json":{"unfit_metadata":"[1]"}}`},
		"half an object":  {"metadata = '{'", "n", `{"json":{"unfit_metadata":"{"}}`},
		"other fields":    {"metadata = " + quoted(`{"list":"<May>"}`), "n", `{"json":{"unfit_metadata":"{\"list\":\"<May>\"}"}}`},
		"a number":        {"metadata = " + quoted(`{"json":{"a":1e400}}`), "n", `{"json":{"unfit_metadata":"{\"json\":{\"a\":1e400}}"}}`},
		"too deep":        {"metadata = " + quoted(`{"json":`+nested(101)+`}`), "n", ""},
		"a long note":     {"metadata = '', note = " + quoted(long), long[:len(long)-2], `{"json":{"unfit_note":"` + long + `"}}`},
		"both":            {"metadata = '{}', note = " + quoted(long), long[:len(long)-2], `{"json":{"unfit_note":"` + long + `","unfit_metadata":"{}"}}`},
		"far in future":   {"disable_until = 1790000000000", "n", "{}"},
		"before all time": {"disable_until = -5, created = -5", "n", "{}"},
	} {
		s, other := e.newStore(t), e.newStore(t)
		createBank(t, s, "A")
		id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1), Note: "n", Metadata: "{}"})
		addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2)})
		if err := s.Exec(t.Context(), fmt.Sprintf("UPDATE content SET %s WHERE id = %d", tt.set, id)); err != nil {
			t.Fatal(err)
		}
		export := exported(t, s)
		n, err := other.Import(t.Context(), strings.NewReader(export), bank.Import{Bank: "A", Create: true})
		if err != nil || n.Added != 2 || n.AddedOff != map[bool]int64{true: 1}[name == "far in future"] {
			t.Errorf("%s: %+v, %v", name, n, err)
			continue
		}
		got, err := other.Content(t.Context(), "A", id)
		if err != nil || got.Note != tt.note || tt.metadata != "" && got.Metadata != tt.metadata {
			t.Errorf("%s: note %.300s, metadata %.300s, %v", name, got.Note, got.Metadata, err)
		}
		// Once is enough.
		if again := exported(t, other); again != export {
			t.Errorf("%s: it changes again", name)
		}
	}
}

// TestExportOfWhatNoProgramCouldReadTellsWhere it is.
func TestExportOfWhatNoProgramCouldReadTellsWhere(t *testing.T) {
	s := onSQLite.newStore(t)
	imports(t, s, list(0, 3), bank.Import{Bank: "BAD", Create: true}, bank.Imported{Added: 3})
	for set, says := range map[string]string{
		"metadata = printf('%.*c', 9000000, 'x')":         "content 2 of bank BAD: the metadata is longer than 8388608 bytes",
		"metadata = '', note = CAST(x'610062FF' AS TEXT)": "",
	} {
		if err := s.Exec(t.Context(), "UPDATE content SET "+set+" WHERE id = 2"); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		_, err := s.Export(t.Context(), &out, nil, silent)
		if says == "" && (err != nil || !strings.Contains(out.String(), "a\uFFFDb\uFFFD")) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// TestDisabledAsFarAsTheAPITakesIsImported by a machine whose clock is behind.
func TestDisabledAsFarAsTheAPITakesIsImported(t *testing.T) {
	s := onSQLite.newStore(t)
	latest := time.Now().Add(bank.MaxDisabled)
	imports(t, s, one(fmt.Sprintf(`"disable_until":%d`, latest.Add(time.Hour).Unix())), bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 1, AddedOff: 1})
	n, err := bank.CheckImport(t.Context(), strings.NewReader(one(fmt.Sprintf(`"disable_until":%d`, latest.Add(25*time.Hour).Unix()))), bank.Import{Bank: "A"})
	if err != nil || n.Bad != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestNotesAndMetadataAtTheirLimits(t *testing.T) {
	of := func(json string) string { return `{"json":` + json + `}` }
	sized := func(n int) string { return `{"content_id":"` + strings.Repeat("x", n-len(`{"content_id":""}`)) + `"}` }
	for name, tt := range map[string]struct{ at, past error }{
		"note":  {bank.CheckNote(strings.Repeat("é", bank.MaxNote)), bank.CheckNote(strings.Repeat("é", bank.MaxNote+1))},
		"bytes": {bank.CheckMetadata(sized(bank.MaxMetadata)), bank.CheckMetadata(sized(bank.MaxMetadata + 1))},
		// The metadata is the first level, and what it holds one below.
		"depth":  {bank.CheckMetadata(of(nested(bank.MaxDepth - 1))), bank.CheckMetadata(of(nested(bank.MaxDepth)))},
		"digits": {bank.CheckMetadata(of(`{"a":` + strings.Repeat("9", bank.MaxDigits) + `}`)), bank.CheckMetadata(of(`{"a":` + strings.Repeat("9", bank.MaxDigits+1) + `}`))},
		"number": {bank.CheckMetadata(of(`{"a":1e308}`)), bank.CheckMetadata(of(`{"a":1e309}`))},
	} {
		if tt.at != nil {
			t.Errorf("%s at the limit: %v", name, tt.at)
		}
		if tt.past == nil {
			t.Errorf("%s one past the limit is taken", name)
		}
	}
}
