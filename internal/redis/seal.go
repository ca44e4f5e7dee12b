package redis

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Kind says what a value is of. It is a closed set: names and metrics have it.
type Kind string

// The kinds.
const (
	Content  Kind = "content"  // signals of bytes
	Item     Kind = "item"     // signals of a media item
	Snapshot Kind = "snapshot" // the head of an index snapshot, which lists its parts
	Part     Kind = "part"     // one of them

	probes Kind = "probe" // nobody writes any
	nudges Kind = "nudge"
)

// Key names a value: by its kind, and by what it is of, which may be secret.
type Key struct {
	Kind Kind
	Of   string
}

const (
	// format changes with whatever makes values unreadable to other versions.
	format = 1
	// minKey is the shortest key file.
	minKey         = 32
	prefix         = "mediagate:"
	nameBytes      = 16
	sealedOverhead = 1 + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// sealer names values and keeps them from being read and changed.
type sealer struct {
	aead    cipher.AEAD
	nameKey []byte
}

func newSealer(secret string) (sealer, error) {
	derive := func(purpose string) ([]byte, error) {
		return hkdf.Key(sha256.New, []byte(secret), nil, fmt.Sprintf("mediagate redis %s %d", purpose, format), 32)
	}
	valueKey, err := derive("values")
	if err != nil {
		return sealer{}, fmt.Errorf("derive key: %w", err)
	}
	nameKey, err := derive("names")
	if err != nil {
		return sealer{}, fmt.Errorf("derive key: %w", err)
	}
	aead, err := chacha20poly1305.NewX(valueKey)
	if err != nil {
		return sealer{}, fmt.Errorf("make cipher: %w", err)
	}
	return sealer{aead, nameKey}, nil
}

// name is what Redis knows a value by.
func (s sealer) name(k Key) string {
	switch k.Kind {
	case Content, Item, Snapshot, Part, probes, nudges:
	default:
		panic("redis: there is no such kind: " + string(k.Kind))
	}
	mac := hmac.New(sha256.New, s.nameKey)
	mac.Write([]byte(k.Kind))
	mac.Write([]byte{0})
	mac.Write([]byte(k.Of))
	return prefix + string(k.Kind) + ":" + hex.EncodeToString(mac.Sum(nil)[:nameBytes])
}

// A sealed value is the format in a byte, the nonce, and what the cipher makes of the
// value. Format and name are authenticated with it.

func (s sealer) seal(name string, value []byte) []byte {
	out := make([]byte, 1+chacha20poly1305.NonceSizeX, sealedOverhead+len(value))
	out[0] = format
	_, _ = rand.Read(out[1:]) // it does not fail
	return s.aead.Seal(out, out[1:], value, additional(name))
}

// open returns the value that was sealed under the name. It does not write to sealed.
func (s sealer) open(name string, sealed []byte) ([]byte, bool) {
	if len(sealed) < sealedOverhead || sealed[0] != format {
		return nil, false
	}
	nonce, rest := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	value, err := s.aead.Open(make([]byte, 0, len(rest)), nonce, rest, additional(name))
	return value, err == nil
}

func additional(name string) []byte { return append([]byte{format}, name...) }
