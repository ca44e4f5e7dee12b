package pdq_test

import (
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"testing"

	"mediagate/pdq"
)

// picture is a seeded picture with structure at several scales.
func picture(w, h int, seed uint64) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for c := range uint64(3) {
		for i, s := range bilinear(9, 7, seed+c, uint64(w), uint64(h)) {
			img.Pix[4*uint64(i)+c] = byte(s >> 32)
		}
	}
	for i, s := range bilinear(3, 5, seed+9, uint64(w), uint64(h)) {
		img.Pix[4*i+3] = byte(s >> 32)
	}
	return img
}

func opaque(img *image.NRGBA) *image.NRGBA {
	out := image.NewNRGBA(img.Rect)
	copy(out.Pix, img.Pix)
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 255
	}
	return out
}

// upright returns the pixels turned as an EXIF orientation says, by the
// definition in the TIFF standard: which stored corner is shown top left.
func upright(img *image.NRGBA, orientation int) *image.NRGBA {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	size := image.Rect(0, 0, w, h)
	if 5 <= orientation && orientation <= 8 {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewNRGBA(size)
	for y := range size.Dy() {
		for x := range size.Dx() {
			sx, sy := x, y
			switch orientation {
			case 2:
				sx, sy = w-1-x, y
			case 3:
				sx, sy = w-1-x, h-1-y
			case 4:
				sx, sy = x, h-1-y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, h-1-x
			case 7:
				sx, sy = w-1-y, h-1-x
			case 8:
				sx, sy = w-1-y, x
			}
			out.SetNRGBA(x, y, img.NRGBAAt(sx, sy))
		}
	}
	return out
}

func TestViewTurnsAsPixelsDo(t *testing.T) {
	for _, size := range []image.Point{{64, 64}, {256, 256}, {300, 348}, {5, 900}, {129, 64}} {
		img := opaque(picture(size.X, size.Y, 7))
		for orientation := range 10 {
			t.Run(fmt.Sprintf("%v/%d", size, orientation), func(t *testing.T) {
				got, gotQuality := pdq.FromView(img, pdq.View{Orientation: orientation})
				want, wantQuality := pdq.FromImage(upright(img, orientation))
				if got != want || gotQuality != wantQuality {
					t.Errorf("%d bits from the turned pixels, quality %d and %d", pdq.Distance(got, want), gotQuality, wantQuality)
				}
			})
		}
	}
}

func TestBackdropShowsThroughAlpha(t *testing.T) {
	img := picture(200, 150, 21)
	for backdrop, behind := range map[pdq.Backdrop]color.Color{pdq.OnBlack: color.Black, pdq.OnWhite: color.White} {
		flat := image.NewNRGBA64(img.Rect)
		draw.Draw(flat, img.Rect, image.NewUniform(behind), image.Point{}, draw.Src)
		draw.Draw(flat, img.Rect, img, image.Point{}, draw.Over)
		want, _ := pdq.FromImage(flat)
		stored, _ := pdq.FromImage(img)
		if d := pdq.Distance(stored, want); d < 32 {
			t.Fatalf("the test picture hardly depends on its alpha: %d bits", d)
		}
		views := map[string]image.Image{"NRGBA": img, "generic": struct{ image.Image }{img}}
		premultiplied := image.NewRGBA(img.Rect)
		draw.Draw(premultiplied, img.Rect, img, image.Point{}, draw.Src)
		views["RGBA"] = premultiplied
		wide := image.NewNRGBA64(img.Rect)
		draw.Draw(wide, img.Rect, img, image.Point{}, draw.Src)
		views["NRGBA64"] = wide
		for name, view := range views {
			got, _ := pdq.FromView(view, pdq.View{Backdrop: backdrop})
			if d := pdq.Distance(got, want); d > 4 {
				t.Errorf("%s over %v: %d bits from the flattened pixels", name, behind, d)
			}
		}
	}
}

// TestPixelKinds compares the fast paths with the same picture converted pixel
// by pixel.
func TestPixelKinds(t *testing.T) {
	src := opaque(picture(160, 120, 3))
	onto := func(dst draw.Image) image.Image {
		draw.Draw(dst, src.Rect, src, image.Point{}, draw.Src)
		return dst
	}
	ycbcr := image.NewYCbCr(src.Rect, image.YCbCrSubsampleRatio420)
	sparse := image.NewYCbCr(src.Rect, image.YCbCrSubsampleRatio410)
	alpha := image.NewNYCbCrA(src.Rect, image.YCbCrSubsampleRatio444)
	for y := range 120 {
		for x := range 160 {
			c := src.NRGBAAt(x, y)
			yy, cb, cr := color.RGBToYCbCr(c.R, c.G, c.B)
			sparse.Y[sparse.YOffset(x, y)], sparse.Cb[sparse.COffset(x, y)], sparse.Cr[sparse.COffset(x, y)] = yy, cb, cr
			ycbcr.Y[ycbcr.YOffset(x, y)], ycbcr.Cb[ycbcr.COffset(x, y)], ycbcr.Cr[ycbcr.COffset(x, y)] = yy, cb, cr
			alpha.Y[alpha.YOffset(x, y)], alpha.Cb[alpha.COffset(x, y)], alpha.Cr[alpha.COffset(x, y)] = yy, cb, cr
			alpha.A[alpha.AOffset(x, y)] = 255
		}
	}
	inner := image.Rect(11, 13, 150, 111)
	beyond := image.NewYCbCr(image.Rect(-5, -3, 98, 87), image.YCbCrSubsampleRatio420)
	for i := range beyond.Y {
		beyond.Y[i] = src.Pix[4*i]
	}
	for i := range beyond.Cb {
		beyond.Cb[i], beyond.Cr[i] = src.Pix[4*i+1], src.Pix[4*i+2]
	}
	kinds := map[string]image.Image{
		"gray":            onto(image.NewGray(src.Rect)),
		"gray16":          onto(image.NewGray16(src.Rect)),
		"rgba":            onto(image.NewRGBA(src.Rect)),
		"rgba64":          onto(image.NewRGBA64(src.Rect)),
		"nrgba64":         onto(image.NewNRGBA64(src.Rect)),
		"cmyk":            onto(image.NewCMYK(src.Rect)),
		"paletted":        onto(image.NewPaletted(src.Rect, palette.Plan9)),
		"ycbcr":           ycbcr,
		"sparse ycbcr":    sparse,
		"beyond ycbcr":    beyond,
		"nycbcra":         alpha,
		"part of nycbcra": alpha.SubImage(inner),
		"part of sparse":  sparse.SubImage(inner),
		"part of gray":    onto(image.NewGray(src.Rect)).(*image.Gray).SubImage(inner),
		"part of nrgba":   src.SubImage(inner),
		"part of ycbcr":   ycbcr.SubImage(inner),
		"part of palette": onto(image.NewPaletted(src.Rect, palette.Plan9)).(*image.Paletted).SubImage(inner),
	}
	for name, img := range kinds {
		t.Run(name, func(t *testing.T) {
			pixels := image.NewNRGBA(img.Bounds())
			for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
				for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
					r, g, b, _ := img.At(x, y).RGBA()
					pixels.SetNRGBA(x, y, color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255})
				}
			}
			want, wantQuality := pdq.FromImage(pixels)
			pdq.EachVectors(func(kernels string) {
				got, gotQuality := pdq.FromImage(img)
				if got != want || gotQuality != wantQuality {
					t.Errorf("%s: %d bits from the converted pixels, quality %d and %d", kernels, pdq.Distance(got, want), gotQuality, wantQuality)
				}
			})
		})
	}
}

