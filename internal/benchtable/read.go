package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// series is one metric of one benchmark, over all runs.
type series struct {
	name   string // as go test prints it, without "Benchmark"
	parts  []string
	unit   string // a base unit: sec/op, not ns/op
	sample *benchmath.Sample
}

func (s series) median() float64 { return benchmath.AssumeNothing.Summary(s.sample, 0.95).Center }

// is tells whether a pattern, Name/key=value/…, names the benchmark: its keys are
// among the benchmark's, in any order.
func (s series) is(pattern string) bool {
	parts := strings.Split(pattern, "/")
	return parts[0] == s.parts[0] && !slices.ContainsFunc(parts, func(p string) bool { return !slices.Contains(s.parts, p) })
}

// higherIsBetter tells rates from costs.
func higherIsBetter(unit string) bool { return strings.HasSuffix(unit, "/s") }

// read reads the output of go test -bench, in the order of first appearance, and
// the name of the processor.
func read(in io.Reader) (measured []series, cpu string, err error) {
	raw, err := io.ReadAll(in)
	if err != nil {
		return nil, "", fmt.Errorf("read benchmarks: %w", err)
	}
	for line := range bytes.Lines(raw) {
		if bytes.HasPrefix(line, []byte("FAIL")) || bytes.HasPrefix(line, []byte("--- FAIL")) {
			return nil, "", fmt.Errorf("a benchmark failed: %s", bytes.TrimSpace(line))
		}
	}
	type key struct{ pkg, name, unit string }
	at := make(map[key]int)
	values := make(map[key][]float64)
	lines := benchfmt.NewReader(bytes.NewReader(raw), "benchmarks")
	for lines.Scan() {
		switch r := lines.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, "", r
		case *benchfmt.Result:
			cpu = r.GetConfig("cpu")
			for _, v := range r.Values {
				k := key{r.GetConfig("pkg"), r.Name.String(), v.Unit}
				if _, known := at[k]; !known {
					at[k] = len(measured)
					measured = append(measured, series{name: k.name, parts: partsOf(r.Name), unit: k.unit})
				}
				values[k] = append(values[k], v.Value)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, "", err
	}
	if len(measured) == 0 {
		return nil, "", errors.New("there are no benchmarks")
	}
	for k, i := range at {
		measured[i].sample = benchmath.NewSample(values[k], &benchmath.DefaultThresholds)
	}
	if cpu == "" {
		cpu = "unknown processor"
	}
	return measured, cpu, nil
}

// partsOf are a name's parts, the number of processors left out.
func partsOf(name benchfmt.Name) []string {
	base, rest := name.Parts()
	parts := []string{string(base)}
	for _, p := range rest {
		if p[0] == '/' {
			parts = append(parts, string(p[1:]))
		}
	}
	return parts
}
