package pdq_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "golang.org/x/image/webp"

	"mediagate/pdq"
)

// dihedral are the eight hashes under the reference's names.
type dihedral struct{ Original, Rotate90, Rotate180, Rotate270, FlipX, FlipY, FlipPlus1, FlipMinus1 string }

func (d dihedral) list() []string {
	return []string{d.Original, d.Rotate90, d.Rotate180, d.Rotate270, d.FlipX, d.FlipY, d.FlipPlus1, d.FlipMinus1}
}

func texts(hashes [8]pdq.Hash) []string {
	var out []string
	for _, h := range hashes {
		out = append(out, h.String())
	}
	return out
}

type lumaVector struct {
	Name       string
	Cols, Rows uint64
	Gen        generator
	Sum        string `json:"sha256_f32le"`
	Hash       string
	Quality    int
	Dihedral   dihedral
}

func TestLumaVectors(t *testing.T) {
	vectors := load[[]lumaVector](t, "luma-vectors.json")
	if len(vectors) != 74 {
		t.Fatalf("%d vectors, want 74", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			luma := v.Gen.luma(t, v.Cols, v.Rows)
			if got := sumOf(luma); got != v.Sum {
				t.Fatalf("the buffer is not the vector's: checksum %s, want %s", got, v.Sum)
			}
			pdq.EachVectors(func(kernels string) {
				h, q := pdq.FromLuma(luma, int(v.Cols), int(v.Rows))
				if h.String() != v.Hash || q != v.Quality {
					t.Errorf("%s: FromLuma = %v, %d, want %s, %d", kernels, h, q, v.Hash, v.Quality)
				}
				all, q := pdq.Dihedral(luma, int(v.Cols), int(v.Rows))
				if diff := cmp.Diff(v.Dihedral.list(), texts(all)); diff != "" || q != v.Quality {
					t.Errorf("%s: Dihedral: quality %d, want %d; hashes (-want +got):\n%s", kernels, q, v.Quality, diff)
				}
			})
		})
	}
}

func TestRGBVectors(t *testing.T) {
	type vector struct {
		Name       string
		Cols, Rows uint64
		Gen        generator
		Sum        string `json:"sha256_rgb"`
		F64        struct {
			Sum      string `json:"sha256_luma_f32le"`
			Hash     string
			Quality  int
			Dihedral dihedral
		}
	}
	for _, v := range load[[]vector](t, "rgb-vectors.json") {
		t.Run(v.Name, func(t *testing.T) {
			rgb := v.Gen.rgb(t, v.Cols, v.Rows)
			if sum := sha256.Sum256(rgb); hex.EncodeToString(sum[:]) != v.Sum {
				t.Fatal("the buffer is not the vector's")
			}
			img := image.NewNRGBA(image.Rect(0, 0, int(v.Cols), int(v.Rows)))
			for i := range v.Cols * v.Rows {
				copy(img.Pix[4*i:], append(slices.Clone(rgb[3*i:3*i+3]), 255))
			}
			pdq.EachVectors(func(kernels string) {
				h, q := pdq.FromImage(img)
				if h.String() != v.F64.Hash || q != v.F64.Quality {
					t.Errorf("%s: FromImage = %v, %d, want %s, %d", kernels, h, q, v.F64.Hash, v.F64.Quality)
				}
				luma := pdq.Luma(img)
				if got := sumOf(luma); got != v.F64.Sum {
					t.Errorf("%s: luma has checksum %s, want %s", kernels, got, v.F64.Sum)
				}
				all, _ := pdq.Dihedral(luma, int(v.Cols), int(v.Rows))
				if diff := cmp.Diff(v.F64.Dihedral.list(), texts(all)); diff != "" {
					t.Errorf("%s: Dihedral (-want +got):\n%s", kernels, diff)
				}
			})
		})
	}
}

func TestDCTMatrix(t *testing.T) {
	want := load[struct {
		Bits []string `json:"f32_bits"`
	}](t, "dct-matrix.json")
	got := pdq.DCTMatrix()
	if diff := cmp.Diff(want.Bits, bitsOf(got[:])); diff != "" {
		t.Errorf("bit patterns (-want +got):\n%s", diff)
	}
}

