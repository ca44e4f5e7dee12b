package media_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/image/webp"

	"mediagate/internal/bombtest"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/pdq"
)

func TestMain(m *testing.M) { workertest.Main(m) }

const vectors = "../pdq/testdata/images"

func readVector(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func mustSignals(t testing.TB, p *media.Pool, content []byte) media.Signals {
	t.Helper()
	s, err := p.Signals(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSelfTest(t *testing.T) {
	if err := workertest.Pool(t, nil).SelfTest(t.Context()); err != nil {
		t.Error(err)
	}
	broken := media.NewPool([]string{"/bin/true"}, media.Config{
		Workers: 1, QueueWait: time.Second, Deadline: time.Second, WorkerMemory: 1 << 30, TotalMemory: 1 << 30, MaxDecodeBytes: 1 << 20, MaxSide: 1000,
	})
	t.Cleanup(broken.Close)
	if err := broken.SelfTest(t.Context()); err == nil {
		t.Error("a worker that does nothing passes")
	}
	if s, err := broken.Signals(t.Context(), readVector(t, "formats/rgb.png")); err == nil {
		t.Errorf("a worker that does nothing makes %+v of a picture", s)
	}
	missing := media.NewPool([]string{"/nonexistent"}, media.Config{Workers: 1, QueueWait: time.Second, MaxDecodeBytes: 1 << 20})
	t.Cleanup(missing.Close)
	if s, err := missing.Signals(t.Context(), []byte("GIF89a")); err == nil {
		t.Errorf("without a worker: %+v", s)
	}
}

// TestFilesOfEachKind decodes real files in a worker and compares with the
// vectors of package pdq, which cover pixels and hashes in detail.
//
// The alpha of the files grows from left to right only. That has no vertical
// frequency, so black and white behind it give the same hash and one is kept.
func TestFilesOfEachKind(t *testing.T) {
	p := workertest.Pool(t, nil)
	twin := mustSignals(t, p, readVector(t, "formats/rgb.png")).Hashes[0].PDQ
	tests := map[string]struct {
		mime     string
		near     int // largest distance of any variant to the RGB twin; -1: another picture
		variants string
	}{
		"formats/444.jpg":                 {"image/jpeg", 8, "primary"},
		"formats/progressive.jpg":         {"image/jpeg", 8, "primary"},
		"formats/cmyk.jpg":                {"image/jpeg", 10, "primary compatible"},
		"formats/gray.jpg":                {"image/jpeg", 10, "primary"},
		"formats/exif-6.jpg":              {"image/jpeg", 8, "primary upright"},
		"formats/exif-1.jpg":              {"image/jpeg", 8, "primary"},
		"formats/rgb16.png":               {"image/png", 2, "primary"},
		"formats/l16.png":                 {"image/png", 10, "primary"},
		"formats/p256.png":                {"image/png", 10, "primary compatible"},
		"formats/rgba-alpha-gradient.png": {"image/png", 2, "primary black"},
		"formats/rgba-opaque.png":         {"image/png", 0, "primary"},
		"formats/animated.apng.png":       {"image/png", 10, "primary"},
		"formats/static.gif":              {"image/gif", 12, "primary compatible"},
		"formats/lossy.webp":              {"image/webp", 10, "primary"},
		"formats/lossless.webp":           {"image/webp", 0, "primary"},
		"formats/alpha.webp":              {"image/webp", 2, "primary black"},
		"camera/exif-rotn-6.jpg":          {"image/jpeg", -1, "primary upright"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := mustSignals(t, p, readVector(t, name))
			if s.Refusal != "" || s.Type != tt.mime || len(s.Hashes) == 0 {
				t.Fatalf("refusal %q, type %q, %d hashes", s.Refusal, s.Type, len(s.Hashes))
			}
			var names []string
			for _, h := range s.Hashes {
				names = append(names, h.Variant.String())
			}
			if got := strings.Join(names, " "); got != tt.variants {
				t.Errorf("variants %q, want %q", got, tt.variants)
			}
			if d := pdq.Distance(s.Hashes[0].PDQ, twin); tt.near >= 0 && d > tt.near {
				t.Errorf("%d bits from the RGB twin, want at most %d", d, tt.near)
			}
			if s.Width == 0 || s.Height == 0 {
				t.Errorf("%d×%d pixels", s.Width, s.Height)
			}
		})
	}
}

// TestOrientedCopiesMeet holds all eight EXIF orientations to the one upright
// picture that clients show for them.
func TestOrientedCopiesMeet(t *testing.T) {
	p := workertest.Pool(t, nil)
	for o := 2; o <= 8; o++ {
		s := mustSignals(t, p, readVector(t, fmt.Sprintf("formats/exif-%d.jpg", o)))
		if len(s.Hashes) != 2 || s.Hashes[1].Variant != media.Upright {
			t.Fatalf("orientation %d: %+v", o, s.Hashes)
		}
		img, err := jpeg.Decode(bytes.NewReader(readVector(t, fmt.Sprintf("formats/exif-%d.jpg", o))))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := pdq.FromView(img, pdq.View{Orientation: o})
		if s.Hashes[1].PDQ != want {
			t.Errorf("orientation %d: %d bits from the turned pixels", o, pdq.Distance(s.Hashes[1].PDQ, want))
		}
	}
}

// TestLossyWebPHasItsFullContrast compares with what libwebp and HMA's pipeline
// make of the file: the decoder's own samples are a seventh too flat.
func TestLossyWebPHasItsFullContrast(t *testing.T) {
	img, err := webp.Decode(bytes.NewReader(readVector(t, "formats/lossy.webp")))
	if err != nil {
		t.Fatal(err)
	}
	m := img.(*image.YCbCr)
	media.FullRange(m)
	low, high := slices.Min(m.Y), slices.Max(m.Y)
	if low > 3 || high < 252 {
		t.Errorf("brightness from %d to %d", low, high)
	}
	for in, want := range map[int]uint8{0: 0, 16: 0, 17: 1, 126: 128, 235: 255, 255: 255} {
		if got := media.Stretch(in, 16, 219, 0); got != want {
			t.Errorf("luma %d becomes %d, want %d", in, got, want)
		}
	}
	for in, want := range map[int]uint8{16: 0, 128: 128, 240: 255, 0: 0, 255: 255} {
		if got := media.Stretch(in, 128, 224, 128); got != want {
			t.Errorf("chroma %d becomes %d, want %d", in, got, want)
		}
	}
}

func TestSmallFrameLiesOnItsCanvas(t *testing.T) {
	palette := color.Palette{color.Black, color.White, color.RGBA{200, 30, 90, 255}}
	canvas := image.NewPaletted(image.Rect(0, 0, 120, 90), palette)
	frame := image.NewPaletted(image.Rect(30, 20, 100, 80), palette)
	for y := frame.Rect.Min.Y; y < frame.Rect.Max.Y; y++ {
		for x := frame.Rect.Min.X; x < frame.Rect.Max.X; x++ {
			c := uint8((x*x/31 + y/9*x) % 3)
			frame.SetColorIndex(x, y, c)
			canvas.SetColorIndex(x, y, c)
		}
	}
	var buf bytes.Buffer
	if err := gif.EncodeAll(&buf, &gif.GIF{
		Image: []*image.Paletted{frame}, Delay: []int{0},
		Config: image.Config{Width: 120, Height: 90, ColorModel: palette},
	}); err != nil {
		t.Fatal(err)
	}
	s := mustSignals(t, workertest.Pool(t, nil), buf.Bytes())
	want, _ := pdq.FromImage(canvas)
	if s.Width != 120 || s.Height != 90 || len(s.Hashes) == 0 || s.Hashes[0].PDQ != want {
		t.Errorf("%+v, want 120×90 and %v", s, want)
	}
}

// TestBombs is the heart of the sandbox: nothing here is decoded, or survives
// decoding, and each is told within the deadline and a bit.
func TestBombs(t *testing.T) {
	p := workertest.Pool(t, nil)
	if err := p.SelfTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, bomb := range bombtest.All() {
		t.Run(bomb.Name, func(t *testing.T) {
			start := time.Now()
			s := mustSignals(t, p, bomb.Data)
			if took := time.Since(start); took > 6*time.Second {
				t.Errorf("took %v", took)
			}
			if s.Refusal == "" || len(s.Hashes) != 0 {
				t.Errorf("decoded: %d hashes", len(s.Hashes))
			}
			t.Logf("%d bytes: %s", len(bomb.Data), s.Refusal)
		})
	}
	if err := p.SelfTest(t.Context()); err != nil {
		t.Errorf("after the bombs: %v", err)
	}
}

// TestBombsWithoutGates takes the checks of headers away, so that only the
// limits of the process and the deadline are left.
func TestBombsWithoutGates(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) {
		c.Workers = 1
		c.Deadline = 2 * time.Second
		c.MaxSide, c.MaxPixels, c.MaxBaselinePixels, c.MaxPixelsPerByte = 1<<20, 1<<40, 1<<40, 1<<40
		c.MaxScans, c.MaxSegments, c.MaxFrames, c.MaxFramePixels = 1<<40, 1<<40, 1<<40, 1<<50
	})
	for _, bomb := range append(bombtest.All(), bombtest.Corpus()...) {
		t.Run(bomb.Name, func(t *testing.T) {
			start := time.Now()
			mustSignals(t, p, bomb.Data)
			if took := time.Since(start); took > 6*time.Second {
				t.Errorf("took %v", took)
			}
			if err := p.SelfTest(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestCorpusNeverStopsThePool(t *testing.T) {
	p := workertest.Pool(t, nil)
	for _, bomb := range bombtest.Corpus() {
		s := mustSignals(t, p, bomb.Data)
		t.Logf("%s: %d bytes, kind %d, %s, refusal %q, %d hashes", bomb.Name, len(bomb.Data), s.Kind, s.Type, s.Refusal, len(s.Hashes))
	}
	if err := p.SelfTest(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLimitsAtAndPastThem(t *testing.T) {
	grey := func(w, h int) []byte {
		img := image.NewGray(image.Rect(0, 0, w, h))
		for i := range img.Pix {
			img.Pix[i] = byte(i * i >> 3)
		}
		var buf bytes.Buffer
		if err := png.Encode(&buf, img); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	frames := func(n int) []byte {
		g := &gif.GIF{}
		for range n {
			g.Image = append(g.Image, image.NewPaletted(image.Rect(0, 0, 8, 8), color.Palette{color.Black, color.White}))
			g.Delay = append(g.Delay, 1)
		}
		var buf bytes.Buffer
		if err := gif.EncodeAll(&buf, g); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	flat := func(w, h int) []byte { return bombtest.PNGZeros(w, h, 8, bombtest.PNGGrey) }
	blank := flat(1100, 1000)
	ratio := int64(1100*1000/len(blank)) + 1
	tests := map[string]struct {
		change   func(*media.Config)
		at, past []byte
		refusal  media.Refusal
	}{
		"side":         {func(c *media.Config) { c.MaxSide = 100 }, grey(100, 10), grey(101, 10), media.RefusedPixels},
		"pixels":       {func(c *media.Config) { c.MaxPixels = 10000 }, grey(100, 100), grey(73, 137), media.RefusedPixels},
		"bytes":        {func(c *media.Config) { c.MaxDecodeBytes = int64(len(grey(50, 50))) }, grey(50, 50), append(grey(50, 50), 0), media.RefusedSize},
		"ratio":        {func(c *media.Config) { c.MaxPixelsPerByte = ratio }, blank, flat(2200, 1000), media.RefusedRatio},
		"frames":       {func(c *media.Config) { c.MaxFrames = 3 }, frames(3), frames(4), media.RefusedFrames},
		"frame pixels": {func(c *media.Config) { c.MaxFramePixels = 192 }, frames(3), frames(4), media.RefusedFrames},
		"scans":        {func(c *media.Config) { c.MaxScans = 20 }, bombtest.JPEGScans(64, 20), bombtest.JPEGScans(64, 21), media.RefusedScans},
		"segments":     {func(c *media.Config) { c.MaxSegments = 30 }, segments(t, 30), segments(t, 31), media.RefusedSegments},
		"memory":       {func(c *media.Config) { c.WorkerMemory, c.MaxPixels = 256<<20, 1<<40 }, flat(5200, 5200), flat(5400, 5400), media.RefusedMemory},
		"long lines":   {func(c *media.Config) { c.WorkerMemory, c.MaxSide = 256<<20, 1<<20 }, flat(256_544, 8), flat(256_545, 8), media.RefusedMemory},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := workertest.Pool(t, tt.change)
			if s := mustSignals(t, p, tt.at); s.Refusal != "" {
				t.Errorf("at the limit: %q", s.Refusal)
			}
			if s := mustSignals(t, p, tt.past); s.Refusal != tt.refusal {
				t.Errorf("one past it: %q, want %q", s.Refusal, tt.refusal)
			}
		})
	}
}

// segments returns a JPEG with n marker segments besides its one scan.
func segments(t *testing.T, n int) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, image.NewGray(image.Rect(0, 0, 16, 16)), nil); err != nil {
		t.Fatal(err)
	}
	plain := buf.Bytes()
	has := 0
	for at := 2; plain[at+1] != 0xDA; has++ {
		at += 2 + int(binary.BigEndian.Uint16(plain[at+2:]))
	}
	out := append([]byte{}, plain[:2]...)
	for range n - has {
		out = append(out, 0xFF, 0xFE, 0, 3, 'x')
	}
	return append(out, plain[2:]...)
}

// TestSecondFrameHeaderIsRefused is a file whose last header says less than the
// one that a decoder allocates for.
func TestSecondFrameHeaderIsRefused(t *testing.T) {
	plain := segments(t, 5)
	at := bytes.Index(plain, []byte{0xFF, 0xC0})
	if at < 0 {
		t.Fatal("the test picture has no frame header")
	}
	header := plain[at : at+2+int(binary.BigEndian.Uint16(plain[at+2:]))]
	twice := slices.Concat(plain[:at], header, plain[at:])
	p := workertest.Pool(t, nil)
	if s := mustSignals(t, p, plain); s.Refusal != "" {
		t.Errorf("with one: %q", s.Refusal)
	}
	if s := mustSignals(t, p, twice); s.Refusal != media.RefusedHeader {
		t.Errorf("with two: %q", s.Refusal)
	}
}

// TestLargePhotosHaveMoreTime gives the deadline to what any picture may be, and
// more to the pixels that only a baseline JPEG may have.
func TestLargePhotosHaveMoreTime(t *testing.T) {
	p := workertest.Pool(t, nil)
	for pixels, want := range map[int]time.Duration{1: 0, 32_000_000: 0, 52_000_000: time.Second, 120_000_000: 4400 * time.Millisecond} {
		if got := p.ExtraTime(pixels, 1); got != want {
			t.Errorf("%d pixels: %v, want %v", pixels, got, want)
		}
	}
}

func TestTruncatedFilesAreRefused(t *testing.T) {
	p := workertest.Pool(t, nil)
	for _, name := range []string{"formats/444.jpg", "formats/rgb.png", "formats/static.gif", "formats/lossy.webp", "formats/lossless.webp"} {
		content := readVector(t, name)
		for _, percent := range []int{0, 1, 25, 50, 75, 90} {
			if s := mustSignals(t, p, content[:len(content)*percent/100]); s.Refusal == "" {
				t.Errorf("%s cut at %d %% is decoded", name, percent)
			}
		}
	}
}

func TestOverloadIsAnError(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) {
		c.Workers, c.Queue, c.QueueWait = 1, 1, 50*time.Millisecond
		c.MaxScans, c.MaxPixels = 1<<20, 1<<30 // so that the one worker is kept busy
		c.Deadline = 3 * time.Second
	})
	slow := bombtest.JPEGScans(3000, 400)
	var busy sync.WaitGroup
	busy.Go(func() { _, _ = p.Signals(context.Background(), slow) })
	defer busy.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		_, err := p.Signals(t.Context(), readVector(t, "formats/rgb.png"))
		if errors.Is(err, media.ErrOverloaded) {
			return
		}
	}
	t.Error("a busy pool never says that it is overloaded")
}

// TestPicturesWaitForMemory admits by what the header says a picture needs: a
// free worker is not enough.
func TestPicturesWaitForMemory(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) { c.QueueWait = 50 * time.Millisecond })
	content := readVector(t, "formats/rgb.png")
	release := p.OccupyMemory(t.Context())
	if _, err := p.Signals(t.Context(), content); !errors.Is(err, media.ErrOverloaded) {
		t.Errorf("%v, want ErrOverloaded", err)
	}
	// A bomb is refused by its header and needs none.
	if s := mustSignals(t, p, bombtest.WebP16384()); s.Refusal != media.RefusedPixels {
		t.Errorf("refusal %q", s.Refusal)
	}
	release()
	mustSignals(t, p, content)
}

func TestCancelledWaitEnds(t *testing.T) {
	p := workertest.Pool(t, func(c *media.Config) { c.Workers, c.QueueWait = 1, time.Minute })
	release := p.Occupy(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := p.Signals(ctx, []byte("GIF89a")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's end", err)
	}
	release()
	mustSignals(t, p, readVector(t, "formats/rgb.png"))
}

func TestClosedPoolAnswersWithAnError(t *testing.T) {
	p := workertest.Pool(t, nil)
	p.Close()
	if s, err := p.Signals(t.Context(), []byte("GIF89a")); err == nil {
		t.Errorf("%+v", s)
	}
	p.Close()
}
