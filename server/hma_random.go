package server

import (
	"crypto/sha512"
	"encoding/binary"
)

// pythonRandom returns what random.Random(seed).random() returns in CPython: the
// first number of a Mersenne Twister (MT19937, Matsumoto and Nishimura 1998)
// seeded, for a string, with its UTF-8 and the SHA-512 of that. Clients of HMA
// pass a seed so that the same content always gets the same throw.
func pythonRandom(seed string) float64 {
	sum := sha512.Sum512([]byte(seed))
	t := newTwister(wordsOf(append([]byte(seed), sum[:]...)))
	a, b := t.next()>>5, t.next()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// wordsOf reads a big-endian number as 32-bit words, the least first.
func wordsOf(number []byte) []uint32 {
	padded := append(make([]byte, (4-len(number)%4)%4), number...)
	words := make([]uint32, 0, len(padded)/4)
	for i := len(padded); i > 0; i -= 4 {
		words = append(words, binary.BigEndian.Uint32(padded[i-4:]))
	}
	// Python drops leading zeros of the number.
	for len(words) > 1 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	return words
}

const (
	twisterWords  = 624
	twisterMiddle = 397
)

type twister struct {
	state [twisterWords]uint32
	at    int
}

// newTwister seeds by array, as init_by_array of the reference code.
func newTwister(key []uint32) *twister {
	t := &twister{at: twisterWords}
	s := &t.state
	s[0] = 19650218
	for i := 1; i < twisterWords; i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	step := func(factor uint32) {
		s[i] ^= (s[i-1] ^ s[i-1]>>30) * factor
	}
	advance := func() {
		if i++; i == twisterWords {
			s[0], i = s[twisterWords-1], 1
		}
	}
	for range max(twisterWords, len(key)) {
		step(1664525)
		s[i] += key[j] + uint32(j)
		advance()
		j = (j + 1) % len(key)
	}
	for range twisterWords - 1 {
		step(1566083941)
		s[i] -= uint32(i)
		advance()
	}
	s[0] = 1 << 31
	return t
}

func (t *twister) next() uint32 {
	if t.at == twisterWords {
		t.turn()
	}
	y := t.state[t.at]
	t.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9D2C5680
	y ^= y << 15 & 0xEFC60000
	return y ^ y>>18
}

func (t *twister) turn() {
	s := &t.state
	for i := range s {
		y := s[i]&(1<<31) | s[(i+1)%twisterWords]&(1<<31-1)
		s[i] = s[(i+twisterMiddle)%twisterWords] ^ y>>1 ^ y&1*0x9908B0DF
	}
	t.at = 0
}
