package policyroom

import (
	"math/bits"

	"mediagate/pdq"
)

// isDegenerate tells whether a hash lies within a distance of one that says next to
// nothing: that of a separable picture or of one of round.
//
// The brightness of a separable picture is a function of the column times one of the
// row, as in stripes, chequers, grids, crosses and a rectangle in the middle. So are
// its coefficients, and every row of 16 bits of its hash is the first one or its
// complement. For the pictures of pdq/testdata, turned in all eight ways, the nearest
// such hash is 56 to 96 bits away if their quality is 50 or more, and mostly more
// than 80.
//
// Blank pictures and gradients have quality 0 and up to 47: nothing is found that
// looks like them, however good a list says that their hashes are.
func isDegenerate(h pdq.Hash, maxDistance int) bool {
	if fromSeparable(h) <= maxDistance {
		return true
	}
	for _, r := range round {
		if pdq.Distance(h, r.hash) <= maxDistance {
			return true
		}
	}
	return false
}

// fromSeparable is how far a hash is at most from the nearest one of a separable
// picture: it is tried with each of its rows for the one that all repeat.
func fromSeparable(h pdq.Hash) int {
	var rows [16]uint16
	for i := range rows {
		rows[i] = uint16(h[i/4] >> (16 * (i % 4)))
	}
	nearest := pdq.Bits
	for _, like := range rows {
		sum := 0
		for _, row := range rows {
			distance := bits.OnesCount16(row ^ like)
			sum += min(distance, 16-distance)
		}
		nearest = min(nearest, sum)
	}
	return nearest
}

// round are the hashes of pictures of 512 by 512 pixels that show a disc, the other
// way round a spot, of so many hundredths of the width from its middle, or a halo or
// a glow around the middle. Other sizes of them are some bits away.
var round = []struct {
	shows string
	hash  pdq.Hash
}{
	{"disc 10", pdq.Hash{0x9e6679996999c666, 0x9866619965999e66, 0x999e663966199866, 0x199966676666999c}},
	{"disc 20", pdq.Hash{0xe596da799a7931e6, 0xa61918671867e79e, 0x9a66619869968619, 0x599ee61c66999866}},
	{"disc 30", pdq.Hash{0x7a59a5a485e158da, 0xe1e7d29b96966879, 0x961938265868e186, 0x69e6e3d9e59c1e69}},
	{"glow", pdq.Hash{0x155efeeaffee1001, 0xfa96205ea01655f8, 0x15867a1e5686a81a, 0xa1a6569685e65e9f}},
	{"halo", pdq.Hash{0xeaa101150011effe, 0x0569dfa15fe9aa07, 0xea7985e1a97957e5, 0x5e59a9697a19a160}},
	{"spot 10", pdq.Hash{0x6199866696663999, 0x67999e669a666199, 0x666199c699e66799, 0xe666999899996663}},
	{"spot 20", pdq.Hash{0x1a6925866586de19, 0x59e6e798e7981861, 0x65999e67966979e6, 0xa66119e399666798}},
	{"spot 30", pdq.Hash{0x85a65a5b7a1ea725, 0x1e182d6469699786, 0x69e6c7d9a7971e79, 0x96191c261a63e196}},
}
