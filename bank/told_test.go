package bank_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
)

func TestMetadataOfMany(t *testing.T) { eachEngine(t, testMetadataOfMany) }

func testMetadataOfMany(t *testing.T, e engine) {
	s := e.newStore(t)
	want := make(map[int64]string)
	asked := []int64{1 << 40}
	for i := range 100 {
		name := fmt.Sprint("BANK_", i%2)
		if i < 2 {
			createBank(t, s, name)
		}
		metadata := ""
		if i%3 > 0 {
			metadata = fmt.Sprintf(`{"json":{"é":"%0*d"}}`, 1+i, 0) // two bytes, one character
		}
		id := addContent(t, s, bank.NewContent{Bank: name, Signals: pictureSignals(byte(i)), Metadata: metadata})
		if i%7 > 0 {
			asked = append(asked, id)
			if n := len([]rune(metadata)); n > 0 && n <= 80 {
				want[id] = metadata
			}
		}
	}
	got, err := s.Metadata(t.Context(), asked, 80)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := s.Metadata(t.Context(), nil, 80); len(got) != 0 || err != nil {
		t.Errorf("of none: %v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Metadata(t.Context(), asked, 80); err == nil {
		t.Errorf("of a closed store: %v", got)
	}
}
