package media

import (
	"encoding/binary"
	"image"
)

// walkWebP refuses animations, which the decoder does not know, by the flag in
// the extended header and by the chunks that hold frames.
func walkWebP(content []byte) Refusal {
	const animated = 0x02
	for at := 12; at+8 <= len(content); {
		name, size := string(content[at:at+4]), int64(binary.LittleEndian.Uint32(content[at+4:]))
		if name == "ANIM" || name == "ANMF" || name == "VP8X" && at+8 < len(content) && content[at+8]&animated != 0 {
			return RefusedAnimation
		}
		next := int64(at) + 8 + size + size&1
		if next > int64(len(content)) {
			break
		}
		at = int(next)
	}
	return ""
}

// fullRange stretches the planes of a lossy WebP in place. The format's samples
// run from 16 to 235 (chroma to 240), which the decoder hands out under a type
// whose samples run from 0 to 255 (golang/go#40173): colours and the quality of
// the hash would be a seventh too flat.
func fullRange(img image.Image) {
	var m *image.YCbCr
	switch img := img.(type) {
	case *image.YCbCr:
		m = img
	case *image.NYCbCrA:
		m = &img.YCbCr
	default:
		return
	}
	var luma, chroma [256]uint8
	for v := range 256 {
		luma[v] = stretch(v, 16, 219, 0)
		chroma[v] = stretch(v, 128, 224, 128)
	}
	for _, p := range []struct {
		plane []uint8
		table *[256]uint8
	}{{m.Y, &luma}, {m.Cb, &chroma}, {m.Cr, &chroma}} {
		for i, v := range p.plane {
			p.plane[i] = p.table[v]
		}
	}
}

// stretch maps a range of span steps to 255, rounding to nearest, with zero
// moved to base.
func stretch(v, zero, span, base int) uint8 {
	scaled := (v - zero) * 510
	if scaled < 0 {
		scaled -= span
	} else {
		scaled += span
	}
	return uint8(min(255, max(0, scaled/(2*span)+base)))
}
