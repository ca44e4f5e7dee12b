package bank

import (
	"errors"
	"fmt"
	"slices"

	"mediagate/media"
)

// signalFields are those of a signal as they are given.
type signalFields struct {
	kind, variant, value string
	quality              *int // nil if it was not told
	hasher               int64
}

func (s *signalFields) fields() []field {
	return []field{{"type", &s.kind}, {"variant", &s.variant}, {"value", &s.value}, {"quality", &s.quality}, {"hasher", &s.hasher}}
}

func (s signalFields) signal() (madeSignal, error) {
	kind := SignalType(s.kind)
	if !slices.Contains(kinds, kind) {
		return madeSignal{}, fmt.Errorf("its type is none of %s, %s, %s and %s", PDQ, VideoMD5, MD5, SHA256)
	}
	out, err := ParseSignal(kind, s.value)
	if err != nil {
		return madeSignal{}, fmt.Errorf("%w of type %s", ErrMalformedSignal, kind)
	}
	if s.quality != nil {
		if *s.quality < 0 || *s.quality > 100 {
			return madeSignal{}, errors.New("its quality is not from 0 to 100")
		}
		out.Quality = *s.quality
	}
	if s.variant != "" {
		i := slices.IndexFunc(importable, func(v media.Variant) bool { return v.String() == s.variant })
		if i < 0 || kind != PDQ && importable[i] != media.Primary {
			return madeSignal{}, errors.New("there is no such variant of its type")
		}
		out.Variant = importable[i]
	}
	if s.hasher < 0 {
		return madeSignal{}, errors.New("its hasher is negative")
	}
	return madeSignal{out, s.hasher}, nil
}
