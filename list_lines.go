package main

import (
	"encoding/json"
	"io"

	"mediagate/bank"
	"mediagate/exchange/policyroom"
)

// refusedLine is one line for programs.
type refusedLine struct {
	Type     string             `json:"type"`
	StateKey string             `json:"state_key"`
	Event    string             `json:"event_id"`
	Sender   string             `json:"sender"`
	Reason   policyroom.Refusal `json:"reason"`
	Signals  []signalText       `json:"signals"` // empty if none could be read
}

type signalText struct {
	Type  bank.SignalType `json:"type"`
	Value string          `json:"value"`
}

// lintLine is the last line for programs.
type lintLine struct {
	Entries  map[string]map[policyroom.Refusal]int `json:"entries"`
	Unlisted int                                   `json:"unlisted"`
	Warnings []warningLine                         `json:"warnings"`
	Writers  map[string]writersLine                `json:"writers"` // by the type of events
}

type warningLine struct {
	Danger  policyroom.Danger `json:"danger"`
	Subject string            `json:"subject"`
}

type writersLine struct {
	Users     []string `json:"users"`
	Everybody bool     `json:"everybody"`
}

func (l *listLint) encode(out io.Writer) error {
	lines := json.NewEncoder(out)
	for _, x := range l.reading.Refused {
		line := refusedLine{Type: x.Key.Type, StateKey: x.Key.StateKey, Event: x.EventID, Sender: x.Sender, Reason: x.Reason, Signals: []signalText{}}
		if rule := l.entries[x.Key].Rule; rule != nil {
			for _, s := range rule.Signals {
				line.Signals = append(line.Signals, signalText{s.Type, s.Text()})
			}
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	last := lintLine{Entries: l.sums, Unlisted: l.unlisted(), Warnings: []warningLine{}, Writers: make(map[string]writersLine)}
	if l.isRoom {
		for _, w := range l.room.Warnings() {
			last.Warnings = append(last.Warnings, warningLine{w.Danger, w.Subject})
		}
		for _, eventType := range l.types() {
			users, everybody := l.room.Writers(eventType)
			last.Writers[eventType] = writersLine{append([]string{}, users...), everybody}
		}
	}
	return lines.Encode(last)
}
