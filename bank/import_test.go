package bank_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
)

// exported returns the lines of an export of some banks, or of all.
func exported(t testing.TB, s *bank.Store, names ...string) string {
	t.Helper()
	var out bytes.Buffer
	n, err := s.Export(t.Context(), &out, names, silent)
	if lines := int64(strings.Count(out.String(), "\n")); err != nil || lines != n+2 {
		t.Fatalf("%d contents in %d lines, %v", n, lines, err)
	}
	return out.String()
}

// numbers are what an import does not take over, and the digest that holds them.
var numbers = regexp.MustCompile(`"id":\d+,|"sha256":"[0-9a-f]{64}"}\n`)

// unnumbered returns the lines without those, in an order that needs none.
func unnumbered(export string) []string {
	lines := strings.Split(numbers.ReplaceAllString(export, ""), "\n")
	slices.Sort(lines)
	return lines
}

func imports(t testing.TB, s *bank.Store, text string, x bank.Import, want bank.Imported) {
	t.Helper()
	tried, err := s.TryImport(t.Context(), strings.NewReader(text), x)
	if err != nil || !cmp.Equal(tried, want) {
		t.Errorf("tried, %+v, %v, want %+v", tried, err, want)
	}
	got, err := s.Import(t.Context(), strings.NewReader(text), x)
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

// list is one of single hashes, in the plainest form.
func list(from, to int) string {
	var out strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&out, `{"type":"pdq","value":"%064x"}`+"\n", n)
	}
	return out.String()
}

func contents(t testing.TB, s *bank.Store, name string) int64 {
	t.Helper()
	banks, err := s.CountBanks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(banks, func(b bank.Census) bool { return b.Name == name })
	if i < 0 {
		return -1
	}
	return banks[i].Contents
}

func TestImportTakesWhatExportWrites(t *testing.T) { eachCopy(t, testImportTakesWhatExportWrites) }

func testImportTakesWhatExportWrites(t *testing.T, from, to engine) {
	source := filled(t, from.location(t)) // its exchange's bank is among them
	on := true
	if _, err := source.UpdateBank(t.Context(), "A", bank.Settings{MD5Enforce: &on}); err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(24 * time.Hour).Unix()
	id := addContent(t, source, bank.NewContent{Bank: "A", Signals: pictureSignals(3), Metadata: `{ "content_uri" : "a\ud800<b>", "json": {"n": 1.0, "big": 12345678901234567890} }`})
	if _, err := source.UpdateContent(t.Context(), "A", id, bank.ContentUpdate{DisableUntil: &tomorrow}); err != nil {
		t.Fatal(err)
	}
	md5, err := bank.ParseSignal(bank.VideoMD5, strings.Repeat("0a", 16))
	if err != nil {
		t.Fatal(err)
	}
	addContent(t, source, bank.NewContent{Bank: "A", Signals: []bank.Signal{md5}, Note: "\u2028<&>"})
	all := exported(t, source)
	target := to.newStore(t)
	createBank(t, target, "OTHER")
	addContent(t, target, bank.NewContent{Bank: "OTHER", Signals: pictureSignals(3)})
	imports(t, target, all, bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 3, AddedOff: 2, Others: 2})
	imports(t, target, all, bank.Import{Bank: "X", Create: true}, bank.Imported{Added: 2, AddedOff: 1, Others: 3}) // one is in review
	if diff := cmp.Diff(unnumbered(all), unnumbered(exported(t, target, "A", "X"))); diff != "" {
		t.Errorf("(-source +target):\n%s", diff)
	}
	// Nothing comes twice.
	epoch := epochOf(t, target)
	imports(t, target, all, bank.Import{Bank: "A"}, bank.Imported{Skipped: 3, Others: 2})
	if epochOf(t, target) != epoch {
		t.Error("there is an epoch of nothing")
	}
	// It is found like anything else, unless it is off.
	ix := fresh(t, target)
	for seed, want := range map[byte]int{1: 0, 2: 0, 3: 2, 4: 0} { // 3 in X and OTHER
		found := 0
		for _, m := range ix.SHA256(digest(seed)) {
			if m.Enabled {
				found++
			}
		}
		if found != want {
			t.Errorf("%d is found %d times, want %d", seed, found, want)
		}
	}
	for name, n := range map[string]int64{"A": 3, "X": 2, "OTHER": 1} {
		if got := contents(t, target, name); got != n {
			t.Errorf("%s has %d contents, want %d", name, got, n)
		}
	}
}

