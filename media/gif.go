package media

import (
	"encoding/binary"
	"image"
)

// walkGIF counts the frames of a GIF and their pixels without decoding one. It
// follows the block structure of the GIF89a specification; what does not follow
// it is left to the decoder to report.
func walkGIF(content []byte, l limits) Refusal {
	if len(content) < 13 {
		return RefusedTruncated
	}
	at := 13 + colourTable(content[10])
	var frames, pixels int64
	for at < len(content) {
		switch content[at] {
		case 0x21: // extension: label, then sub-blocks
			at = skipSubBlocks(content, at+2)
		case 0x2C: // image descriptor, colour table, code size, sub-blocks
			if at+10 > len(content) {
				return ""
			}
			w, h := binary.LittleEndian.Uint16(content[at+5:]), binary.LittleEndian.Uint16(content[at+7:])
			frames++
			pixels += int64(w) * int64(h)
			if frames > l.MaxFrames || pixels > l.MaxFramePixels {
				return RefusedFrames
			}
			at = skipSubBlocks(content, at+10+colourTable(content[at+9])+1)
		default: // trailer, or no GIF any more
			return ""
		}
	}
	return ""
}

// colourTable is the length of the table that a flags byte announces.
func colourTable(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

func skipSubBlocks(content []byte, at int) int {
	for at < len(content) {
		n := int(content[at])
		at += 1 + n
		if n == 0 {
			break
		}
	}
	return at
}

// onCanvas lays the first frame of a GIF on its canvas, as players show it. The
// palette indices stay what they are; outside the frame is index 0, as other
// decoders have it.
func onCanvas(img image.Image, width, height int) image.Image {
	frame, ok := img.(*image.Paletted)
	canvas := image.Rect(0, 0, width, height)
	if !ok || frame.Rect == canvas {
		return img
	}
	out := image.NewPaletted(canvas, frame.Palette)
	for y := frame.Rect.Min.Y; y < frame.Rect.Max.Y; y++ {
		from := frame.PixOffset(frame.Rect.Min.X, y)
		copy(out.Pix[out.PixOffset(frame.Rect.Min.X, y):], frame.Pix[from:from+frame.Rect.Dx()])
	}
	return out
}
