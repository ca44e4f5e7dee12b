package pdq

import (
	"image"
	"image/color"
	"slices"
	"sync"
)

// View is one of the pictures that a decoded file can be seen as. The zero View
// is what hash lists are made from: stored pixels, alpha ignored.
type View struct {
	// Orientation is the EXIF value, 1–8, of the turn to apply; anything else
	// counts as 1, the pixels as stored.
	Orientation int
	// Backdrop is what lies behind transparent pixels.
	Backdrop Backdrop
	// Raw takes palette indices and the C, M and Y of CMYK for brightness, as
	// HMA does. Such hashes are unrelated to the picture seen: they serve to
	// look up entries of lists made that way, never to make entries.
	Raw bool
}

// Backdrop is what shows through transparent pixels.
type Backdrop uint8

// IgnoreAlpha takes colours as stored, however transparent; the others are what
// clients show in a dark and in a light theme.
const (
	IgnoreAlpha Backdrop = iota
	OnBlack
	OnWhite
)

// FromImage hashes a picture as hash lists do: stored pixels at full
// resolution, alpha ignored, palettes and CMYK converted to colours, 16-bit
// samples cut to their high byte. It returns the hash and its quality, 0–100.
func FromImage(img image.Image) (Hash, int) { return FromView(img, View{}) }

// FromView hashes img as v shows it. The result is that of the pixels really
// turned and flattened; no copy of the picture is made.
func FromView(img image.Image, v View) (Hash, int) {
	width, height := img.Bounds().Dx(), img.Bounds().Dy()
	if width < minSide || height < minSide {
		return Hash{}, 0
	}
	luma := lumaRows(img, v.Raw)
	if v.Backdrop != IgnoreAlpha {
		luma = flatten(img, luma, v.Backdrop)
	}
	upsideDown := v.Orientation == 3 || v.Orientation == 4 || v.Orientation == 6 || v.Orientation == 7
	mirrored := v.Orientation == 2 || v.Orientation == 3 || v.Orientation == 7 || v.Orientation == 8
	transposed := 5 <= v.Orientation && v.Orientation <= 8
	next := func(y int, row []float32) {
		if upsideDown {
			y = height - 1 - y
		}
		luma(y, row)
		if mirrored {
			slices.Reverse(row)
		}
	}
	s := sample(width, height, next, transposed)
	if transposed {
		s.transpose()
	}
	return s.transform().hash(), s.quality()
}

// weights holds the products of the luma formula, so that it is three additions
// in float64, in the order of the Python pipeline, and one rounding.
type weights struct {
	r, g, b [256]float64
	grey    [256]float32
}

var lumaWeights = sync.OnceValue(func() *weights {
	var t weights
	for v := range 256 {
		t.r[v], t.g[v], t.b[v] = float64(v)*0.299, float64(v)*0.587, float64(v)*0.114
		t.grey[v] = t.luma(uint8(v), uint8(v), uint8(v))
	}
	return &t
})

func (t *weights) luma(r, g, b uint8) float32 { return float32(t.r[r] + t.g[g] + t.b[b]) }

// lumaRows returns the brightness of img's lines without converting the picture
// as a whole.
func lumaRows(img image.Image, raw bool) rows {
	t := lumaWeights()
	b := img.Bounds()
	switch m := img.(type) {
	case *image.Gray:
		return t.greyRows(m.Pix, m.Stride, 1)
	case *image.Gray16:
		return t.greyRows(m.Pix, m.Stride, 2)
	case *image.RGBA:
		return t.colourRows(m.Pix, m.Stride, 4, 1)
	case *image.NRGBA:
		return t.colourRows(m.Pix, m.Stride, 4, 1)
	case *image.RGBA64:
		return t.colourRows(m.Pix, m.Stride, 8, 2)
	case *image.NRGBA64:
		return t.colourRows(m.Pix, m.Stride, 8, 2)
	case *image.YCbCr:
		return t.ycbcrRows(m)
	case *image.NYCbCrA:
		return t.ycbcrRows(&m.YCbCr)
	case *image.Paletted:
		return t.palettedRows(m, raw)
	case *image.CMYK:
		if raw {
			return t.colourRows(m.Pix, m.Stride, 4, 1)
		}
		return t.cmykRows(m)
	}
	return func(y int, row []float32) {
		for x := range row {
			row[x] = t.color(img.At(b.Min.X+x, b.Min.Y+y))
		}
	}
}