func TestImportOfAList(t *testing.T) { eachEngine(t, testImportOfAList) }

func testImportOfAList(t *testing.T, e engine) {
	s := e.newStore(t)
	text := "\xef\xbb\xbf" + strings.ReplaceAll(list(0, 2500), "\n", "\r\n") + "\n \r\n" +
		`{"type":"sha256","value":" ` + strings.Repeat("AB", 32) + ` ","note":"n","created":1,"bank":"LIST"}` + "\n" +
		`{"type":"pdq","variant":"primary","quality":null,"disable_until":null,"value":"` + fmt.Sprintf("%064x", 2499) + `"}` + "\n" + // in the same batch
		`{"signals":[{"type":"md5","value":"` + strings.Repeat("0", 32) + `"},{"type":"pdq","value":"` + strings.Repeat("1", 64) + `","quality":7}],"disable_until":0}`
	into := bank.Import{Bank: "LIST", Create: true}
	imports(t, s, text, into, bank.Imported{Added: 2502, AddedOff: 1, Skipped: 1})
	imports(t, s, text, into, bank.Imported{Skipped: 2503})
	b, err := s.Bank(t.Context(), "LIST")
	if err != nil || b.Ratio != 1 || !b.MD5Enforce {
		t.Errorf("%+v, %v", b, err)
	}
	// What is turned off stays so, and is told.
	forever := bank.DisabledForever
	if _, err := s.UpdateContent(t.Context(), "LIST", 1, bank.ContentUpdate{DisableUntil: &forever}); err != nil {
		t.Fatal(err)
	}
	imports(t, s, list(0, 3), into, bank.Imported{Skipped: 3, SkippedOff: 1})
	if c, err := s.Content(t.Context(), "LIST", 1); err != nil || c.DisableUntil != bank.DisabledForever {
		t.Errorf("%+v, %v", c, err)
	}
	// A content with more signals, or fewer, is another one.
	more := fmt.Sprintf(`{"signals":[{"type":"pdq","value":"%064x"},{"type":"pdq","variant":"black","value":"%064x"}]}`, 5, 6)
	imports(t, s, more, into, bank.Imported{Added: 1})
	imports(t, s, more, into, bank.Imported{Skipped: 1})
	// What is of another bank is no reason to leave something out.
	imports(t, s, list(0, 3), bank.Import{Bank: "SECOND", Create: true, Off: true}, bank.Imported{Added: 3})
	if b, err = s.Bank(t.Context(), "SECOND"); err != nil || b.Ratio != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	// Nor does anybody's clock bank something in the future.
	imports(t, s, `{"type":"md5","value":"`+strings.Repeat("2", 32)+`","created":99999999999}`, into, bank.Imported{Added: 1})
	if at, err := s.Query(t.Context(), "SELECT MAX(created) FROM content"); err != nil || len(at) > len("1790000000") {
		t.Errorf("banked at %s, %v", at, err)
	}
}

func TestImportRefuses(t *testing.T) { eachEngine(t, testImportRefuses) }

