package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/report.md anew")

func TestReport(t *testing.T) {
	in, err := os.ReadFile(filepath.Join("testdata", "bench.txt"))
	if err != nil {
		t.Fatal(err)
	}
	measured, cpu, err := read(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	writeReport(&got, machine{
		day: "2026-11-22", cpu: cpu, goVersion: "go1.26.0", platform: "linux/amd64", level: "v3", hugePages: "madvise",
	}, measured)
	golden := filepath.Join("testdata", "report.md")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("go test -update writes it anew (-want +got):\n%s", diff)
	}
}

func TestRead(t *testing.T) {
	const good = "BenchmarkA-2 10 100 ns/op\n"
	for name, tt := range map[string]struct {
		in   string
		want string // a part of the error; empty for none
	}{
		"one":                    {good, ""},
		"with its name before":   {"BenchmarkA\n" + good, ""},
		"what tests print":       {"a: b\nsome text\n" + good + "PASS\nok\tmediagate/pdq\t1s\n", ""},
		"nothing":                {"", "no benchmarks"},
		"no benchmark":           {"PASS\nok\tmediagate/pdq\t1s\n", "no benchmarks"},
		"a name alone":           {"BenchmarkA\n", "no benchmarks"},
		"no number":              {good + "BenchmarkA-2 10 fast ns/op\n", "benchmarks:2"},
		"no unit":                {"BenchmarkA-2 10 100\n", "benchmarks:1"},
		"no runs":                {"BenchmarkA-2 x 100 ns/op\n", "benchmarks:1"},
		"text in between":        {good + "BenchmarkA-2 \tpanic: out of luck\n", "benchmarks:2"},
		"a failed benchmark":     {good + "--- FAIL: BenchmarkB\nFAIL\nexit status 1\n", "BenchmarkB"},
		"a package not built":    {good + "FAIL\tmediagate/pdq [build failed]\n", "build failed"},
		"a line without its end": {good + "BenchmarkA-2 10 " + strings.Repeat("1", 1<<20), "benchmarks"},
	} {
		_, _, err := read(strings.NewReader(tt.in))
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for in, want := range map[string][3]float64{
		"5": {5, 5, 5}, "5 1": {3, 1, 5}, "9 1 2": {2, 1, 9}, "4 4 1 100": {4, 1, 100}, "3 1 2 5 4": {3, 1, 5},
	} {
		var lines strings.Builder
		for value := range strings.FieldsSeq(in) {
			lines.WriteString("BenchmarkA 1 " + value + " lookups/s\n")
		}
		measured, _, err := read(strings.NewReader(lines.String()))
		if err != nil || len(measured) != 1 {
			t.Fatalf("%s: %v, %v", in, measured, err)
		}
		values := measured[0].sample.Values
		if got := [3]float64{measured[0].median(), values[0], values[len(values)-1]}; got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}

// TestBenchmarksOfOneNameAreNotMixed: of several packages, or processors.
func TestBenchmarksOfOneNameAreNotMixed(t *testing.T) {
	measured, _, err := read(strings.NewReader("pkg: a\nBenchmarkA-2 1 1 ns/op\nBenchmarkA-4 1 1 ns/op\npkg: b\nBenchmarkA-2 1 1 ns/op\n"))
	if err != nil || len(measured) != 3 {
		t.Errorf("%d, %v", len(measured), err)
	}
}

func TestIs(t *testing.T) {
	measured, _, err := read(strings.NewReader("BenchmarkHash/size=512x512/kernels=avx512-2 1 1 ns/op\n"))
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]bool{
		"Hash": true, "Hash/kernels=avx512": true, "Hash/kernels=avx512/size=512x512": true,
		"Has": false, "HashX": false, "Hash/kernels=avx": false, "Hash/size=512x512/path=exact": false, "size=512x512/Hash": false, "": false,
	} {
		if measured[0].is(pattern) != want {
			t.Errorf("is(%q) = %t", pattern, !want)
		}
	}
}

// TestMet tries goals a little within and beyond what is tolerated.
func TestMet(t *testing.T) {
	cost, rate, none := goal{"A", "sec/op", 100, 50}, goal{"A", "lookups/s", 100, 200}, goal{"A", "allocs/op", 0, 0}
	for name, tt := range map[string]struct {
		g     goal
		value float64
		want  string
	}{
		"cost": {cost, 100, "met"}, "cost, tolerated": {cost, 109.9, "met"}, "cost, missed": {cost, 110.1, "**not met**"}, "cost, stretch": {cost, 54.9, "met, stretch too"},
		"rate": {rate, 100, "met"}, "rate, tolerated": {rate, 90.1, "met"}, "rate, missed": {rate, 89.9, "**not met**"}, "rate, stretch": {rate, 180.1, "met, stretch too"},
		"none": {none, 0, "met"}, "one": {none, 1, "**not met**"},
	} {
		if got := tt.g.met(tt.value); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestWhatWasNotMeasured names the rest of a suite of which something was, and nothing
// of another.
func TestWhatWasNotMeasured(t *testing.T) {
	var out bytes.Buffer
	if err := run(strings.NewReader("BenchmarkHook/hashes=1000000/state=swapping-2 1 0 errors 1.5 p99/quiet\n"), &out, "", ""); err != nil {
		t.Fatal(err)
	}
	said := out.String()
	for text, want := range map[string]int{
		"Not measured: ": len(scaleGoals) - 2, "Not measured: Hook/state=swapping": 0, "Not measured: Hook/state=redis_away, ≤ 0 errors": 1,
		"Not measured: LookupRequests/hashes=1000000/handler=mediagate, ≥ 40000 req/s": 1, "| met |": 2,
	} {
		if got := strings.Count(said, text); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, want, said)
		}
	}
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.00123456: "0.00123", 0.35: "0.35", 0.9999: "1", 1: "1", 3.9: "3.9", 13.44: "13.4", 99.96: "100", 100: "100", 123.4: "123", 153846.4: "153846",
	} {
		if got := number(value); got != want {
			t.Errorf("number(%v) = %q, want %q", value, got, want)
		}
	}
}

