package pdq_test

import (
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/draw"

	"mediagate/pdq"
)

// photo returns a JPEG of the test data at a size of ours.
func photo(b *testing.B, file string, width, height int) image.Image {
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
				for b.Loop() {
					pdq.FromLuma(luma, size.X, size.Y)
				}
			})
			b.Run(fmt.Sprintf("size=%dx%d/path=screen/kernels=%s", size.X, size.Y, kernels), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, _, exact := pdq.ScreenLuma(luma, size.X, size.Y); exact {
						b.Fatal("the picture trips the guard")
					}
				}
			})
		})
	}
}

// BenchmarkScreenPhotos is the mean over photos, some of which trip the guard.
func BenchmarkScreenPhotos(b *testing.B) {
	const side = 512
	var planes [][]float32
	for _, pattern := range []string{"bridge-mods/*.jpg", "camera/*.jpg", "misc/*.jp*g"} {
		files, err := filepath.Glob(filepath.Join("testdata/images", pattern))
		if err != nil || len(files) == 0 {
			b.Fatalf("no photos like %s: %v", pattern, err)
		}
		for _, file := range files {
			planes = append(planes, pdq.Luma(photo(b, file, side, side)))
		}
	}
	pdq.EachVectors(func(kernels string) {
		b.Run(fmt.Sprintf("size=%dx%d/kernels=%s", side, side, kernels), func(b *testing.B) {
			b.ReportAllocs()
			fallbacks, n := 0, 0
			for ; b.Loop(); n++ {
				if _, _, exact := pdq.ScreenLuma(planes[n%len(planes)], side, side); exact {
					fallbacks++
				}
			}
			b.ReportMetric(float64(fallbacks)/float64(n), "fallbacks/op")
		})
	})
}

// BenchmarkImage measures decoded pictures to hash.
func BenchmarkImage(b *testing.B) {
	for _, size := range []image.Point{{X: 512, Y: 512}, {X: 4000, Y: 3000}} {
		colours := picture(size.X, size.Y, 4)
		grey := image.NewGray(colours.Rect)
		draw.Draw(grey, grey.Rect, colours, image.Point{}, draw.Src)
		full := image.NewYCbCr(colours.Rect, image.YCbCrSubsampleRatio444)
		half := image.NewYCbCr(colours.Rect, image.YCbCrSubsampleRatio420)
		for i := range full.Y {
			full.Y[i], full.Cb[i], full.Cr[i] = colours.Pix[4*i], colours.Pix[4*i+1], colours.Pix[4*i+2]
		}
		copy(half.Y, full.Y)
		copy(half.Cb, full.Cb)
		copy(half.Cr, full.Cr)
		for _, pixels := range []struct {
			name string
			img  image.Image
		}{{"gray", grey}, {"nrgba", colours}, {"ycbcr444", full}, {"ycbcr420", half}} {
			pdq.EachVectors(func(kernels string) {
				b.Run(fmt.Sprintf("size=%dx%d/pixels=%s/kernels=%s", size.X, size.Y, pixels.name, kernels), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						pdq.FromImage(pixels.img)
					}
				})
			})
		}
	}
}
