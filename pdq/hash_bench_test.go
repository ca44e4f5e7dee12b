package pdq_test

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/draw"

	"mediagate/pdq"
)

// photo returns a JPEG of the test data at a size of ours.
func photo(b *testing.B, file string, width, height int) *image.NRGBA {
	b.Helper()
	f, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	img, err := jpeg.Decode(f)
	if err := errors.Join(err, f.Close()); err != nil {
		b.Fatal(err)
	}
	scaled := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.ApproxBiLinear.Scale(scaled, scaled.Rect, img, img.Bounds(), draw.Src, nil)
	return scaled
}

// BenchmarkHash measures brightness to hash, without decoding, by the exact path
// and by the screening one, whose guard the picture passes.
func BenchmarkHash(b *testing.B) {
	for _, size := range []image.Point{{X: 512, Y: 512}, {X: 640, Y: 480}, {X: 1024, Y: 768}, {X: 1920, Y: 1080}, {X: 4000, Y: 3000}} {
		luma := pdq.Luma(photo(b, "testdata/images/bridge-mods/aaa-orig.jpg", size.X, size.Y))
		pdq.EachVectors(func(kernels string) {
			b.Run(fmt.Sprintf("size=%dx%d/path=exact/kernels=%s", size.X, size.Y, kernels), func(b *testing.B) {
				b.ReportAllocs()
				pdq.FromLuma(luma, size.X, size.Y) // to have what later ones use again
				for b.Loop() {
					pdq.FromLuma(luma, size.X, size.Y)
				}
			})
			b.Run(fmt.Sprintf("size=%dx%d/path=screen/kernels=%s", size.X, size.Y, kernels), func(b *testing.B) {
				b.ReportAllocs()
				pdq.ScreenLuma(luma, size.X, size.Y)
				for b.Loop() {
					if _, _, exact := pdq.ScreenLuma(luma, size.X, size.Y); exact {
						b.Fatal("the picture trips the guard")
					}
				}
			})
		})
	}
}

// BenchmarkScreenPhotos is the mean over photos, some of which trip the guard, as
// planes of brightness and as a JPEG's pixels are. Each comes sixteen times in a row:
// what a decoder has just written is in a cache.
func BenchmarkScreenPhotos(b *testing.B) {
	const side = 512
	var planes [][]float32
	var greys, pixels []image.Image
	for _, pattern := range []string{"bridge-mods/*.jpg", "camera/*.jpg", "misc/*.jp*g"} {
		files, err := filepath.Glob(filepath.Join("testdata/images", pattern))
		if err != nil || len(files) == 0 {
			b.Fatalf("no photos like %s: %v", pattern, err)
		}
		for _, file := range files {
			img := photo(b, file, side, side)
			grey := image.NewGray(img.Rect)
			draw.Draw(grey, grey.Rect, img, image.Point{}, draw.Src)
			planes, greys, pixels = append(planes, pdq.Luma(img)), append(greys, grey), append(pixels, halved(img))
		}
	}
	screen := func(pictures []image.Image) func(i int) bool {
		return func(i int) bool {
			_, _, exact := pdq.Screen(pictures[i], pdq.View{})
			return exact
		}
	}
	for _, bm := range []struct {
		name   string
		screen func(i int) (exact bool)
	}{
		{"float32", func(i int) bool {
			_, _, exact := pdq.ScreenLuma(planes[i], side, side)
			return exact
		}},
		{"gray", screen(greys)},
		{"ycbcr420", screen(pixels)},
	} {
		pdq.EachVectors(func(kernels string) {
			b.Run(fmt.Sprintf("size=%dx%d/pixels=%s/kernels=%s", side, side, bm.name, kernels), func(b *testing.B) {
				b.ReportAllocs()
				fallbacks, n := 0, 0
				for ; b.Loop(); n++ {
					if bm.screen(n / 16 % len(planes)) {
						fallbacks++
					}
				}
				b.ReportMetric(float64(fallbacks)/float64(n), "fallbacks/op")
			})
		})
	}
}

// halved is a picture as most JPEGs hold it.
func halved(img *image.NRGBA) *image.YCbCr {
	out := image.NewYCbCr(img.Rect, image.YCbCrSubsampleRatio420)
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			c := img.NRGBAAt(x, y)
			out.Y[out.YOffset(x, y)], out.Cb[out.COffset(x, y)], out.Cr[out.COffset(x, y)] = color.RGBToYCbCr(c.R, c.G, c.B)
		}
	}
	return out
}

// BenchmarkImage measures decoded pictures to hash.
func BenchmarkImage(b *testing.B) {
	for _, size := range []image.Point{{X: 512, Y: 512}, {X: 4000, Y: 3000}} {
		colours := photo(b, "testdata/images/bridge-mods/aaa-orig.jpg", size.X, size.Y)
		grey := image.NewGray(colours.Rect)
		draw.Draw(grey, grey.Rect, colours, image.Point{}, draw.Src)
		for _, pixels := range []struct {
			name string
			img  image.Image
		}{{"gray", grey}, {"nrgba", colours}, {"ycbcr420", halved(colours)}} {
			pdq.EachVectors(func(kernels string) {
				b.Run(fmt.Sprintf("size=%dx%d/pixels=%s/kernels=%s", size.X, size.Y, pixels.name, kernels), func(b *testing.B) {
					b.ReportAllocs()
					pdq.FromImage(pixels.img)
					for b.Loop() {
						pdq.FromImage(pixels.img)
					}
				})
			})
		}
	}
}
