package server

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"mediagate/scanner"
)

// scanLabels are what a list says of a content besides that it is listed.
type scanLabels struct {
	// Recommendation is what the list would have done, empty if it does not say.
	Recommendation string `json:"recommendation"`
	// Harms are the identifiers of the harms that the list names.
	Harms []string `json:"harms"`
}

const (
	// labelsWait is how long an answer waits for labels, and labelsReads how many may be
	// read at once: a store that hangs costs no more than that.
	labelsWait  = 250 * time.Millisecond
	labelsReads = 4
	// maxLabelled is how many characters of metadata are looked through for labels.
	maxLabelled = 64 << 10
)

// labels reads what there is to tell of the contents that match. What cannot be read in
// time is left out: the decision does not depend on it.
func (s *Server) labels(ctx context.Context, matches []scanner.Match) map[int64]scanLabels {
	var contents []int64
	for _, m := range matches {
		contents = append(contents, m.Content)
	}
	slices.Sort(contents)
	contents = slices.Compact(contents)
	if len(contents) == 0 {
		return nil
	}
	select {
	case s.labelling <- struct{}{}:
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, labelsWait)
	defer cancel()
	read := make(chan map[int64]scanLabels, 1) // with room: nobody may wait any more
	go func() {
		defer func() { <-s.labelling }()
		found, _ := s.store.Metadata(ctx, contents, maxLabelled)
		out := make(map[int64]scanLabels, len(found))
		for id, metadata := range found {
			if l, ok := parseLabels(metadata); ok {
				out[id] = l
			}
		}
		read <- out
	}()
	select {
	case out := <-read:
		return out
	case <-ctx.Done():
		return nil
	}
}

// parseLabels finds labels in the metadata of a content. Anybody may give metadata of any
// form: what is not of the form of labels is none.
func parseLabels(metadata string) (scanLabels, bool) {
	var fields struct {
		JSON map[string]json.RawMessage `json:"json"`
	}
	if json.Unmarshal([]byte(metadata), &fields) != nil {
		return scanLabels{}, false
	}
	l := scanLabels{Harms: []string{}}
	var recommendation *string
	if json.Unmarshal(fields.JSON["recommendation"], &recommendation) == nil && recommendation != nil {
		l.Recommendation = *recommendation
	}
	var harms []any
	if json.Unmarshal(fields.JSON["harms"], &harms) == nil {
		for _, h := range harms {
			if text, ok := h.(string); ok {
				l.Harms = append(l.Harms, text)
			}
		}
	}
	return l, l.Recommendation != "" || len(l.Harms) > 0
}