func TestHugePages(t *testing.T) {
	for content, want := range map[string]string{"always [madvise] never\n": "madvise", "[always] madvise never\n": "always", "": "unknown", "[never": "unknown"} {
		path := filepath.Join(t.TempDir(), "enabled")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := hugePages(path); got != want {
			t.Errorf("%q: %s, want %s", content, got, want)
		}
	}
	if got := hugePages("nowhere"); got != "unknown" {
		t.Error(got)
	}
}

// TestRun holds what is recorded to what is printed, and a target that is not met
// to no failure.
func TestRun(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "results")
	var out bytes.Buffer
	if err := run(strings.NewReader("cpu: AMD EPYC 9R14 (2.6 GHz)\nBenchmarkHash-2 1 1 allocs/op\n"), &out, folder, ""); err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile(filepath.Join(folder, time.Now().Format(time.DateOnly)+"-amd-epyc-9r14-2-6-ghz.md"))
	if err != nil || string(recorded) != out.String() || !strings.Contains(out.String(), "| **not met** |") {
		t.Errorf("%v: recorded\n%s\nprinted\n%s", err, recorded, &out)
	}
	scale := filepath.Join(folder, time.Now().Format(time.DateOnly)+"-unknown-processor-scale.md")
	if err := run(strings.NewReader("BenchmarkCachedAgain-2 1 1 sec/op\n"), io.Discard, folder, "scale"); err != nil {
		t.Error(err)
	} else if _, err := os.Stat(scale); err != nil {
		t.Error(err)
	}
	if err := run(strings.NewReader(""), &out, filepath.Join(folder, "none"), ""); err == nil {
		t.Error("no benchmarks, and no error")
	}
	if _, err := os.Stat(filepath.Join(folder, "none")); err == nil {
		t.Error("nothing is recorded")
	}
}
