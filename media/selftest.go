package media

import (
	"bytes"
	"image"
	"image/png"
)

// knownPicture returns a picture and the hash it has by the reference
// implementation: 333×217 pixels by three polynomials, picture A of the
// conformance list that HMA's pipeline was measured with.
func knownPicture() (content []byte, hash string) {
	img := image.NewNRGBA(image.Rect(0, 0, 333, 217))
	for y := range 217 {
		for x := range 333 {
			p := img.Pix[img.PixOffset(x, y):]
			p[0], p[1], p[2], p[3] = uint8(3*x*x+7*y*y+5*x*y), uint8(11*x+5*y), uint8(x^y), 255
		}
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		panic("media: encode known picture: " + err.Error()) // memory does not fail to be written
	}
	return buf.Bytes(), "8a32f7bce8a04243eebb610cbba322a60155f3f75c13f54c541c9be31c63b5ac"
}
