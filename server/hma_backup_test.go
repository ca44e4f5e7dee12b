package server_test

import (
	"bytes"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"mediagate/bank"
)

// TestWhatTheAPITakesIsExportedAndImported banks metadata and notes at their limits, and
// moves them to another store, which tells the same.
func TestWhatTheAPITakesIsExportedAndImported(t *testing.T) {
	nested := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "{}" + strings.Repeat("}", levels) }
	g := newGate(t, setup{})
	g.mustBank("A")
	content := checkerboard(t, 8)
	refused := map[string]string{
		"infinity":       `{"json":{"a":1e400}}`,
		"minus infinity": `{"json":{"a":[{"b":-1e999}]}}`,
		"too deep":       `{"json":` + nested(100) + `}`,
		"digits":         `{"json":{"a":` + strings.Repeat("9", 4301) + `}}`,
	}
	for name, metadata := range refused {
		if a := g.upload("/c/bank/A/content", "photo", content, "metadata", metadata); a.status != 400 {
			t.Errorf("%s: %d %.300s", name, a.status, a.body)
		}
	}
	g.upload("/c/bank/A/content", "photo", content, "metadata", refused["infinity"]).want(t, 400, message("Invalid metadata: the metadata is not a JSON object of finite numbers"))
	taken := []string{
		`{}`,
		`{"content_id":null,"content_uri":"x","json_data":{"a":null},"collab":{"X":["y"]}}`,
		`{"json":{"a":"` + strings.Repeat("\x7f", 480_000) + `"}}`,
		`{"json":{"a":"` + strings.Repeat("é\u2028😀<", 45_000) + `"}}`,
		`{"json":{"a":[1e15` + strings.Repeat(",1e15", 90_000) + `]}}`,
		`{"json":` + nested(99) + `}`,
		`{"json":{"a":` + strings.Repeat("9", 4300) + `,"b":1e-400,"c":1e308,"d":"\u0000\ud800"}}`,
	}
	for i, metadata := range taken {
		note := strings.Repeat("\u2028", 255)
		if a := g.upload("/c/bank/A/content", "photo", content, "metadata", metadata, "note", note); a.status != 200 {
			t.Errorf("%d: %d %.300s", i, a.status, a.body)
		}
	}
	// The largest body that is read, all of it escaped.
	head, tail := `{"metadata":{"json":{"a":"`, `"}}}`
	body := head + strings.Repeat("\x7f", 1<<20-len(head)-len(tail)) + tail
	if a := g.json("POST", "/c/bank/A/content?url="+url.QueryEscape(origin(t).URL+"/rgb.png"), body); a.status != 200 {
		t.Errorf("%d %.300s", a.status, a.body)
	}
	var export bytes.Buffer
	all := int64(len(taken) + 1)
	if n, err := g.store.Export(t.Context(), &export, nil, func(int64, int64) {}); err != nil || n != all {
		t.Fatalf("%d contents, %v", n, err)
	}
	path := filepath.Join(t.TempDir(), "other.db")
	other, err := bank.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	// The contents are of one picture, but for the last: each goes to a bank of its own.
	lines := strings.SplitAfter(export.String(), "\n")
	for i, line := range lines[1 : len(lines)-2] {
		line = strings.Replace(line, `{"bank":"A"`, fmt.Sprintf(`{"bank":"A%d"`, i), 1)
		n, err := other.Import(t.Context(), strings.NewReader(line), bank.Import{Bank: fmt.Sprint("A", i), Create: true})
		if err != nil || n.Added != 1 {
			t.Errorf("%d: %+v, %v", i, n, err)
		}
	}
	if n, err := other.Import(t.Context(), &export, bank.Import{Bank: "A", Create: true}); err != nil || n.Added != 2 || n.Skipped != all-2 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	restored := newGate(t, setup{store: path})
	for i := range int(all) {
		id := i + 1
		want := g.get(fmt.Sprintf("/c/bank/A/content/%d", id))
		got := restored.get(fmt.Sprintf("/c/bank/A%d/content/%d", i, id))
		if got.status != 200 || strings.Replace(got.body, fmt.Sprintf(`"name":"A%d"`, i), `"name":"A"`, 1) != want.body {
			t.Errorf("%d: %d %.300s, want %.300s", id, got.status, got.body, want.body)
		}
	}
}
