package policyroom

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // decoders
	_ "image/jpeg"
	_ "image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "golang.org/x/image/webp" // another one

	"mediagate/bank"
	"mediagate/pdq"
)

// drawn makes a grey picture of a function of the place in it, from 0 to 1.
func drawn(width, height int, brightness func(x, y float64) float64) image.Image {
	img := image.NewGray(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			b := brightness((float64(x)+.5)/float64(width), (float64(y)+.5)/float64(height))
			img.SetGray(x, y, color.Gray{Y: uint8(math.Round(255 * min(max(b, 0), 1)))})
		}
	}
	return img
}

func when(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// radius is how far a place is from the middle.
func radius(x, y float64) float64 { return 2 * math.Hypot(x-.5, y-.5) }

// plain are pictures that say nothing, by what they show.
func plain() map[string]func(x, y float64) float64 {
	all := map[string]func(x, y float64) float64{
		"left and right": func(x, _ float64) float64 { return when(x > .5) },
		"top and bottom": func(_, y float64) float64 { return when(y > .5) },
		"cross":          func(x, y float64) float64 { return when(math.Abs(x-.5) < .1 || math.Abs(y-.5) < .1) },
		"halo":           func(x, y float64) float64 { return radius(x, y) },
		"glow":           func(x, y float64) float64 { return 1 - radius(x, y) },
	}
	for _, n := range []int{3, 4, 5, 8, 10} {
		k := float64(n)
		odd := func(v float64) bool { return int(v*k)%2 == 1 }
		all[fmt.Sprint("stripes down ", n)] = func(x, _ float64) float64 { return when(odd(x)) }
		all[fmt.Sprint("stripes across ", n)] = func(_, y float64) float64 { return when(odd(y)) }
		all[fmt.Sprint("chequers ", n)] = func(x, y float64) float64 { return when(odd(x) != odd(y)) }
	}
	for _, n := range []int{5, 10, 20, 30} {
		k := float64(n) / 100
		all[fmt.Sprint("frame ", n)] = func(x, y float64) float64 { return when(min(x, y) > k && max(x, y) < 1-k) }
		all[fmt.Sprint("disc ", n)] = func(x, y float64) float64 { return when(radius(x, y) > 2*k) }
		all[fmt.Sprint("spot ", n)] = func(x, y float64) float64 { return when(radius(x, y) < 2*k) }
	}
	return all
}

// eachPicture hashes the pictures that lists are measured by.
func eachPicture(t *testing.T, do func(t *testing.T, name string, h pdq.Hash)) {
	t.Helper()
	seen := 0
	const folder = "../../pdq/testdata/images"
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".txt" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		img, _, err := image.Decode(bytes.NewReader(content))
		if err != nil {
			if filepath.Base(path) == "animated.webp" { // this decoder reads none
				return nil
			}
			return fmt.Errorf("%s: %w", path, err)
		}
		seen++
		for orientation := 1; orientation <= 8; orientation++ {
			if h, quality := pdq.FromView(img, pdq.View{Orientation: orientation}); quality >= minQuality {
				do(t, fmt.Sprint(path, " as ", orientation), h)
			}
		}
		return nil
	})
	if err != nil || seen < 60 {
		t.Fatalf("%d pictures, %v", seen, err)
	}
}

func ruleOf(h pdq.Hash) Rule {
	raw := h.Bytes()
	return Rule{Signals: []bank.Signal{{Type: bank.PDQ, Value: string(raw[:]), Quality: 100}}}
}

// No picture is refused, and none is near to being so.
func TestLintRefusesNoPicture(t *testing.T) {
	eachPicture(t, func(t *testing.T, name string, h pdq.Hash) {
		t.Helper()
		if refused := Lint(ruleOf(h), nil, 31); refused != nil {
			t.Errorf("%s: refused %v", name, refused)
		}
		if w := weight(h); w != pdq.Bits/2 {
			t.Errorf("%s: %d bits are set", name, w)
		}
		if d := fromSeparable(h); d < 56 {
			t.Errorf("%s: %d bits from a separable picture", name, d)
		}
	})
}

func TestLintRefusesPicturesThatSayNothing(t *testing.T) {
	count := map[Refusal]int{}
	for name, f := range plain() {
		for _, size := range [][2]int{{512, 512}, {512, 384}, {1000, 700}} {
			h, quality := pdq.FromImage(drawn(size[0], size[1], f))
			refused := Lint(ruleOf(h), nil, 31)
			for _, reason := range refused {
				count[reason]++
			}
			// Where all rows or all columns are alike, what is left of the other
			// coefficients is what rounding makes of nothing.
			if quality >= minQuality && refused == nil && !strings.HasPrefix(name, "stripes") && name != "top and bottom" {
				t.Errorf("%s of %v, quality %d: it counts", name, size, quality)
			}
		}
	}
	if count[ImplausibleWeight] < 20 || count[Degenerate] < 40 {
		t.Errorf("refused for %v", count)
	}
}

// Blank pictures and gradients are not looked up, whatever lists say of them.
func TestBlankPicturesHaveNoQuality(t *testing.T) {
	for name, f := range map[string]func(x, y float64) float64{
		"black":     func(_, _ float64) float64 { return 0 },
		"grey":      func(_, _ float64) float64 { return .5 },
		"white":     func(_, _ float64) float64 { return 1 },
		"to right":  func(x, _ float64) float64 { return x },
		"down":      func(_, y float64) float64 { return y },
		"to corner": func(x, y float64) float64 { return (x + y) / 2 },
	} {
		for _, size := range [][2]int{{512, 512}, {300, 225}, {64, 48}} {
			if _, quality := pdq.FromImage(drawn(size[0], size[1], f)); quality >= minQuality {
				t.Errorf("%s of %v: quality %d", name, size, quality)
			}
		}
	}
}

