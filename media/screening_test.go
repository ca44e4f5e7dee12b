package media_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/internal/workertest"
	"mediagate/media"
)

// TestScreeningAgrees hashes real files both ways in workers.
func TestScreeningAgrees(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectors, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	patient := func(c *media.Config) { c.Deadline *= 10 }
	exactly, screening := workertest.Pool(t, patient), workertest.Pool(t, patient)
	screened := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := mustSignals(t, exactly, content)
		if want.Screened {
			t.Errorf("%s is screened, and nobody asked for that", file)
		}
		got, err := screening.Decode(t.Context(), media.Digest(content), content, media.Screening)
		if err != nil {
			t.Fatal(err)
		}
		if got.Screened {
			screened++
		}
		got.Screened = false
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, exact and screened:\n%s", file, diff)
		}
	}
	exact, counts := workertest.Hashed(t, exactly), workertest.Hashed(t, screening)
	if len(exact) != 1 || exact["exact"] < len(files)*3/4 {
		t.Errorf("%d files, counted as %v", len(files), exact)
	}
	// Some of the files lie where screening is not sure.
	if len(counts) != 2 || counts["screened"] < screened || screened < len(files)/2 || counts["fallback"] == 0 ||
		counts["screened"]+counts["fallback"] != exact["exact"] {
		t.Errorf("%d of %d files screened, counted as %v", screened, len(files), counts)
	}
}

// TestExactIsWhatNobodyChose: only who says that screening is enough gets it.
func TestExactIsWhatNobodyChose(t *testing.T) {
	p := workertest.Pool(t, nil)
	content := readVector(t, "formats/rgb.png")
	var none media.Hashing
	for _, how := range []media.Hashing{none, media.Screening + 1, 255} {
		s, err := p.Decode(t.Context(), media.Digest(content), content, how)
		if err != nil || len(s.Hashes) == 0 || s.Screened {
			t.Errorf("hashing %d: %+v, %v", how, s, err)
		}
	}
	if s, err := p.Signals(t.Context(), content); err != nil || s.Screened {
		t.Errorf("signals: %+v, %v", s, err)
	}
	if err := p.SelfTest(t.Context()); err != nil {
		t.Error(err)
	}
	if counts := workertest.Hashed(t, p); len(counts) != 1 || counts["exact"] != 5 {
		t.Errorf("counted as %v", counts)
	}
}
