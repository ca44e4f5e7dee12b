package media_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/internal/bombtest"
	"mediagate/media"
	"mediagate/pdq"
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
	f.Fuzz(func(t *testing.T, content []byte) {
		// Pictures can be made that screening hashes some bits away.
		near := cmp.Comparer(func(a, b pdq.Hash) bool { return pdq.Distance(a, b) <= 8 })
		exact := media.HashPicture(content, smallLimits(), media.Exact)
		if diff := cmp.Diff(exact, media.HashPicture(content, smallLimits(), media.Screening), near); diff != "" {
			t.Errorf("exact and screened:\n%s", diff)
		}
	})
}

// FuzzReply is a worker that was taken over and says what it likes.
func FuzzReply(f *testing.F) {
	f.Add(make([]byte, 300), uint8(media.Exact))
	f.Add(bytes.Repeat([]byte{1}, 300), uint8(media.Screening))
	f.Add(validReply(), uint8(media.Exact))
	f.Add(validReply(), uint8(media.Screening))
	f.Fuzz(func(t *testing.T, raw []byte, how uint8) {
		hashes, exact, screened, err := media.ReadReply(raw, smallLimits(), media.Hashing(how))
		if err != nil && (hashes != nil || exact != 0 || screened != 0) {
			t.Error("hashes beside an error")
		}
		if exact < 0 || screened < 0 || exact+screened > 5 || exact+screened < len(hashes) ||
			len(hashes) == 0 && exact+screened > 0 || screened > 0 && media.Hashing(how) != media.Screening {
			t.Errorf("%d hashes of %d exact and %d screened views", len(hashes), exact, screened)
		}
		for i, h := range hashes {
			if h.Quality < 0 || h.Quality > 100 || h.Variant.String() == "" || (i == 0) != (h.Variant == media.Primary) {
				t.Errorf("hash %d: %+v", i, h)
			}
		}
	})
}

// validReply has no refusal, 10×10 pixels, no estimate, and one primary hash of
// three views that were hashed exactly.
func validReply() []byte {
	valid := make([]byte, 1+4+4+8+1+1+1+5*34)
	binary.LittleEndian.PutUint32(valid[1:], 10)
	binary.LittleEndian.PutUint32(valid[5:], 10)
	valid[17], valid[18] = 1, 3
	valid[21] = 80
	return valid
}

func TestReplyOutOfBoundsIsRefused(t *testing.T) {
	valid := validReply()
	for how, change := range map[media.Hashing]func(b []byte){
		media.Exact:     func(b []byte) { b[18] = 5 },
		media.Screening: func(b []byte) { b[18], b[19] = 2, 3 },
	} {
		raw := bytes.Clone(valid)
		change(raw)
		hashes, exact, screened, err := media.ReadReply(raw, smallLimits(), how)
		if err != nil || len(hashes) != 1 || hashes[0].Quality != 80 || exact != int(raw[18]) || screened != int(raw[19]) {
			t.Fatalf("the valid reply: %v, %d exact, %d screened, %v", hashes, exact, screened, err)
		}
	}
	for name, change := range map[string]func(b []byte){
		"unknown refusal":     func(b []byte) { b[0] = 200 },
		"width past the side": func(b []byte) { binary.LittleEndian.PutUint32(b[1:], 4001) },
		"negative estimate":   func(b []byte) { b[16] = 0x80 },
		"estimate past limit": func(b []byte) { b[13] = 0x41 },
		"too many hashes":     func(b []byte) { b[17] = 6 },
		"quality 101":         func(b []byte) { b[21] = 101 },
		"unknown variant":     func(b []byte) { b[20] = 9 },
		"no primary first":    func(b []byte) { b[20] = 1 },
		"no view":             func(b []byte) { b[18] = 0 },
		"views, but no hash":  func(b []byte) { b[17] = 0 },
		"too many views":      func(b []byte) { b[18] = 6 },
		"too many together":   func(b []byte) { b[18], b[19] = 3, 3 },
		"many, in 8 bits few": func(b []byte) { b[18], b[19] = 255, 4 },
	} {
		for _, how := range []media.Hashing{media.Exact, media.Screening} {
			raw := bytes.Clone(valid)
			change(raw)
			if _, _, _, err := media.ReadReply(raw, smallLimits(), how); err == nil {
				t.Errorf("%s passes", name)
			}
		}
	}
	unasked := bytes.Clone(valid)
	unasked[18], unasked[19] = 2, 1
	if _, _, _, err := media.ReadReply(unasked, smallLimits(), media.Exact); err == nil {
		t.Error("screening that nobody asked for passes")
	}
	if _, _, _, err := media.ReadReply(valid[:50], smallLimits(), media.Exact); err == nil {
		t.Error("half a reply passes")
	}
}