// TestBrightnessOfAllColours compares with the rule of the Python pipeline.
func TestBrightnessOfAllColours(t *testing.T) {
	rule := func(r, g, b uint8) float32 {
		product := func(v uint8, f float64) float64 { return float64(float64(v) * f) }
		return float32(float64(product(r, 0.299)+product(g, 0.587)) + product(b, 0.114))
	}
	rgba := image.NewNRGBA(image.Rect(0, 0, 1<<8, 1<<8))
	ycbcr := image.NewYCbCr(rgba.Rect, image.YCbCrSubsampleRatio444)
	for first := range 1 << 8 {
		for i := range 1 << 16 {
			rgba.Pix[4*i], rgba.Pix[4*i+1], rgba.Pix[4*i+2], rgba.Pix[4*i+3] = uint8(first), uint8(i>>8), uint8(i), uint8(i*7)
			ycbcr.Y[i], ycbcr.Cb[i], ycbcr.Cr[i] = uint8(i), uint8(i>>8), uint8(first)
		}
		pdq.EachVectors(func(kernels string) {
			for i, got := range pdq.Luma(rgba) {
				if want := rule(uint8(first), uint8(i>>8), uint8(i)); got != want {
					t.Fatalf("%s: RGB %v has %b, want %b", kernels, rgba.Pix[4*i:4*i+3], got, want)
				}
			}
			for i, got := range pdq.Luma(ycbcr) {
				if want := rule(color.YCbCrToRGB(ycbcr.Y[i], ycbcr.Cb[i], ycbcr.Cr[i])); got != want {
					t.Fatalf("%s: YCbCr %d, %d, %d has %b, want %b", kernels, ycbcr.Y[i], ycbcr.Cb[i], ycbcr.Cr[i], got, want)
				}
			}
		})
	}
	grey := image.NewGray(rgba.Rect)
	for i := range grey.Pix {
		grey.Pix[i] = uint8(i)
	}
	pdq.EachVectors(func(kernels string) {
		for i, got := range pdq.Luma(grey) {
			if v := uint8(i); got != rule(v, v, v) {
				t.Fatalf("%s: grey %d has %b", kernels, v, got)
			}
		}
	})
}

