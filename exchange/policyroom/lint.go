package policyroom

import (
	"crypto/md5" //nolint:gosec // what lists are made of, not a proof of anything
	"crypto/sha256"
	"encoding/base64"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"mediagate/bank"
	"mediagate/pdq"
)

// What is refused because it would block what nobody means to ban.
const (
	AllZero Refusal = "all_zero"
	AllOne  Refusal = "all_one"
	// ImplausibleWeight is a PDQ hash that no photograph has.
	ImplausibleWeight Refusal = "implausible_weight"
	// Degenerate is one near those of blank pages, stripes and the like.
	Degenerate Refusal = "degenerate"
	// HarmlessDigest is that of an empty file, or of a picture of one pixel.
	HarmlessDigest Refusal = "harmless_digest"
	// NearAllowed is a PDQ hash near one that the operator allows.
	NearAllowed Refusal = "near_allowed"
	// TooBroad is a pattern of servers that names no domain.
	TooBroad Refusal = "too_broad"
)

// maxImbalance is how far from one half of its bits a PDQ hash may have set. A bit is
// set if a coefficient is above the median of all, so that one half is, but for those
// that are equal: each of the 61 pictures of pdq/testdata, turned in all eight ways,
// has 128 bits set if its quality is 50 or more. Of 192 blank, striped, chequered,
// framed and dotted pictures that were drawn and reach that quality, 85 have between
// 45 and 111, none more than 128. 16 leaves pictures alone that were drawn with care,
// as logos and screenshots are.
const maxImbalance = 16

// Lint tells what speaks against a rule, beside who wrote it; nil is nothing. Allowed
// are hashes of the operator's own pictures, nil for none; how near is too near is the
// distance at which they would be blocked.
//
// One bad signal condemns all of a rule: they are said to be of one picture. Either
// that is a lie, or the picture is one that must not be blocked, and its other
// signals would do just that.
func Lint(rule Rule, allowed *pdq.Index, maxDistance int) (refused []Refusal) {
	for _, s := range rule.Signals {
		refused = append(refused, lintSignal(s, allowed, maxDistance)...)
	}
	if tooBroad(rule.Servers) {
		refused = append(refused, TooBroad)
	}
	slices.Sort(refused)
	return slices.Compact(refused)
}

func lintSignal(s bank.Signal, allowed *pdq.Index, maxDistance int) (refused []Refusal) {
	switch {
	case s.Value == strings.Repeat("\x00", len(s.Value)):
		return []Refusal{AllZero}
	case s.Value == strings.Repeat("\xff", len(s.Value)):
		return []Refusal{AllOne}
	case s.Type != bank.PDQ:
		if harmless()[s.Value] {
			return []Refusal{HarmlessDigest}
		}
		return nil
	}
	hash := pdq.FromBytes([pdq.Bits / 8]byte([]byte(s.Value)))
	if weight := weight(hash); weight < pdq.Bits/2-maxImbalance || weight > pdq.Bits/2+maxImbalance {
		refused = append(refused, ImplausibleWeight)
	}
	if isDegenerate(hash, maxDistance) {
		refused = append(refused, Degenerate)
	}
	if allowed != nil && len(allowed.Within(hash, maxDistance)) > 0 {
		refused = append(refused, NearAllowed)
	}
	return refused
}

// weight is how many bits are set.
func weight(h pdq.Hash) (n int) {
	for _, word := range h {
		n += bits.OnesCount64(word)
	}
	return n
}

// tooBroad tells whether a pattern with wildcards stands for more than what is below
// one domain: it must end in two names that are written out.
func tooBroad(servers string) bool {
	if !strings.ContainsAny(servers, "*?") {
		return false
	}
	after := servers[strings.LastIndexAny(servers, "*?")+1:]
	host, _, _ := strings.Cut(after, ":")
	_, names, below := strings.Cut(host, ".")
	first, rest, more := strings.Cut(names, ".")
	return !below || !more || first == "" || rest == ""
}

// tiny are files that many programs send by the million: nothing at all, and pictures
// of one pixel, in base64.
var tiny = []string{
	"",
	"R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
	"R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==",
	"R0lGODlhAQABAIAAAP///////yH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==",
	"R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==",
	"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=",
	"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
	"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==",
}

// harmless has the digests of those files.
var harmless = sync.OnceValue(func() map[string]bool {
	digests := make(map[string]bool)
	for _, text := range tiny {
		file, _ := base64.StdEncoding.DecodeString(text)  // a test reads them all
		short, long := md5.Sum(file), sha256.Sum256(file) //nolint:gosec // see above
		digests[string(short[:])], digests[string(long[:])] = true, true
	}
	return digests
})
