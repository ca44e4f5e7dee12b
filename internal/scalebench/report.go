package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// report writes what was measured as go test -bench does, a line a run, which is
// what internal/benchtable reads.
type report struct{ out io.Writer }

// metric is a value and its unit.
type metric struct {
	value float64
	unit  string
}

// head names the machine.
func (r report) head() error {
	cpu, err := processor("/proc/cpuinfo")
	if err == nil {
		_, err = fmt.Fprintf(r.out, "goos: %s\ngoarch: %s\npkg: mediagate/internal/scalebench\ncpu: %s\n", runtime.GOOS, runtime.GOARCH, cpu)
	}
	return err
}

// processor is the model that a file like /proc/cpuinfo says.
func processor(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the processor's name: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value), nil
		}
	}
	return "unknown processor", nil
}

// run writes one run of a benchmark.
func (r report) run(name string, metrics ...metric) error {
	line := fmt.Sprintf("Benchmark%s-%d 1", name, runtime.NumCPU())
	for _, m := range metrics {
		line += fmt.Sprintf(" %.6g %s", m.value, m.unit)
	}
	_, err := fmt.Fprintln(r.out, line)
	return err
}
