// Package pdq computes and searches PDQ hashes, the 256-bit perceptual
// fingerprints of pictures published by Meta, bit for bit as the C++ reference
// does (github.com/facebook/ThreatExchange, pdq/cpp).
//
// Call [FromImage] for a decoded picture or [FromLuma] for a brightness plane;
// compare with [Distance]; search many hashes with an [Index]. Pictures differ
// from a near copy by a few bits and from an unrelated picture by about 128.
//
// Arithmetic is IEEE float32 with one rounding an operation: products are
// converted before they are added, so that no compiler fuses them. Without
// that, hashes of flat pictures would depend on the processor.
package pdq

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
)

// Bits is the length of a [Hash].
const Bits = 256

// Hash is one PDQ hash: word 0 holds bits 0–63, word 3 bits 192–255. The zero
// value is the hash of a picture too small to have one.
type Hash [4]uint64

// ErrMalformed is what [Parse] wraps for text that is no hash.
var ErrMalformed = errors.New("malformed PDQ hash")

// Parse reads the 64 hexadecimal digits that [Hash.String] writes. Upper case
// is accepted; surrounding space is not. The text itself never appears in the
// error, because hash lists are secret.
func Parse(s string) (Hash, error) {
	if len(s) != Bits/4 {
		return Hash{}, fmt.Errorf("%w: %d characters, want %d", ErrMalformed, len(s), Bits/4)
	}
	var raw [Bits / 8]byte
	if _, err := hex.Decode(raw[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("%w: not hexadecimal", ErrMalformed)
	}
	return FromBytes(raw), nil
}

// FromBytes is the inverse of [Hash.Bytes].
func FromBytes(raw [Bits / 8]byte) Hash {
	var h Hash
	for i, b := range raw {
		h[3-i/8] |= uint64(b) << (56 - 8*(i%8))
	}
	return h
}

// Bytes returns the hash highest bit first, the order of its text.
func (h Hash) Bytes() [Bits / 8]byte {
	var raw [Bits / 8]byte
	for i := range raw {
		raw[i] = byte(h[3-i/8] >> (56 - 8*(i%8)))
	}
	return raw
}

// String returns 64 lower-case hexadecimal digits, highest bit first.
func (h Hash) String() string {
	raw := h.Bytes()
	return hex.EncodeToString(raw[:])
}

// Distance returns how many bits differ between a and b, from 0 to 256.
// Unrelated pictures lie near 128. Compare with <=: thresholds are inclusive.
func Distance(a, b Hash) int {
	return bits.OnesCount64(a[0]^b[0]) + bits.OnesCount64(a[1]^b[1]) +
		bits.OnesCount64(a[2]^b[2]) + bits.OnesCount64(a[3]^b[3])
}
