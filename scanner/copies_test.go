package scanner_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/tiff"

	"mediagate/bank"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/pdq"
	"mediagate/scanner"
)

const vectors = "../pdq/testdata/images"

// photos are the originals: files of the vectors, and how EXIF says that their
// pixels are turned. misc/rgb.jpeg is not among them: it is noise, of which no
// smaller copy matches in the reference either.
var photos = map[string]struct {
	file string
	turn int
}{
	"park":    {"bridge-mods/aaa-orig.jpg", 1},
	"coaster": {"misc/c.png", 1},
	"pen":     {"misc/pen-and-coaster.png", 1},
	"cups":    {"camera/exif-rotn-1.jpg", 1},
	"desk":    {"camera/exif-rotn-6.jpg", 6},
}

// distinct are all pictures of the vectors that are no copies of one another.
var distinct = []string{
	"bridge-mods/aaa-orig.jpg", "misc/c.png", "misc/pen-and-coaster.png", "camera/exif-rotn-1.jpg", "camera/exif-rotn-6.jpg",
	"misc/rgb.jpeg", "misc/wee.jpg", "misc/small.jpg", "misc/LA.png", "misc/I16.png", "png/q0122.png", "png/q0746.png", "png/q2821.png",
}

// TestCopiesMatchTheirOriginal banks five photos as an operator does and scans
// re-encodings of each: all are blocked, each by its own original and no other.
func TestCopiesMatchTheirOriginal(t *testing.T) {
	pool := workertest.Pool(t, patient)
	b := newBench(t, defaults, pool, bank.Bank{Name: "A", Ratio: 1})
	ids := make(map[string]int64)
	for name, p := range photos {
		ids[name] = b.add(t, "A", bank.SignalsOf(signalsOf(t, pool, readFile(t, vectors, p.file)))...)
	}
	b.sync(t)
	for name, p := range photos {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			original, _, err := image.Decode(bytes.NewReader(readFile(t, vectors, p.file)))
			if err != nil {
				t.Fatal(err)
			}
			all := copies(t, name, upright(original, p.turn))
			if len(all) < 20 {
				t.Errorf("only %d copies", len(all))
			}
			for _, c := range all {
				v := b.scan(t, encoded(t, c.encode))
				own := slices.IndexFunc(v.Matches, func(m scanner.Match) bool { return m.Content == ids[name] })
				if v.Outcome != scanner.Blocked || len(v.Matches) != 1 || own < 0 {
					t.Errorf("%s: %s, refusal %q, matches %v", c.name, v.Outcome, v.Signals.Refusal, texts(v.Matches))
					continue
				}
				t.Logf("%s: %s", c.name, texts(v.Matches)[0])
			}
		})
	}
}

// TestUnrelatedHashesDoNotMatch banks 500 hashes and looks 500 others up: two
// kinds of list, by the rules in pdq/testdata/generators.md.
func TestUnrelatedHashesDoNotMatch(t *testing.T) {
	b := newBench(t, defaults, workertest.Pool(t, patient), bank.Bank{Name: "A", Ratio: 1})
	random, balanced := splitmix(1000), splitmix(2000)
	draw := func() []pdq.Hash {
		return []pdq.Hash{
			{random.next(), random.next(), random.next(), random.next()},
			flip(&balanced, pdq.Hash{}, 128),
		}
	}
	var banked, looked []pdq.Hash
	for range 250 {
		banked, looked = append(banked, draw()...), append(looked, draw()...)
	}
	for _, h := range banked {
		b.add(t, "A", listed(t, h))
	}
	b.sync(t)
	ix, err := b.live.Load()
	if err != nil || ix.Len(bank.PDQ) != 500 || len(looked) != 500 {
		t.Fatalf("%d hashes banked, %d to look up, %v; want 500", ix.Len(bank.PDQ), len(looked), err)
	}
	for i, h := range looked {
		for _, m := range ix.Within(media.Hash{PDQ: h, Quality: 100}, b.MaxDistance()) {
			t.Errorf("hash %d matches content %d at %d bits", i, m.Content, m.Distance)
		}
		if len(ix.Within(media.Hash{PDQ: banked[i], Quality: 100}, b.MaxDistance())) != 1 {
			t.Errorf("banked hash %d does not find itself alone", i)
		}
	}
}

