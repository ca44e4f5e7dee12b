package main_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"mediagate/internal/synapsetest"
)

// TestREADMESession types what the README tells a newcomer to type and compares
// with what it says will come, to the letter.
func TestREADMESession(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		synapsetest.RequireOrSkip(t, "curl", err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```console\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README has no session")
	}
	s := start(t, nil)
	dir := "."
	commands := strings.Split("\n"+string(block[1]), "\n$ ")[1:]
	if len(commands) < 5 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, c := range commands {
		line, want, _ := strings.Cut(c, "\n")
		if to, ok := strings.CutPrefix(line, "cd "); ok {
			dir = to
			continue
		}
		line = strings.Replace(line, "localhost:5100", strings.TrimPrefix(s.api, "http://"), 1)
		line = strings.Replace(line, "curl ", "curl -sS ", 1)
		cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
		cmd.Dir = dir
		got, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(got)) != strings.TrimSpace(want) {
			t.Errorf("%s\n%v\ngot  %s\nwant %s", line, err, got, want)
		}
	}
}
