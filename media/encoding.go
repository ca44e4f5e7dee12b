package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// signalsFormat changes with the binary form of Signals.
const signalsFormat = 1

// wireSignals begins the binary form of Signals, with fixed sizes. The hashes follow,
// then type and refusal, each with a byte that says how long it is.
type wireSignals struct {
	Format, Hasher uint8
	MD5            [16]byte
	SHA256         [32]byte
	Size           int64
	Width, Height  uint32
	Kind, Screened uint8
	Count          uint8
}

// maxType is the longest MIME type.
const maxType = math.MaxUint8

// AppendBinary appends a binary form of the signals, which [ParseSignals] reads.
func (s Signals) AppendBinary(b []byte) ([]byte, error) {
	if len(s.Hashes) > variants || len(s.Type) > maxType {
		return nil, fmt.Errorf("%w signals: %d hashes, a type of %d bytes", ErrMalformed, len(s.Hashes), len(s.Type))
	}
	head := wireSignals{
		Format: signalsFormat, Hasher: HasherVersion, MD5: s.MD5, SHA256: s.SHA256, Size: s.Size,
		Width: uint32(s.Width), Height: uint32(s.Height), Kind: uint8(s.Kind), Count: uint8(len(s.Hashes)),
	}
	if s.Screened {
		head.Screened = 1
	}
	b, err := binary.Append(b, binary.LittleEndian, head)
	if err != nil {
		return nil, err
	}
	if b, err = binary.Append(b, binary.LittleEndian, wireHashes(s.Hashes)); err != nil {
		return nil, err
	}
	for _, text := range []string{s.Type, string(s.Refusal)} {
		b = append(append(b, byte(len(text))), text...)
	}
	return b, nil
}

// ParseSignals reads what AppendBinary of the same HasherVersion has written, and
// nothing more. Anything else, and signals that no content can have, are
// [ErrMalformed].
func ParseSignals(b []byte) (Signals, error) {
	s, err := parseSignals(b)
	if err != nil {
		return Signals{}, fmt.Errorf("%w signals: %w", ErrMalformed, err)
	}
	return s, nil
}

func parseSignals(b []byte) (Signals, error) {
	var head wireSignals
	n, err := binary.Decode(b, binary.LittleEndian, &head)
	if err != nil {
		return Signals{}, err
	}
	b = b[n:]
	switch {
	case head.Format != signalsFormat || head.Hasher != HasherVersion:
		return Signals{}, fmt.Errorf("format %d of hasher %d", head.Format, head.Hasher)
	case head.Size < 0 || head.Width > math.MaxInt32 || head.Height > math.MaxInt32:
		return Signals{}, fmt.Errorf("%d bytes, %d×%d pixels", head.Size, head.Width, head.Height)
	case head.Kind > uint8(Photo) || head.Screened > 1 || int(head.Count) > variants:
		return Signals{}, fmt.Errorf("kind %d, %d hashes, screened %d", head.Kind, head.Count, head.Screened)
	}
	wire := make([]wireHash, head.Count)
	if n, err = binary.Decode(b, binary.LittleEndian, wire); err != nil {
		return Signals{}, err
	}
	b = b[n:]
	s := Signals{
		MD5: head.MD5, SHA256: head.SHA256, Size: head.Size, Kind: Kind(head.Kind), Width: int(head.Width), Height: int(head.Height),
		Screened: head.Screened == 1,
	}
	if s.Hashes, err = hashesOf(wire); err != nil {
		return Signals{}, err
	}
	var refusal string
	for _, text := range []*string{&s.Type, &refusal} {
		if len(b) == 0 || len(b) <= int(b[0]) {
			return Signals{}, errors.New("they end too early")
		}
		*text, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	s.Refusal = Refusal(refusal)
	switch {
	case len(b) > 0:
		return Signals{}, fmt.Errorf("%d bytes too many", len(b))
	case !slices.Contains(refusals, s.Refusal):
		return Signals{}, fmt.Errorf("refusal %q", refusal)
	// A picture has hashes or a reason why it has none.
	case s.Kind == Photo && (len(s.Hashes) > 0) == (s.Refusal != ""), s.Kind == Opaque && (len(s.Hashes) > 0 || s.Refusal != ""), s.Screened && len(s.Hashes) == 0:
		return Signals{}, fmt.Errorf("kind %d, %d hashes, refusal %q", s.Kind, len(s.Hashes), refusal)
	}
	return s, nil
}
