package media

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// format is a kind of picture that is decoded here.
type format uint8

const (
	noFormat format = iota
	formatJPEG
	formatPNG
	formatGIF
	formatWebP
	formatBMP
	formatTIFF
)

// magics are how each format starts.
var magics = map[format][]string{
	formatJPEG: {"\xff\xd8\xff"},
	formatPNG:  {"\x89PNG\r\n\x1a\n"},
	formatGIF:  {"GIF87a", "GIF89a"},
	formatWebP: {"RIFF"},
	formatBMP:  {"BM"},
	formatTIFF: {"II*\x00", "MM\x00*"},
}

// formatOf tells the format by the first bytes.
func formatOf(content []byte) format {
	for f, starts := range magics {
		for _, magic := range starts {
			if bytes.HasPrefix(content, []byte(magic)) && confirm(f, content) {
				return f
			}
		}
	}
	return noFormat
}

// confirm looks beyond the two magics that other kinds of file share.
func confirm(f format, content []byte) bool {
	switch f {
	case formatWebP:
		return len(content) >= 12 && string(content[8:12]) == "WEBP"
	case formatBMP:
		// Texts begin with BM too. Every version of the format has one of these
		// sizes of its second header.
		return len(content) >= 18 && slices.Contains([]uint32{12, 16, 40, 52, 56, 64, 108, 124}, binary.LittleEndian.Uint32(content[14:]))
	case formatTIFF:
		// Cameras of one maker mark their raw files in TIFF's clothes.
		return len(content) < 10 || string(content[8:10]) != "CR"
	default:
		return true
	}
}

// sniff names the content's MIME type, and whether it claims to be a picture
// that is decoded here. A file that ends inside the mark of such a picture
// claims it too, for a client may have got more of it.
func sniff(content []byte) (Kind, string) {
	switch formatOf(content) {
	case formatJPEG:
		return Photo, "image/jpeg"
	case formatPNG:
		return Photo, "image/png"
	case formatGIF:
		return Photo, "image/gif"
	case formatWebP:
		return Photo, "image/webp"
	case formatBMP:
		return Photo, "image/bmp"
	case formatTIFF:
		return Photo, "image/tiff"
	default:
		if endsInMagic(content) {
			return Photo, "application/octet-stream"
		}
		mime, _, _ := strings.Cut(mimetype.Detect(content).String(), ";")
		return Opaque, mime
	}
}

func endsInMagic(content []byte) bool {
	for _, starts := range magics {
		for _, magic := range starts {
			if len(content) < len(magic) && strings.HasPrefix(magic, string(content)) {
				return true
			}
		}
	}
	return false
}
