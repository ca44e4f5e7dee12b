package bombtest_test

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	_ "image/jpeg"
	_ "image/png"
	"testing"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"

	"mediagate/internal/bombtest"
)

// files lists what All and Corpus return, in order. width is 0 if DecodeConfig must fail.
var files = []struct {
	name                string
	size, width, height int
}{
	{"WebP16384", 28, 16_384, 16_384},
	{"PNGTall", 68, 255, 1_677_721_600},
	{"GIF65535", 34, 65_535, 65_535},
	{"JPEGScans8000", 494_600, 5656, 5656},
	{"JPEGPatched", 5_587, 65_500, 65_500},
	{"PNG30000", 872_223, 30_000, 30_000},
	{"GIFFrames500", 1_887_020, 2000, 2000},

	{"PNGZeroWidth", 68, 0, 0},
	{"PNGZeroHeight", 68, 0, 0},
	{"PNG2097151", 68, 2_097_151, 2_097_151},
	{"PNG2147483647", 68, 0, 0},
	{"PNG20000", 387_700, 20_000, 20_000},
	{"PNG7071", 387_690, 7071, 7071},
	{"PNGChunks", 1_400_077, 1, 1},
	{"PNGzTXt", 1_040_566, 1, 1},
	{"JPEG65500SOFOnly", 41, 65_500, 65_500},
	{"GIFCanvas65535", 35, 65_535, 65_535},
	{"WebP5000", 28, 5000, 5000},
	{"TIFFHugeIFD", 8, 0, 0},
	{"TIFFLoop", 110, 1_000_000, 1_000_000},
	{"TIFFStrips", 110, 16, 536_870_911},
	{"BMPHuge", 54, 65_535, 32_767},
	{"PNGAnimated", 290, 8, 8},
	{"WebPAnimated", 124, 16, 16},
	{"Truncated0", 0, 0, 0},
	{"Truncated1", 1, 0, 0},
	{"Truncated7", 7, 0, 0},
}

func TestFilesHaveTheirSizesAndHeaders(t *testing.T) {
	got := append(bombtest.All(), bombtest.Corpus()...)
	if len(got) != len(files) {
		t.Fatalf("%d files, want %d", len(got), len(files))
	}
	for i, want := range files {
		t.Run(want.name, func(t *testing.T) {
			name, data := got[i].Name, got[i].Data
			if name != want.name {
				t.Fatalf("file %d is %s", i, name)
			}
			if len(data) != want.size {
				t.Errorf("%d bytes, want %d", len(data), want.size)
			}
			c, _, err := image.DecodeConfig(bytes.NewReader(data))
			if (err != nil) != (want.width == 0) {
				t.Fatalf("DecodeConfig: %v", err)
			}
			if c.Width != want.width || c.Height != want.height {
				t.Errorf("DecodeConfig = %d x %d, want %d x %d", c.Width, c.Height, want.width, want.height)
			}
		})
	}
}

func TestCallsReturnTheSameBytes(t *testing.T) {
	for _, list := range []func() []bombtest.Bomb{bombtest.All, bombtest.Corpus} {
		first, second := list(), list()
		for i, b := range first {
			if !bytes.Equal(b.Data, second[i].Data) {
				t.Errorf("%s differs between two calls", b.Name)
			}
			clear(b.Data) // the bytes are ours, so the other list must not change
			if len(b.Data) > 0 && bytes.Equal(b.Data, second[i].Data) {
				t.Errorf("two calls share the bytes of %s", b.Name)
			}
		}
	}
}

