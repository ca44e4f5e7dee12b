package bank_test

import (
	"maps"
	"slices"
	"testing"

	"mediagate/bank"
)

func TestAllowedHashesAreThoseOfBanksThatAllow(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.newStore(t)
		for seed, b := range []bank.Bank{{Name: "BLOCK", Ratio: 1}, {Name: "OFF", Allow: true}, {Name: "ALLOW", Ratio: 1, Allow: true}} {
			if _, err := s.CreateBank(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if _, err := s.AddContent(t.Context(), bank.NewContent{Bank: b.Name, Signals: pictureSignals(byte(seed))}); err != nil {
				t.Fatal(err)
			}
		}
		want := ""
		for _, signal := range pictureSignals(2) {
			if signal.Type == bank.PDQ && signal.Variant == 0 {
				want = signal.Text()
			}
		}
		got, err := s.AllowedHashes(t.Context())
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%v, %v, want %s", got, err, want)
		}
		digests, err := s.AllowedDigests(t.Context())
		if err != nil || len(digests) != 2 || !digests[string(digest(2))] {
			t.Errorf("%x, %v", slices.Collect(maps.Keys(digests)), err)
		}
	})
}
