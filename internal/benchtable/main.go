// Benchtable puts what go test -bench has measured beside published figures and our
// targets, as a Markdown table:
//
//	go test -run '^$' -bench . -benchmem -count 5 ./... | go run ./internal/benchtable
//
// It describes the machine it runs on, which must be the one that measured. With
// -record it also writes the table into a folder, to a file named for the day, the
// processor and what -of says. A target that is not met is told and is no failure; input with a
// failed benchmark, an unreadable line or no benchmark at all is.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

func main() {
	record := flag.String("record", "", "also write the table to a file in this `folder`")
	of := flag.String("of", "", "a `word` that the file's name ends in, beside the table of go test's benchmarks")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *record, *of); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, record, of string) error {
	measured, cpu, err := read(in)
	if err != nil {
		return err
	}
	at := machine{
		day: time.Now().Format(time.DateOnly), cpu: cpu, goVersion: runtime.Version(), platform: runtime.GOOS + "/" + runtime.GOARCH,
		level: amd64Level(), hugePages: hugePages("/sys/kernel/mm/transparent_hugepage/enabled"),
	}
	var table bytes.Buffer
	writeReport(&table, at, measured)
	if record != "" {
		err := os.MkdirAll(record, 0o750)
		if err == nil {
			err = os.WriteFile(filepath.Join(record, at.file(of)), table.Bytes(), 0o600)
		}
		if err != nil {
			return fmt.Errorf("record the table: %w", err)
		}
	}
	_, err = out.Write(table.Bytes())
	return err
}

// machine is what a figure depends on besides our code.
type machine struct{ day, cpu, goVersion, platform, level, hugePages string }

var unsafeInNames = regexp.MustCompile(`[^a-z0-9]+`)

// file is the name of the machine's results of the day, of what a word says.
func (m machine) file(of string) string {
	return m.day + "-" + strings.Trim(unsafeInNames.ReplaceAllString(strings.ToLower(m.cpu+" "+of), "-"), "-") + ".md"
}

// amd64Level is the GOAMD64 that this program was built with, as what it reports on
// was.
func amd64Level() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GOAMD64" {
				return s.Value
			}
		}
	}
	return "none"
}

// hugePages is the mode of transparent huge pages that a file says, as in
// "always [madvise] never".
func hugePages(path string) string {
	raw, err := os.ReadFile(path) //nolint:gosec // the kernel's, or a test's
	_, mode, found := strings.Cut(string(raw), "[")
	mode, _, closed := strings.Cut(mode, "]")
	if err != nil || !found || !closed {
		return "unknown"
	}
	return mode
}
