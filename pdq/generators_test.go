package pdq_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"mediagate/pdq"
)

// The buffers and lists of the vectors, by the rules in testdata/generators.md.

// splitmix is the generator all of them draw from.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// generator is the recipe of a buffer or list in the vector files.
type generator struct {
	Kind                           string
	V                              float32
	S, Lo, Hi                      uint64
	Seed, Seed2                    uint64
	GW, GH                         uint64
	A, B                           uint64
	FX, FY, Phase                  uint64
	K, C, X0, Y0                   uint64
	N, Centres, Per, Maxd, Quality uint64
}

// luma fills a plane of w·h samples.
func (g generator) luma(t *testing.T, w, h uint64) []float32 {
	t.Helper()
	out := make([]float32, w*h)
	switch g.Kind {
	case "rects":
		g.rects(out, w, h)
		return out
	case "noise8", "noisef":
		rng := splitmix(g.Seed)
		for i := range out {
			if g.Kind == "noise8" {
				out[i] = float32(rng.next() >> 56)
			} else {
				out[i] = float32(rng.next()>>40) / 65536
			}
		}
		return out
	case "mix":
		smooth, noise := bilinear(g.GW, g.GH, g.Seed, w, h), splitmix(g.Seed2)
		for i := range out {
			out[i] = float32((g.A*(smooth[i]>>32) + g.B*(noise.next()>>56)) / (g.A + g.B))
		}
		return out
	case "smooth", "smoothf":
		for i, s := range bilinear(g.GW, g.GH, g.Seed, w, h) {
			if g.Kind == "smooth" {
				out[i] = float32(s >> 32)
			} else {
				out[i] = float32(s>>16) / 65536
			}
		}
		return out
	case "blocks":
		grid := grid8(g.Seed, g.GW*g.GH)
		for i := range out {
			x, y := uint64(i)%w, uint64(i)/w
			out[i] = float32(grid[y*g.GH/h*g.GW+x*g.GW/w])
		}
		return out
	}
	for i := range out {
		out[i] = g.at(t, uint64(i)%w, uint64(i)/w, w, h)
	}
	return out
}

// at is the value of pixel (x, y) for the kinds that need no stream.
func (g generator) at(t *testing.T, x, y, w, h uint64) float32 {
	pick := func(hi bool) float32 {
		if hi {
			return float32(g.Hi)
		}
		return float32(g.Lo)
	}
	switch g.Kind {
	case "const":
		return g.V
	case "hgrad":
		return float32(x * 255 / max(1, w-1))
	case "vgrad":
		return float32(y * 255 / max(1, h-1))
	case "dgrad":
		return float32((x + y) * 255 / max(1, w+h-2))
	case "checker":
		return pick((x/g.S+y/g.S)%2 == 1)
	case "psine":
		v := (x*g.FX*65536/w + y*g.FY*65536/h + g.Phase) & 65535
		u := v & 32767
		p := u * (32768 - u) >> 21
		if v < 32768 {
			return float32(min(255, 128+p))
		}
		return float32(128 - p)
	case "disc":
		dx, dy := (2*int64(x)-int64(w)+1)*int64(h), (2*int64(y)-int64(h)+1)*int64(w)
		return pick((dx*dx+dy*dy)*16 <= int64(w*h)*int64(w*h)*int64(g.K))
	case "vstep":
		return pick(x >= g.C)
	case "hstep":
		return pick(y >= g.C)
	case "impulse":
		if x == g.X0 && y == g.Y0 {
			return 255
		}
		return 0
	case "xor":
		return float32((x ^ y) & 255)
	case "mul":
		return float32(x * y & 255)
	case "zone":
		return float32((x*x + y*y) * g.K / (w + h) & 255)
	}
	t.Fatalf("unknown generator %q", g.Kind)
	return 0
}

func (g generator) rects(out []float32, w, h uint64) {
	for i := range out {
		out[i] = 128
	}
	rng := splitmix(g.Seed)
	for range g.N {
		x0, y0 := rng.next()%w, rng.next()%h
		rw, rh := 1+rng.next()%w, 1+rng.next()%h
		v := float32(rng.next() >> 56)
		for y := y0; y < min(h, y0+rh); y++ {
			for x := x0; x < min(w, x0+rw); x++ {
				out[y*w+x] = v
			}
		}
	}
}

// rgb fills an interleaved buffer of w·h pixels.
func (g generator) rgb(t *testing.T, w, h uint64) []byte {
	t.Helper()
	out := make([]byte, 3*w*h)
	smooth := func() {
		for c := range uint64(3) {
			for i, s := range bilinear(g.GW, g.GH, g.Seed+c, w, h) {
				out[3*uint64(i)+c] = byte(s >> 32)
			}
		}
	}
	switch g.Kind {
	case "rgb-smooth":
		smooth()
	case "rgb-noise":
		copy(out, grid8(g.Seed, 3*w*h))
	case "rgb-mix":
		smooth()
		for i, v := range grid8(g.Seed2, 3*w*h) {
			out[i] = byte((g.A*uint64(out[i]) + g.B*uint64(v)) / (g.A + g.B))
		}
	default:
		t.Fatalf("unknown generator %q", g.Kind)
	}
	return out
}

func grid8(seed, n uint64) []byte {
	rng := splitmix(seed)
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.next() >> 56)
	}
	return out
}

func bilinear(gw, gh, seed, w, h uint64) []uint64 {
	grid := grid8(seed, (gw+1)*(gh+1))
	out := make([]uint64, w*h)
	for i := range out {
		fx, fy := uint64(i)%w*gw*65536/w, uint64(i)/w*gh*65536/h
		ix, ax, iy, ay := fx>>16, fx&65535, fy>>16, fy&65535
		at := func(x, y uint64) uint64 { return uint64(grid[y*(gw+1)+x]) }
		out[i] = at(ix, iy)*(65536-ax)*(65536-ay) + at(ix+1, iy)*ax*(65536-ay) +
			at(ix, iy+1)*(65536-ax)*ay + at(ix+1, iy+1)*ax*ay
	}
	return out
}

// hashes builds a list of hashes.
func (g generator) hashes(t *testing.T) []pdq.Hash {
	t.Helper()
	rng := splitmix(g.Seed)
	word4 := func() pdq.Hash { return pdq.Hash{rng.next(), rng.next(), rng.next(), rng.next()} }
	var out []pdq.Hash
	switch g.Kind {
	case "random":
		for range g.N {
			out = append(out, word4())
		}
	case "balanced":
		for range g.N {
			out = append(out, flip(&rng, pdq.Hash{}, 128))
		}
	case "clustered":
		for range g.Centres {
			centre := word4()
			for range g.Per {
				d := rng.next() % (g.Maxd + 1)
				out = append(out, flip(&rng, centre, d))
			}
		}
	default:
		t.Fatalf("unknown generator %q", g.Kind)
	}
	return out
}

// flip inverts d different bits of h.
func flip(rng *splitmix, h pdq.Hash, d uint64) pdq.Hash {
	var p [pdq.Bits]uint64
	for i := range p {
		p[i] = uint64(i)
	}
	for k := range d {
		j := k + rng.next()%(pdq.Bits-k)
		p[k], p[j] = p[j], p[k]
		h[p[k]/64] ^= 1 << (p[k] % 64)
	}
	return h
}

func sumOf(values []float32) string {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func bitsOf(values []float32) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = hex.EncodeToString(binary.BigEndian.AppendUint32(nil, math.Float32bits(v)))
	}
	return out
}

// load reads a JSON file of testdata.
func load[T any](t *testing.T, name string) T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
	return v
}
