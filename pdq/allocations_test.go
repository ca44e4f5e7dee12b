//go:build !race

// With the race detector pools forget things on purpose.
package pdq_test

import (
	"image"
	"testing"

	"mediagate/pdq"
)

func TestHashingAllocatesNothing(t *testing.T) {
	grey := image.NewGray(image.Rect(0, 0, 300, 200))
	colours := image.NewYCbCr(grey.Rect, image.YCbCrSubsampleRatio420)
	luma := make([]float32, 300*200)
	for name, hash := range map[string]func(){
		"plane":  func() { pdq.FromLuma(luma, 300, 200) },
		"grey":   func() { pdq.FromImage(grey) },
		"colour": func() { pdq.FromImage(colours) },
		"turned": func() { pdq.FromView(grey, pdq.View{Orientation: 6}) },
	} {
		if n := testing.AllocsPerRun(100, hash); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
