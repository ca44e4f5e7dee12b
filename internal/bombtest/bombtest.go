// Package bombtest makes hostile picture files: small inputs that cost a naive decoder its memory,
// its processor time or its process. They are written by code, so no binary lies in the tree and a
// reader can see what makes each one dangerous; the same call returns the same bytes every time.
//
// Start with [All], the bombs that every guard must stop, and [Corpus], the wider set of malformed
// and oversized files. Each file also has a function of its own, and where a file is one size of a
// construction the construction takes the size, so that a test can decode a harmless sibling.
//
// Do not decode these files in the test process. Several of them end it with "fatal error: runtime:
// out of memory", which recover does not catch. Where the memory is only asked for and never used,
// Linux may grant it: to see the harm, decode in a child under RLIMIT_DATA.
package bombtest

import "fmt"

// A Bomb is one hostile file. The bytes belong to the caller.
type Bomb struct {
	Name string // the function that makes it, with its parameters if it has several sizes
	Data []byte
}

// The sizes at which JPEGScans and GIFFrames appear in All: just inside Synapse's pixel limit of
// 32 million, and under 2 MB.
const (
	scansSide  = 5656
	scansCount = 8000
	frameCount = 500
)

// All returns the bombs which really hurt the decoders of the standard library and x/image, in a
// fixed order. Decoding any of them without a limit takes a gigabyte or more, many seconds or the
// process. Each call builds the files anew, 3.3 MB in about 50 ms.
func All() []Bomb {
	return []Bomb{
		{"WebP16384", WebP16384()},
		{"PNGTall", PNGTall()},
		{"GIF65535", GIF65535()},
		{fmt.Sprintf("JPEGScans%d", scansCount), JPEGScans(scansSide, scansCount)},
		{"JPEGPatched", JPEGPatched()},
		{"PNG30000", PNG30000()},
		{fmt.Sprintf("GIFFrames%d", frameCount), GIFFrames(frameCount)},
	}
}

// Corpus returns further files in a fixed order, none of them in All: huge but valid pictures,
// headers that lie, metadata that inflates, animations and files that break off. Not all are
// dangerous; the last ones are valid or merely short, and must get their proper answer too.
func Corpus() []Bomb {
	return []Bomb{
		{"PNGZeroWidth", PNGZeroWidth()},
		{"PNGZeroHeight", PNGZeroHeight()},
		{"PNG2097151", PNG2097151()},
		{"PNG2147483647", PNG2147483647()},
		{"PNG20000", PNG20000()},
		{"PNG7071", PNG7071()},
		{"PNGChunks", PNGChunks()},
		{"PNGzTXt", PNGzTXt()},
		{"JPEG65500SOFOnly", JPEG65500SOFOnly()},
		{"GIFCanvas65535", GIFCanvas65535()},
		{"WebP5000", WebP5000()},
		{"TIFFHugeIFD", TIFFHugeIFD()},
		{"TIFFLoop", TIFFLoop()},
		{"TIFFStrips", TIFFStrips()},
		{"BMPHuge", BMPHuge()},
		{"PNGAnimated", PNGAnimated()},
		{"WebPAnimated", WebPAnimated()},
		{"Truncated0", Truncated(0)},
		{"Truncated1", Truncated(1)},
		{"Truncated7", Truncated(7)},
	}
}
