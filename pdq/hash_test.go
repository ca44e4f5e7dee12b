package pdq_test

import (
	"errors"
	"strings"
	"testing"

	"mediagate/pdq"
)

const sampleText = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"

func TestParse(t *testing.T) {
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"lower case":       {sampleText, true},
		"upper case":       {strings.ToUpper(sampleText), true},
		"all zero":         {strings.Repeat("0", 64), true},
		"empty":            {"", false},
		"63 digits":        {sampleText[1:], false},
		"65 digits":        {sampleText + "0", false},
		"trailing newline": {sampleText + "\n", false},
		"newline inside":   {sampleText[:63] + "\n", false},
		"sign":             {"-" + sampleText[1:], false},
		"prefix":           {"0x" + sampleText[2:], false},
		"unicode digits":   {strings.Repeat("٣", 32), false},
		"no hexadecimal":   {strings.Repeat("g", 64), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := pdq.Parse(tt.text)
			if tt.ok && (err != nil || h.String() != strings.ToLower(tt.text)) {
				t.Errorf("Parse(%q) = %v, %v", tt.text, h, err)
			}
			if !tt.ok && !errors.Is(err, pdq.ErrMalformed) {
				t.Errorf("Parse(%q) = %v, %v, want ErrMalformed", tt.text, h, err)
			}
			if err != nil && tt.text != "" && strings.Contains(err.Error(), tt.text) {
				t.Errorf("the error repeats its input: %v", err)
			}
		})
	}
}

func TestBitOrder(t *testing.T) {
	h := pdq.Hash{1, 0, 0, 1 << 63}
	want := "8" + strings.Repeat("0", 62) + "1"
	if h.String() != want {
		t.Errorf("bits 0 and 255 print as %v, want %s", h, want)
	}
	if back := pdq.FromBytes(h.Bytes()); back != h {
		t.Errorf("FromBytes(Bytes()) = %v, want %v", back, h)
	}
}

func TestDistance(t *testing.T) {
	parse := func(pattern string) pdq.Hash {
		h, err := pdq.Parse(strings.Repeat(pattern, 64/len(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	tests := map[string]struct {
		a, b pdq.Hash
		want int
	}{
		"same":       {parse("5"), parse("5"), 0},
		"half":       {parse("0"), parse("0f"), 128},
		"complement": {parse("0f"), parse("f0"), 256},
		"one bit":    {pdq.Hash{}, pdq.Hash{0, 0, 1 << 5, 0}, 1},
	}
	for name, tt := range tests {
		if got := pdq.Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sampleText)
	f.Add(strings.ToUpper(sampleText))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := pdq.Parse(text)
		if err == nil && h.String() != strings.ToLower(text) {
			t.Errorf("Parse(%q).String() = %v", text, h)
		}
	})
}
