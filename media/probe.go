package media

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"mediagate/pdq"
)

// probed is what the header of a picture tells before any pixel is decoded.
type probed struct {
	format        format
	width, height int
	// estimate is how many bytes decoding will need beside the file.
	estimate int64
}

// probe reads the header and refuses what would cost too much. It runs in a
// worker process only.
func probe(content []byte, l limits) (probed, Refusal) {
	f := formatOf(content)
	if f == noFormat {
		return probed{}, RefusedTruncated
	}
	baseline := false
	var refusal Refusal
	switch f {
	case formatJPEG:
		baseline, refusal = walkJPEG(content, l)
	case formatGIF:
		refusal = walkGIF(content, l)
	case formatWebP:
		refusal = walkWebP(content)
	default: // nothing beside the header to look at
	}
	if refusal != "" {
		return probed{}, refusal
	}
	config, err := decodeConfig(f, content)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return probed{}, RefusedTruncated
	}
	if err != nil {
		return probed{}, RefusedHeader
	}
	if refusal := l.check(config.Width, config.Height, len(content), baseline); refusal != "" {
		return probed{}, refusal
	}
	p := probed{format: f, width: config.Width, height: config.Height}
	p.estimate = int64(p.width) * int64(p.height) * bytesPerPixel(f, config.ColorModel, baseline)
	p.estimate += max(0, pdq.Memory(p.width, p.height)-hashingMemory)
	if p.estimate+int64(len(content))+memoryOverhead > l.Memory {
		return probed{}, RefusedMemory
	}
	return p, ""
}

func decodeConfig(f format, content []byte) (image.Config, error) {
	r := bytes.NewReader(content)
	switch f {
	case formatJPEG:
		return jpeg.DecodeConfig(r)
	case formatPNG:
		return png.DecodeConfig(r)
	case formatGIF:
		return gif.DecodeConfig(r)
	case formatWebP:
		return webp.DecodeConfig(r)
	case formatBMP:
		return bmp.DecodeConfig(r)
	case formatTIFF:
		return tiff.DecodeConfig(r)
	default:
		return image.Config{}, errors.ErrUnsupported
	}
}

// bytesPerPixel is what the decoder holds at its peak, with what it copies on
// the way. Where the header leaves two cases open it is the worse.
func bytesPerPixel(f format, model color.Model, baseline bool) int64 {
	wide := model == color.Gray16Model || model == color.RGBA64Model || model == color.NRGBA64Model
	switch f {
	case formatJPEG:
		switch {
		case !baseline:
			return 15 // all coefficients of all components beside the planes
		case model == color.GrayModel:
			return 1
		case model == color.YCbCrModel:
			return 3
		default:
			return 8 // planes, and the pixels of CMYK or RGB made of them
		}
	case formatGIF:
		return 2 // the frame, and the canvas if the frame is smaller
	case formatWebP:
		return 8 // planes or pixels, and what alpha is made of
	case formatTIFF:
		if wide {
			return 24
		}
		return 12 // pixels, a strip, and the buffer that it is unpacked to
	default:
		// An interlaced PNG holds a pass beside the picture; grey with a transparent
		// value becomes colours with alpha.
		if wide {
			return 12
		}
		return 6
	}
}