// TestOtherPicturesDoNotMatch scans every distinct picture against all of them,
// and then against one alone.
func TestOtherPicturesDoNotMatch(t *testing.T) {
	pool := workertest.Pool(t, patient)
	b := newBench(t, defaults, pool, bank.Bank{Name: "A", Ratio: 1})
	lone := newBench(t, defaults, pool, bank.Bank{Name: "A", Ratio: 1})
	ids := make(map[string]int64)
	for _, file := range distinct {
		ids[file] = b.add(t, "A", bank.SignalsOf(signalsOf(t, pool, readFile(t, vectors, file)))...)
	}
	lone.add(t, "A", bank.SignalsOf(signalsOf(t, pool, readFile(t, vectors, distinct[0])))...)
	b.sync(t)
	lone.sync(t)
	for i, file := range distinct {
		v := b.scan(t, readFile(t, vectors, file))
		if v.Outcome != scanner.Blocked {
			t.Errorf("%s itself is %s", file, v.Outcome)
		}
		for _, m := range v.Matches {
			if m.Content != ids[file] {
				t.Errorf("%s matches content %d of %v, %d bits", file, m.Content, ids, m.Distance)
			}
		}
		want := scanner.Clean
		if i == 0 {
			want = scanner.Blocked
		}
		if v := lone.scan(t, readFile(t, vectors, file)); v.Outcome != want || want == scanner.Clean && len(v.Matches) > 0 {
			t.Errorf("%s against %s alone: %s, %v, want %s", file, distinct[0], v.Outcome, texts(v.Matches), want)
		}
	}
}

// copyOf is one way in which a picture comes again.
type copyOf struct {
	name   string
	encode func(w io.Writer) error
}

// copies are re-encodings of a photo. Photos larger than what clients send are
// made smaller first, except for one copy.
func copies(t *testing.T, name string, full *image.RGBA) []copyOf {
	var out []copyOf
	add := func(name string, encode func(w io.Writer) error) { out = append(out, copyOf{name, encode}) }
	asJPEG := func(name string, quality int, img image.Image) {
		add(fmt.Sprintf("%s JPEG %d", name, quality), func(w io.Writer) error { return jpeg.Encode(w, img, &jpeg.Options{Quality: quality}) })
	}
	asPNG := func(name string, img image.Image) {
		add(name+" PNG", func(w io.Writer) error { return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(w, img) })
	}
	asJPEG("camera size", 75, full)
	sent := fit(full, 1600)
	small := fit(sent, 640)
	for _, quality := range []int{40, 50, 60, 70, 80, 90, 95} {
		asJPEG("as sent", quality, sent)
	}
	asPNG("as sent", sent)
	for name, part := range map[string]int{"half": 2, "quarter": 4} {
		smaller := resized(sent, sent.Rect.Dx()/part, sent.Rect.Dy()/part)
		asJPEG(name, 85, smaller)
		asPNG(name, smaller)
	}
	grey := drawn(image.NewGray(sent.Rect), draw.Src, sent)
	asJPEG("grey", 85, grey)
	asPNG("grey", grey)
	for name, drawer := range map[string]draw.Drawer{"dithered": draw.FloydSteinberg, "posterised": draw.Src} {
		p := drawn(image.NewPaletted(small.Rect, palette.Plan9), drawer, small)
		asPNG(name, p)
		add(name+" GIF", func(w io.Writer) error { return gif.Encode(w, p, nil) })
	}
	asPNG("16-bit", drawn(image.NewRGBA64(sent.Rect), draw.Src, sent))
	asPNG("translucent", translucent(sent))
	add("BMP", func(w io.Writer) error { return bmp.Encode(w, sent) })
	add("TIFF", func(w io.Writer) error { return tiff.Encode(w, sent, nil) })
	add("deflated TIFF", func(w io.Writer) error {
		return tiff.Encode(w, sent, &tiff.Options{Compression: tiff.Deflate, Predictor: true})
	})
	for o := 2; o <= 8; o++ {
		add(fmt.Sprintf("EXIF %d JPEG", o), func(w io.Writer) error {
			plain := encoded(t, func(w io.Writer) error { return jpeg.Encode(w, turned(small, o), nil) })
			_, err := w.Write(withOrientation(plain, o))
			return err
		})
	}
	for _, kind := range []string{"lossy", "lossless"} {
		add(kind+" WebP", func(w io.Writer) error {
			_, err := w.Write(readFile(t, "testdata", name+"-"+kind+".webp"))
			return err
		})
	}
	return out
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// drawn is img in the kind of picture that into is.
func drawn[T draw.Image](into T, drawer draw.Drawer, img image.Image) T {
	drawer.Draw(into, into.Bounds(), img, img.Bounds().Min)
	return into
}

func resized(img image.Image, w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	xdraw.CatmullRom.Scale(out, out.Rect, img, img.Bounds(), xdraw.Src, nil)
	return out
}

// fit makes a picture smaller if a side is longer than most.
func fit(img *image.RGBA, most int) *image.RGBA {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	if long := max(w, h); long > most {
		return resized(img, w*most/long, h*most/long)
	}
	return img
}

// translucent gives a picture an alpha channel that grows from left to right.
func translucent(img *image.RGBA) *image.NRGBA {
	out := &image.NRGBA{Pix: slices.Clone(img.Pix), Stride: img.Stride, Rect: img.Rect}
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = uint8(1 + 254*(i%out.Stride)/out.Stride)
	}
	return out
}

