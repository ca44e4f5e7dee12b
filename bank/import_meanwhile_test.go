package bank_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"mediagate/bank"
)

func TestBankThatGoesMeanwhileIsNotMadeAgain(t *testing.T) {
	eachEngine(t, testBankThatGoesMeanwhileIsNotMadeAgain)
}

// testBankThatGoesMeanwhileIsNotMadeAgain changes the bank between the first batch and
// the second.
func testBankThatGoesMeanwhileIsNotMadeAgain(t *testing.T, e engine) {
	other := "OTHER"
	for name, tt := range map[string]struct {
		change func(s *bank.Store) error
		want   error
		left   map[string]int64 // the banks that there are then
	}{
		"removed": {
			func(s *bank.Store) error { return s.DeleteBank(t.Context(), "A") },
			bank.ErrBankRemoved, map[string]int64{},
		},
		"removed and made": {
			func(s *bank.Store) error {
				return errors.Join(s.DeleteBank(t.Context(), "A"), errorOf(s.CreateBank(t.Context(), bank.Bank{Name: "A"})))
			},
			bank.ErrBankRemoved, map[string]int64{"A": 0},
		},
		"renamed": {
			func(s *bank.Store) error {
				return errorOf(s.UpdateBank(t.Context(), "A", bank.Settings{Name: &other}))
			},
			nil, map[string]int64{"OTHER": 1500},
		},
	} {
		s := e.newStore(t)
		text := list(0, 1500)
		first := strings.Join(strings.SplitAfter(text, "\n")[:1000], "")
		changed := false
		n, err := s.Import(t.Context(), io.MultiReader(strings.NewReader(first), readerFunc(func([]byte) (int, error) {
			if got := contents(t, s, "A"); got != 1000 {
				return 0, io.ErrUnexpectedEOF // too early
			}
			changed = true
			if err := tt.change(s); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}), strings.NewReader(text[len(first):])), bank.Import{Bank: "A", Create: true})
		if !changed || !errors.Is(err, tt.want) || n.Added < 1000 {
			t.Errorf("%s: %+v, %v, want %v", name, n, err, tt.want)
		}
		banks, err := s.CountBanks(t.Context())
		if err != nil || len(banks) != len(tt.left) {
			t.Errorf("%s: %v, %v", name, banks, err)
		}
		for _, b := range banks {
			if want, there := tt.left[b.Name]; !there || b.Contents != want {
				t.Errorf("%s: %s has %d contents, want %v", name, b.Name, b.Contents, tt.left)
			}
		}
	}
}
