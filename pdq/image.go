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

// transposed tells whether the axes are exchanged.
func (v View) transposed() bool { return 5 <= v.Orientation && v.Orientation <= 8 }

// FromView hashes img as v shows it. The result is that of the pixels really
// turned and flattened; no copy of the picture is made.
func FromView(img image.Image, v View) (Hash, int) {
	width, height := img.Bounds().Dx(), img.Bounds().Dy()
	if width < minSide || height < minSide {
		return Hash{}, 0
	}
	s := borrow()
	defer s.release()
	s.picture.init(img, v)
	s.sample(width, height, &s.picture, v.transposed())
	if v.transposed() {
		s.square.transpose()
	}
	return s.hash()
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

// picture is an image seen as a View, without the exchange of the axes.
type picture struct {
	image                image.Image
	bounds               image.Rectangle
	view                 View
	weights              *weights
	upsideDown, mirrored bool
	palette              [256]float32
}

func (p *picture) init(img image.Image, v View) {
	p.image, p.bounds, p.view, p.weights = img, img.Bounds(), v, lumaWeights()
	p.upsideDown = v.Orientation == 3 || v.Orientation == 4 || v.Orientation == 6 || v.Orientation == 7
	p.mirrored = v.Orientation == 2 || v.Orientation == 3 || v.Orientation == 7 || v.Orientation == 8
	if m, ok := img.(*image.Paletted); ok {
		for i, c := range m.Palette {
			p.palette[i] = p.weights.color(c)
		}
	}
}

func (p *picture) row(y int, row []float32) {
	if p.upsideDown {
		y = p.bounds.Dy() - 1 - y
	}
	p.luma(y, row)
	if p.view.Backdrop != IgnoreAlpha {
		p.flatten(y, row)
	}
	if p.mirrored {
		slices.Reverse(row)
	}
}

// luma writes the brightness of line y, counted from the top, without converting
// the picture as a whole.
func (p *picture) luma(y int, row []float32) {
	t := p.weights
	switch m := p.image.(type) {
	case *image.Gray:
		lookUp(row, &t.grey, m.Pix[y*m.Stride:], 1)
	case *image.Gray16:
		lookUp(row, &t.grey, m.Pix[y*m.Stride:], 2)
	case *image.RGBA:
		t.colours(row, m.Pix[y*m.Stride:], 4, 1)
	case *image.NRGBA:
		t.colours(row, m.Pix[y*m.Stride:], 4, 1)
	case *image.RGBA64:
		t.colours(row, m.Pix[y*m.Stride:], 8, 2)
	case *image.NRGBA64:
		t.colours(row, m.Pix[y*m.Stride:], 8, 2)
	case *image.YCbCr:
		t.ycbcr(row, m, y)
	case *image.NYCbCrA:
		t.ycbcr(row, &m.YCbCr, y)
	case *image.Paletted:
		if p.view.Raw {
			lookUp(row, &t.grey, m.Pix[y*m.Stride:], 1)
		} else {
			lookUp(row, &p.palette, m.Pix[y*m.Stride:], 1)
		}
	case *image.CMYK:
		if p.view.Raw {
			t.colours(row, m.Pix[y*m.Stride:], 4, 1)
		} else {
			t.cmyk(row, m.Pix[y*m.Stride:])
		}
	default:
		for x := range row {
			row[x] = t.color(m.At(p.bounds.Min.X+x, p.bounds.Min.Y+y))
		}
	}
}

// color is for pictures of rare kinds; their alpha is ignored.
func (t *weights) color(c color.Color) float32 {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return t.luma(n.R, n.G, n.B)
}

// lookUp reads one sample every step bytes, the high byte first.
func lookUp(row []float32, table *[256]float32, line []byte, step int) {
	for x := range row {
		row[x] = table[line[x*step]]
	}
}

// colours reads three samples, each of size bytes with the high byte first, every
// step bytes.
func (t *weights) colours(row []float32, line []byte, step, size int) {
	for x := range row {
		p := line[x*step : x*step+step]
		row[x] = t.luma(p[0], p[size], p[2*size])
	}
}

func (t *weights) ycbcr(row []float32, m *image.YCbCr, y int) {
	left := m.Rect.Min.X
	across := 1 // pixels that share a chroma sample
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		across = 2
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		across = 4
	default: // each has its own
	}
	luma := m.Y[m.YOffset(left, m.Rect.Min.Y+y):]
	first := m.COffset(left, m.Rect.Min.Y+y)
	cb, cr := m.Cb[first:], m.Cr[first:]
	for x := range row {
		i := (left+x)/across - left/across
		row[x] = t.luma(color.YCbCrToRGB(luma[x], cb[i], cr[i]))
	}
}

func (t *weights) cmyk(row []float32, line []byte) {
	for x := range row {
		row[x] = t.luma(color.CMYKToRGB(line[4*x], line[4*x+1], line[4*x+2], line[4*x+3]))
	}
}

// flatten lays line y over the backdrop. Brightness is linear in colour, so mixing
// it is mixing colours.
func (p *picture) flatten(y int, row []float32) {
	var behind float32
	if p.view.Backdrop == OnWhite {
		behind = 255
	}
	premultiplied := isPremultiplied(p.image)
	for x, v := range row {
		a := float32(p.alpha(x, y))
		if !premultiplied {
			v = float32(v*a) / 255
		}
		row[x] = v + float32(behind*(255-a))/255
	}
}

func (p *picture) alpha(x, y int) uint8 {
	switch m := p.image.(type) {
	case *image.NRGBA:
		return m.Pix[y*m.Stride+4*x+3]
	case *image.NRGBA64:
		return m.Pix[y*m.Stride+8*x+6]
	case *image.NYCbCrA:
		return m.A[m.AOffset(p.bounds.Min.X+x, p.bounds.Min.Y+y)]
	default:
		_, _, _, a := m.At(p.bounds.Min.X+x, p.bounds.Min.Y+y).RGBA()
		return uint8(a >> 8)
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