func TestTooSmallHasNoHash(t *testing.T) {
	for _, size := range []image.Point{{0, 0}, {4, 64}, {64, 4}, {1, 1}} {
		if h, q := pdq.FromImage(image.NewGray(image.Rect(0, 0, size.X, size.Y))); h != (pdq.Hash{}) || q != 0 {
			t.Errorf("%v: %v, %d", size, h, q)
		}
		if h, q := pdq.FromLuma(make([]float32, size.X*size.Y), size.X, size.Y); h != (pdq.Hash{}) || q != 0 {
			t.Errorf("plane of %v: %v, %d", size, h, q)
		}
	}
	if _, q := pdq.FromImage(opaque(picture(5, 5, 1))); q == 0 {
		t.Error("5×5 has no quality")
	}
}

func TestMemoryIsEnough(t *testing.T) {
	for _, size := range []image.Point{{5, 5}, {64, 64}, {129, 4000}, {4032, 3024}, {30_000, 5}, {5, 30_000}, {70_000, 40}, {300, 70_000}} {
		for _, v := range []pdq.View{{}, {Orientation: 6}} {
			img := image.NewGray(image.Rect(0, 0, size.X, size.Y))
			pdq.EachVectors(func(kernels string) {
				held, most := pdq.Held(img, v), pdq.Memory(size.X, size.Y)
				if held > most || size.X > 1000 && held < most/8 {
					t.Errorf("%v, %+v, %s: took %d bytes of %d", size, v, kernels, held, most)
				}
			})
		}
	}
}

// FuzzFromImage looks for sizes and pixels that stop the hash or make it depend
// on the kind of image they come in.
func FuzzFromImage(f *testing.F) {
	f.Add(uint8(64), uint8(64), uint8(1), []byte{1, 2, 3})
	f.Add(uint8(5), uint8(200), uint8(6), []byte{255, 0})
	f.Fuzz(func(t *testing.T, w, h, orientation uint8, seed []byte) {
		grey := image.NewGray(image.Rect(0, 0, int(w), int(h)))
		for i := range grey.Pix {
			if len(seed) > 0 {
				grey.Pix[i] = seed[i%len(seed)] ^ byte(i*i)
			}
		}
		v := pdq.View{Orientation: int(orientation)}
		a, qa := pdq.FromView(grey, v)
		b, qb := pdq.FromView(struct{ image.Image }{grey}, v)
		if a != b || qa != qb {
			t.Errorf("%d×%d, orientation %d: %v, %d and %v, %d", w, h, orientation, a, qa, b, qb)
		}
	})
}
