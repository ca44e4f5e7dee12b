package media_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"mediagate/internal/bombtest"
	"mediagate/media"
)

// smallLimits keep a fuzzed picture cheap enough to decode in the test's own
// process.
func smallLimits() media.Config {
	return media.Config{
		WorkerMemory: 1 << 30, MaxSide: 4000, MaxPixels: 1 << 18, MaxBaselinePixels: 1 << 18, MaxPixelsPerByte: 10000,
		MaxScans: 64, MaxSegments: 2000, MaxFrames: 100, MaxFramePixels: 1 << 20,
	}
}

// FuzzDecode runs what a worker runs. A crash would only cost a worker, but each
// is a way to make honest pictures wait.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{
		"formats/1.png", "misc/small.jpg", "formats/q30.jpg", "misc/wee.jpg", "png/wee.png", "formats/p16.png", "formats/lossy.webp",
	} {
		f.Add(readVector(f, name))
	}
	for _, bomb := range append(bombtest.All(), bombtest.Corpus()...) {
		if len(bomb.Data) < 10_000 {
			f.Add(bomb.Data)
		}
	}
	f.Add(bombtest.JPEGScans(64, 20))
	f.Add(bombtest.GIFFrames(2)[:2000])
	f.Fuzz(func(_ *testing.T, content []byte) {
		media.Probe(content, smallLimits())
	})
}

// FuzzReply is a worker that was taken over and says what it likes.
func FuzzReply(f *testing.F) {
	f.Add(make([]byte, 300))
	f.Add(bytes.Repeat([]byte{1}, 300))
	f.Fuzz(func(t *testing.T, raw []byte) {
		hashes, err := media.ReadReply(raw, smallLimits())
		if err != nil && hashes != nil {
			t.Error("hashes beside an error")
		}
		for i, h := range hashes {
			if h.Quality < 0 || h.Quality > 100 || h.Variant.String() == "" || (i == 0) != (h.Variant == media.Primary) {
				t.Errorf("hash %d: %+v", i, h)
			}
		}
	})
}

func TestReplyOutOfBoundsIsRefused(t *testing.T) {
	// A valid reply: no refusal, 10×10, no estimate, one primary hash.
	valid := make([]byte, 1+4+4+8+1+5*34)
	binary.LittleEndian.PutUint32(valid[1:], 10)
	binary.LittleEndian.PutUint32(valid[5:], 10)
	valid[17] = 1
	valid[19] = 80
	if hashes, err := media.ReadReply(valid, smallLimits()); err != nil || len(hashes) != 1 || hashes[0].Quality != 80 {
		t.Fatalf("the valid reply: %v, %v", hashes, err)
	}
	for name, change := range map[string]func(b []byte){
		"unknown refusal":     func(b []byte) { b[0] = 200 },
		"width past the side": func(b []byte) { binary.LittleEndian.PutUint32(b[1:], 4001) },
		"negative estimate":   func(b []byte) { b[16] = 0x80 },
		"estimate past limit": func(b []byte) { b[13] = 0x41 },
		"too many hashes":     func(b []byte) { b[17] = 6 },
		"quality 101":         func(b []byte) { b[19] = 101 },
		"unknown variant":     func(b []byte) { b[18] = 9 },
		"no primary first":    func(b []byte) { b[18] = 1 },
	} {
		raw := bytes.Clone(valid)
		change(raw)
		if _, err := media.ReadReply(raw, smallLimits()); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if _, err := media.ReadReply(valid[:50], smallLimits()); err == nil {
		t.Error("half a reply passes")
	}
}
