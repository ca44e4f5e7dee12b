package exchange

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/exchange/policyroom"
)

// policyReport is what the status of a policy list tells beside that of all exchanges.
// Times are Unix seconds, null before the first.
type policyReport struct {
	Room string `json:"room_id"`
	// AliasLeadsTo is another room, to which the alias leads now.
	AliasLeadsTo string `json:"alias_leads_to,omitempty"`
	Joined       bool   `json:"joined"`
	// Read is when the whole state was read, and Synced when it was last known to be
	// what the list has.
	Read   *int64 `json:"state_read_ts"`
	Synced *int64 `json:"synced_ts"`
	// Entries count; Refused do not, of which some are told.
	Entries  int                        `json:"entries"`
	Refused  map[policyroom.Refusal]int `json:"refused"`
	Examples []refusedEntry             `json:"refused_entries"`
	Warnings []policyWarning            `json:"warnings"`
}

// refusedEntry is an entry that does not count, or a removal that does not.
type refusedEntry struct {
	Type     string             `json:"type"`
	StateKey string             `json:"state_key"`
	Event    string             `json:"event_id"`
	Sender   string             `json:"sender"`
	Reason   policyroom.Refusal `json:"reason"`
}

// policyWarning is something about a room that refuses nothing.
type policyWarning struct {
	Danger  policyroom.Danger `json:"danger"`
	Subject string            `json:"subject,omitempty"`
}

// maxExamples is how many refused entries the status tells: it is kept in the store.
const maxExamples = 50

// tell shows how the list is.
func (p *policyList) tell(x bank.Exchange) {
	out := policyReport{
		Room: p.roomID, AliasLeadsTo: p.drift, Joined: p.joined, Read: seconds(p.read), Entries: len(p.banked),
		Refused: p.report.Counts, Examples: []refusedEntry{}, Warnings: []policyWarning{},
	}
	for _, r := range p.report.Refused[:min(len(p.report.Refused), maxExamples)] {
		out.Examples = append(out.Examples, refusedEntry{r.Key.Type, r.Key.StateKey, r.EventID, r.Sender, r.Reason})
	}
	if !p.read.IsZero() {
		for _, w := range p.room.Warnings() {
			out.Warnings = append(out.Warnings, policyWarning{w.Danger, w.Subject})
		}
	}
	synced := p.read
	if p.feed != nil {
		if c := p.syncer.condition(p.feed); !c.left && c.synced.After(synced) && !p.read.IsZero() {
			synced = c.synced
		}
	}
	if out.Synced = seconds(synced); p.read.IsZero() && p.last.Room == out.Room {
		out.Read, out.Synced, out.Entries = p.last.Read, p.last.Synced, p.last.Entries
	}
	if out.Synced != nil {
		p.policySynced.WithLabelValues(x.Name).Set(float64(*out.Synced))
	}
	p.policyRefused.DeletePartialMatch(prometheus.Labels{"exchange": x.Name})
	for reason, n := range p.report.Counts {
		p.policyRefused.WithLabelValues(x.Name, string(reason)).Set(float64(n))
	}
	p.runner.mu.Lock()
	p.runner.report = out.text()
	p.runner.mu.Unlock()
}

// text is a report as it is kept, with as many examples as there is room for.
func (r policyReport) text() string {
	for {
		var raw bytes.Buffer
		to := json.NewEncoder(&raw)
		to.SetEscapeHTML(false)
		if err := to.Encode(r); err == nil && raw.Len() <= bank.MaxReport || len(r.Examples) == 0 {
			return raw.String()
		}
		r.Examples = r.Examples[:len(r.Examples)/2]
	}
}

// lastReport is that of who had the lease before; of none it is empty.
func (r *runner) lastReport() (last policyReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = json.Unmarshal([]byte(r.status.Report), &last) // what cannot be read says nothing
	return last
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}
