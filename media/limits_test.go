package media_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"

	"mediagate/media"
)

func TestConfigValidateNamesEachVariable(t *testing.T) {
	var defaults media.Config
	if err := env.ParseWithOptions(&defaults, env.Options{Environment: map[string]string{}}); err != nil {
		t.Fatal(err)
	}
	if err := defaults.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for variable, change := range map[string]func(*media.Config){
		"WORKERS":             func(c *media.Config) { c.Workers = -1 },
		"QUEUE":               func(c *media.Config) { c.Queue = -1 },
		"QUEUE_WAIT":          func(c *media.Config) { c.QueueWait = 0 },
		"DEADLINE":            func(c *media.Config) { c.Deadline = time.Minute + 1 },
		"WORKER_MEMORY":       func(c *media.Config) { c.WorkerMemory = 256<<20 - 1 },
		"TOTAL_MEMORY":        func(c *media.Config) { c.TotalMemory = c.WorkerMemory - 1 },
		"MAX_BYTES":           func(c *media.Config) { c.MaxBytes = 0 },
		"TOTAL_BYTES":         func(c *media.Config) { c.TotalBytes = c.MaxBytes - 1 },
		"MAX_DECODE_BYTES":    func(c *media.Config) { c.MaxDecodeBytes = -1 },
		"MAX_SIDE":            func(c *media.Config) { c.MaxSide = 1<<20 + 1 },
		"MAX_PIXELS":          func(c *media.Config) { c.MaxPixels = 0 },
		"MAX_BASELINE_PIXELS": func(c *media.Config) { c.MaxBaselinePixels = 0 },
		"MAX_PIXELS_PER_BYTE": func(c *media.Config) { c.MaxPixelsPerByte = 0 },
		"MAX_SCANS":           func(c *media.Config) { c.MaxScans = 0 },
		"MAX_SEGMENTS":        func(c *media.Config) { c.MaxSegments = 0 },
		"MAX_FRAMES":          func(c *media.Config) { c.MaxFrames = 0 },
		"MAX_FRAME_PIXELS":    func(c *media.Config) { c.MaxFramePixels = 0 },
	} {
		c := defaults
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "MEDIAGATE_MEDIA_"+variable+" ") {
			t.Errorf("%s: %v", variable, err)
		}
	}
}
