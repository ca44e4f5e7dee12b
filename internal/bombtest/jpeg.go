package bombtest

import (
	"bytes"
	"encoding/binary"
)

// Markers of a JPEG file.
const (
	jpegSOF0 = 0xc0 // frame header, baseline
	jpegSOF2 = 0xc2 // frame header, progressive
	jpegDHT  = 0xc4
	jpegSOI  = 0xd8
	jpegEOI  = 0xd9
	jpegSOS  = 0xda
	jpegDQT  = 0xdb
	jpegAPP0 = 0xe0
)

const (
	jpegSide  = 65_500 // the largest side that libjpeg reads
	smallSide = 680    // the true side of JPEGPatched, which makes it 5.6 kB
)

// JPEGScans returns a valid progressive grey JPEG of side x side pixels, all mid-grey, with n scans
// (at least 1): one of the DC coefficients, then passes over the AC coefficients that say "nothing
// here for the next 32,767 blocks" and so need 54 bytes to visit every block of the image. At 5656
// and 8,000, 32 million pixels and about 0.5 MB, image/jpeg works for two to five minutes. No limit
// on pixels sees it: count the scans before decoding, or let the reader fail once the time is up.
func JPEGScans(side, n int) []byte {
	width := (side + 7) / 8
	blocks := width * width

	var dc, ac bitWriter
	for range blocks {
		dc.put(0, 1) // no difference from the block before
	}
	for left := blocks; left > 0; {
		run := min(left, maxEOBRun)
		putEOBRun(&ac, run)
		left -= run
	}
	first, empty := dc.finish(), ac.finish()

	b := jpegStart()
	b = append(b, jpegFrame(jpegSOF2, side, 1)...)
	b = append(b, jpegSegment(jpegDHT, huffmanDC())...)
	b = append(b, jpegSegment(jpegDHT, huffmanEOBRuns())...)
	b = append(b, jpegSegment(jpegSOS, []byte{1, 1, 0, 0, 0, 0})...)
	b = append(b, first...)
	for i := 1; i < n; i++ {
		approximation := byte(0x10) // refine bit 0 of the coefficients, all of which are zero
		if i == 1 {
			approximation = 0x01 // the first pass sends all bits but that one
		}
		b = append(b, jpegSegment(jpegSOS, []byte{1, 1, 0, 1, 63, approximation})...)
		b = append(b, empty...)
	}
	return append(b, 0xff, jpegEOI)
}

// JPEGPatched is a valid baseline JPEG of 5.6 kB whose frame header was changed to 65,500 x 65,500
// afterwards. image/jpeg allocates the whole picture when the first scan begins, 12.9 GB at 4:4:4,
// before it can notice that the data ends early: fatal where memory is limited. libjpeg goes on and
// paints the missing pixels grey.
func JPEGPatched() []byte {
	b := JPEGFlat(smallSide)
	at := bytes.Index(b, []byte{0xff, jpegSOF0}) + 5 // marker, length and precision come first
	binary.BigEndian.PutUint16(b[at:], jpegSide)
	binary.BigEndian.PutUint16(b[at+2:], jpegSide)
	return b
}

// JPEG65500SOFOnly is a JPEG that has a frame header of 65,500 x 65,500 and then ends. DecodeConfig
// is satisfied; a decoder that prepares its planes on the frame header allocates 12.9 GB for
// 41 bytes.
func JPEG65500SOFOnly() []byte {
	b := []byte{0xff, jpegSOI}
	b = append(b, jpegJFIF()...)
	b = append(b, jpegFrame(jpegSOF0, jpegSide, 3)...)
	return append(b, 0xff, jpegEOI)
}

// JPEGFlat returns a valid baseline JPEG of side x side pixels, mid-grey in colour at 4:4:4.
func JPEGFlat(side int) []byte {
	width := (side + 7) / 8
	var data bitWriter
	for range width * width * 3 {
		data.put(0, 2) // DC: no difference; AC: end of block
	}
	b := jpegStart()
	b = append(b, jpegFrame(jpegSOF0, side, 3)...)
	b = append(b, jpegSegment(jpegDHT, huffmanDC())...)
	b = append(b, jpegSegment(jpegDHT, huffmanEOB())...)
	b = append(b, jpegSegment(jpegSOS, []byte{3, 1, 0, 2, 0, 3, 0, 0, 63, 0})...)
	b = append(b, data.finish()...)
	return append(b, 0xff, jpegEOI)
}

// jpegStart returns what all pictures here begin with: JFIF and a quantization table of ones.
func jpegStart() []byte {
	b := []byte{0xff, jpegSOI}
	b = append(b, jpegJFIF()...)
	return append(b, jpegSegment(jpegDQT, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...))...)
}

// jpegJFIF returns the segment without which image/jpeg looks beyond the frame header for an Adobe
// marker, so that even DecodeConfig would need a scan.
func jpegJFIF() []byte {
	return jpegSegment(jpegAPP0, []byte("JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))
}

// jpegFrame returns a frame header: a square of 8-bit samples without subsampling.
func jpegFrame(marker byte, side, components int) []byte {
	p := []byte{8, byte(side >> 8), byte(side), byte(side >> 8), byte(side), byte(components)}
	for id := 1; id <= components; id++ {
		p = append(p, byte(id), 0x11, 0)
	}
	return jpegSegment(marker, p)
}

// jpegSegment returns a marker with its length and payload.
func jpegSegment(marker byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(payload)+2))
	return append(b, payload...)
}