// TestStages finds the stage at which an error arises when the vectors fail.
func TestStages(t *testing.T) {
	type dump struct {
		Cols, Rows  uint64
		Gen         generator
		AlongRows   int      `json:"window_along_rows"`
		AlongCols   int      `json:"window_along_cols"`
		Row1        string   `json:"sha256_after_row_pass_1"`
		Col1        string   `json:"sha256_after_col_pass_1"`
		Row2        string   `json:"sha256_after_row_pass_2"`
		Col2        string   `json:"sha256_after_col_pass_2"`
		SampledRows []int    `json:"decimate_rows"`
		SampledCols []int    `json:"decimate_cols"`
		Square      []string `json:"buffer64x64_f32_bits"`
		Spectrum    []string `json:"dct16x16_f32_bits"`
		Median      string   `json:"median_bits"`
		Hash        string
		Quality     int
	}
	files, err := filepath.Glob("testdata/dump-*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("found %d dumps, want 4: %v", len(files), err)
	}
	for _, file := range files {
		stages := func(t *testing.T) {
			d := load[dump](t, filepath.Base(file))
			luma, w, h := d.Gen.luma(t, d.Cols, d.Rows), int(d.Cols), int(d.Rows)
			if got := [2]int{pdq.Window(w), pdq.Window(h)}; got != [2]int{d.AlongRows, d.AlongCols} {
				t.Errorf("windows %v, want %d and %d", got, d.AlongRows, d.AlongCols)
			}
			passes := pdq.Passes(luma, w, h)
			for i, want := range []string{d.Row1, d.Col1, d.Row2, d.Col2} {
				if got := sumOf(passes[i]); got != want {
					t.Errorf("pass %d has checksum %s, want %s", i+1, got, want)
				}
			}
			var rows, cols []int
			for i := range 64 {
				rows, cols = append(rows, pdq.SampleAt(i, h)), append(cols, pdq.SampleAt(i, w))
			}
			if !slices.Equal(rows, d.SampledRows) || !slices.Equal(cols, d.SampledCols) {
				t.Errorf("samples rows %v and columns %v, want %v and %v", rows, cols, d.SampledRows, d.SampledCols)
			}
			square := pdq.Square(luma, w, h)
			if diff := cmp.Diff(d.Square, bitsOf(square)); diff != "" {
				t.Errorf("square (-want +got):\n%s", diff)
			}
			spectrum, median := pdq.Spectrum(square)
			if diff := cmp.Diff(d.Spectrum, bitsOf(spectrum[:])); diff != "" {
				t.Errorf("spectrum (-want +got):\n%s", diff)
			}
			if got := bitsOf([]float32{median})[0]; got != d.Median {
				t.Errorf("median %s, want %s", got, d.Median)
			}
			if h, q := pdq.FromLuma(luma, w, h); h.String() != d.Hash || q != d.Quality {
				t.Errorf("FromLuma = %v, %d, want %s, %d", h, q, d.Hash, d.Quality)
			}
		}
		pdq.EachVectors(func(kernels string) { t.Run(filepath.Base(file)+"/kernels="+kernels, stages) })
	}
}

func TestIndexVectors(t *testing.T) {
	type list struct {
		Gen    generator
		Count  int
		First4 []string
		Last   string
		Sum    string `json:"sha256_of_hex_lines"`
	}
	v := load[struct {
		Lists   struct{ Random, Balanced, Clustered list }
		Queries []struct {
			Hash    string
			How     string
			Matches [][2]int
		}
	}](t, "index-vectors.json")
	var hashes []pdq.Hash
	for _, l := range []list{v.Lists.Random, v.Lists.Balanced, v.Lists.Clustered} {
		part := l.Gen.hashes(t)
		var lines strings.Builder
		for _, h := range part {
			fmt.Fprintln(&lines, h)
		}
		if sum := sha256.Sum256([]byte(lines.String())); hex.EncodeToString(sum[:]) != l.Sum {
			t.Fatalf("the %s list is not the vector's", l.Gen.Kind)
		}
		hashes = append(hashes, part...)
	}
	ix := pdq.NewIndex(hashes)
	found := 0
	for i, q := range v.Queries {
		h, err := pdq.Parse(q.Hash)
		if err != nil {
			t.Fatal(err)
		}
		for _, threshold := range []int{40, 31, 0} {
			var got [][2]int
			for _, m := range ix.Within(h, threshold) {
				got = append(got, [2]int{m.Position, m.Distance})
			}
			want := slices.DeleteFunc(slices.Clone(q.Matches), func(m [2]int) bool { return m[1] > threshold })
			slices.SortFunc(want, func(a, b [2]int) int { return a[0] - b[0] })
			if !slices.Equal(got, want) {
				t.Errorf("query %d (%s), threshold %d: %v, want %v", i, q.How, threshold, got, want)
			}
			if threshold == 31 {
				found += len(got)
			}
		}
	}
	if found != 254 {
		t.Errorf("%d matches within 31, want 254", found)
	}
}

// TestImageVectors holds decoded files to the reference's two tiers: the same
// pixels give the same hash; the same file within 10 bits at quality 80.
func TestImageVectors(t *testing.T) {
	type vector struct {
		File string
		HMA  struct {
			Mode    string `json:"pil_mode"`
			Format  string `json:"pil_format"`
			Hash    string
			Quality int
			Pixels  string `json:"sha256_first3channels_u8"`
		}
	}
	// Where pdq.FromImage departs from HMA on purpose: HMA hashes palette
	// indices, takes CMYK for RGB, 1-bit samples for 0 and 1, and clips 16-bit
	// grey instead of scaling it.
	differs := map[string]bool{"P": true, "CMYK": true, "1": true, "I;16": true, "I": true}
	exact := 0
	for _, v := range load[[]vector](t, "image-vectors.json") {
		t.Run(v.File, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", v.File))
			if err != nil {
				t.Fatal(err)
			}
			img, format, err := image.Decode(bytes.NewReader(raw))
			if strings.HasSuffix(v.File, "animated.webp") {
				if err == nil {
					t.Error("decoded an animation that package media must refuse")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := pdq.Parse(v.HMA.Hash)
			if err != nil {
				t.Fatal(err)
			}
			got, quality := pdq.FromImage(img)
			if differs[v.HMA.Mode] {
				if v.HMA.Mode == "P" || v.HMA.Mode == "CMYK" {
					got, _ = pdq.FromView(img, pdq.View{Raw: true})
				} else {
					return
				}
			}
			d := pdq.Distance(got, want)
			lossless := format == "png" || format == "gif" || strings.Contains(v.File, "lossless") || strings.Contains(v.File, "alpha.webp")
			if lossless {
				exact++
			}
			if lossless && (d != 0 || quality != v.HMA.Quality && !differs[v.HMA.Mode]) {
				t.Errorf("%v, %d is %d bits from %v, %d (%s)", got, quality, d, want, v.HMA.Quality, v.HMA.Mode)
			}
			if !lossless && v.HMA.Quality >= 80 && d > 10 {
				t.Errorf("%d bits from the reference at quality %d", d, v.HMA.Quality)
			}
		})
	}
	if exact < 20 {
		t.Errorf("only %d lossless files were compared", exact)
	}
}