func testImportRefuses(t *testing.T, e engine) {
	s := filled(t, e.location(t))
	createBank(t, s, "ON")
	all, one := exported(t, s), exported(t, s, "ON")
	epoch := epochOf(t, s)
	for name, tt := range map[string]struct {
		text string
		into bank.Import
		want error
		says string
	}{
		"no bank":               {list(0, 1), bank.Import{Bank: "NONE"}, bank.ErrBankNotFound, ""},
		"no line":               {"", bank.Import{Bank: "NEW", Create: true}, bank.ErrNoLine, ""},
		"lines that are none":   {"\xef\xbb\xbf\r\n \n", bank.Import{Bank: "NEW", Create: true}, bank.ErrNoLine, ""},
		"bad name":              {list(0, 1), bank.Import{Bank: "none", Create: true}, bank.ErrBankName, ""},
		"fed":                   {list(0, 1), bank.Import{Bank: "X", Create: true}, bank.ErrFed, ""},
		"on":                    {list(0, 1), bank.Import{Bank: "ON", Create: true, Off: true}, bank.ErrOn, ""},
		"not among many":        {all, bank.Import{Bank: "NEW", Create: true}, nil, "the export holds A, X, ON, and not NEW"},
		"empty and without end": {strings.SplitAfter(one, "\n")[0], bank.Import{Bank: "NEW", Create: true}, bank.ErrCutOff, "line 1: "},
		"bank of a line":        {`{"bank":"A","type":"md5","value":"` + strings.Repeat("0", 32) + `"}`, bank.Import{Bank: "ON"}, nil, "line 1: it names another bank"},
	} {
		for how, do := range map[string]func(context.Context, io.Reader, bank.Import) (bank.Imported, error){"import": s.Import, "try": s.TryImport} {
			n, err := do(t.Context(), strings.NewReader(tt.text), tt.into)
			if how == "try" && n.Bad > 0 {
				err = n.Problems[0]
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || n.Added > 0 {
				t.Errorf("%s, %s: %+v, %v", name, how, n, err)
			}
		}
	}
	if epochOf(t, s) != epoch || contents(t, s, "NEW") != -1 {
		t.Error("something was written")
	}
	// An export of one bank may go anywhere, one of nothing makes the bank.
	imports(t, s, one, bank.Import{Bank: "NEW", Create: true}, bank.Imported{})
	if b, err := s.Bank(t.Context(), "NEW"); err != nil || b.MD5Enforce {
		t.Errorf("%+v, %v: it is not as the export has it", b, err)
	}
	if _, err := s.Export(t.Context(), io.Discard, []string{"A", "NONE"}, silent); !errors.Is(err, bank.ErrBankNotFound) || !strings.Contains(err.Error(), "NONE") {
		t.Errorf("an export of no bank: %v", err)
	}
}

// TestImportTellsTheLineThatIsBad puts each bad line among good ones.
func TestImportTellsTheLineThatIsBad(t *testing.T) {
	s := onSQLite.newStore(t)
	createBank(t, s, "A")
	good := strings.SplitAfter(list(0, 3), "\n")
	for bad, says := range map[string]string{
		"# a comment":     "it is not a JSON object",
		"=cmd()":          "it is not a JSON object",
		"\x00":            "it is not a JSON object",
		"[]":              "it is not a JSON object",
		"null":            "it is not a JSON object",
		`"` + hex64 + `"`: "it is not a JSON object",
		hex64:             "it is not a JSON object",
		`{"type":"pdq"`:   "it is not a JSON object",
		`{"type":"pdq","value":"` + hex64 + `"} {}`:                            "something follows the JSON object",
		`{"type":"pdq","value":"` + hex64 + `"}` + "\r" + `{}`:                 "something follows the JSON object",
		`{"value":"` + hex64 + `"}`:                                            "its type is none of",
		`{"type":"PDQ","value":"` + hex64 + `"}`:                               "its type is none of",
		`{"type":"sha1","value":"` + hex64 + `"}`:                              "its type is none of",
		`{"type":"pdq","value":"` + hex64[2:] + `"}`:                           "malformed signal of type pdq",
		`{"type":"md5","value":"` + hex64 + `"}`:                               "malformed signal of type md5",
		`{"type":"pdq","value":7}`:                                             "value is of another kind than it must be",
		`{"type":"pdq","value":"` + hex64 + `","value":"` + hex64 + `"}`:       `it has two fields "value"`,
		`{"type":"pdq","Value":"` + hex64 + `"}`:                               "there is no field of that name",
		`{"type":"pdq","hash":"` + hex64 + `"}`:                                `there is no field "hash"`,
		`{"` + hex64 + `":1}`:                                                  "there is no field of that name",
		`{"type":"pdq","value":"` + hex64 + `","quality":101}`:                 "its quality is not from 0 to 100",
		`{"type":"pdq","value":"` + hex64 + `","quality":-1}`:                  "its quality is not from 0 to 100",
		`{"type":"pdq","value":"` + hex64 + `","quality":1e2}`:                 "quality is of another kind",
		`{"type":"pdq","value":"` + hex64 + `","hasher":-1}`:                   "its hasher is negative",
		`{"type":"pdq","value":"` + hex64 + `","variant":"compatible"}`:        "there is no such variant",
		`{"type":"sha256","value":"` + hex64 + `","variant":"black"}`:          "there is no such variant",
		`{"type":"pdq","value":"` + hex64 + `","note":"\u0000"}`:               "zero character",
		`{"type":"pdq","value":"` + hex64 + `","note":"` + "\xff" + `"}`:       "it is not UTF-8",
		`{"type":"pdq","value":"` + hex64 + `","metadata":[]}`:                 "metadata is not a JSON object",
		`{"type":"pdq","value":"` + hex64 + `","metadata":"{}"}`:               "metadata is not a JSON object",
		`{"type":"pdq","value":"` + hex64 + `","metadata":` + nested(65) + `}`: `there is no field "a"`,
		`{"type":"pdq","value":"` + hex64 + `","created":-1}`:                  "must not be negative",
		`{"type":"pdq","value":"` + hex64 + `","disable_until":-5}`:            "must not be negative",
		`{"type":"pdq","value":"` + hex64 + `","created":9999999999999999999}`: "created is of another kind",
		`{"signals":[]}`: "there is none",
		`{"signals":{}}`: "signals is not a list",
		`{"note":"n"}`:   "there is none",
		`{"signals":[{"type":"pdq","value":"` + hex64 + `"}],"type":"pdq","value":"` + hex64 + `"}`:   "it has signals, and is one, too",
		`{"signals":[{"type":"pdq","value":"` + hex64 + `"},{"type":"pdq","value":"` + hex64 + `"}]}`: "two of type pdq",
		`{"mediagate_export":1,"banks":[]}`:                   "an export begins in the middle",
		`{"banks":[]}`:                                        "and is neither",
		`{"type":"pdq","value":"` + hex64 + `","contents":1}`: "and is neither",
		`{"end":false,"contents":1,"sha256":""}`:              "an end has other fields",
		strings.Repeat(" ", 8<<20+64<<10) + "{":               "it is longer than 8454144 bytes",
		`{"signals":["x"]}`:                                   "a signal is not a JSON object",
		`{"signals":[null]}`:                                  "a signal is not a JSON object",
		`{"signals":[{"type":"pdq"`:                           "a signal is not a JSON object",
		`{"signals":[{"type":"md5","value":"00112233445566778899aabbccddeeff"}`: "it is not a JSON object",
		`{"metadata":{"json":{}`:                                                        "it is not a JSON object",
		`{"note":"null`:                                                                 "it is not a JSON object",
		`{"type":null,"value":"` + hex64 + `"}`:                                         "its type is none of",
		`{"type":"pdq","value":null}`:                                                   "malformed signal of type pdq",
		`{"mediagate_export":null,"banks":[]}`:                                          "and is neither",
		`{"end":null,"contents":1}`:                                                     "and is neither",
		one(`"note":null,"note":null`):                                                  `it has two fields "note"`,
		one(`"disable_until":1790000000000`):                                            "disable_until must be less than 5 years in the future",
		one(`"note":"` + strings.Repeat("\u00e9", 256) + `"`):                           "the note is longer than 255 characters",
		one(`"metadata":{"json":{"a":1e400}}`):                                          "metadata: a number in it is too large",
		one(`"metadata":{"json":{"a":` + strings.Repeat("9", 4301) + `}}`):              "metadata: a number in it is too large",
		one(`"metadata":{"json":` + nested(101) + `}`):                                  "metadata: it is nested more than 100 levels deep",
		one(`"metadata":{"json":` + nested(20000) + `}`):                                "it is not a JSON object",
		one(`"metadata":{"json":[]}`):                                                   "metadata: json is not a JSON object",
		one(`"metadata":{"content_id":7}`):                                              "metadata: content_id is of another kind",
		one(`"metadata":{"content_id":"a","content_id":"b"}`):                           `metadata: it has two fields "content_id"`,
		one(`"metadata":{"content_uri":"` + strings.Repeat("x", 8<<20) + `"}`):          "the metadata is longer than 8388608 bytes",
		`{"mediagate_export":1,"banks":[{"name":"A","ratio":null,"md5_enforce":true}]}`: "a bank needs name, ratio and md5_enforce",
		`{"mediagate_export":1,"banks":[{"name":"A","md5_enforce":true}]}`:              "a bank needs name, ratio and md5_enforce",
		`{"mediagate_export":1,"banks":["A"]}`:                                          "a bank is not a JSON object",
	} {
		shown := bad[max(0, len(bad)-100):]
		text := good[0] + bad + "\n" + good[1]
		x := bank.Import{Bank: "A"}
		tried, err := s.TryImport(t.Context(), strings.NewReader(text), x)
		if err != nil || tried.Bad != 1 || len(tried.Problems) != 1 || tried.Problems[0].Line != 2 || tried.Added+tried.Skipped != 2 ||
			!strings.Contains(tried.Problems[0].Error(), says) {
			t.Errorf("%q: tried, %+v, %v, want %q", shown, tried, err, says)
		}
		n, err := s.Import(t.Context(), strings.NewReader(text), x)
		var line *bank.LineError
		if !errors.As(err, &line) || line.Line != 2 || n.Added+n.Skipped != 1 || strings.Contains(err.Error(), hex64[2:]) {
			t.Errorf("%q: %+v, %v", shown, n, err)
		}
	}
	if got := contents(t, s, "A"); got != 1 {
		t.Errorf("%d contents, want what comes before the bad lines", got)
	}
	// All are counted, and the first are told.
	tried, err := s.TryImport(t.Context(), strings.NewReader(strings.Repeat("?\n", 5000)), bank.Import{Bank: "A"})
	if err != nil || tried.Bad != 5000 || len(tried.Problems) != 20 || tried.Problems[19].Line != 20 {
		t.Errorf("%+v, %v", tried, err)
	}
}

// one is a line of one hash, with some fields.
func one(fields string) string { return `{"type":"pdq","value":"` + hex64 + `",` + fields + `}` }

var hex64 = strings.Repeat("c4", 32)

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

// TestDamagedExportIsNoticed cuts an export at every byte, and changes it.
func TestDamagedExportIsNoticed(t *testing.T) {
	s := filled(t, onSQLite.location(t))
	whole := exported(t, s, "A", "X")
	check := func(text string) error {
		n, err := bank.CheckImport(t.Context(), strings.NewReader(text), bank.Import{Bank: "A"})
		if err == nil && n.Bad > 0 {
			err = n.Problems[0]
		}
		return err
	}
	for name, text := range map[string]string{"whole": whole, "other ends of lines": strings.ReplaceAll(whole, "\n", "\r\n"), "no last end": whole[:len(whole)-1], "mark": "\xef\xbb\xbf" + whole, "empty lines": "\n" + strings.ReplaceAll(whole, "\n", "\n\n")} {
		if err := check(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range len(whole) - 1 {
		if err := check(whole[:n]); err == nil {
			t.Errorf("cut after %d bytes of %d it passes", n, len(whole))
		}
	}
	lines := strings.SplitAfter(whole, "\n")
	for n, text := range map[string]string{
		"without the beginning": strings.Join(lines[1:], ""),
		"without a content":     strings.Join(slices.Delete(slices.Clone(lines), 1, 2), ""),
		"with one twice":        strings.Join(slices.Insert(slices.Clone(lines), 1, lines[1]), ""),
		"in another order":      lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""),
		"two":                   whole + whole,
		"of the future":         strings.Replace(whole, `"mediagate_export":1,`, `"mediagate_export":2,"banner":0,`, 1),
		"a bank renamed":        strings.Replace(whole, `{"bank":"A"`, `{"bank":"X"`, 1),
		"a bank unknown":        strings.Replace(whole, `{"bank":"A"`, `{"bank":"B"`, 1),
		"no bank":               strings.Replace(whole, `{"bank":"A",`, `{`, 1),
		"bad ratio":             strings.Replace(whole, `"ratio":1`, `"ratio":7`, 1),
	} {
		if err := check(text); err == nil {
			t.Errorf("%s it passes", n)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		damaged := []byte(whole)
		i := rng.IntN(len(damaged) - 1)
		damaged[i] ^= 1 << rng.IntN(7)
		// Cases of letters are of no account in the digests of the last line.
		if err := check(string(damaged)); err == nil && !strings.EqualFold(string(damaged), whole) && !blank(whole[i], damaged[i]) {
			t.Errorf("with %q for %q at %d it passes", damaged[i], whole[i], i)
		}
	}
}

// blank tells whether a change of white space is of no account.
func blank(a, b byte) bool {
	return strings.ContainsRune(" \t\r\n", rune(a)) && strings.ContainsRune(" \t\r\n", rune(b))
}

func TestExportSeesOneState(t *testing.T) { eachEngine(t, testExportSeesOneState) }

// testExportSeesOneState changes everything while an export is under way.
func testExportSeesOneState(t *testing.T, e engine) {
	location := e.location(t)
	s, other := openStore(t, location), openStore(t, location)
	imports(t, s, list(0, 5000), bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 5000})
	before := exported(t, s, "A")
	var out bytes.Buffer
	steps := 0
	if n, err := s.Export(t.Context(), &out, []string{"A"}, func(done, all int64) {
		if steps++; done != int64(steps)*1000 || all != 5000 {
			t.Errorf("progress: %d of %d", done, all)
		}
		if steps == 1 {
			if ok, err := other.DeleteContent(t.Context(), "A", 4900); err != nil || !ok {
				t.Error(err)
			}
			addContent(t, other, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
		}
		if steps == 2 {
			if err := other.DeleteBank(t.Context(), "A"); err != nil {
				t.Error(err)
			}
		}
	}); err != nil || n != 5000 || steps != 5 {
		t.Errorf("%d contents in %d steps, %v", n, steps, err)
	}
	if out.String() != before {
		t.Error("it holds something else than there was")
	}
}

func TestTwoImportsOfOneList(t *testing.T) { eachEngine(t, testTwoImportsOfOneList) }

// testTwoImportsOfOneList runs two processes' imports at once, and a writer that has
// to come through.
func testTwoImportsOfOneList(t *testing.T, e engine) {
	location := e.location(t)
	stores := []*bank.Store{openStore(t, location), openStore(t, location), openStore(t, location)}
	createBank(t, stores[0], "OTHER")
	const all = 6000
	var working sync.WaitGroup
	var sums [2]bank.Imported
	for i := range sums {
		working.Go(func() {
			var err error
			if sums[i], err = stores[i].Import(t.Context(), strings.NewReader(list(0, all)), bank.Import{Bank: "A", Create: true}); err != nil {
				t.Error(err)
			}
		})
	}
	working.Go(func() {
		for seed := range byte(20) {
			if _, err := stores[2].AddContent(t.Context(), bank.NewContent{Bank: "OTHER", Signals: pictureSignals(seed)}); err != nil {
				t.Error(err)
			}
		}
	})
	working.Wait()
	if sums[0].Added+sums[1].Added != all || sums[0].Skipped+sums[1].Skipped != all || contents(t, stores[0], "A") != all || contents(t, stores[0], "OTHER") != 20 {
		t.Errorf("%+v, %d contents", sums, contents(t, stores[0], "A"))
	}
}

func TestImportThatFailsIsDoneAgain(t *testing.T) { eachEngine(t, testImportThatFailsIsDoneAgain) }

func testImportThatFailsIsDoneAgain(t *testing.T, e engine) {
	s := e.newStore(t)
	into := bank.Import{Bank: "A", Create: true}
	if err := s.MakeTrouble(t.Context(), "BEFORE INSERT ON content WHEN NEW.id = 1500"); err != nil {
		t.Fatal(err)
	}
	n, err := s.Import(t.Context(), strings.NewReader(list(0, 3000)), into)
	if err == nil || n.Added != 1000 || contents(t, s, "A") != 1000 {
		t.Errorf("%+v, %v: %d contents", n, err, contents(t, s, "A"))
	}
	if err := s.EndTrouble(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The context ends while a batch is read.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	text := list(0, 3000)
	n, err = s.Import(ctx, io.MultiReader(strings.NewReader(text[:len(text)*2/3+100]), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, io.EOF
	})), into)
	if !errors.Is(err, context.Canceled) || n.Added != 1000 || n.Skipped != 1000 || contents(t, s, "A") != 2000 {
		t.Errorf("%+v, %v: %d contents", n, err, contents(t, s, "A"))
	}
	imports(t, s, text, into, bank.Imported{Added: 1000, Skipped: 2000})
	// What cannot be read further was read so far.
	broken := errors.New("broken")
	n, err = s.Import(t.Context(), io.MultiReader(strings.NewReader(list(3000, 3005)), readerFunc(func([]byte) (int, error) { return 0, broken })), into)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "line 6") || n.Added != 5 {
		t.Errorf("%+v, %v", n, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestExportOfWhatNobodyCouldReadFails has stores that were changed by hand, and a
// target that is full.
func TestExportOfWhatNobodyCouldReadFails(t *testing.T) {
	eachEngine(t, testExportOfWhatNobodyCouldReadFails)
}

func testExportOfWhatNobodyCouldReadFails(t *testing.T, e engine) {
	for name, statement := range map[string]string{
		"value": fmt.Sprintf("UPDATE signal SET value = "+e.blob, "00"), "variant": "UPDATE signal SET variant = 77", "type": "UPDATE signal SET type = 'sha1'",
		"no signal": "DELETE FROM signal",
	} {
		s := e.newStore(t)
		createBank(t, s, "A")
		addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)[:1]})
		if err := s.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := s.Export(t.Context(), &out, nil, silent); err == nil || strings.Contains(out.String(), `"end"`) {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
	s := e.newStore(t)
	imports(t, s, list(0, 2000), bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 2000})
	full := errors.New("full")
	if _, err := s.Export(t.Context(), writerFunc(func(p []byte) (int, error) { return 0, full }), nil, silent); !errors.Is(err, full) || strings.Contains(err.Error(), "content") {
		t.Errorf("%v: no content is to blame", err)
	}
}

// TestImportHoldsLittle reads many lines through a pipe, and one that does not end.
func TestImportHoldsLittle(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(io.Writer)
		want  bank.Imported
		most  uint64
	}{
		"200,000 lines": {func(w io.Writer) {
			for n := range 200 {
				_, _ = io.WriteString(w, list(1000*n, 1000*n+1000))
			}
		}, bank.Imported{Added: 200000}, 16 << 20},
		"a line of 128 MiB": {func(w io.Writer) {
			part := bytes.Repeat([]byte("0"), 1<<20)
			for range 128 {
				_, _ = w.Write(part)
			}
			_, _ = io.WriteString(w, "\n"+list(0, 1))
		}, bank.Imported{Added: 1, Bad: 1}, 32 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := io.Pipe()
			go func() {
				tt.write(out)
				_ = out.Close()
			}()
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var most uint64
			reads := 0
			got, err := bank.CheckImport(t.Context(), readerFunc(func(p []byte) (int, error) {
				if reads++; reads%200 == 0 {
					runtime.GC()
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
				}
				return in.Read(p)
			}), bank.Import{Bank: "A", Create: true})
			got.Problems = nil
			if err != nil || !cmp.Equal(got, tt.want) {
				t.Errorf("%+v, %v", got, err)
			}
			if reads < 200 || most > tt.most {
				t.Errorf("it held %d bytes, in %d reads", most, reads)
			}
		})
	}
}

