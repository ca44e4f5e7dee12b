package media

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config bounds what one picture may cost and how many are decoded at once.
// Fields are read from variables with the prefix MEDIAGATE_MEDIA_.
type Config struct {
	// Workers is how many pictures are decoded at once, each in a process of
	// its own. 0 means one per processor.
	Workers int `env:"WORKERS" envDefault:"0"`
	// Queue is how many pictures may wait for a worker; more are refused at once.
	Queue int `env:"QUEUE" envDefault:"64"`
	// QueueWait is how long a picture waits for a worker or for memory before it
	// is refused as overload.
	QueueWait time.Duration `env:"QUEUE_WAIT" envDefault:"2s"`
	// Deadline is how long a worker may take for one picture before it is killed.
	// A baseline JPEG has 50 ms more for each million pixels above
	// MEDIAGATE_MEDIA_MAX_PIXELS.
	Deadline time.Duration `env:"DEADLINE" envDefault:"5s"`
	// WorkerMemory is the most data, in bytes, that a worker process can hold.
	WorkerMemory int64 `env:"WORKER_MEMORY" envDefault:"671088640"`
	// TotalMemory is how many bytes all pictures in work may need together, by
	// estimate.
	TotalMemory int64 `env:"TOTAL_MEMORY" envDefault:"1610612736"`
	// MaxBytes is the largest content that is taken in at all.
	MaxBytes int64 `env:"MAX_BYTES" envDefault:"104857600"`
	// TotalBytes is how many bytes of contents are held at once; more must wait.
	TotalBytes int64 `env:"TOTAL_BYTES" envDefault:"536870912"`
	// MaxDecodeBytes is the largest file that is decoded.
	MaxDecodeBytes int64 `env:"MAX_DECODE_BYTES" envDefault:"52428800"`
	// MaxSide is the longest side of a picture, in pixels.
	MaxSide int64 `env:"MAX_SIDE" envDefault:"30000"`
	// MaxPixels is the most pixels of a picture other than a baseline JPEG.
	MaxPixels int64 `env:"MAX_PIXELS" envDefault:"32000000"`
	// MaxBaselinePixels is the most pixels of a baseline JPEG, which needs less
	// memory and time for each.
	MaxBaselinePixels int64 `env:"MAX_BASELINE_PIXELS" envDefault:"120000000"`
	// MaxPixelsPerByte is the most pixels a byte of file may stand for, in
	// pictures above a million pixels.
	MaxPixelsPerByte int64 `env:"MAX_PIXELS_PER_BYTE" envDefault:"10000"`
	// MaxScans is the most scans of a JPEG.
	MaxScans int64 `env:"MAX_SCANS" envDefault:"64"`
	// MaxSegments is the most metadata segments of a JPEG.
	MaxSegments int64 `env:"MAX_SEGMENTS" envDefault:"2000"`
	// MaxFrames is the most frames of a GIF.
	MaxFrames int64 `env:"MAX_FRAMES" envDefault:"400"`
	// MaxFramePixels is the most pixels of all frames of a GIF together.
	MaxFramePixels int64 `env:"MAX_FRAME_PIXELS" envDefault:"512000000"`
}

const (
	// memoryOverhead is what a worker needs besides pixels and file: runtime,
	// stacks, a heap that grows by 64 MiB, and a late garbage collector.
	memoryOverhead = 96 << 20

	// hashingMemory is how much of that is for hashing. Only pictures with very
	// long lines need more.
	hashingMemory = 32 << 20
	// minWorkerMemory leaves room for a picture of some megapixels.
	minWorkerMemory = 256 << 20
)

