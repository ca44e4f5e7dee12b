package media

import (
	"bytes"
	"encoding/binary"
)

// JPEG markers, from ITU-T T.81 table B.1.
const (
	markSOF0 = 0xC0
	markSOF1 = 0xC1
	markSOF2 = 0xC2
	markRST0 = 0xD0
	markRST7 = 0xD7
	markEOI  = 0xD9
	markSOS  = 0xDA
	markTEM  = 0x01
)

// walkJPEG counts the scans and segments of a JPEG without decoding one and
// tells whether it is sequential. Each scan of a progressive file costs a pass
// over the picture, however few bytes it has.
func walkJPEG(content []byte, l limits) (baseline bool, refusal Refusal) {
	var scans, segments int64
	frame := false
	for at := 2; ; {
		// Anything before the next marker is entropy-coded data or filling.
		i := bytes.IndexByte(content[at:], 0xFF)
		if i < 0 || at+i+1 >= len(content) {
			return baseline, "" // truncated: the decoder will tell
		}
		at += i + 1
		mark := content[at]
		switch {
		case mark == 0xFF:
			continue // filling
		case mark == 0 || mark == markTEM || markRST0 <= mark && mark <= markRST7:
			at++ // data, or a marker without a segment
			continue
		case mark == markEOI:
			return baseline, ""
		case mark == markSOS:
			scans++
		case mark == markSOF0 || mark == markSOF1 || mark == markSOF2:
			if frame {
				return baseline, RefusedHeader // decoders differ in which frame they believe
			}
			frame, baseline = true, mark != markSOF2
		}
		if segments++; segments-scans > l.MaxSegments {
			return baseline, RefusedSegments
		}
		if scans > l.MaxScans {
			return baseline, RefusedScans
		}
		if at+2 >= len(content) {
			return baseline, ""
		}
		at += 1 + int(binary.BigEndian.Uint16(content[at+1:]))
		if at >= len(content) {
			return baseline, ""
		}
	}
}
