package bank_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/pdq"
)

func createBank(t testing.TB, s *bank.Store, name string) bank.Bank {
	t.Helper()
	b, err := s.CreateBank(t.Context(), bank.Bank{Name: name, Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pictureSignals makes up what a hashed picture would have.
func pictureSignals(seed byte) []bank.Signal {
	s := media.Digest([]byte{seed})
	s.Hashes = []media.Hash{
		{PDQ: pdq.Hash{uint64(seed) << 40, 0, 7}, Quality: 90},
		{PDQ: pdq.Hash{0, uint64(seed) << 32, 9}, Quality: 80, Variant: media.Upright},
		{PDQ: pdq.Hash{1, 2, 3, 4}, Quality: 80, Variant: media.Compatible},
	}
	return bank.SignalsOf(s)
}

func TestScreenedSignalsAreForNoBank(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("they can be banked")
		}
	}()
	bank.SignalsOf(media.Signals{Hashes: []media.Hash{{Quality: 90}}, Screened: true})
}

func addContent(t testing.TB, s *bank.Store, c bank.NewContent) int64 {
	t.Helper()
	id, err := s.AddContent(t.Context(), c)
	if err != nil || id == 0 {
		t.Fatalf("AddContent = %d, %v", id, err)
	}
	return id
}

func TestStoreIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openStore(t, "sqlite:"+filepath.Join(dir, "mediagate.db"))
	createBank(t, s, "A")
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, location := range []string{"", "sqlite:", "mysql://x", "postgres:", "postgres:/x", "postgresql://h:port/db", "data.db", "sqlite:/proc/nonexistent/x.db"} {
		if s, err := bank.Open(t.Context(), location); err == nil {
			t.Errorf("%q opens", location)
			_ = s.Close()
		}
	}
	notes := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(notes, []byte(strings.Repeat("no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bank.Open(t.Context(), "sqlite:"+notes); err == nil {
		t.Error("a text file opens")
	}
	if text, err := os.ReadFile(notes); err != nil || !strings.HasPrefix(string(text), "no database") {
		t.Error("and was overwritten")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) { eachEngine(t, testNewerSchemaIsRefused) }

func testNewerSchemaIsRefused(t *testing.T, e engine) {
	location := e.location(t)
	s, err := bank.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetSchemaVersion(t.Context(), 99); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bank.Open(t.Context(), location); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("%v, want an error that names version 99", err)
	}
}

func TestBanks(t *testing.T) { eachEngine(t, testBanks) }

func testBanks(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		bank bank.Bank
		want error
	}{
		"lower case":     {bank.Bank{Name: "a"}, bank.ErrBankName},
		"leading digit":  {bank.Bank{Name: "1A"}, bank.ErrBankName},
		"empty":          {bank.Bank{}, bank.ErrBankName},
		"newline":        {bank.Bank{Name: "A\n"}, bank.ErrBankName},
		"256 characters": {bank.Bank{Name: strings.Repeat("A", 256)}, bank.ErrBankName},
		"255 characters": {bank.Bank{Name: strings.Repeat("A", 255)}, nil},
		"underscore":     {bank.Bank{Name: "_X9"}, nil},
		"ratio above 1":  {bank.Bank{Name: "B", Ratio: 1.01}, bank.ErrRatio},
		"ratio below 0":  {bank.Bank{Name: "B", Ratio: -0.01}, bank.ErrRatio},
		"no number":      {bank.Bank{Name: "B", Ratio: math.NaN()}, bank.ErrRatio},
	} {
		if _, err := s.CreateBank(ctx, tt.bank); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	a := createBank(t, s, "A")
	b := createBank(t, s, "B")
	if _, err := s.CreateBank(ctx, bank.Bank{Name: "A"}); !errors.Is(err, bank.ErrBankExists) {
		t.Errorf("a second A: %v", err)
	}
	name, half, on := "C", 0.5, true
	got, err := s.UpdateBank(ctx, "A", bank.Settings{Name: &name, Ratio: &half, MD5Enforce: &on})
	if want := (bank.Bank{ID: a.ID, Name: "C", Ratio: 0.5, MD5Enforce: true}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if found, err := s.Bank(ctx, "C"); err != nil || found != got {
		t.Errorf("Bank(C) = %+v, %v", found, err)
	}
	if _, err := s.UpdateBank(ctx, "C", bank.Settings{Name: &b.Name}); !errors.Is(err, bank.ErrBankExists) {
		t.Errorf("renamed over B: %v", err)
	}
	if _, err := s.UpdateBank(ctx, "NONE", bank.Settings{}); !errors.Is(err, bank.ErrBankNotFound) {
		t.Errorf("no such bank: %v", err)
	}
	for range 2 {
		if err := s.DeleteBank(ctx, "B"); err != nil {
			t.Error(err)
		}
	}
	if again := createBank(t, s, "B"); again.ID <= b.ID {
		t.Errorf("number %d was given again", again.ID)
	}
}

func TestContents(t *testing.T) { eachEngine(t, testContents) }

func testContents(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	a := createBank(t, s, "A")
	createBank(t, s, "B")
	want := bank.Content{Bank: a, Signals: pictureSignals(1), DisableUntil: bank.Enabled, Note: "näh", Metadata: `{"json":{"k":[1]}}`}
	want.ID = addContent(t, s, bank.NewContent{Bank: "A", Signals: want.Signals, Note: want.Note, Metadata: want.Metadata})
	got, err := s.Content(ctx, "A", want.ID)
	bySignal := cmp.Transformer("set", func(signals []bank.Signal) map[bank.Signal]bool {
		out := map[bank.Signal]bool{}
		for _, s := range signals {
			out[s] = true
		}
		return out
	})
	if diff := cmp.Diff(want, got, bySignal); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if len(got.Signals) != 4 {
		t.Errorf("%d signals, want two digests and two views", len(got.Signals))
	}
	for _, bad := range [][2]any{{"B", want.ID}, {"A", want.ID + 1}, {"A", int64(-1)}} {
		if _, err := s.Content(ctx, bad[0].(string), bad[1].(int64)); !errors.Is(err, bank.ErrContentNotFound) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := s.Content(ctx, "NONE", want.ID); !errors.Is(err, bank.ErrBankNotFound) {
		t.Error(err)
	}
	note, until := "new", int64(12345)
	got, err = s.UpdateContent(ctx, "A", want.ID, bank.ContentUpdate{Note: &note})
	if err != nil || got.Note != "new" || got.DisableUntil != bank.Enabled {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = s.UpdateContent(ctx, "A", want.ID, bank.ContentUpdate{DisableUntil: &until})
	if err != nil || got.Note != "new" || got.DisableUntil != until {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.UpdateContent(ctx, "B", want.ID, bank.ContentUpdate{Note: &note}); !errors.Is(err, bank.ErrContentNotFound) {
		t.Errorf("through another bank: %v", err)
	}
	if deleted, err := s.DeleteContent(ctx, "B", want.ID); err != nil || deleted {
		t.Errorf("deleted through another bank: %v, %v", deleted, err)
	}
	for _, first := range []bool{true, false} {
		if deleted, err := s.DeleteContent(ctx, "A", want.ID); err != nil || deleted != first {
			t.Errorf("deleted %v, %v, want %v", deleted, err, first)
		}
	}
	if next := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(2)}); next <= want.ID {
		t.Errorf("number %d was given again", next)
	}
	for name, c := range map[string]bank.NewContent{
		"no bank":       {Bank: "NONE", Signals: pictureSignals(1)},
		"no signals":    {Bank: "A"},
		"short signal":  {Bank: "A", Signals: []bank.Signal{{Type: bank.PDQ, Value: "x"}}},
		"unknown type":  {Bank: "A", Signals: []bank.Signal{{Type: "vpdq", Value: "x"}}},
		"same type two": {Bank: "A", Signals: append(pictureSignals(1), pictureSignals(2)...)},
	} {
		if id, err := s.AddContent(ctx, c); err == nil {
			t.Errorf("%s: banked as %d", name, id)
		}
	}
}

// TestManyWritersWaitTheirTurn is what a busy import does to the store.
func TestManyWritersWaitTheirTurn(t *testing.T) { eachEngine(t, testManyWritersWaitTheirTurn) }

func testManyWritersWaitTheirTurn(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "A")
	var writers sync.WaitGroup
	for i := range 100 {
		writers.Go(func() {
			for range 5 {
				if _, err := s.AddContent(t.Context(), bank.NewContent{Bank: "A", Signals: pictureSignals(byte(i))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.AddContent(cancelled, bank.NewContent{Bank: "A", Signals: pictureSignals(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestParseSignal(t *testing.T) {
	md5 := strings.Repeat("aB", 16)
	tests := map[string]struct {
		kind bank.SignalType
		text string
		want string // empty: malformed
	}{
		"pdq":            {bank.PDQ, strings.Repeat("F", 64), strings.Repeat("f", 64)},
		"pdq with space": {bank.PDQ, " " + strings.Repeat("f", 64), ""},
		"md5":            {bank.VideoMD5, md5, strings.ToLower(md5)},
		"md5 with space": {bank.VideoMD5, " " + md5 + "\n", strings.ToLower(md5)},
		"short md5":      {bank.VideoMD5, md5[1:], ""},
		"sha256":         {bank.SHA256, strings.Repeat("0", 64), strings.Repeat("0", 64)},
		"sha256 as md5":  {bank.MD5, strings.Repeat("0", 64), ""},
		"empty":          {bank.MD5, "", ""},
		"unknown type":   {"vpdq", "", ""},
	}
	for name, tt := range tests {
		got, err := bank.ParseSignal(tt.kind, tt.text)
		if (tt.want == "") != errors.Is(err, bank.ErrMalformedSignal) || got.Text() != tt.want {
			t.Errorf("%s: %q, %v", name, got.Text(), err)
		}
		if err != nil && len(tt.text) > 8 && strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: the error repeats the signal", name)
		}
	}
}

// TestCommitEndsWithTheContext: what was given up is not there, and the error says
// that it was given up, and nothing else.
func TestCommitEndsWithTheContext(t *testing.T) { eachEngine(t, testCommitEndsWithTheContext) }

func testCommitEndsWithTheContext(t *testing.T, e engine) {
	s := e.newStore(t)
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "X", API: "a", Config: "{}"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	content := bank.SourceContent{Key: "k", Signals: []bank.Signal{{Type: bank.MD5, Value: strings.Repeat("x", 16)}}}
	err := s.ChangeSlowly(ctx, "X", content, func() {
		cancel()
		time.Sleep(200 * time.Millisecond) // by then the transaction has been ended
	})
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "rolled back") {
		t.Error(err)
	}
	if known, err := s.Sources(t.Context(), "X", []string{"k"}); err != nil || known["k"] {
		t.Errorf("%v, %v", known, err)
	}
}
