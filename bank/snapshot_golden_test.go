package bank_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/media"
)

// goldenStore holds signals of every type and view, by their names.
func goldenStore(t *testing.T) *bank.Store {
	t.Helper()
	s := onSQLite.newStore(t)
	var signals []string
	add := func(content int, of bank.SignalType, variant media.Variant, fill byte) {
		size := 32
		if of == bank.MD5 || of == bank.VideoMD5 {
			size = 16
		}
		signals = append(signals, fmt.Sprintf("(%d, '%s', %d, x'%x')", content, of, variant, bytes.Repeat([]byte{fill}, size)))
	}
	for i, view := range []media.Variant{media.Primary, media.Upright, media.Black, media.White, media.Compatible} {
		add(8, bank.PDQ, view, byte(0x10+i))
	}
	add(8, bank.SHA256, media.Primary, 0x21)
	add(8, bank.MD5, media.Primary, 0x31)
	add(9, bank.VideoMD5, media.Primary, 0x41)
	add(10, bank.SHA256, media.Primary, 0x20)
	for _, statement := range []string{
		"INSERT INTO bank (id, name, ratio, md5_enforce) VALUES (3, 'A', 1, 0), (258, 'B', 1, 0)",
		"INSERT INTO content (id, bank, epoch, created, disable_until, note, metadata) VALUES (8, 3, 1, 1000, 1, '', ''), (9, 258, 2, 2000, 0, '', ''), (10, 3, 2, 3000, 5000000000, '', '')",
		"INSERT INTO signal (content, type, variant, value) VALUES " + strings.Join(signals, ", "),
		"UPDATE meta SET value = 300 WHERE key = 'epoch'",
	} {
		if err := s.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestSnapshotsStayReadable: processes of two releases share them, so a form that
// changes needs another version. Then this one's file stays what it is, to be refused,
// and the new one gets another.
func TestSnapshotsStayReadable(t *testing.T) {
	text, err := os.ReadFile("testdata/snapshot-1.txt")
	if err != nil {
		t.Fatal(err)
	}
	var values [][]byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		value, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	head, parts := values[0], values[1:]
	ix, err := bank.DecodeSnapshot(head, parts)
	if err != nil {
		t.Fatal(err)
	}
	wantHead, wantParts := fresh(t, goldenStore(t)).EncodeSnapshot()
	for what, of := range map[string]*bank.Index{"": nil, "decoded and ": ix} {
		gotHead, gotParts := head, parts
		if of != nil {
			gotHead, gotParts = of.EncodeSnapshot()
		}
		// All but the random id.
		if !bytes.Equal(gotHead[:bank.VersionAt+4], wantHead[:bank.VersionAt+4]) || !bytes.Equal(gotHead[bank.EpochAt:], wantHead[bank.EpochAt:]) {
			t.Errorf("%sencoded head\n%x, of the store\n%x", what, gotHead, wantHead)
		}
		for i, want := range wantParts {
			if i >= len(gotParts) || !bytes.Equal(gotParts[i], want) {
				t.Errorf("%sencoded part %d, of the store\n%x", what, i, want)
			}
		}
	}
	for _, view := range []media.Variant{media.Primary, media.Upright, media.Black, media.White, media.Compatible} {
		signal := bank.Signal{Type: bank.PDQ, Value: strings.Repeat(string(rune(0x10+int(view))), 32)}
		if got := lookUp(t, ix, signal, 0); len(got) != 1 || got[0].Stored != view || got[0].Content != 8 || got[0].Type != bank.PDQ || !got[0].Enabled {
			t.Errorf("view %s: %+v", view, got)
		}
	}
	for _, tt := range []struct {
		of      bank.SignalType
		fill    byte
		content int64
		enabled bool
	}{{bank.SHA256, 0x21, 8, true}, {bank.SHA256, 0x20, 10, false}, {bank.MD5, 0x31, 8, true}} {
		size := map[bank.SignalType]int{bank.SHA256: 32, bank.MD5: 16}[tt.of]
		if got := lookUp(t, ix, bank.Signal{Type: tt.of, Value: string(bytes.Repeat([]byte{tt.fill}, size))}, 0); len(got) != 1 || got[0].Content != tt.content || got[0].Enabled != tt.enabled || got[0].Type != tt.of {
			t.Errorf("%s of content %d: %+v", tt.of, tt.content, got)
		}
	}
	if got := ix.MD5(bytes.Repeat([]byte{0x41}, 16)); len(got) != 1 || got[0].Content != 9 || got[0].Enabled || got[0].Type != bank.VideoMD5 {
		t.Errorf("video: %+v", got)
	}
}
