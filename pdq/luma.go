package pdq

import "fmt"

// minSide is the shortest side a picture must have; smaller ones have the zero
// hash and quality 0.
const minSide = 5

// FromLuma hashes a brightness plane of height rows of width samples from 0 to
// 255, stored row by row, and returns the hash with its quality, 0–100. Hashes
// of quality 49 and below say too little to be matched. It panics if the plane
// does not have width·height samples. Samples between 0 and 2^-60, which no
// picture has, may give other bits on other processors.
func FromLuma(luma []float32, width, height int) (Hash, int) {
	checkPlane(luma, width, height)
	if width < minSide || height < minSide {
		return Hash{}, 0
	}
	s := borrow()
	defer s.release()
	s.plane = plane{luma: luma, width: width}
	s.sample(width, height, &s.plane, false)
	return s.hash()
}

// Dihedral hashes the plane as it is and as it would be turned and mirrored, in
// the reference's order: original, rotate90 (counter-clockwise), rotate180,
// rotate270, flipX (top to bottom), flipY (left to right), flipPlus1 (main
// diagonal), flipMinus1. They are derived from one spectrum: the hash of really
// turned pixels can differ by up to 32 bits when a side is a small multiple of
// 128. Arguments are those of [FromLuma].
func Dihedral(luma []float32, width, height int) ([8]Hash, int) {
	checkPlane(luma, width, height)
	if width < minSide || height < minSide {
		return [8]Hash{}, 0
	}
	s := borrow()
	defer s.release()
	s.plane = plane{luma: luma, width: width}
	// Without sample's short cut for 64×64: the reference has none here.
	s.shrink(width, height, &s.plane, false)
	s.square.transform(&s.spectrum)
	b := &s.spectrum
	iEven := func(i, _ int) bool { return i%2 == 0 }
	jEven := func(_, j int) bool { return j%2 == 0 }
	odd := func(i, j int) bool { return (i+j)%2 == 1 }
	none := func(_, _ int) bool { return false }
	return [8]Hash{
		b.hash(),
		b.dihedral(true, jEven).hash(),
		b.dihedral(false, odd).hash(),
		b.dihedral(true, iEven).hash(),
		b.dihedral(false, iEven).hash(),
		b.dihedral(false, jEven).hash(),
		b.dihedral(true, none).hash(),
		b.dihedral(true, odd).hash(),
	}, s.square.quality()
}

func checkPlane(luma []float32, width, height int) {
	if width < 0 || height < 0 || len(luma) != width*height {
		panic(fmt.Sprintf("pdq: %d samples for a plane of %d×%d", len(luma), width, height))
	}
}
