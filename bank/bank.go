// Package bank keeps the signals that media is judged by and answers which of
// them an item matches.
//
// A [Store] keeps banks, contents and their signals durably. An [Indexer] turns
// every committed state into an immutable [Index] and publishes it through
// [Live]; readers call Live.Load once an item and use that index to its end, so
// an answer comes from one state of the store and never waits for the store.
//
// Many processes may follow one store. Where they share a Redis, a [SnapshotWriter] of
// one of them keeps there what the others begin with, and commits are made known to
// all at once. Nothing depends on it: what Redis has is believed only if it is what the
// store names, and without it indexes are made of the store, which each process asks
// every second for what is new.
//
// Before the first index there is no answer, [ErrNotReady], and not an empty
// one: an empty index would call every picture clean.
package bank

import (
	"crypto/md5" //nolint:gosec // MD5 is a signal type of the hash lists, not a protection.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"mediagate/media"
	"mediagate/pdq"
)

// Errors that callers tell apart.
var (
	ErrNotReady        = errors.New("no index has been loaded yet")
	ErrBankNotFound    = errors.New("bank not found")
	ErrBankExists      = errors.New("bank already exists")
	ErrBankName        = errors.New("bank name is not UPPER_WITH_UNDERSCORE")
	ErrRatio           = errors.New("enabled ratio is not between 0 and 1")
	ErrSettings        = errors.New("bank settings")
	ErrContentNotFound = errors.New("content not found")
	ErrMalformedSignal = errors.New("malformed signal")
	// ErrExchangeNotFound: there is no such exchange.
	ErrExchangeNotFound = errors.New("exchange not found")
	// ErrNeverRead: what an exchange feeds cannot be let block yet.
	ErrNeverRead = errors.New("the exchange has not been read once, and cannot block before")
	// ErrCheckpoint: somebody else has moved the checkpoint since it was read.
	ErrCheckpoint = errors.New("the checkpoint was moved by somebody else")
)

// Bank is a named set of contents that is acted on together.
type Bank struct {
	ID   int64
	Name string
	// Ratio is 0 for a bank that is off. Above 0 it is on for verdicts; lookups
	// through the HMA API answer for that share of them.
	Ratio float64
	// MD5Enforce lets a match by nothing but MD5 block. It is off for banks made
	// by hand, because anyone can make two files of one MD5.
	MD5Enforce bool
	// Monitor has matches told and counted, and lets none of them block.
	Monitor bool
	// Allow makes it a bank of pictures that are known to be harmless: they block
	// nothing, and what is nearer to one of them than to any other bank's is not blocked
	// for being near.
	Allow bool
	// Agree is how many other banks that block must be near an item, too, before this one
	// blocks it for being near.
	Agree int
	// Breaker is how many requests of old for what a content of this bank would block
	// send that content to review instead, and 0 is any number.
	Breaker int
}

var bankName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

const maxBankName = 255

func (b Bank) validate() error {
	if !bankName.MatchString(b.Name) || len(b.Name) > maxBankName {
		return ErrBankName
	}
	if !(b.Ratio >= 0 && b.Ratio <= 1) { // also refuses what is no number
		return ErrRatio
	}
	switch {
	case b.Agree < 0 || b.Agree > MaxAgree:
		return fmt.Errorf("%w: agree must be from 0 to %d", ErrSettings, MaxAgree)
	case b.Breaker < 0 || b.Breaker > MaxBreaker:
		return fmt.Errorf("%w: breaker must be from 0 to %d", ErrSettings, MaxBreaker)
	case b.Allow && b.Monitor:
		return fmt.Errorf("%w: a bank that allows blocks nothing that it could monitor", ErrSettings)
	}
	return nil
}

// Limits of a bank's settings.
const (
	MaxAgree   = 100
	MaxBreaker = 1_000_000
)

// SignalType is a kind of fingerprint.
type SignalType string

// The signal types. A VideoMD5 was given for a video, by a list or an operator;
// an MD5 is of any content that was hashed here. They are looked up together.
const (
	PDQ      SignalType = "pdq"
	VideoMD5 SignalType = "video_md5"
	MD5      SignalType = "md5"
	SHA256   SignalType = "sha256"
)

// size is the length of a value in bytes, 0 for an unknown type.
func (t SignalType) size() int {
	switch t {
	case PDQ:
		return pdq.Bits / 8
	case VideoMD5, MD5:
		return md5.Size
	case SHA256:
		return sha256.Size
	default:
		return 0
	}
}

// NoQuality stands for a quality that nobody told, as of hashes in lists.
const NoQuality = -1

// Signal is one fingerprint of a content.
type Signal struct {
	Type    SignalType
	Variant media.Variant // Primary, except for PDQ
	Value   string        // raw bytes
	Quality int           // 0–100 or NoQuality
}

// ParseSignal reads the hexadecimal text of a signal. Upper case is accepted,
// and white space around the digests but not around PDQ, as in HMA.
func ParseSignal(t SignalType, text string) (Signal, error) {
	if t == PDQ {
		h, err := pdq.Parse(text)
		if err != nil {
			return Signal{}, fmt.Errorf("%w: %w", ErrMalformedSignal, err)
		}
		return pdqSignal(media.Hash{PDQ: h, Quality: NoQuality}), nil
	}
	text = strings.TrimSpace(text)
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != t.size() || len(raw) == 0 {
		return Signal{}, fmt.Errorf("%w of type %s", ErrMalformedSignal, t)
	}
	return Signal{Type: t, Value: string(raw), Quality: NoQuality}, nil
}

// Text is the lower-case hexadecimal form.
func (s Signal) Text() string { return hex.EncodeToString([]byte(s.Value)) }

func pdqSignal(h media.Hash) Signal {
	raw := h.PDQ.Bytes()
	return Signal{Type: PDQ, Variant: h.Variant, Value: string(raw[:]), Quality: h.Quality}
}

// SignalsOf returns what is banked of a content that was hashed here: its
// digests and, of a picture, the views that copies of it can be known by. A
// view that only serves to look up foreign lists is left out. It panics if the
// signals were screened: those are not for banks.
func SignalsOf(s media.Signals) []Signal {
	if s.Screened {
		panic("bank: signals that were screened")
	}
	out := []Signal{
		{Type: SHA256, Value: string(s.SHA256[:]), Quality: NoQuality},
		{Type: MD5, Value: string(s.MD5[:]), Quality: NoQuality},
	}
	for _, h := range s.Hashes {
		if h.Variant != media.Compatible {
			out = append(out, pdqSignal(h))
		}
	}
	return out
}

// Content is one entry of a bank.
type Content struct {
	ID   int64
	Bank Bank
	// Signals are at most one of each type and variant.
	Signals []Signal
	// DisableUntil is when the content begins to count, in Unix seconds; Enabled
	// and DisabledForever are special.
	DisableUntil int64
	// Note is the operator's, empty for none.
	Note string
	// Metadata is a JSON object given with the content, empty for none.
	Metadata string
}

// Special values of Content.DisableUntil, those of HMA.
const (
	DisabledForever int64 = 0
	Enabled         int64 = 1
)

// enabledAt applies DisableUntil.
func enabledAt(disableUntil int64, now time.Time) bool {
	return disableUntil != DisabledForever && disableUntil <= now.Unix()
}