// place tells where a picture of EXIF orientation o, stored w wide and h high,
// keeps the pixel that is shown at x, y.
func place(o, w, h, x, y int) (int, int) {
	switch o {
	case 2:
		return w - 1 - x, y
	case 3:
		return w - 1 - x, h - 1 - y
	case 4:
		return x, h - 1 - y
	case 5:
		return y, x
	case 6:
		return y, h - 1 - x
	case 7:
		return w - 1 - y, h - 1 - x
	case 8:
		return w - 1 - y, x
	default:
		return x, y
	}
}

// upright is what is shown of stored pixels under EXIF orientation o.
func upright(img image.Image, o int) *image.RGBA {
	flat := drawn(image.NewRGBA(image.Rect(0, 0, img.Bounds().Dx(), img.Bounds().Dy())), draw.Src, img)
	w, h := flat.Rect.Dx(), flat.Rect.Dy()
	out := blank(o, w, h)
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			sx, sy := place(o, w, h, x, y)
			copy(out.Pix[out.PixOffset(x, y):][:4], flat.Pix[flat.PixOffset(sx, sy):])
		}
	}
	return out
}

// turned is what to store so that img is shown under EXIF orientation o.
func turned(img *image.RGBA, o int) *image.RGBA {
	out := blank(o, img.Rect.Dx(), img.Rect.Dy())
	w, h := out.Rect.Dx(), out.Rect.Dy()
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			sx, sy := place(o, w, h, x, y)
			copy(out.Pix[out.PixOffset(sx, sy):][:4], img.Pix[img.PixOffset(x, y):])
		}
	}
	return out
}

// blank has room for a picture of w by h pixels after a turn.
func blank(o, w, h int) *image.RGBA {
	if o >= 5 {
		w, h = h, w
	}
	return image.NewRGBA(image.Rect(0, 0, w, h))
}

// withOrientation puts an EXIF segment behind the first marker of a JPEG: a TIFF
// header and a directory of one entry, the orientation.
func withOrientation(plain []byte, o int) []byte {
	exif := append([]byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"), byte(o), 0, 0, 0, 0, 0, 0)
	out := append(slices.Clone(plain[:2]), 0xFF, 0xE1)
	out = binary.BigEndian.AppendUint16(out, uint16(2+len(exif)))
	return append(append(out, exif...), plain[2:]...)
}

// blurred is a grey picture of soft spots around 128, whose quality grows with
// their contrast, at most 255.
func blurred(contrast int) *image.Gray {
	rng := splitmix(5)
	spots := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range spots.Pix {
		spots.Pix[i] = uint8(128 + (int(rng.next()>>56)-128)*contrast/255)
	}
	big := resized(spots, 128, 128)
	out := image.NewGray(big.Rect)
	for i := range out.Pix {
		out.Pix[i] = big.Pix[4*i]
	}
	return out
}

// gradient is a picture with too little contrast for its hash to count.
func gradient() *image.Gray {
	img := image.NewGray(image.Rect(0, 0, 160, 120))
	for y := range 120 {
		for x := range 160 {
			img.SetGray(x, y, color.Gray{Y: uint8(100 + x/8)})
		}
	}
	return img
}

func encoded(t *testing.T, encode func(w io.Writer) error) []byte {
	t.Helper()
	var buf strings.Builder
	if err := encode(&buf); err != nil {
		t.Fatal(err)
	}
	return []byte(buf.String())
}

func pngOf(t *testing.T, img image.Image) []byte {
	t.Helper()
	return encoded(t, func(w io.Writer) error { return png.Encode(w, img) })
}

// sideways is a picture stored lying on its side, with EXIF that says so.
func sideways(t *testing.T, picture []byte) []byte {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	const o = 6
	plain := encoded(t, func(w io.Writer) error { return jpeg.Encode(w, turned(upright(img, 1), o), nil) })
	return withOrientation(plain, o)
}

// splitmix is the generator of pdq/testdata/generators.md.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// flip inverts d different bits of h, by the same rules.
func flip(rng *splitmix, h pdq.Hash, d int) pdq.Hash {
	var p [pdq.Bits]int
	for i := range p {
		p[i] = i
	}
	for k := range d {
		j := k + int(rng.next()%uint64(pdq.Bits-k))
		p[k], p[j] = p[j], p[k]
		h[p[k]/64] ^= 1 << (p[k] % 64)
	}
	return h
}