// The constructions must be valid, or a decoder might refuse the large ones for a wrong reason.
func TestSmallSiblingsDecode(t *testing.T) {
	grey, black := color.Gray{Y: 128}, color.Gray{}
	tests := map[string]struct {
		data          []byte
		width, height int
		colour        color.Color
	}{
		"webp":              {bombtest.WebPLossless(64, 48), 64, 48, color.NRGBA{}},
		"webp of one pixel": {bombtest.WebPLossless(1, 1), 1, 1, color.NRGBA{}},
		"jpeg of 20 scans":  {bombtest.JPEGScans(64, 20), 64, 64, grey},
		"jpeg of long runs": {bombtest.JPEGScans(2001, 3), 2001, 2001, grey},
		"jpeg not patched":  {bombtest.JPEGFlat(680), 680, 680, grey},
		"png grey":          {bombtest.PNGZeros(300, 200, 8, bombtest.PNGGrey), 300, 200, black},
		"png 16-bit":        {bombtest.PNGZeros(70, 71, 16, bombtest.PNGRGBA), 70, 71, color.NRGBA64{}},
		"png of many rows":  {bombtest.PNGZeros(5000, 5000, 8, bombtest.PNGGrey), 5000, 5000, black},
		"png chunks":        {bombtest.PNGChunks(), 1, 1, black},
		"png text":          {bombtest.PNGText(1000), 1, 1, black},
		"png animated":      {bombtest.PNGAnimated(), 8, 8, black},
		"gif canvas":        {bombtest.GIFCanvas65535(), 1, 1, black},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, _, err := image.Decode(bytes.NewReader(tt.data))
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			b := m.Bounds()
			if b.Dx() != tt.width || b.Dy() != tt.height {
				t.Errorf("decoded %v, want %d x %d", b, tt.width, tt.height)
			}
			want := m.ColorModel().Convert(tt.colour)
			for _, p := range []image.Point{b.Min, b.Max.Sub(image.Pt(1, 1))} {
				if got := m.At(p.X, p.Y); got != want {
					t.Errorf("pixel %v is %v, want %v", p, got, want)
				}
			}
		})
	}
}

func TestGIFFramesDecode(t *testing.T) {
	g, err := gif.DecodeAll(bytes.NewReader(bombtest.GIFFrames(3)))
	if err != nil {
		t.Fatalf("DecodeAll: %v", err)
	}
	if len(g.Image) != 3 || g.Image[2].Bounds() != image.Rect(0, 0, 2000, 2000) {
		t.Errorf("%d frames, the last one %v", len(g.Image), g.Image[len(g.Image)-1].Bounds())
	}
}

func TestJPEGScansHoldsSoManyScans(t *testing.T) {
	for _, n := range []int{1, 2, 20} {
		data := bombtest.JPEGScans(64, n)
		if got := bytes.Count(data, []byte{0xff, 0xda}); got != n {
			t.Errorf("JPEGScans(64, %d) holds %d scans", n, got)
		}
	}
}

func TestJPEGPatchedDiffersInTheSidesOnly(t *testing.T) {
	data, plain := bombtest.JPEGPatched(), bombtest.JPEGFlat(680)
	if len(data) != len(plain) {
		t.Fatalf("%d bytes, before the patch %d", len(data), len(plain))
	}
	at := bytes.Index(plain, []byte{0x02, 0xa8, 0x02, 0xa8}) // 680 twice
	copy(plain[at:], []byte{0xff, 0xdc, 0xff, 0xdc})
	if !bytes.Equal(data, plain) {
		t.Error("more than the sides was patched")
	}
}

func TestDecodersRefuse(t *testing.T) {
	for name, data := range map[string][]byte{
		"overflow":      bombtest.PNG2147483647(),
		"frame header":  bombtest.JPEG65500SOFOnly(),
		"huge IFD":      bombtest.TIFFHugeIFD(),
		"strips":        bombtest.TIFFStrips(),
		"webp animated": bombtest.WebPAnimated(),
	} {
		if _, _, err := image.Decode(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func TestWebPAnimatedHoldsTwoFrames(t *testing.T) {
	file := bombtest.WebPAnimated()
	if string(file[12:16]) != "VP8X" || file[20]&2 == 0 || bytes.Count(file, []byte("ANMF")) != 2 {
		t.Errorf("animated WebP is %q", file)
	}
	if size := binary.LittleEndian.Uint32(file[4:]); int(size) != len(file)-8 {
		t.Errorf("RIFF size %d of %d bytes", size, len(file))
	}
}
