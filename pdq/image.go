package pdq

import (
	"image"
	"image/color"
	"slices"
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

// brightness is (0.299·r + 0.587·g) + 0.114·b in float64, rounded once to float32,
// as the Python pipeline has it. That is a thousandth of an integer, which is never
// near enough to the middle of two float32 for the roundings on the way to matter.
func brightness(r, g, b uint8) float32 {
	return thousandth(299*int32(r) + 587*int32(g) + 114*int32(b))
}

// thousandth is n/1000 for n below 2^24, rounded as the division rounds it: see mean.
func thousandth(n int32) float32 { return float32(float64(n) * (1.0 / 1000)) }

// picture is an image seen as a View, without the exchange of the axes.
type picture struct {
	image                image.Image
	bounds               image.Rectangle
	view                 View
	upsideDown, mirrored bool
	palette              [256]float32
}

func (p *picture) init(img image.Image, v View) {
	p.image, p.bounds, p.view = img, img.Bounds(), v
	p.upsideDown = v.Orientation == 3 || v.Orientation == 4 || v.Orientation == 6 || v.Orientation == 7
	p.mirrored = v.Orientation == 2 || v.Orientation == 3 || v.Orientation == 7 || v.Orientation == 8
	if m, ok := img.(*image.Paletted); ok {
		for i, c := range m.Palette {
			p.palette[i] = colour(c)
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
	switch m := p.image.(type) {
	case *image.Gray:
		greyLuma(row, m.Pix[y*m.Stride:])
	case *image.Gray16:
		line := m.Pix[y*m.Stride:]
		for x := range row {
			row[x] = float32(line[2*x])
		}
	case *image.RGBA:
		rgbaLuma(row, m.Pix[y*m.Stride:])
	case *image.NRGBA:
		rgbaLuma(row, m.Pix[y*m.Stride:])
	case *image.RGBA64:
		wideLuma(row, m.Pix[y*m.Stride:])
	case *image.NRGBA64:
		wideLuma(row, m.Pix[y*m.Stride:])
	case *image.YCbCr:
		lumaOfYCbCr(row, m, y)
	case *image.NYCbCrA:
		lumaOfYCbCr(row, &m.YCbCr, y)
	case *image.Paletted:
		line := m.Pix[y*m.Stride:]
		if p.view.Raw {
			greyLuma(row, line)
			return
		}
		for x := range row {
			row[x] = p.palette[line[x]]
		}
	case *image.CMYK:
		line := m.Pix[y*m.Stride:]
		if p.view.Raw {
			rgbaLuma(row, line)
			return
		}
		for x := range row {
			row[x] = brightness(color.CMYKToRGB(line[4*x], line[4*x+1], line[4*x+2], line[4*x+3]))
		}
	default:
		for x := range row {
			row[x] = colour(m.At(p.bounds.Min.X+x, p.bounds.Min.Y+y))
		}
	}
}

// colour is for pictures of rare kinds; their alpha is ignored.
func colour(c color.Color) float32 {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return brightness(n.R, n.G, n.B)
}

// Of grey the brightness is its value.
func greyLumaPortable(row []float32, line []byte) {
	line = line[:len(row)]
	for x, v := range line {
		row[x] = float32(v)
	}
}

func rgbaLumaPortable(row []float32, line []byte) {
	for x := range row {
		p := line[4*x : 4*x+4]
		row[x] = brightness(p[0], p[1], p[2])
	}
}

// wideLuma is for samples of two bytes, of which it takes the high ones.
func wideLuma(row []float32, line []byte) {
	for x := range row {
		p := line[8*x : 8*x+8]
		row[x] = brightness(p[0], p[2], p[4])
	}
}

// lumaOfYCbCr goes by the colours that the standard library converts to.
func lumaOfYCbCr(row []float32, m *image.YCbCr, y int) {
	left := m.Rect.Min.X
	if left < 0 || m.Rect.Min.Y < 0 { // where offsets are rounded towards zero
		for x := range row {
			c := m.YCbCrAt(left+x, m.Rect.Min.Y+y)
			row[x] = brightness(color.YCbCrToRGB(c.Y, c.Cb, c.Cr))
		}
		return
	}
	shift := 0 // one chroma sample is for 1<<shift pixels
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		shift = 1
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		shift = 2
	default: // each has its own
	}
	luma := m.Y[m.YOffset(left, m.Rect.Min.Y+y):]
	first := m.COffset(left, m.Rect.Min.Y+y)
	ycbcrLuma(row, luma, m.Cb[first:], m.Cr[first:], left&(1<<shift-1), shift)
}

// ycbcrLumaPortable converts pixels of which 1<<shift share a chroma sample; the
// first such sample has begun skip pixels ago.
func ycbcrLumaPortable(row []float32, y, cb, cr []byte, skip, shift int) {
	y = y[:len(row)]
	for x, v := range y {
		i := (skip + x) >> (shift & 3)
		// These are color.YCbCrToRGB's numbers, without its branches.
		base, blue, red := int32(v)*0x10101, int32(cb[i])-128, int32(cr[i])-128
		r := clamped(base + 91881*red)
		g := clamped(base - 22554*blue - 46802*red)
		b := clamped(base + 116130*blue)
		row[x] = thousandth(299*r + 587*g + 114*b)
	}
}

// clamped is the integer part of v/65536, brought to 0–255.
func clamped(v int32) int32 { return min(max(v, 0)>>16, 255) }

// flatten lays line y over the backdrop. Brightness is linear in colour, so mixing
// it is mixing colours.
func (p *picture) flatten(y int, row []float32) {
	var behind float32
	if p.view.Backdrop == OnWhite {
		behind = 255
	}
	line, step := p.alpha(y)
	premultiplied := isPremultiplied(p.image)
	for x, v := range row {
		var alpha uint8
		if step > 0 {
			alpha = line[x*step]
		} else {
			_, _, _, a := p.image.At(p.bounds.Min.X+x, p.bounds.Min.Y+y).RGBA()
			alpha = uint8(a >> 8)
		}
		a := float32(alpha)
		if !premultiplied {
			v = float32(v*a) / 255
		}
		row[x] = v + float32(behind*(255-a))/255
	}
}

// alpha returns the alpha of line y, every step bytes; of pictures of rare kinds
// step is 0.
func (p *picture) alpha(y int) (line []byte, step int) {
	switch m := p.image.(type) {
	case *image.NRGBA:
		return m.Pix[y*m.Stride+3:], 4
	case *image.RGBA:
		return m.Pix[y*m.Stride+3:], 4
	case *image.NRGBA64:
		return m.Pix[y*m.Stride+6:], 8
	case *image.RGBA64:
		return m.Pix[y*m.Stride+6:], 8
	case *image.NYCbCrA:
		return m.A[m.AOffset(p.bounds.Min.X, p.bounds.Min.Y+y):], 1
	default:
		return nil, 0
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
