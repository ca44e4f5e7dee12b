// Package media turns one untrusted media item into its signals: digests of its
// bytes and, for pictures, PDQ hashes.
//
// Pictures are parsed and decoded only in expendable child processes: some
// files kill the Go runtime and not just a goroutine. Start a [Pool], give
// [Pool.Signals] the bytes. A file that cannot be decoded within the limits is
// no error but a fact about it, [Signals.Refusal].
//
// The package refuses what it cannot bound: it never decodes in the caller's
// process, never trusts a declared type, and gives children no environment, no
// file and no way to open one.
package media

import (
	"crypto/md5" //nolint:gosec // MD5 is a signal type of the hash lists, not a protection.
	"crypto/sha256"
	"hash"

	"mediagate/pdq"
)

// HasherVersion changes whenever the same bytes would yield other signals. It
// belongs into the key of whatever keeps signals.
const HasherVersion = 1

// Signals are the fingerprints of one content. They hold none of its bytes.
type Signals struct {
	// MD5 and SHA256 are digests of the bytes as they are.
	MD5    [md5.Size]byte
	SHA256 [sha256.Size]byte
	// Size counts the bytes.
	Size int64
	// Type is the MIME type by content, never the declared one.
	Type string
	// Kind says whether the content claims to be a picture that is decoded here.
	Kind Kind
	// Width and Height are the picture's stored pixels, 0 when unknown.
	Width, Height int
	// Hashes are the picture's PDQ hashes, the primary one first. They are
	// empty unless the picture was decoded.
	Hashes []Hash
	// Refusal is why a picture was not decoded; empty if it was, and for
	// contents that are no picture.
	Refusal Refusal
	// Screened tells that Hashes, or some of them, serve to look up and to nothing
	// else: see [Screening].
	Screened bool
}

// Hashing is a way to make the hashes of a picture.
type Hashing uint8

// Exact makes them as the reference does. Screening makes those that it can make
// surely enough with less work, and the others exactly. Pictures can be made that
// it hashes a few bits otherwise: what is banked or told is Exact.
const (
	Exact Hashing = iota
	Screening
)

// Hash is one PDQ hash of a picture.
type Hash struct {
	PDQ     pdq.Hash
	Quality int // 0–100
	Variant Variant
}

// Kind tells contents by what can be learnt from them.
type Kind uint8

// Photos are decoded; of everything else only the digests are known.
const (
	Opaque Kind = iota
	Photo
)

// Variant names which view of a picture a hash was made from. Its numbers are stored, in
// databases and in snapshots of the index: they stay, and new ones follow the last.
type Variant uint8

// Primary is what hash lists are made from: stored pixels, alpha ignored.
// Upright is turned as EXIF says; Black and White are upright and laid over
// that colour; Compatible is what HMA makes of palette and CMYK pictures, by
// which its lists can be looked up though nothing looks like it.
const (
	Primary Variant = iota
	Upright
	Black
	White
	Compatible
	variants int = iota
)

// String returns the lower-case name that APIs and the store use.
func (v Variant) String() string {
	return [variants]string{"primary", "upright", "black", "white", "compatible"}[v]
}

// Refusal is why a picture could not be decoded, from a closed set. Each is a
// label that operators see in metrics and answers.
type Refusal string

// The reasons to refuse a picture.
const (
	RefusedTruncated  Refusal = "truncated"  // ends before its header does
	RefusedHeader     Refusal = "header"     // the header makes no sense
	RefusedPixels     Refusal = "pixels"     // more pixels, or longer sides, than allowed
	RefusedRatio      Refusal = "ratio"      // too many pixels for so few bytes
	RefusedScans      Refusal = "scans"      // too many JPEG scans
	RefusedSegments   Refusal = "segments"   // too many parts of metadata
	RefusedFrames     Refusal = "frames"     // too many frames, or pixels in them
	RefusedAnimation  Refusal = "animation"  // an animation of a kind not decoded yet
	RefusedSize       Refusal = "size"       // more bytes than are decoded
	RefusedMemory     Refusal = "memory"     // would need, or needed, too much memory
	RefusedTime       Refusal = "time"       // did not finish in time and was killed
	RefusedCrash      Refusal = "crash"      // stopped the process that decoded it
	RefusedUnreadable Refusal = "unreadable" // the decoder reports damage or an unknown feature
)

// refusals numbers the reasons on the way out of a child process.
var refusals = []Refusal{
	"", RefusedTruncated, RefusedHeader, RefusedPixels, RefusedRatio, RefusedScans, RefusedSegments, RefusedFrames,
	RefusedAnimation, RefusedSize, RefusedMemory, RefusedTime, RefusedCrash, RefusedUnreadable,
}

// Digest returns what can be said of a content without looking inside: its
// digests, size and type. Hashes and dimensions are absent.
func Digest(content []byte) Signals {
	d := NewDigester()
	_, _ = d.Write(content) // it cannot fail
	return d.Signals(content)
}

// Digester makes the digests of a content while it arrives. Write all of it, in
// order, then call Signals.
type Digester struct {
	md5, sha256 hash.Hash
	size        int
}

// NewDigester returns a Digester that has seen nothing.
func NewDigester() *Digester {
	return &Digester{md5: md5.New(), sha256: sha256.New()} //nolint:gosec // see the import
}

// Write implements io.Writer. It never fails.
func (d *Digester) Write(p []byte) (int, error) {
	d.size += len(p)
	_, _ = d.md5.Write(p) // hashes do not fail either
	_, _ = d.sha256.Write(p)
	return len(p), nil
}

// Signals is [Digest] of the content that was written, which is given once more.
func (d *Digester) Signals(content []byte) Signals {
	if len(content) != d.size {
		panic("media: the content is not what was written")
	}
	kind, mime := sniff(content)
	s := Signals{Size: int64(len(content)), Type: mime, Kind: kind}
	d.md5.Sum(s.MD5[:0])
	d.sha256.Sum(s.SHA256[:0])
	return s
}
