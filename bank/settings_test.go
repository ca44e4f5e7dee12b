package bank_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"mediagate/bank"
)

func TestBankSettingsHaveLimits(t *testing.T) { eachEngine(t, testBankSettingsHaveLimits) }

func testBankSettingsHaveLimits(t *testing.T, e engine) {
	s := e.newStore(t)
	most := bank.Bank{Name: "A", Agree: bank.MaxAgree, Breaker: bank.MaxBreaker, Monitor: true}
	if _, err := s.CreateBank(t.Context(), most); err != nil {
		t.Fatal(err)
	}
	for why, b := range map[string]bank.Bank{
		"agree must be from 0 to 100":               {Name: "B", Agree: bank.MaxAgree + 1},
		"agree must be from 0 to 100 ":              {Name: "B", Agree: -1},
		"breaker must be from 0 to 1000000":         {Name: "B", Breaker: bank.MaxBreaker + 1},
		"breaker must be from 0 to 1000000 ":        {Name: "B", Breaker: -1},
		"a bank that allows blocks nothing that it": {Name: "B", Allow: true, Monitor: true},
	} {
		if _, err := s.CreateBank(t.Context(), b); !errors.Is(err, bank.ErrSettings) || !strings.Contains(err.Error(), strings.TrimSpace(why)) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	on, off := true, false
	if _, err := s.UpdateBank(t.Context(), "A", bank.Settings{Allow: &on}); !errors.Is(err, bank.ErrSettings) {
		t.Errorf("%v", err)
	}
	want := bank.Bank{ID: 1, Name: "A", Agree: bank.MaxAgree, Breaker: bank.MaxBreaker, Allow: true}
	if b, err := s.UpdateBank(t.Context(), "A", bank.Settings{Allow: &on, Monitor: &off}); err != nil || b != want {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err := s.Bank(t.Context(), "A"); err != nil || b != want {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestExchangeIsMonitored: its bank's matches tell so in every index that follows.
func TestExchangeIsMonitored(t *testing.T) { eachEngine(t, testExchangeIsMonitored) }

func testExchangeIsMonitored(t *testing.T, e engine) {
	s := e.newStore(t)
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "X", API: "api", Config: "{}", Bank: bank.Bank{Monitor: true, Agree: 1, Breaker: 20}}); err != nil {
		t.Fatal(err)
	}
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("a", 1), alone("b", 2), alone("c", 3)}, Completed: true})
	first, second := contentOf(t, s, "X", 1), contentOf(t, s, "X", 2)
	hold(t, s, first)
	forever := bank.DisabledForever
	if _, err := s.UpdateContent(t.Context(), "X", second, bank.ContentUpdate{DisableUntil: &forever}); err != nil {
		t.Fatal(err)
	}
	x, live := cold(t, s, nil)
	for _, tt := range []struct{ monitor, changed bool }{{true, false}, {false, true}, {false, false}, {true, true}} {
		epoch := epochOf(t, s)
		changed, err := s.SetMonitor(t.Context(), "X", tt.monitor)
		if err != nil || changed != tt.changed || (epochOf(t, s) != epoch) != tt.changed {
			t.Errorf("%+v: changed %t, %v, epoch %d after %d", tt, changed, err, epochOf(t, s), epoch)
		}
		refresh(t, x)
		want := bank.Bank{ID: 1, Name: "X", Ratio: 1, Monitor: tt.monitor, Agree: 1, Breaker: 20}
		if got := load(t, live).SHA256(digest(3)); len(got) != 1 || got[0].Bank != want {
			t.Errorf("%+v, want bank %+v", got, want)
		}
	}
	if n, err := s.CountEnabled(t.Context(), 1); err != nil || n != 1 {
		t.Errorf("%d contents count, %v", n, err)
	}
	name, allow, off := "RENAMED", true, false
	if _, err := s.UpdateBank(t.Context(), "X", bank.Settings{Name: &name, Allow: &allow, Monitor: &off}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetMonitor(t.Context(), "X", true); !errors.Is(err, bank.ErrSettings) {
		t.Errorf("a bank that allows: %v", err)
	}
	if _, err := s.SetMonitor(t.Context(), "RENAMED", true); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Errorf("no exchange: %v", err)
	}
	createBank(t, s, "A")
	for of, want := range map[string]error{"RENAMED": nil, "X": bank.ErrExchangeNotFound, "A": bank.ErrExchangeNotFound, "\x00": bank.ErrExchangeNotFound} {
		if got, err := s.Feeder(t.Context(), of); !errors.Is(err, want) || err == nil && got.Name != "X" {
			t.Errorf("feeder of %q: %s, %v", of, got.Name, err)
		}
	}
}

// TestExportHasTheBanksSettings: those that a bank has, so that banks without are
// exported as they always were.
func TestExportHasTheBanksSettings(t *testing.T) { eachEngine(t, testExportHasTheBanksSettings) }

