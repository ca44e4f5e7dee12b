package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"mediagate/pdq"
)

// Between a Pool and its workers runs a private protocol of fixed frames over
// two pipes, both ends of one build. A worker that has given up its rights writes
// hello; what ends it before is no picture's fault. For each picture: the pool
// sends request
// and the bytes; the worker answers reply after reading the header; if that
// holds no refusal, the pool sends one byte when there is memory for it, and
// the worker answers a second reply with the hashes.
//
// What comes out of a worker is untrusted: whoever breaks the decoder writes it.
// So it has a fixed size, and every number in it is checked.

// request precedes the bytes of a picture.
type request struct {
	Size    int64
	Hashing Hashing
	Limits  limits
}

// reply is what a worker says, once about the header and once about the pixels.
type reply struct {
	Refusal       uint8
	Width, Height uint32
	Estimate      int64
	Count         uint8
	// Exact and Screened are the tally.
	Exact, Screened uint8
	Hashes          [variants]wireHash
}

type wireHash struct {
	Variant, Quality uint8
	PDQ              [pdq.Bits / 8]byte
}

const (
	hello   = 'H' // a worker is ready for its first picture
	proceed = 'G' // a picture is admitted to decoding
)

// idleMemory is what a worker may keep of a picture until it collects garbage.
const idleMemory = 16 << 20

// errProtocol is a worker that said something no worker says.
var errProtocol = errors.New("worker broke the protocol")

func replyWith(p probed, hashes []Hash, made tally, refusal Refusal) reply {
	r := reply{
		Refusal: uint8(slices.Index(refusals, refusal)),
		Width:   uint32(p.width), Height: uint32(p.height), Estimate: p.estimate,
		Count: uint8(len(hashes)), Exact: uint8(made.exact), Screened: uint8(made.screened),
	}
	copy(r.Hashes[:], wireHashes(hashes))
	return r
}

func wireHashes(hashes []Hash) []wireHash {
	out := make([]wireHash, 0, len(hashes))
	for _, h := range hashes {
		out = append(out, wireHash{Variant: uint8(h.Variant), Quality: uint8(h.Quality), PDQ: h.PDQ.Bytes()})
	}
	return out
}

// hashesOf checks hashes that somebody else has made.
func hashesOf(wire []wireHash) ([]Hash, error) {
	var out []Hash
	for i, h := range wire {
		if int(h.Variant) >= variants || h.Quality > 100 || (i == 0) != (Variant(h.Variant) == Primary) {
			return nil, fmt.Errorf("hash %d of variant %d and quality %d", i, h.Variant, h.Quality)
		}
		out = append(out, Hash{PDQ: pdq.FromBytes(h.PDQ), Quality: int(h.Quality), Variant: Variant(h.Variant)})
	}
	return out, nil
}

// result is a reply that was checked.
type result struct {
	refusal       Refusal
	width, height int
	estimate      int64
	hashes        []Hash
	made          tally
}

// readReply reads what a worker says to a request.
func readReply(r io.Reader, asked request) (result, error) {
	var in reply
	if err := binary.Read(r, binary.LittleEndian, &in); err != nil {
		return result{}, err
	}
	side, views := uint32(asked.Limits.MaxSide), int(in.Exact)+int(in.Screened)
	switch {
	case int(in.Refusal) >= len(refusals):
		return result{}, fmt.Errorf("%w: refusal %d", errProtocol, in.Refusal)
	case in.Width > side || in.Height > side:
		return result{}, fmt.Errorf("%w: %d×%d pixels", errProtocol, in.Width, in.Height)
	case in.Estimate < 0 || in.Estimate > asked.Limits.Memory:
		return result{}, fmt.Errorf("%w: estimate of %d bytes", errProtocol, in.Estimate)
	case int(in.Count) > len(in.Hashes):
		return result{}, fmt.Errorf("%w: %d hashes", errProtocol, in.Count)
	case views < int(in.Count), views > len(in.Hashes), in.Count == 0 && views > 0:
		return result{}, fmt.Errorf("%w: %d hashes of %d views", errProtocol, in.Count, views)
	case in.Screened > 0 && asked.Hashing != Screening:
		return result{}, fmt.Errorf("%w: %d views were screened unasked", errProtocol, in.Screened)
	}
	out := result{
		refusal: refusals[in.Refusal], width: int(in.Width), height: int(in.Height), estimate: in.Estimate,
		made: tally{exact: int(in.Exact), screened: int(in.Screened)},
	}
	hashes, err := hashesOf(in.Hashes[:in.Count])
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", errProtocol, err)
	}
	out.hashes = hashes
	return out, nil
}

// serve is the worker's side: one picture after the other until its input ends.
func serve(r io.Reader, w io.Writer) error {
	for {
		var in request
		if err := binary.Read(r, binary.LittleEndian, &in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		debug.SetMemoryLimit(in.Limits.Memory - in.Limits.Memory/8)
		if err := serveOne(r, w, in); err != nil {
			return err
		}
	}
}

func serveOne(r io.Reader, w io.Writer, in request) error {
	content := make([]byte, in.Size)
	if _, err := io.ReadFull(r, content); err != nil {
		return fmt.Errorf("read picture: %w", err)
	}
	p, refusal := probe(content, in.Limits)
	if err := binary.Write(w, binary.LittleEndian, replyWith(p, nil, tally{}, refusal)); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	if refusal != "" {
		return nil
	}
	var admitted [1]byte
	if _, err := io.ReadFull(r, admitted[:]); err != nil {
		return fmt.Errorf("await admission: %w", err)
	}
	hashes, made, refusal := hashPicture(content, p, in.Hashing)
	if p.estimate > idleMemory {
		// Before the pool lends this picture's share to another one. A heap that
		// is left to the collector also makes the next large picture fail: its
		// planes are allocated at once, beside the garbage of this one.
		debug.FreeOSMemory()
	}
	if err := binary.Write(w, binary.LittleEndian, replyWith(p, hashes, made, refusal)); err != nil {
		return fmt.Errorf("write hashes: %w", err)
	}
	return nil
}
