package bank_test

import (
	"bytes"
	"fmt"
	"testing"

	"mediagate/bank"
)

// TestFirstSchemaIsMigrated opens a store that the first release has filled.
func TestFirstSchemaIsMigrated(t *testing.T) { eachEngine(t, testFirstSchemaIsMigrated) }

func testFirstSchemaIsMigrated(t *testing.T, e engine) {
	location := e.location(t)
	value := bytes.Repeat([]byte{7}, 32)
	fill := fmt.Sprintf(`
		UPDATE meta SET value = 4 WHERE key = 'bank_id';
		UPDATE meta SET value = 9 WHERE key = 'content_id';
		UPDATE meta SET value = 20 WHERE key = 'epoch';
		INSERT INTO bank (id, name, ratio, md5_enforce) VALUES (3, 'OLD', 0.5, 1), (4, 'EMPTY', 1, 0);
		INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata) VALUES (8, 3, 19, 1000, 1, 'kept', '{}'), (9, 3, 20, 2000, 0, '', '');
		INSERT INTO signal (content, type, variant, value, quality, hasher) VALUES (8, 'sha256', 0, %[1]s, NULL, NULL), (9, 'pdq', 0, %[1]s, 77, 1);
		INSERT INTO source (exchange, key, content) VALUES ('OTHER', 'k', 9);
		INSERT INTO removed (content, epoch) VALUES (7, 18);`, fmt.Sprintf(e.blob, value))
	if err := bank.CreateVersion(t.Context(), location, 1, fill); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to migrate
		s := openStore(t, location)
		banks, err := s.Banks(t.Context())
		if want := (bank.Bank{ID: 3, Name: "OLD", Ratio: 0.5, MD5Enforce: true}); err != nil || len(banks) != 2 || banks[0] != want {
			t.Errorf("banks %+v, %v", banks, err)
		}
		c, err := s.Content(t.Context(), "OLD", 8)
		if err != nil || c.Note != "kept" || c.Metadata != "{}" || len(c.Signals) != 1 || c.Signals[0].Value != string(value) {
			t.Errorf("%+v, %v", c, err)
		}
		c, err = s.Content(t.Context(), "OLD", 9)
		if err != nil || c.DisableUntil != bank.DisabledForever || len(c.Signals) != 1 || c.Signals[0].Quality != 77 {
			t.Errorf("%+v, %v", c, err)
		}
		if got := epochOf(t, s); got != 20 {
			t.Errorf("epoch %d, want 20", got)
		}
		if list, err := s.Exchanges(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("exchanges %v, %v", list, err)
		}
		ix := fresh(t, s)
		if got := ix.SHA256(value); len(got) != 1 || got[0].Content != 8 || ix.Len(bank.PDQ) != 1 || len(ix.Awaiting()) != 0 {
			t.Errorf("%v, %d hashes, awaiting %v", got, ix.Len(bank.PDQ), ix.Awaiting())
		}
	}
	s := openStore(t, location)
	// Its last commit has no mark, and is followed.
	x, live := cold(t, s, nil)
	refresh(t, x)
	createExchange(t, s, "X")
	refresh(t, x)
	sameAsStore(t, s, load(t, live))
	if got := counted(t, x)["mediagate_index_loads_total ok store"]; got != 1 {
		t.Errorf("%v loads, want 1", got)
	}
	commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}, Pending: []bank.Pending{pending("b", "hash")}})
	if got := fresh(t, s).SHA256(digest(1)); len(got) != 1 || got[0].Content != 10 || got[0].Bank.ID != 5 {
		t.Errorf("%+v, want content 10 in bank 5: numbers are never given twice", got)
	}
	checkCounts(t, s, "X", 1, 1)
}
