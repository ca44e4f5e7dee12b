package bombtest

import (
	"encoding/binary"
	"hash/adler32"
)

// zlibZeros returns a zlib stream that inflates to n zeros, 1,032 times its own size, which is the
// most that the format can do. It is written by hand (RFC 1951, 3.2.7), for the sake of
// milliseconds where a compressor takes seconds, and of the same bytes under every Go release.
// The stream is one block with three symbols and one distance:
//
//	"258 bytes again", code 0;  byte zero, code 10;  end of block, code 11;  distance 1, code 0
//
// so that two zero bits stand for 258 zeros.
func zlibZeros(n int64) []byte {
	if n == 0 {
		return zlibStored(nil)
	}
	w := lsbWriter{out: zlibHeader()}
	w.put(1, 1)  // last block
	w.put(2, 2)  // with codes of its own
	w.put(29, 5) // 286 literals and lengths
	w.put(0, 5)  // 1 distance
	w.put(14, 4) // 18 lengths of the codes for lengths
	// They come in an order that the format prescribes: here of 18 (code 0), 2 (11) and 1 (10).
	for _, length := range [18]uint32{2: 1, 15: 2, 17: 2} {
		w.put(length, 3)
	}
	unused := func(n uint32) { w.put(0, 1); w.put(n-11, 7) } // 11 to 138 symbols without a code
	// The high bit of a code goes first, so 10 reads as 0b01 here.
	w.put(0b11, 2) // symbol 0, a byte of zero, has 2 bits
	unused(138)
	unused(117)
	w.put(0b11, 2) // symbol 256, the end of the block, has 2
	unused(28)
	w.put(0b01, 2) // symbol 285, 258 bytes again, has 1
	w.put(0b01, 2) // and so has distance 1

	w.put(0b01, 2) // the zero to repeat
	for range (n - 1) / 258 {
		w.put(0, 2)
	}
	for range (n - 1) % 258 {
		w.put(0b01, 2)
	}
	w.put(0b11, 2)
	// Adler-32 of n zeros: the low half never leaves 1, the high half adds it up n times.
	return binary.BigEndian.AppendUint32(w.finish(), uint32(n%65521)<<16|1)
}

// zlibStored returns raw, at most 65,535 bytes, as a zlib stream without compression.
func zlibStored(raw []byte) []byte {
	n := uint16(len(raw))
	b := append(zlibHeader(), 1) // last block, stored
	b = append(b, le16(n, ^n)...)
	b = append(b, raw...)
	return binary.BigEndian.AppendUint32(b, adler32.Checksum(raw))
}

// zlibHeader returns the two bytes before a deflate stream: a window of 32 KiB, best compression.
func zlibHeader() []byte { return []byte{0x78, 0xda} }

// An lsbWriter collects bits, the lowest bit of a byte first.
type lsbWriter struct {
	out     []byte
	pending uint32 // bits not yet in out, of which n count
	n       int
}

// put writes the low n bits of v, at most 16, which must be all that v has.
func (w *lsbWriter) put(v uint32, n int) {
	w.pending |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.pending))
		w.pending >>= 8
	}
}

// finish fills the last byte with zeros and returns everything.
func (w *lsbWriter) finish() []byte {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
	return w.out
}
