package bombtest

import "encoding/binary"

// Tags of a TIFF directory, and the types of its values.
const (
	tiffWidth         = 256
	tiffLength        = 257
	tiffBitsPerSample = 258
	tiffCompression   = 259
	tiffPhotometric   = 262
	tiffStripOffsets  = 273
	tiffRowsPerStrip  = 278
	tiffStripCounts   = 279

	tiffShort = 3
	tiffLong  = 4
)

// tiffFirstIFD is where the directory begins in all files but TIFFHugeIFD: after the header.
const tiffFirstIFD = 8

// A tiffEntry is one line of a directory. A value of more than 4 bytes is an offset instead.
type tiffEntry struct {
	tag, kind    uint16
	count, value uint32
}

// TIFFHugeIFD is an 8-byte TIFF whose directory is said to lie at offset 0xFFFFFFFF. A decoder that
// makes room for a stream up to the offset, as x/image/tiff once did (CVE-2026-33809), asks for
// 4 GB.
func TIFFHugeIFD() []byte { return tiffHeader(0xffff_ffff) }

// TIFFLoop is a TIFF of 1,000,000 x 1,000,000 pixels of 16 bits in one strip of 0xFFFFFFFF bytes,
// whose directory names itself as the next one. DecodeConfig of x/image/tiff is satisfied; Decode
// allocates 2 TB, a fatal error of the runtime. A reader that counts the pages never comes to
// an end.
func TIFFLoop() []byte {
	const side = 1_000_000
	return tiffFile(tiffFirstIFD,
		tiffEntry{tiffWidth, tiffLong, 1, side},
		tiffEntry{tiffLength, tiffLong, 1, side},
		tiffEntry{tiffBitsPerSample, tiffShort, 1, 16},
		tiffEntry{tiffCompression, tiffShort, 1, 1},
		tiffEntry{tiffPhotometric, tiffShort, 1, 1},
		tiffEntry{tiffStripOffsets, tiffLong, 1, tiffFirstIFD},
		tiffEntry{tiffRowsPerStrip, tiffLong, 1, side},
		tiffEntry{tiffStripCounts, tiffLong, 1, 0xffff_ffff},
	)
}

// TIFFStrips is a TIFF of 16 x 536,870,911 pixels with a strip for every row, so that the lists of
// offsets and lengths have 536,870,911 values each, the most that fit in 2 GiB, none of which is in
// the file. A decoder that makes room for the lists before it reads them takes 4 GB, and as much
// again or twice that once it has parsed them.
func TIFFStrips() []byte {
	const rows = 1<<29 - 1
	return tiffFile(0,
		tiffEntry{tiffWidth, tiffLong, 1, 16},
		tiffEntry{tiffLength, tiffLong, 1, rows},
		tiffEntry{tiffBitsPerSample, tiffShort, 1, 8},
		tiffEntry{tiffCompression, tiffShort, 1, 1},
		tiffEntry{tiffPhotometric, tiffShort, 1, 1},
		tiffEntry{tiffStripOffsets, tiffLong, rows, tiffFirstIFD},
		tiffEntry{tiffRowsPerStrip, tiffLong, 1, 1},
		tiffEntry{tiffStripCounts, tiffLong, rows, tiffFirstIFD},
	)
}

// BMPHuge is the 54-byte header of a BMP of 65,535 x 32,767 pixels at 24 bits, without pixels. The
// product just fits in 31 bits, so even careful 32-bit code goes on. x/image/bmp allocates
// 8.6 GB of RGBA before it reads the first row, fatal where memory is limited.
func BMPHuge() []byte {
	b := []byte("BM")
	for _, v := range []uint32{
		54, 0, 54, // file size, reserved, offset of the pixels
		40, 65_535, 32_767, // size of this header, width, height
		24<<16 | 1,    // one plane, bits per pixel
		0, 0, 0, 0, 0, // uncompressed, no size, no resolution, no palette
	} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, 0) // number of important colours: all
}

// tiffHeader returns the first 8 bytes of a little-endian TIFF.
func tiffHeader(directory uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte("II*\x00"), directory)
}

// tiffFile returns a TIFF of one directory, with the offset at which the next is said to be.
func tiffFile(next uint32, entries ...tiffEntry) []byte {
	b := append(tiffHeader(tiffFirstIFD), le16(uint16(len(entries)))...)
	for _, e := range entries {
		b = append(b, le16(e.tag, e.kind)...)
		b = binary.LittleEndian.AppendUint32(b, e.count)
		b = binary.LittleEndian.AppendUint32(b, e.value)
	}
	return binary.LittleEndian.AppendUint32(b, next)
}
