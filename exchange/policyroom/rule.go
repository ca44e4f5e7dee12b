package policyroom

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"mediagate/bank"
)

// Rule is what one event bans. It has signals, an item, or servers.
type Rule struct {
	// Sender is who wrote the event.
	Sender string
	// Signals are hashes of media, at most one of each type.
	Signals []bank.Signal
	// Item is the SHA-256 of an mxc URI.
	Item string
	// Servers is a server's name, in which * and ? stand for others.
	Servers string
	// Recommendation is what the list would have done: ban, takedown, or empty. What
	// is to be allowed is no rule that counts.
	Recommendation string
	// Harms are the identifiers of MSC4456, at most maxHarms.
	Harms []string
}

// minQuality is the least quality that counts, of MSC4113.
const minQuality = 50

const (
	maxHarms  = 16
	maxHarm   = 128 // bytes
	maxEntity = 255 // bytes, of a server's name
)

// targets are what a rule is about, comparable with those of others.
func (r *Rule) targets() (list [][2]string) {
	for _, s := range r.Signals {
		list = append(list, [2]string{string(s.Type), s.Value})
	}
	if r.Item != "" {
		list = append(list, [2]string{"item", r.Item})
	}
	if r.Servers != "" {
		list = append(list, [2]string{"servers", strings.ToLower(r.Servers)})
	}
	return list
}

// hashTypes are the names of hashes, by how they are spelt. The first spelling that
// an event has of a type counts.
var hashTypes = []struct {
	name       string
	signalType bank.SignalType
}{
	{"m.pdqhash", bank.PDQ},
	{"space.midnightthoughts.pdqhash", bank.PDQ},
	{"io.github.mediagate.md5", bank.MD5},
	{"io.github.mediagate.sha256", bank.SHA256},
}

// recommendations are those that are known, by how they are spelt.
var recommendations = map[string]string{
	"m.ban": "ban", "org.matrix.mjolnir.ban": "ban",
	"m.takedown": "takedown", "org.matrix.msc4204.takedown": "takedown",
	"m.allow": allow, "org.matrix.mjolnir.allow": allow, "fi.mau.meowlnir.unban": allow,
}

// allow is the recommendation of what bans nothing.
const allow = "allow"

// parse reads a policy event. The rule is nil if the event says nothing: it was
// emptied, which is how a rule is removed, or nothing in it counts. Parts of an event
// may be refused and others count. A rule that allows is refused, and told for what
// it contradicts.
func parse(k kind, content json.RawMessage) (*Rule, []Refusal) {
	rule, refused := parseRule(k, content)
	if rule != nil && rule.Recommendation == allow {
		refused = append(refused, RecommendsAllowing)
	}
	return rule, refused
}

func parseRule(k kind, content json.RawMessage) (*Rule, []Refusal) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(content, &fields); err != nil || fields == nil {
		return nil, []Refusal{NotAnObject}
	}
	if len(fields) == 0 {
		return nil, nil
	}
	r := &Rule{Harms: harms(fields)}
	var known bool
	if r.Recommendation, known = recommendation(fields["recommendation"]); !known {
		return nil, []Refusal{UnknownRecommendation}
	}
	switch k {
	case mediaHash:
		return r.readHashes(fields)
	case mediaItem:
		return r.readItem(fields)
	default:
		return r.readServers(fields)
	}
}

// readHashes reads MSC4113, in its last form or in its first one.
func (r *Rule) readHashes(fields map[string]json.RawMessage) (*Rule, []Refusal) {
	var refused []Refusal
	if name, ok := text(fields["type"]); ok {
		fields = map[string]json.RawMessage{name: object(fields)}
	}
	seen := make(map[bank.SignalType]bool)
	for _, t := range hashTypes {
		raw, given := fields[t.name]
		if !given || seen[t.signalType] {
			continue
		}
		signal, refusal := readHash(t.signalType, raw)
		if seen[t.signalType] = true; refusal != "" {
			refused = append(refused, refusal)
			continue
		}
		r.Signals = append(r.Signals, signal)
	}
	switch {
	case len(r.Signals) > 0:
		return r, refused
	case len(refused) > 0:
		return nil, refused
	case hasObject(fields):
		return nil, []Refusal{UnknownHashType}
	default:
		return nil, []Refusal{NoHash}
	}
}

// readHash reads {"hash": "…", "quality": …}.
func readHash(t bank.SignalType, raw json.RawMessage) (bank.Signal, Refusal) {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return bank.Signal{}, MalformedHash
	}
	digits, ok := text(o["hash"])
	if !ok || strings.TrimSpace(digits) != digits {
		return bank.Signal{}, MalformedHash
	}
	signal, err := bank.ParseSignal(t, digits)
	if err != nil {
		return bank.Signal{}, MalformedHash
	}
	if t != bank.PDQ {
		return signal, ""
	}
	quality, ok := number(o["quality"])
	switch {
	case !ok:
		return bank.Signal{}, MissingQuality
	case quality < minQuality:
		return bank.Signal{}, LowQuality
	}
	signal.Quality = int(quality)
	return signal, ""
}

// readItem reads MSC4207: the digest of an item's URI.
func (r *Rule) readItem(fields map[string]json.RawMessage) (*Rule, []Refusal) {
	var hashes map[string]json.RawMessage
	if err := json.Unmarshal(fields["hashes"], &hashes); err != nil {
		return nil, []Refusal{NoHash}
	}
	digits, ok := text(hashes["sha256"])
	if !ok {
		return nil, []Refusal{NoHash}
	}
	digest, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(digits, "="))
	if err != nil || len(digest) != 32 {
		return nil, []Refusal{MalformedHash}
	}
	r.Item = string(digest)
	return r, nil
}

// readServers reads MSC2313. Without a recommendation it bans nobody.
func (r *Rule) readServers(fields map[string]json.RawMessage) (*Rule, []Refusal) {
	if r.Recommendation == "" {
		return nil, []Refusal{UnknownRecommendation}
	}
	entity, ok := text(fields["entity"])
	if !ok || entity == "" || len(entity) > maxEntity || strings.ContainsFunc(entity, notInServerName) {
		return nil, []Refusal{MalformedEntity}
	}
	r.Servers = entity
	return r, nil
}

func notInServerName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-.:[]*?", c)
}

// recommendation reads what a list would have done, if that is known.
func recommendation(raw json.RawMessage) (name string, known bool) {
	if raw == nil || string(raw) == "null" {
		return "", true
	}
	given, _ := text(raw)
	name, known = recommendations[given]
	return name, known
}

// harms reads the identifiers of MSC4456. What is none is left out.
func harms(fields map[string]json.RawMessage) (list []string) {
	var given []json.RawMessage
	if json.Unmarshal(fields["harms"], &given) != nil {
		return nil
	}
	for _, raw := range given {
		id, ok := text(raw)
		if ok && id != "" && len(id) <= maxHarm && !strings.ContainsFunc(id, notInHarm) && !slices.Contains(list, id) && len(list) < maxHarms {
			list = append(list, id)
		}
	}
	return list
}

func notInHarm(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
}
