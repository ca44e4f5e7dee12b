package bank_test

import (
	"testing"
	"time"

	"mediagate/bank"
)

// TestAllowedHashesCountAtOnce: what is disabled, for good or for a while, keeps no hash
// off any more.
func TestAllowedHashesCountAtOnce(t *testing.T) { eachEngine(t, testAllowedHashesCountAtOnce) }

func testAllowedHashesCountAtOnce(t *testing.T, e engine) {
	s := e.newStore(t)
	if _, err := s.CreateBank(t.Context(), bank.Bank{Name: "ALLOW", Ratio: 1, Allow: true}); err != nil {
		t.Fatal(err)
	}
	id := addContent(t, s, bank.NewContent{Bank: "ALLOW", Signals: pictureSignals(1)})
	for until, want := range map[int64]int{
		bank.DisabledForever: 0, bank.Enabled: 1, time.Now().Unix() - 1000: 1, time.Now().Unix() + 1000: 0,
	} {
		if _, err := s.UpdateContent(t.Context(), "ALLOW", id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.AllowedHashes(t.Context()); err != nil || len(got) != want {
			t.Errorf("disabled until %d: %d hashes, %v; want %d", until, len(got), err, want)
		}
	}
}
