package policyroom

// Refusal is why something in an event does not count. It is a label of metrics.
type Refusal string

// What is refused because of what an event says.
const (
	NotAnObject           Refusal = "not_an_object"
	NoHash                Refusal = "no_hash"
	MalformedHash         Refusal = "malformed_hash"
	MissingQuality        Refusal = "missing_quality"
	LowQuality            Refusal = "low_quality"
	UnknownHashType       Refusal = "unknown_hash_type"
	UnknownRecommendation Refusal = "unknown_recommendation"
	RecommendsAllowing    Refusal = "recommends_allowing"
	MalformedEntity       Refusal = "malformed_entity"
	KeyTooLong            Refusal = "key_too_long"
)

// What is refused because of who sent it.
const (
	UntrustedSender Refusal = "untrusted_sender"
	Powerless       Refusal = "powerless_sender"
	// UntrustedRemoval is a removal that is refused, and not a rule.
	UntrustedRemoval Refusal = "untrusted_removal"
)

// What is refused because of what else there is.
const (
	// Conflicting is what the same room allows.
	Conflicting    Refusal = "conflicting"
	TooManyEntries Refusal = "too_many_entries"
	// TooManyAdditions is for those who ask a Pace. It ends by itself.
	TooManyAdditions Refusal = "too_many_additions"
)

// Refused is something of a room that does not count.
type Refused struct {
	// Key and EventID say which event it is. For a removal, they are those of the rule
	// that stays.
	Key     Key
	EventID string
	// Sender is who wrote the event. For a removal it is who tried to remove, empty if
	// nobody has: the room has lost the event.
	Sender string
	Reason Refusal
}

// maxListed bounds how much of what is refused is listed one by one.
const maxListed = 10_000

// Report is what does not count, and why. The zero Report is empty.
type Report struct {
	// Refused lists it in the order of keys and events, up to 10,000.
	Refused []Refused
	// Counts has all.
	Counts map[Refusal]int
}

// Add puts something else into a report.
func (r *Report) Add(x Refused) {
	if r.Counts == nil {
		r.Counts = make(map[Refusal]int)
	}
	if r.Counts[x.Reason]++; len(r.Refused) < maxListed {
		r.Refused = append(r.Refused, x)
	}
}