// color is for pictures of rare kinds; their alpha is ignored.
func (t *weights) color(c color.Color) float32 {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return t.luma(n.R, n.G, n.B)
}

// greyRows reads one sample every step bytes, the high byte first. As for the
// others, pix starts at the picture's top left corner.
func (t *weights) greyRows(pix []byte, stride, step int) rows {
	return func(y int, row []float32) {
		line := pix[y*stride:]
		for x := range row {
			row[x] = t.grey[line[x*step]]
		}
	}
}

// colourRows reads three samples, each of size bytes with the high byte first,
// every step bytes.
func (t *weights) colourRows(pix []byte, stride, step, size int) rows {
	return func(y int, row []float32) {
		line := pix[y*stride:]
		for x := range row {
			p := line[x*step : x*step+step]
			row[x] = t.luma(p[0], p[size], p[2*size])
		}
	}
}

func (t *weights) ycbcrRows(m *image.YCbCr) rows {
	left := m.Rect.Min.X
	across := 1 // pixels that share a chroma sample
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		across = 2
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		across = 4
	default: // each has its own
	}
	return func(y int, row []float32) {
		luma := m.Y[m.YOffset(left, m.Rect.Min.Y+y):]
		first := m.COffset(left, m.Rect.Min.Y+y)
		cb, cr := m.Cb[first:], m.Cr[first:]
		for x := range row {
			i := (left+x)/across - left/across
			row[x] = t.luma(color.YCbCrToRGB(luma[x], cb[i], cr[i]))
		}
	}
}

func (t *weights) cmykRows(m *image.CMYK) rows {
	return func(y int, row []float32) {
		line := m.Pix[y*m.Stride:]
		for x := range row {
			row[x] = t.luma(color.CMYKToRGB(line[4*x], line[4*x+1], line[4*x+2], line[4*x+3]))
		}
	}
}

func (t *weights) palettedRows(m *image.Paletted, raw bool) rows {
	if raw {
		return t.greyRows(m.Pix, m.Stride, 1)
	}
	var palette [256]float32
	for i, c := range m.Palette {
		palette[i] = t.color(c)
	}
	return func(y int, row []float32) {
		line := m.Pix[y*m.Stride:]
		for x := range row {
			row[x] = palette[line[x]]
		}
	}
}

// flatten lays the picture over a backdrop. Brightness is linear in colour, so
// mixing it is mixing colours.
func flatten(img image.Image, luma rows, backdrop Backdrop) rows {
	var behind float32
	if backdrop == OnWhite {
		behind = 255
	}
	b := img.Bounds()
	alpha := func(x, y int) uint8 {
		_, _, _, a := img.At(b.Min.X+x, b.Min.Y+y).RGBA()
		return uint8(a >> 8)
	}
	switch m := img.(type) {
	case *image.NRGBA:
		alpha = func(x, y int) uint8 { return m.Pix[y*m.Stride+4*x+3] }
	case *image.NRGBA64:
		alpha = func(x, y int) uint8 { return m.Pix[y*m.Stride+8*x+6] }
	case *image.NYCbCrA:
		alpha = func(x, y int) uint8 { return m.A[m.AOffset(b.Min.X+x, b.Min.Y+y)] }
	}
	premultiplied := isPremultiplied(img)
	return func(y int, row []float32) {
		luma(y, row)
		for x, v := range row {
			a := float32(alpha(x, y))
			if !premultiplied {
				v = float32(v*a) / 255
			}
			row[x] = v + float32(behind*(255-a))/255
		}
	}
}

// isPremultiplied tells whether img stores colours already multiplied by alpha.
func isPremultiplied(img image.Image) bool {
	switch img.(type) {
	case *image.RGBA, *image.RGBA64:
		return true
	}
	return false
}
