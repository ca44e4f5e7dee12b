package bombtest

import "math/bits"

// The pictures here need three Huffman tables. A DHT segment holds the class and number of the
// table, how many codes there are of each length from 1 to 16, and the values in order of code.

// huffmanDC returns DC table 0: the one-bit code 0 says that the difference has no bits.
func huffmanDC() []byte { return huffmanTable(0x00, [16]byte{1}, 0x00) }

// huffmanEOB returns AC table 0 for flat blocks: the one-bit code 0 ends the block.
func huffmanEOB() []byte { return huffmanTable(0x10, [16]byte{1}, 0x00) }

// huffmanEOBRuns returns AC table 0 for empty scans, with the fifteen values EOB14 to EOB0. EOBk
// is followed by k bits and ends 2^k to 2^(k+1)-1 blocks. The longest has the code 0, the others
// 10000 to 11101.
func huffmanEOBRuns() []byte {
	var values []byte
	for k := maxEOB; k >= 0; k-- {
		values = append(values, byte(k<<4))
	}
	return huffmanTable(0x10, [16]byte{0: 1, 4: maxEOB}, values...)
}

// maxEOB is the category of the longest runs, and maxEOBRun the longest: 32,767 blocks.
const (
	maxEOB    = 14
	maxEOBRun = 1<<(maxEOB+1) - 1
)

// putEOBRun writes that n blocks, 1 to maxEOBRun, have nothing more in this scan.
func putEOBRun(w *bitWriter, n int) {
	k := bits.Len(uint(n)) - 1
	if k == maxEOB {
		w.put(0, 1)
	} else {
		w.put(uint32(0b10000+maxEOB-1-k), 5)
	}
	w.put(uint32(n-1<<k), k)
}

// huffmanTable returns the payload of a DHT segment.
func huffmanTable(number byte, counts [16]byte, values ...byte) []byte {
	return append(append([]byte{number}, counts[:]...), values...)
}

// A bitWriter collects the entropy-coded data of one scan, the highest bit of a byte first.
type bitWriter struct {
	out     []byte
	pending uint32 // bits not yet in out, of which n count
	n       int
}

// put writes the low n bits of v, at most 16.
func (w *bitWriter) put(v uint32, n int) {
	w.pending = w.pending<<n | v
	for w.n += n; w.n >= 8; w.n -= 8 {
		b := byte(w.pending >> (w.n - 8))
		w.out = append(w.out, b)
		if b == 0xff {
			w.out = append(w.out, 0) // or it would be read as a marker
		}
	}
}

// finish fills the last byte with ones, as the format asks, and returns the data.
func (w *bitWriter) finish() []byte {
	if w.n > 0 {
		pad := 8 - w.n
		w.put(1<<pad-1, pad)
	}
	return w.out
}
