package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// writeReport writes everything in Markdown. It writes to memory: errors are not
// looked at.
func writeReport(out io.Writer, at machine, measured []series) {
	_, _ = fmt.Fprintf(out, "# Benchmarks of %s\n", at.day)
	_, _ = fmt.Fprintf(out, "- Processor: %s\n- Go: %s, %s, GOAMD64 %s\n- Transparent huge pages: %s\n\n", at.cpu, at.goVersion, at.platform, at.level, at.hugePages)
	_, _ = fmt.Fprintf(out, "| benchmark | median | min – max | runs | unit | published | ratio | target (stretch) | |\n|%s\n", strings.Repeat(" --- |", 9))
	var sources []*source
	reached := make(map[goal]bool)
	for _, s := range measured {
		u := unitFor(s.unit, s.median())
		var figures, ratios []string
		for _, f := range published {
			if f.unit == s.unit && s.is(f.benchmark) {
				figures = append(figures, u.number(f.value)+" "+f.by.name)
				ratios = append(ratios, ratio(s, f.value))
				if !slices.Contains(sources, f.by) {
					sources = append(sources, f.by)
				}
			}
		}
		var target, met string
		for _, g := range slices.Concat(suites...) {
			if g.unit == s.unit && s.is(g.benchmark) {
				target, met = u.target(g), g.met(s.median())
				reached[g] = true
			}
		}
		// Most lines would say that nothing is allocated, and how much of nothing.
		if s.unit == "B/op" || s.unit == "allocs/op" && s.median() == 0 {
			continue
		}
		values := s.sample.Values
		_, _ = fmt.Fprintf(out, "| %s | %s | %s – %s | %d | %s | %s | %s | %s | %s |\n", s.name, u.number(s.median()), u.number(values[0]),
			u.number(values[len(values)-1]), len(values), u.name, strings.Join(figures, "; "), strings.Join(ratios, "; "), target, met)
	}
	_, _ = fmt.Fprintf(out, "\nA target that is missed by %.0f %% or less counts as met. A ratio above 1 is in our favour; published figures are of\n"+
		"%s, and ours of the processor above.\n", tolerance*100, theirMachine)
	_, _ = fmt.Fprint(out, "- A benchmark without a line of allocs/op allocates nothing.\n")
	for _, s := range sources {
		_, _ = fmt.Fprintf(out, "- %s: %s.\n", s.name, s.how)
	}
	for _, suite := range suites {
		if !slices.ContainsFunc(suite, func(g goal) bool { return reached[g] }) {
			continue
		}
		for _, g := range suite {
			if u := unitFor(g.unit, g.limit); !reached[g] {
				_, _ = fmt.Fprintf(out, "- Not measured: %s, %s %s.\n", g.benchmark, u.target(g), u.name)
			}
		}
	}
}

// ratio is how many times better than a figure a series is.
func ratio(s series, figure float64) string {
	over, under := figure, s.median()
	if higherIsBetter(s.unit) {
		over, under = under, over
	}
	if under == 0 {
		return "–"
	}
	return number(over/under) + "×"
}

// unit is how the values of a row are written.
type unit struct {
	name   string
	factor float64
}

// unitFor is the unit for values of about that size.
func unitFor(base string, value float64) unit {
	if base != "sec/op" && !strings.HasSuffix(base, "-sec") { // p99-sec, say
		return unit{base, 1}
	}
	chosen := unit{"ns", 1e9}
	for _, u := range []unit{{"µs", 1e6}, {"ms", 1e3}, {"s", 1}} {
		if value*u.factor >= 1 {
			chosen = u
		}
	}
	return unit{strings.Replace(base, "sec", chosen.name, 1), chosen.factor}
}

func (u unit) number(value float64) string { return number(value * u.factor) }

func (u unit) target(g goal) string {
	text := "≤ "
	if higherIsBetter(g.unit) {
		text = "≥ "
	}
	text += u.number(g.limit)
	if g.stretch != 0 {
		text += " (" + u.number(g.stretch) + ")"
	}
	return text
}

// number writes three digits, or all that stand before the point.
func number(value float64) string {
	digits := 0
	if value > 0 && value < 100 {
		digits = 2 - int(math.Floor(math.Log10(value)))
	}
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
