package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mediagate/exchange/policyroom"
)

// counting stands for a reason in what is summed up.
const counting policyroom.Refusal = "counts"

// listLint is what is said of a list.
type listLint struct {
	room    *policyroom.Room
	reading policyroom.Reading
	entries map[policyroom.Key]policyroom.Entry
	// sums are how many entries of a type count, or are refused for a reason. One can
	// be refused for several.
	sums map[string]map[policyroom.Refusal]int
	// isRoom tells whether anything is known of a room.
	isRoom bool
	// refused is how many entries are, in whole or in part.
	refused int
}

func newListLint(room *policyroom.Room, reading policyroom.Reading, isRoom bool) *listLint {
	l := &listLint{
		room: room, reading: reading, isRoom: isRoom,
		entries: make(map[policyroom.Key]policyroom.Entry), sums: make(map[string]map[policyroom.Refusal]int),
	}
	add := func(eventType string, reason policyroom.Refusal) {
		if l.sums[eventType] == nil {
			l.sums[eventType] = make(map[policyroom.Refusal]int)
		}
		l.sums[eventType][reason]++
	}
	for _, e := range room.Entries() {
		l.entries[e.Key] = e
		if _, counts := reading.Rules[e.Key.Source(e.EventID)]; counts {
			add(e.Key.Type, counting)
		}
	}
	refused := make(map[policyroom.Key]bool)
	for _, x := range reading.Refused {
		add(x.Key.Type, x.Reason)
		refused[x.Key] = true
	}
	l.refused = len(refused)
	return l
}

// types are those of the events that the list has, or the one that it should have.
func (l *listLint) types() []string {
	if len(l.sums) == 0 {
		return []string{policyroom.HashEvent}
	}
	return slices.Sorted(maps.Keys(l.sums))
}

// unlisted is how many refusals are only counted.
func (l *listLint) unlisted() int {
	n := -len(l.reading.Refused)
	for _, count := range l.reading.Counts {
		n += count
	}
	return n
}

func (l *listLint) print(out io.Writer) error {
	if len(l.reading.Refused) > 0 {
		refused := newTable(out, "TYPE", "KEY", "EVENT", "SENDER", "REASON")
		for _, x := range l.reading.Refused {
			refused.row(x.Key.Type, withoutHashes(x.Key.StateKey), x.EventID, x.Sender, string(x.Reason))
		}
		if err := refused.print(); err != nil {
			return err
		}
		if n := l.unlisted(); n > 0 {
			if _, err := fmt.Fprintf(out, "and %d more\n", n); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	sums := newTable(out, "TYPE", "OUTCOME", "ENTRIES")
	for _, eventType := range slices.Sorted(maps.Keys(l.sums)) {
		for _, reason := range slices.Sorted(maps.Keys(l.sums[eventType])) {
			sums.row(eventType, string(reason), strconv.Itoa(l.sums[eventType][reason]))
		}
	}
	if err := sums.print(); err != nil || !l.isRoom {
		return err
	}
	return l.printRoom(out)
}

// printRoom tells what is known of the room.
func (l *listLint) printRoom(out io.Writer) error {
	lines := []string{""}
	for _, eventType := range l.types() {
		users, everybody := l.room.Writers(eventType)
		who := strings.Join(users, ", ")
		switch {
		case everybody:
			who = "everybody"
		case who == "":
			who = "nobody"
		}
		lines = append(lines, fmt.Sprintf("%s may be written by %s", eventType, who))
	}
	for _, w := range l.room.Warnings() {
		switch w.Danger {
		case policyroom.NoPowerLevels:
			lines = append(lines, "warning: the room has no power levels: everybody may write its state")
		case policyroom.LowLevel:
			lines = append(lines, "warning: less power than a moderator's is needed: "+w.Subject)
		case policyroom.Tombstoned:
			lines = append(lines, "warning: the room was given up for "+cmp.Or(w.Subject, "no other"))
		}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(out, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

var hashLike = regexp.MustCompile(`([0-9A-Fa-f]{8})[0-9A-Fa-f]{24,}`)

// withoutHashes shortens hashes, which most state keys are.
func withoutHashes(stateKey string) string { return hashLike.ReplaceAllString(stateKey, "$1…") }
