package bombtest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const (
	pngMagic   = "\x89PNG\r\n\x1a\n"
	textChunks = 100_000 // in PNGChunks
	textSize   = 1 << 30 // bytes that the text in PNGzTXt inflates to
)

// PNGColor is the colour type of a PNG, as written in its header.
type PNGColor byte

// The colour types used here.
const (
	PNGGrey PNGColor = 0
	PNGRGBA PNGColor = 6
)

// PNGTall is a 68-byte PNG of 255 x 1,677,721,600 pixels without any pixel data. DecodeConfig
// reads it without complaint. Decode of image/png allocates all pixels before it looks for data,
// 8 bytes each and 3.4 TB in all, which is a fatal error of the runtime and not a panic: only
// a check of the dimensions, or a process of its own, helps.
func PNGTall() []byte { return pngHeader(255, 1_677_721_600, 16, PNGRGBA) }

// PNG2097151 is PNGTall as a square of 2,097,151: 35 TB, and a product of sides that no longer
// fits in 32 bits, so a check that multiplies there lets it pass.
func PNG2097151() []byte { return pngHeader(1<<21-1, 1<<21-1, 16, PNGRGBA) }

// PNG2147483647 has the largest sides that PNG allows. The bytes of its pixels do not fit in 64
// bits: image/png refuses it, a decoder that does not check the product allocates too little and
// writes past the end.
func PNG2147483647() []byte { return pngHeader(1<<31-1, 1<<31-1, 16, PNGRGBA) }

// PNGZeroWidth is a PNG of 0 x 100 pixels, which the format forbids. A decoder that divides by a
// side, or resizes to keep the aspect, divides by zero.
func PNGZeroWidth() []byte { return pngHeader(0, 100, 8, PNGGrey) }

// PNGZeroHeight is PNGZeroWidth turned round: 100 x 0 pixels.
func PNGZeroHeight() []byte { return pngHeader(100, 0, 8, PNGGrey) }

// PNG30000 is a valid black PNG of 30,000 x 30,000 pixels, 900 million from 0.9 MB. Decode
// succeeds after a second or two and 900 MB; a copy in RGBA takes 3.6 GB more.
func PNG30000() []byte { return PNGZeros(30_000, 30_000, 8, PNGGrey) }

// PNG20000 is the sibling of PNG30000 at 400 million pixels and 388 kB: it fits in the memory of
// most machines, so only a pixel limit stops it.
func PNG20000() []byte { return PNGZeros(20_000, 20_000, 8, PNGGrey) }

// PNG7071 is a valid transparent PNG of 7,071 x 7,071, just below 50 million pixels, with 16 bits
// a channel: a limit that counts pixels admits it and then pays 8 bytes for each, 400 MB.
func PNG7071() []byte { return PNGZeros(7_071, 7_071, 16, PNGRGBA) }

// PNGZeros returns a valid PNG of w x h pixels in which every byte is zero, with depth bits a
// channel (8 or 16). It is about a thousandth of the size of its pixels, and quick to make.
func PNGZeros(w, h, depth int, color PNGColor) []byte {
	channels := 1
	if color == PNGRGBA {
		channels = 4
	}
	row := 1 + int64(w)*int64(channels*depth/8) // the filter byte, which is zero too, and the pixels
	return pngFile(uint32(w), uint32(h), byte(depth), color,
		pngChunk("IDAT", zlibZeros(row*int64(h))))
}

// PNGChunks is a valid PNG of one pixel behind 100,000 text chunks. A reader that keeps, logs or
// searches what it has seen of each chunk grows with the file, at worst with its square.
func PNGChunks() []byte {
	text := bytes.Repeat(pngChunk("tEXt", []byte("k\x00")), textChunks)
	return pngFile(1, 1, 8, PNGGrey, text, pngChunk("IDAT", zlibZeros(2)))
}

// PNGzTXt is a valid PNG of one pixel with a compressed comment that inflates from 1 MB to 1 GiB.
// image/png skips it; a metadata reader that inflates text without a limit holds all of it.
func PNGzTXt() []byte { return PNGText(textSize) }

// PNGText returns PNGzTXt with a comment of n bytes.
func PNGText(n int64) []byte {
	text := append([]byte("Comment\x00\x00"), zlibZeros(n)...) // keyword, NUL, method 0: zlib
	return pngFile(1, 1, 8, PNGGrey, pngChunk("zTXt", text), pngChunk("IDAT", zlibZeros(2)))
}

// PNGAnimated is a valid APNG of 8 x 8 pixels and two frames: black, which every decoder shows,
// and white, which image/png never reads. A scan of the default image alone misses frame two.
func PNGAnimated() []byte {
	const side = 8
	black := zlibZeros(side * (1 + side))
	white := zlibStored(bytes.Repeat(append([]byte{0}, bytes.Repeat([]byte{0xff}, side)...), side))
	return pngFile(side, side, 8, PNGGrey,
		pngChunk("acTL", be32(2, 0)), // frames; plays, 0 being for ever
		pngChunk("fcTL", pngFrame(0, side)),
		pngChunk("IDAT", black),
		pngChunk("fcTL", pngFrame(1, side)),
		pngChunk("fdAT", append(be32(2), white...)), // the sequence counts fcTL and fdAT together
	)
}

// Truncated returns the first n bytes of the PNG signature, 0 to 8: what a download leaves that
// broke off at once. Code that indexes the magic without looking at the length panics.
func Truncated(n int) []byte { return []byte(pngMagic[:n]) }

// pngFrame returns the payload of an fcTL chunk for a square frame at the origin, shown for 0.1 s.
func pngFrame(sequence, side uint32) []byte {
	b := be32(sequence, side, side, 0, 0)
	return append(b, 0, 1, 0, 10, 0, 0) // 1/10 s; no disposal, no blending
}

// pngHeader returns a PNG that promises w x h pixels and holds an empty zlib stream.
func pngHeader(w, h uint32, depth byte, color PNGColor) []byte {
	return pngFile(w, h, depth, color, pngChunk("IDAT", zlibStored(nil)))
}

// pngFile returns a PNG with the given header and, between it and the end, the given chunks.
func pngFile(w, h uint32, depth byte, color PNGColor, chunks ...[]byte) []byte {
	header := append(be32(w, h), depth, byte(color), 0, 0, 0) // zlib, usual filters, not interlaced
	file := append([]byte(pngMagic), pngChunk("IHDR", header)...)
	for _, c := range chunks {
		file = append(file, c...)
	}
	return append(file, pngChunk("IEND", nil)...)
}

// pngChunk returns one chunk: length, type, data and the checksum of the latter two.
func pngChunk(kind string, data []byte) []byte {
	b := append(be32(uint32(len(data))), kind...)
	b = append(b, data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// be32 returns the values one after the other, in the byte order of PNG.
func be32(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}
