package media_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/media"
	"mediagate/pdq"
)

// someSignals are one of each sort.
func someSignals() map[string]media.Signals {
	opaque := media.Digest([]byte("hello"))
	photo := opaque
	photo.Kind, photo.Type, photo.Width, photo.Height, photo.Size = media.Photo, "image/png", 30_000, 1, 1<<40
	refused := photo
	refused.Refusal, refused.Width, refused.Height = media.RefusedPixels, 0, 0
	photo.Hashes = []media.Hash{{PDQ: pdq.FromBytes([32]byte{1, 31: 9}), Quality: 100}}
	screened := photo
	screened.Screened = true
	for v := media.Upright; v <= media.Compatible; v++ {
		screened.Hashes = append(screened.Hashes, media.Hash{PDQ: pdq.FromBytes([32]byte{7: byte(v)}), Quality: int(v), Variant: v})
	}
	return map[string]media.Signals{"opaque": opaque, "photo": photo, "refused": refused, "screened": screened}
}

func TestSignalsAreReadAsTheyWereWritten(t *testing.T) {
	for name, s := range someSignals() {
		raw, err := s.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		raw, ok := bytes.CutPrefix(raw, []byte("before"))
		got, err := media.ParseSignals(raw)
		if diff := cmp.Diff(s, got); diff != "" || err != nil || !ok {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		for n := range raw {
			if got, err := media.ParseSignals(raw[:n]); !errors.Is(err, media.ErrMalformed) || !cmp.Equal(got, media.Signals{}) {
				t.Errorf("%s, cut to %d of %d bytes: %v", name, n, len(raw), err)
			}
		}
		if _, err := media.ParseSignals(append(raw, 0)); !errors.Is(err, media.ErrMalformed) {
			t.Errorf("%s, one byte more: %v", name, err)
		}
	}
}

func TestImpossibleSignalsAreRefused(t *testing.T) {
	const size, width, height, kind, screened, count, hashes, hash = 50, 58, 62, 66, 67, 68, 69, 34
	tests := map[string]struct {
		of     string
		change func(b []byte) []byte
	}{
		"other format":         {"photo", func(b []byte) []byte { b[0]++; return b }},
		"other hasher":         {"photo", func(b []byte) []byte { b[1]++; return b }},
		"negative size":        {"photo", func(b []byte) []byte { b[size+7] |= 0x80; return b }},
		"width below 0":        {"photo", func(b []byte) []byte { b[width+3] |= 0x80; return b }},
		"height below 0":       {"photo", func(b []byte) []byte { b[height+3] |= 0x80; return b }},
		"unknown kind":         {"photo", func(b []byte) []byte { b[kind] = 2; return b }},
		"screened twice":       {"photo", func(b []byte) []byte { b[screened] = 2; return b }},
		"too many hashes":      {"screened", func(b []byte) []byte { b[count] = 6; return b }},
		"opaque with a hash":   {"photo", func(b []byte) []byte { b[kind] = 0; return b }},
		"opaque but screened":  {"opaque", func(b []byte) []byte { b[screened] = 1; return b }},
		"picture of nothing":   {"opaque", func(b []byte) []byte { b[kind] = 1; return b }},
		"opaque but refused":   {"refused", func(b []byte) []byte { b[kind] = 0; return b }},
		"no primary first":     {"photo", func(b []byte) []byte { b[hashes] = 1; return b }},
		"unknown variant":      {"screened", func(b []byte) []byte { b[hashes+hash] = 5; return b }},
		"primary again":        {"screened", func(b []byte) []byte { b[hashes+hash] = 0; return b }},
		"quality 101":          {"photo", func(b []byte) []byte { b[hashes+1] = 101; return b }},
		"unknown refusal":      {"refused", func(b []byte) []byte { b[len(b)-1] = 'S'; return b }},
		"hashes and a refusal": {"photo", func(b []byte) []byte { return append(append(b[:len(b)-1], 6), "pixels"...) }},
	}
	for name, tt := range tests {
		raw, err := someSignals()[tt.of].AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := media.ParseSignals(tt.change(raw)); !errors.Is(err, media.ErrMalformed) {
			t.Errorf("%s passes: %+v", name, s)
		}
	}
	long := someSignals()["photo"]
	long.Type = strings.Repeat("x", 256)
	if _, err := long.AppendBinary(nil); !errors.Is(err, media.ErrMalformed) {
		t.Errorf("a type of 256 bytes: %v", err)
	}
}

// FuzzParseSignals: what is read can be written, and is the same.
func FuzzParseSignals(f *testing.F) {
	for _, s := range someSignals() {
		raw, err := s.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(binary.LittleEndian.AppendUint64(raw[:60], 1))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := media.ParseSignals(raw)
		if err != nil {
			return
		}
		again, err := s.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%x was read and written as %x, %v", raw, again, err)
		}
	})
}

func TestFingerprintsTellLimitsApart(t *testing.T) {
	of := func(change func(*media.Config)) string {
		c := smallLimits()
		change(&c)
		p := media.NewPool(nil, c)
		return p.Fingerprint()
	}
	same := func(c *media.Config) { c.Workers, c.Queue, c.Deadline, c.TotalMemory = 3, 9, 1, 1<<40 }
	if a, b := of(func(*media.Config) {}), of(same); a != b {
		t.Errorf("%q and %q", a, b)
	}
	seen := map[string]bool{of(same): true}
	for i, change := range []func(*media.Config){
		func(c *media.Config) { c.MaxBytes++ }, func(c *media.Config) { c.MaxDecodeBytes++ }, func(c *media.Config) { c.MaxSide++ },
		func(c *media.Config) { c.MaxPixels++ }, func(c *media.Config) { c.MaxBaselinePixels++ }, func(c *media.Config) { c.MaxPixelsPerByte++ },
		func(c *media.Config) { c.MaxScans++ }, func(c *media.Config) { c.MaxSegments++ }, func(c *media.Config) { c.MaxFrames++ },
		func(c *media.Config) { c.MaxFramePixels++ }, func(c *media.Config) { c.WorkerMemory++ },
	} {
		if s := of(change); seen[s] {
			t.Errorf("change %d is not told", i)
		} else {
			seen[s] = true
		}
	}
}