func TestRoundPicturesAreAsDrawn(t *testing.T) {
	for _, r := range round {
		f, ok := plain()[r.shows]
		if !ok {
			t.Fatalf("nobody draws %s", r.shows)
		}
		h, quality := pdq.FromImage(drawn(512, 512, f))
		if h != r.hash || quality < minQuality {
			t.Errorf("%s: hash %v, quality %d", r.shows, h, quality)
		}
		if fromSeparable(h) <= 31 {
			t.Errorf("%s: it need not be listed", r.shows)
		}
	}
}

func TestTinyFilesAreWhatTheyAre(t *testing.T) {
	for _, text := range tiny[1:] {
		file, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if c, _, err := image.DecodeConfig(bytes.NewReader(file)); err != nil || c.Width != 1 || c.Height != 1 {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
}

func TestLint(t *testing.T) {
	flip := func(bits ...int) Rule {
		h, err := pdq.Parse(someHash)
		if err != nil {
			t.Fatal(err)
		}
		for _, bit := range bits {
			h[bit/64] ^= 1 << (bit % 64)
		}
		return ruleOf(h)
	}
	// heavier sets so many more bits than there are.
	heavier := func(n int) Rule {
		h, _ := pdq.Parse(someHash)
		for bit := 0; n > 0; bit++ {
			if mask := uint64(1) << (bit % 64); h[bit/64]&mask == 0 {
				h[bit/64] |= mask
				n--
			}
		}
		return ruleOf(h)
	}
	all := func(kind bank.SignalType, digits string) Rule {
		return Rule{Signals: []bank.Signal{signal(t, kind, digits, 100)}}
	}
	start, _ := pdq.Parse(someHash)
	more := pdq.Bits/2 + maxImbalance - weight(start)
	allowed := pdq.NewIndex([]pdq.Hash{start})
	bits := make([]int, 32)
	for i := range bits {
		bits[i] = 5 * i
	}
	mixed := all(bank.MD5, someDigest)
	mixed.Signals = append(mixed.Signals, all(bank.SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").Signals...)
	for name, c := range map[string]struct {
		rule    Rule
		allowed *pdq.Index
		refused []Refusal
	}{
		"a hash":                    {flip(), nil, nil},
		"zeros":                     {all(bank.PDQ, strings.Repeat("00", 32)), nil, []Refusal{AllZero}},
		"ones":                      {all(bank.PDQ, strings.Repeat("ff", 32)), nil, []Refusal{AllOne}},
		"digest of zeros":           {all(bank.SHA256, strings.Repeat("00", 32)), nil, []Refusal{AllZero}},
		"digest of one byte":        {all(bank.MD5, strings.Repeat("80", 16)), nil, nil},
		"digest of ones":            {all(bank.MD5, strings.Repeat("ff", 16)), nil, []Refusal{AllOne}},
		"heavy":                     {heavier(more), nil, nil},
		"too heavy":                 {heavier(more + 1), nil, []Refusal{ImplausibleWeight}},
		"light":                     {all(bank.PDQ, "0000ffff"+strings.Repeat("00", 28)), nil, []Refusal{Degenerate, ImplausibleWeight}},
		"chequers":                  {all(bank.PDQ, strings.Repeat("3333cccc", 8)), nil, []Refusal{Degenerate}},
		"allowed":                   {flip(), allowed, []Refusal{NearAllowed}},
		"near to what is allowed":   {flip(bits[:31]...), allowed, []Refusal{NearAllowed}},
		"not so near":               {flip(bits...), allowed, nil},
		"nothing, by SHA-256":       {all(bank.SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), nil, []Refusal{HarmlessDigest}},
		"nothing, by MD5":           {all(bank.MD5, "d41d8cd98f00b204e9800998ecf8427e"), nil, []Refusal{HarmlessDigest}},
		"a digest":                  {all(bank.MD5, someDigest), allowed, nil},
		"a digest beside a bad one": {mixed, nil, []Refusal{HarmlessDigest}},
		"item":                      {Rule{Item: strings.Repeat("\x01", 32)}, allowed, nil},
		"server":                    {Rule{Servers: "example.org"}, nil, nil},
		"servers of a domain":       {Rule{Servers: "*.example.org"}, nil, nil},
		"servers of one name":       {Rule{Servers: "evil-*.example.org:8448"}, nil, nil},
		"all servers":               {Rule{Servers: "*"}, nil, []Refusal{TooBroad}},
		"all servers with a dot":    {Rule{Servers: "*.*"}, nil, []Refusal{TooBroad}},
		"a whole country":           {Rule{Servers: "*.org"}, nil, []Refusal{TooBroad}},
		"the same, with a port":     {Rule{Servers: "*.org:8448"}, nil, []Refusal{TooBroad}},
		"whatever begins so":        {Rule{Servers: "example.*"}, nil, []Refusal{TooBroad}},
		"an empty name":             {Rule{Servers: "*..org"}, nil, []Refusal{TooBroad}},
		"the end of a name":         {Rule{Servers: "*ple.org"}, nil, []Refusal{TooBroad}},
		"one letter":                {Rule{Servers: "?.org"}, nil, []Refusal{TooBroad}},
		"a country in full":         {Rule{Servers: "*.org."}, nil, []Refusal{TooBroad}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.refused, Lint(c.rule, c.allowed, 31)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
