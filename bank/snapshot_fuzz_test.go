package bank_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/pdq"
)

// FuzzSnapshot decodes any head with any parts, which are cut from one input by their
// lengths. What is not refused must be what would be written again.
func FuzzSnapshot(f *testing.F) {
	ix, err := bank.IndexOf([]bank.Bank{{ID: 1, Name: "A"}}, bank.HashContent{
		ID: 1, Bank: 1, DisableUntil: bank.DisabledForever, Hashes: []media.Hash{{PDQ: pdq.Hash{1, 2}}, {PDQ: pdq.Hash{3}, Variant: media.Upright}},
	})
	if err != nil {
		f.Fatal(err)
	}
	head, parts := ix.EncodeSnapshot()
	var joined []byte
	for _, part := range parts {
		joined = append(binary.BigEndian.AppendUint32(joined, uint32(len(part))), part...)
	}
	f.Add(head, joined)
	f.Fuzz(func(t *testing.T, head, joined []byte) {
		var parts [][]byte
		for len(joined) >= 4 {
			n := min(binary.BigEndian.Uint32(joined), uint32(len(joined)-4))
			parts = append(parts, joined[4:4+n])
			joined = joined[4+n:]
		}
		ix, err := bank.DecodeSnapshot(head, parts)
		if err != nil {
			return
		}
		again, partsAgain := ix.EncodeSnapshot()
		// The id is another one, and the digests are those of the parts.
		const fixed = bank.EntriesAt + 8*8
		if !bytes.Equal(again[bank.EpochAt:fixed], head[bank.EpochAt:fixed]) {
			t.Errorf("head\n%x is written as\n%x", head, again)
		}
		for i, part := range partsAgain {
			if !bytes.Equal(part, parts[i]) {
				t.Errorf("part\n%x is written as\n%x", parts[i], part)
			}
		}
	})
}
