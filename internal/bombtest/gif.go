package bombtest

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
)

const (
	gifMax       = 65_535
	gifFrameSide = 2000
)

// Bytes that begin a block of a GIF, or end the file.
const (
	gifExtension = 0x21
	gifImage     = 0x2c
	gifTrailer   = 0x3b
)

// GIF65535 is a 34-byte GIF of 65,535 x 65,535 pixels whose only frame is as large and holds one
// pixel. DecodeConfig is satisfied. Decode of image/gif allocates 4.3 GB for the frame before it
// reads the data and finds that it ends: fatal where memory is limited. A player that keeps
// a canvas in RGBA takes 17 GB.
func GIF65535() []byte {
	b := gifHeader(gifMax)
	b = append(b, gifDescriptor(gifMax)...)
	// A minimum code of 2 bits makes the codes 3 bits wide: 0 for a black pixel, 5 for the end.
	b = append(b, 2, 1, 5<<3, 0)
	return append(b, gifTrailer)
}

// GIFCanvas65535 is a valid 35-byte GIF with the canvas of GIF65535 and a frame of one pixel.
// image/gif decodes it in no time, so a test decode proves nothing: it is the code that paints
// frames on a canvas of the announced size which allocates 17 GB.
func GIFCanvas65535() []byte {
	b := gifHeader(gifMax)
	b = append(b, gifDescriptor(1)...)
	b = append(b, gifPixels(1)...)
	return append(b, gifTrailer)
}

// GIFFrames returns a valid GIF of n black frames of 2,000 x 2,000 pixels, 3.8 kB for each. At 500
// frames image/gif's DecodeAll takes 10 s and 2 GB for 1.9 MB; Decode, which stops after the
// first frame, takes 20 ms. No limit on pixels sees the difference.
func GIFFrames(n int) []byte {
	frame := []byte{gifExtension, 0xf9, 4, 0, 10, 0, 0, 0} // shown for 0.1 s
	frame = append(frame, gifDescriptor(gifFrameSide)...)
	frame = append(frame, gifPixels(gifFrameSide*gifFrameSide)...)

	b := gifHeader(gifFrameSide)
	b = append(b, bytes.Repeat(frame, n)...)
	return append(b, gifTrailer)
}

// gifHeader returns the signature, a square canvas and a palette of black and white.
func gifHeader(side uint16) []byte {
	b := append([]byte("GIF89a"), le16(side, side)...)
	b = append(b, 0x80, 0, 0) // global palette of 2; background black; pixels square
	return append(b, 0, 0, 0, 0xff, 0xff, 0xff)
}

// gifDescriptor returns the head of a square frame at the origin, without a palette of its own.
func gifDescriptor(side uint16) []byte {
	b := append([]byte{gifImage}, le16(0, 0, side, side)...)
	return append(b, 0)
}

// gifPixels returns the data of n black pixels, compressed and cut into blocks.
func gifPixels(n int) []byte {
	const bits = 2 // the least that the format allows, also for a palette of two
	var data bytes.Buffer
	w := lzw.NewWriter(&data, lzw.LSB, bits)
	_, err := w.Write(make([]byte, n))
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a bytes.Buffer does not fail
	}

	b := []byte{bits}
	for data.Len() > 0 {
		block := data.Next(255)
		b = append(b, byte(len(block)))
		b = append(b, block...)
	}
	return append(b, 0)
}

// le16 returns the values one after the other, in the byte order of GIF.
func le16(values ...uint16) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}
