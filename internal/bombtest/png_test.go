package bombtest_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"

	"mediagate/internal/bombtest"
)

func TestPNGTextInflates(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 258, 259, 260, 65_521, 10 << 20} {
		text := chunks(t, bombtest.PNGText(n))["zTXt"][0]
		_, stream, _ := bytes.Cut(text, []byte{0})
		if got := inflated(t, stream[1:]); got != n {
			t.Errorf("PNGText(%d) inflates to %d bytes", n, got)
		}
	}
}

// To inflate 900 MB takes too long under the race detector, but the checksum of zeros tells how
// many there are.
func TestPNG30000HoldsAllItsPixels(t *testing.T) {
	const rows, row = 30_000, 1 + 30_000
	idat := chunks(t, bombtest.PNG30000())["IDAT"][0]
	want := uint32(rows*row%65_521)<<16 | 1
	if got := binary.BigEndian.Uint32(idat[len(idat)-4:]); got != want {
		t.Errorf("pixel data end in checksum %08x, want %08x", got, want)
	}
}

func TestPNGChunksAreTextAndWhole(t *testing.T) {
	if got := len(chunks(t, bombtest.PNGChunks())["tEXt"]); got != 100_000 {
		t.Errorf("%d text chunks", got)
	}
}

func TestPNGAnimatedHoldsTwoFrames(t *testing.T) {
	file := chunks(t, bombtest.PNGAnimated())
	if len(file["acTL"]) != 1 || len(file["fcTL"]) != 2 || len(file["fdAT"]) != 1 {
		t.Fatalf("APNG has chunks %v", file)
	}
	if got := inflated(t, file["fdAT"][0][4:]); got != 8*9 {
		t.Errorf("second frame inflates to %d bytes", got)
	}
}

// chunks returns the payloads of a PNG by type, after it has checked that the file is whole.
func chunks(t *testing.T, file []byte) map[string][][]byte {
	t.Helper()
	found := map[string][][]byte{}
	for b := file[8:]; len(b) > 0; {
		n := binary.BigEndian.Uint32(b) + 8
		kind := string(b[4:8])
		if sum := binary.BigEndian.Uint32(b[n:]); sum != crc32.ChecksumIEEE(b[4:n]) {
			t.Fatalf("chunk %s has a wrong checksum", kind)
		}
		found[kind] = append(found[kind], b[8:n])
		b = b[n+4:]
	}
	if len(found["IHDR"]) != 1 || len(found["IEND"]) != 1 {
		t.Fatalf("PNG has %d headers and %d ends", len(found["IHDR"]), len(found["IEND"]))
	}
	return found
}

// inflated returns how many bytes a zlib stream holds, after it has read all of them.
func inflated(t *testing.T, stream []byte) int64 {
	t.Helper()
	r, err := zlib.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	n, err := io.Copy(io.Discard, r) // to the end, where it compares the checksum
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return n
}
