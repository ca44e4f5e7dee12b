package bombtest

import "encoding/binary"

// webpMax is the largest side that the lossless format can express.
const webpMax = 16_384

// WebP16384 is a valid 28-byte lossless WebP of 16,384 x 16,384 pixels. x/image/webp decodes it
// without an error, in 13 to 31 s and 1 GiB. It reads all of the file before the first pixel, so
// a reader with a deadline does not stop it: only a limit on pixels per byte does, or a process
// that can be killed.
func WebP16384() []byte { return WebPLossless(webpMax, webpMax) }

// WebP5000 is WebP16384 at 25 million pixels, which many pixel limits admit: 1.3 to 2.7 s, 98 MiB.
func WebP5000() []byte { return WebPLossless(5000, 5000) }

// WebPLossless returns a valid lossless WebP of w x h black pixels, each side between 1 and 16,384.
// It is 28 bytes whatever the size: each channel has a Huffman code of one symbol, which takes no
// bits to write, so the pixels take none.
func WebPLossless(w, h int) []byte { return webpFile(webpChunk("VP8L", vp8l(w, h))) }

// WebPAnimated is a valid animated WebP of 16 x 16 pixels and two frames, marked by the ANIM flag
// of its VP8X chunk. x/image/webp reads its size and fails to decode it, since the pictures are
// inside the frames: what DecodeConfig accepts need not be an image that Decode can show.
func WebPAnimated() []byte {
	const side = 16
	extent := append(le24(side-1), le24(side-1)...)
	head := append([]byte{1 << 1, 0, 0, 0}, extent...) // flag ANIM

	frame := append(le24(0), le24(0)...) // at the origin
	frame = append(frame, extent...)
	frame = append(frame, le24(100)...) // milliseconds
	frame = append(frame, 0)            // blend, do not dispose
	frame = append(frame, webpChunk("VP8L", vp8l(side, side))...)

	return webpFile(
		webpChunk("VP8X", head),
		webpChunk("ANIM", make([]byte, 6)), // background transparent; for ever
		webpChunk("ANMF", frame),
		webpChunk("ANMF", frame),
	)
}

// vp8l returns the lossless bitstream of a picture of one colour: 63 bits, lowest first.
func vp8l(w, h int) []byte {
	v := uint64(0x2f) // signature
	v |= uint64(w-1) << 8
	v |= uint64(h-1) << 22
	// Then zeros: alpha not used, version 0 (3 bits), no transform, no colour cache, one group of
	// Huffman codes. Each of the five codes is 4 bits: simple (1), one symbol, which is written
	// in one bit, and is 0.
	v |= 0x11111 << 43
	return binary.LittleEndian.AppendUint64(nil, v)
}

// webpFile returns a RIFF container with the chunks.
func webpFile(chunks ...[]byte) []byte {
	body := []byte("WEBP")
	for _, c := range chunks {
		body = append(body, c...)
	}
	return webpChunk("RIFF", body)
}

// webpChunk returns a chunk with its length. All payloads here are even, so none needs padding.
func webpChunk(kind string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(data)))
	return append(b, data...)
}

// le24 returns v in three bytes, lowest first.
func le24(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16)} }