func TestCountBanks(t *testing.T) { eachEngine(t, testCountBanks) }

func testCountBanks(t *testing.T, e engine) {
	s := filled(t, e.location(t))
	got, err := s.CountBanks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].ID = 0
	}
	third := 1.0 / 3
	want := []bank.Census{
		{Bank: bank.Bank{Name: "A", Ratio: third, MD5Enforce: true}, Contents: 1, Signals: map[bank.SignalType]int64{bank.PDQ: 2, bank.MD5: 1, bank.SHA256: 1}},
		{Bank: bank.Bank{Name: "X", Ratio: 1}, Contents: 2, Signals: map[bank.SignalType]int64{bank.PDQ: 2, bank.MD5: 1, bank.SHA256: 2}, Exchange: "X"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpenExistingMakesNothing(t *testing.T) { eachEngine(t, testOpenExistingMakesNothing) }

func testOpenExistingMakesNothing(t *testing.T, e engine) {
	location := e.location(t)
	if _, err := bank.OpenExisting(t.Context(), location); !errors.Is(err, bank.ErrNoStore) {
		t.Errorf("%v", err)
	}
	if there, err := bank.HasPlace(t.Context(), location); err != nil || there {
		t.Errorf("there is something, %v", err)
	}
	createBank(t, openStore(t, location), "A")
	s, err := bank.OpenExisting(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // only read
	if _, err := s.Bank(t.Context(), "A"); err != nil {
		t.Error(err)
	}
}

// FuzzImport: whatever is read can be written, and then says the same.
func FuzzImport(f *testing.F) {
	f.Add([]byte(list(0, 2)))
	f.Add([]byte("\xef\xbb\xbf" + `{"mediagate_export":1,"banks":[{"name":"A","ratio":0.5,"md5_enforce":true}]}` + "\r\n" + `{"end":true,"contents":0,"sha256":""}`))
	f.Add([]byte(`{"mediagate_export":1,"banks":[{"name":"A","ratio":1,"md5_enforce":true,"allow":true,"agree":2,"breaker":3,"monitor":false}]}`))
	f.Add([]byte(`{"bank":"A","id":7,"created":5,"disable_until":0,"note":"n","metadata":{"json":{"a":[1]}},"signals":[{"type":"pdq","variant":"black","value":"` + hex64 + `","quality":3,"hasher":1}]}`))
	f.Add([]byte(`{"type":"md5","value":"00112233445566778899aabbccddeeff"}` + "\n#\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		once, n, err := bank.Relined(text)
		if err != nil {
			t.Fatal(err)
		}
		if once == nil {
			return
		}
		twice, again, err := bank.Relined(once)
		if err != nil || again != n || !bytes.Equal(once, twice) {
			t.Errorf("%d contents have become %d, %v:\n%s\n%s", n, again, err, once, twice)
		}
		checked, err := bank.CheckImport(t.Context(), bytes.NewReader(once), bank.Import{Bank: "A"})
		if err != nil || checked.Added != n || checked.Bad != 0 {
			t.Errorf("%+v, %v", checked, err)
		}
	})
}
