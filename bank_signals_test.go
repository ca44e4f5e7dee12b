package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFirstSignalEndsWhatWaits interrupts imports of what nobody writes to, and an
// export to what nobody reads.
func TestFirstSignalEndsWhatWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := databaseIn(dir)
	importHashes(t, env, 3000)
	const imported = "mediagate: bank import: interrupted; before that, added 0 contents, skipped 0 that the bank has\n"
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"a file":         {[]string{"bank", "import", "LIST", "/dev/fd/0"}, imported},
		"standard input": {[]string{"bank", "import", "LIST"}, imported},
		"a dry run":      {[]string{"bank", "import", "LIST", "--dry-run"}, "mediagate: bank import: check: interrupted\n"},
		"an export":      {[]string{"bank", "export", "LIST"}, "mediagate: bank export: interrupted\n"},
		"a named export": {[]string{"bank", "export", "LIST", "--output=-"}, "mediagate: bank export: interrupted\n"},
	} {
		for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
			cmd := command(t, env, tt.args...)
			in, stdin := newPipe(t)
			stdout, out := newPipe(t)
			var said output
			cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &said
			// No more than that comes, which is more than is read ahead.
			if _, err := io.WriteString(stdin, strings.Repeat("\n", 40<<10)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, name+" waits", func() bool { return unread(t, in) == 0 || unread(t, stdout) >= 32<<10 })
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if code := endsAs(t, cmd); code != 1 || said.String() != tt.says {
				t.Errorf("%s, %v: exit status %d: %s", name, signal, code, said.String())
			}
		}
	}
	// To open a pipe without a writer is a wait, too.
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, env, "bank", "import", "LIST", fifo)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has opened the database", func() bool {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", cmd.Process.Pid))
		return err == nil && slices.ContainsFunc(files, func(file string) bool {
			name, err := os.Readlink(file)
			return err == nil && strings.HasSuffix(name, ".db")
		})
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := endsAs(t, cmd); code != 1 {
		t.Errorf("exit status %d", code)
	}
}

// endsAs returns the exit status of a program that was told to end.
func endsAs(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	deadline := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer deadline.Stop()
	return exitCode(t, cmd.Wait())
}

func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() }) // nothing is to be read
	return r, w
}

// unread is how many bytes are in a pipe.
func unread(t *testing.T, r *os.File) int {
	t.Helper()
	n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestExportIsWholeWhenItIsThere kills exports as soon as there is a file of theirs.
func TestExportIsWholeWhenItIsThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := databaseIn(dir)
	importHashes(t, env, 8000)
	inside := 0
	for range 5 {
		folder := t.TempDir()
		cmd := command(t, env, "bank", "export", "LIST", "--output", filepath.Join(folder, "out"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has a file", func() bool {
			files, err := os.ReadDir(folder)
			return err == nil && len(files) > 0
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		text, err := os.ReadFile(filepath.Join(folder, "out"))
		switch {
		case os.IsNotExist(err):
			inside++
		case err != nil || !strings.Contains(string(text), `"end":true`):
			t.Errorf("it is there with %d bytes, %v", len(text), err)
		}
	}
	if inside == 0 {
		t.Error("it was never killed before its end")
	}
	out := filepath.Join(dir, "out")
	if said, err := command(t, env, "bank", "export", "LIST", "--output", out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if info, err := os.Stat(out); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".mediagate*")); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
}

// TestImportFromATerminalSaysThatItReads ends what is typed at once.
func TestImportFromATerminalSaysThatItReads(t *testing.T) {
	t.Parallel()
	cmd := command(t, databaseIn(t.TempDir()), "bank", "import", "LIST", "--create")
	terminal, screen := openTerminal(t)
	defer func() { _ = terminal.Close() }()
	cmd.Stdin = screen
	var said output
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = screen.Close() // the program has its own
	eventually(t, "it says so", func() bool {
		return said.String() == "reading lines from the terminal, until Ctrl-D\n"
	})
	if _, err := io.WriteString(terminal, "\x04"); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 1 || !strings.Contains(said.String(), "there is not one line") {
		t.Errorf("exit status %d: %s", code, said.String())
	}
}