func testExportHasTheBanksSettings(t *testing.T, e engine) {
	s := e.newStore(t)
	createBank(t, s, "PLAIN")
	b, err := s.CreateBank(t.Context(), bank.Bank{Name: "LIST", Ratio: 1, Monitor: true, Agree: 2, Breaker: 20})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"mediagate_export":1,"banks":[{"name":"PLAIN","ratio":1,"md5_enforce":false},` +
		`{"name":"LIST","ratio":1,"md5_enforce":false,"monitor":true,"agree":2,"breaker":20}]}` + "\n"
	if got := exported(t, s); !strings.HasPrefix(got, want) {
		t.Errorf("%s", got)
	}
	to := e.newStore(t)
	imports(t, to, exported(t, s, "LIST"), bank.Import{Bank: "COPY", Create: true}, bank.Imported{})
	b.ID, b.Name = 1, "COPY"
	if got, err := to.Bank(t.Context(), "COPY"); err != nil || got != b {
		t.Errorf("%+v, %v; want %+v", got, err, b)
	}
	for fields, says := range map[string]string{
		`"agree":101`: "agree must be from 0 to 100", `"agree":"1"`: "agree is of another kind", `"monitor":true,"allow":true`: "a bank that allows",
		`"breaker":-1`: "breaker must be", `"monitored":true`: `there is no field "monitored"`,
	} {
		text := `{"mediagate_export":1,"banks":[{"name":"A","ratio":1,"md5_enforce":false,` + fields + `}]}` + "\n"
		if _, err := to.Import(t.Context(), strings.NewReader(text), bank.Import{Bank: "A", Create: true}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// TestExportLeavesNamesOut: of a list with rules of both kinds, those with hashes.
func TestExportLeavesNamesOut(t *testing.T) { eachEngine(t, testExportLeavesNamesOut) }

func testExportLeavesNamesOut(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{Put: []bank.SourceContent{alone("a", 1), {Key: "b", Named: bank.Named{Servers: "one.test"}, Alone: true}}})
	text := exported(t, s)
	if strings.Count(text, "\n") != 3 || strings.Contains(text, "one.test") {
		t.Errorf("%s", text)
	}
	imports(t, e.newStore(t), text, bank.Import{Bank: "X", Create: true}, bank.Imported{Added: 1})
	if err := s.Exec(t.Context(), "DELETE FROM signal"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Export(t.Context(), io.Discard, nil, silent); err == nil || !strings.Contains(err.Error(), "1 contents have become 0") {
		t.Errorf("of a content that has lost its signals: %v", err)
	}
}

// TestAllowedAndBannedAreNotMixed: an export of the one kind of bank goes to no bank of
// the other. A list says nothing of where it comes from, and goes to either.
func TestAllowedAndBannedAreNotMixed(t *testing.T) { eachEngine(t, testAllowedAndBannedAreNotMixed) }

func testAllowedAndBannedAreNotMixed(t *testing.T, e engine) {
	s := e.newStore(t)
	for name, allow := range map[string]bool{"HARMLESS": true, "BANNED": false} {
		if _, err := s.CreateBank(t.Context(), bank.Bank{Name: name, Ratio: 1, Allow: allow}); err != nil {
			t.Fatal(err)
		}
		addContent(t, s, bank.NewContent{Bank: name, Signals: pictureSignals(1)})
	}
	for from, to := range map[string]string{"HARMLESS": "BANNED", "BANNED": "HARMLESS"} {
		text := exported(t, s, from)
		for _, try := range []error{
			errorOf(s.Import(t.Context(), strings.NewReader(text), bank.Import{Bank: to})),
			errorOf(s.TryImport(t.Context(), strings.NewReader(text), bank.Import{Bank: to, Create: true})),
		} {
			if !errors.Is(try, bank.ErrAllowed) {
				t.Errorf("%s to %s: %v", from, to, try)
			}
		}
		imports(t, s, text, bank.Import{Bank: from}, bank.Imported{Skipped: 1})
	}
	for _, to := range []string{"HARMLESS", "BANNED"} {
		imports(t, s, list(1, 3), bank.Import{Bank: to}, bank.Imported{Added: 2})
	}
}

// TestWhatWasNeverReadIsNotPromoted: every scan would wait for it, and so for whoever
// has the source.
func TestWhatWasNeverReadIsNotPromoted(t *testing.T) {
	eachEngine(t, testWhatWasNeverReadIsNotPromoted)
}

func testWhatWasNeverReadIsNotPromoted(t *testing.T, e engine) {
	s := e.newStore(t)
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "X", API: "api", Config: "{}", Enabled: true, Bank: bank.Bank{Monitor: true}}); err != nil {
		t.Fatal(err)
	}
	off := false
	promoteBy := map[string]func() error{
		"exchange": func() error { return errorOf(s.SetMonitor(t.Context(), "X", false)) },
		"bank":     func() error { return errorOf(s.UpdateBank(t.Context(), "X", bank.Settings{Monitor: &off})) },
	}
	for by, promote := range promoteBy {
		if err := promote(); !errors.Is(err, bank.ErrNeverRead) || !strings.Contains(err.Error(), "the exchange has not been read once") {
			t.Errorf("by its %s: %v", by, err)
		}
	}
	if ix := fresh(t, s); len(ix.Awaiting()) > 0 || !exchangeOf(t, s, "X").Bank.Monitor {
		t.Errorf("scans wait for %v", ix.Awaiting())
	}
	ratio := .5
	if _, err := s.UpdateBank(t.Context(), "X", bank.Settings{Ratio: &ratio}); err != nil {
		t.Errorf("another change of its bank: %v", err)
	}
	if changed, err := s.SetMonitor(t.Context(), "X", true); changed || err != nil {
		t.Errorf("to be in monitor, as it is: %t, %v", changed, err)
	}
	commit(t, s, "X", bank.Fetched{Completed: true})
	for by, promote := range promoteBy {
		if err := promote(); err != nil {
			t.Errorf("read once, by its %s: %v", by, err)
		}
		if exchangeOf(t, s, "X").Bank.Monitor {
			t.Errorf("by its %s it is not promoted", by)
		}
		if _, err := s.SetMonitor(t.Context(), "X", true); err != nil {
			t.Error(err)
		}
	}
}

// TestReviewIsImportedOff: what is to be decided here is not decided by carrying it
// elsewhere, or back.
func TestReviewIsImportedOff(t *testing.T) { eachEngine(t, testReviewIsImportedOff) }

func testReviewIsImportedOff(t *testing.T, e engine) {
	s := e.newStore(t)
	if _, err := s.CreateBank(t.Context(), bank.Bank{Name: "A", Ratio: 1, Breaker: 5}); err != nil {
		t.Fatal(err)
	}
	id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1)})
	before := exported(t, s)
	hold(t, s, id)
	during := exported(t, s)
	to := e.newStore(t)
	imports(t, to, during, bank.Import{Bank: "A", Create: true}, bank.Imported{Added: 1, AddedOff: 1})
	imports(t, to, before, bank.Import{Bank: "A"}, bank.Imported{Skipped: 1, SkippedOff: 1})
	for name, s := range map[string]*bank.Store{"there": to, "here": s} {
		imports(t, s, during, bank.Import{Bank: "A"}, bank.Imported{Skipped: 1})
		for _, m := range fresh(t, s).SHA256(digest(1)) {
			if m.Enabled {
				t.Errorf("%s it counts", name)
			}
		}
	}
	imports(t, s, before, bank.Import{Bank: "A"}, bank.Imported{Skipped: 1, SkippedOff: 1})
	if got := reviews(t, s, "A"); len(got) != 1 || got[0].Content != id || got[0].Confirmed {
		t.Errorf("in review are %+v", got)
	}
}

// TestEverySchemaIsMigrated opens a store of every version before this one.
func TestEverySchemaIsMigrated(t *testing.T) { eachEngine(t, testEverySchemaIsMigrated) }

func testEverySchemaIsMigrated(t *testing.T, e engine) {
	for version := 1; version < bank.Versions(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			location := e.location(t)
			value := pictureSignals(1)[0].Value
			fill := fmt.Sprintf(`
				UPDATE meta SET value = 3 WHERE key = 'bank_id';
				UPDATE meta SET value = 9 WHERE key = 'content_id';
				UPDATE meta SET value = 20 WHERE key = 'epoch';
				INSERT INTO bank (id, name, ratio, md5_enforce) VALUES (3, 'OLD', 0.5, 1);
				INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata) VALUES (9, 3, 19, 1000, 1, 'kept', '{}');
				INSERT INTO signal (content, type, variant, value, quality, hasher) VALUES (9, 'sha256', 0, %s, NULL, NULL);
				INSERT INTO source (exchange, key, content) VALUES ('OLD', 'k', 9);`, fmt.Sprintf(e.blob, value))
			if version >= 2 {
				fill += `INSERT INTO exchange (name, bank, api, config, credential, enabled, completed, checkpoint, current, problem) VALUES ('OLD', 3, 'api', '{}', '', 1, 1, '7', 1, '');`
			}
			if err := bank.CreateVersion(t.Context(), location, version, fill); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, location)
			old := bank.Bank{ID: 3, Name: "OLD", Ratio: 0.5, MD5Enforce: true}
			if got := fresh(t, s).SHA256([]byte(value)); len(got) != 1 || got[0].Bank != old || !got[0].Enabled {
				t.Errorf("%+v", got)
			}
			if got := reviews(t, s, ""); len(got) != 0 {
				t.Errorf("in review are %+v", got)
			}
			hold(t, s, 9)
			if counts(t, fresh(t, s), 9, 1) {
				t.Error("what is held counts")
			}
			decide(t, s, "OLD", 9, true)
			if ix := fresh(t, s); !counts(t, ix, 9, 1) || !ix.Confirmed(9) {
				t.Error("it is not as was decided")
			}
			if version < 2 {
				return
			}
			if x := exchangeOf(t, s, "OLD"); x.Bank != old || x.Checkpoint != "7" || x.Status.Report != "" {
				t.Errorf("%+v", x)
			}
			// What an earlier program banked is not of one key alone.
			commit(t, s, "OLD", bank.Fetched{From: "7", To: "8", Put: []bank.SourceContent{exactly("l", 1)}})
			if got := contentOf(t, s, "OLD", 1); got != 9 {
				t.Errorf("the same bytes are content %d, want 9", got)
			}
		})
	}
}