// Validate reports every setting that cannot work. Those that are wrong by name, for
// they could not be read, hold nothing that others could be compared with.
func (c Config) Validate(wrong ...string) error {
	var problems []error
	check := func(ok bool, variable, want string) {
		if !ok {
			problems = append(problems, fmt.Errorf("MEDIAGATE_MEDIA_%s must be %s", variable, want))
		}
	}
	check(c.Workers >= 0 && c.Workers <= 1024, "WORKERS", "from 0 to 1024")
	check(c.Queue >= 0, "QUEUE", "0 or more")
	check(c.QueueWait > 0, "QUEUE_WAIT", "more than 0")
	check(c.Deadline > 0 && c.Deadline <= time.Minute, "DEADLINE", "more than 0 and at most 1m")
	check(c.WorkerMemory >= minWorkerMemory, "WORKER_MEMORY", fmt.Sprintf("at least %d", minWorkerMemory))
	unread := func(variable string) bool { return slices.Contains(wrong, "MEDIAGATE_MEDIA_"+variable) }
	check(c.TotalMemory >= c.WorkerMemory || c.TotalMemory > 0 && unread("WORKER_MEMORY"), "TOTAL_MEMORY", "at least MEDIAGATE_MEDIA_WORKER_MEMORY")
	check(c.MaxBytes > 0 && c.MaxBytes <= 1<<32, "MAX_BYTES", "from 1 to 4294967296")
	check(c.TotalBytes >= c.MaxBytes || c.TotalBytes > 0 && unread("MAX_BYTES"), "TOTAL_BYTES", "at least MEDIAGATE_MEDIA_MAX_BYTES")
	check(c.MaxDecodeBytes > 0 && c.MaxDecodeBytes <= 1<<30, "MAX_DECODE_BYTES", "from 1 to 1073741824")
	// The product of two sides must fit an int64 with room to spare.
	check(c.MaxSide > 0 && c.MaxSide <= 1<<20, "MAX_SIDE", "from 1 to 1048576")
	for _, most := range []struct {
		variable string
		value    int64
	}{
		{"MAX_PIXELS", c.MaxPixels}, {"MAX_BASELINE_PIXELS", c.MaxBaselinePixels}, {"MAX_PIXELS_PER_BYTE", c.MaxPixelsPerByte},
		{"MAX_SCANS", c.MaxScans}, {"MAX_SEGMENTS", c.MaxSegments}, {"MAX_FRAMES", c.MaxFrames}, {"MAX_FRAME_PIXELS", c.MaxFramePixels},
	} {
		check(most.value > 0, most.variable, "more than 0")
	}
	return errors.Join(problems...)
}

// limits is what a worker needs to know of Config, in the form it is told in.
type limits struct {
	MaxSide, MaxPixels, MaxBaselinePixels, MaxPixelsPerByte  int64
	MaxScans, MaxSegments, MaxFrames, MaxFramePixels, Memory int64
}

func (c Config) limits() limits {
	return limits{
		MaxSide: c.MaxSide, MaxPixels: c.MaxPixels, MaxBaselinePixels: c.MaxBaselinePixels,
		MaxPixelsPerByte: c.MaxPixelsPerByte, MaxScans: c.MaxScans, MaxSegments: c.MaxSegments,
		MaxFrames: c.MaxFrames, MaxFramePixels: c.MaxFramePixels, Memory: c.WorkerMemory,
	}
}

// pixelsPerByteFrom is the size from which MaxPixelsPerByte counts: small flat
// pictures compress without end and cost nothing.
const pixelsPerByteFrom = 1_000_000

// check refuses dimensions that would cost too much. size is the file's.
func (l limits) check(width, height, size int, baseline bool) Refusal {
	w, h := int64(width), int64(height)
	if w <= 0 || h <= 0 {
		return RefusedHeader
	}
	most := l.MaxPixels
	if baseline {
		most = l.MaxBaselinePixels
	}
	if w > l.MaxSide || h > l.MaxSide || w*h > most {
		return RefusedPixels
	}
	if w*h > pixelsPerByteFrom && w*h/l.MaxPixelsPerByte > int64(size) {
		return RefusedRatio
	}
	return ""
}
