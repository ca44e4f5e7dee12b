package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mediagate/internal/postgrestest"
)

// hashList is a list of so many hashes, one a line.
func hashList(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `{"type":"pdq","value":"%064x"}`+"\n", i)
	}
	return out.String()
}

// importHashes makes the bank LIST, of so many hashes.
func importHashes(t *testing.T, env map[string]string, n int) {
	t.Helper()
	cmd := command(t, env, "bank", "import", "LIST", "--create")
	cmd.Stdin = strings.NewReader(hashList(n))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// exportOf is what a bank holds, without the numbers of its contents.
func exportOf(t *testing.T, env map[string]string, name string) (lines []string) {
	t.Helper()
	out, err := command(t, env, "bank", "export", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, line := range lines[:len(lines)-1] {
		_, signals, _ := strings.Cut(line, `"signals":`)
		lines[i] = signals
	}
	return lines[1 : len(lines)-1]
}

// eachDatabase runs a test with the settings of each kind of database.
func eachDatabase(t *testing.T, test func(t *testing.T, env map[string]string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, databaseIn(t.TempDir())) })
	t.Run("postgres", func(t *testing.T) {
		test(t, map[string]string{"MEDIAGATE_DATABASE_URL": postgrestest.Start(t).NewDatabase(t)})
	})
}

// TestImportSurvivesKill kills imports of one list again and again, and lets the
// last one end: each hash is there, once.
func TestImportSurvivesKill(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		const hashes = 8000
		list := hashList(hashes)
		rng := rand.New(rand.NewPCG(crashSeed, 5))
		inside := 0
		for range 12 {
			cmd := command(t, env, "bank", "import", "LIST", "--create")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// What is written was read, but for what pipes hold.
			if _, err := io.WriteString(stdin, list[:rng.IntN(len(list))]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond) // the point of the crash, not a wait for anything
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
			out, err := command(t, env, "bank", "export", "LIST").Output()
			if err != nil {
				continue // nothing was committed yet
			}
			n := strings.Count(string(out), "\n") - 2
			if n%1000 != 0 {
				t.Errorf("%d contents are there: a part of what is committed at once", n)
			}
			if n > 0 && n < hashes {
				inside++
			}
		}
		if inside == 0 {
			t.Error("it was never killed between the first commit and the last")
		}
		cmd := command(t, env, "bank", "import", "LIST", "--create")
		cmd.Stdin = strings.NewReader(list)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := exportOf(t, env, "LIST")
		if len(got) != hashes {
			t.Fatalf("%d contents, want %d", len(got), hashes)
		}
		for i, signals := range got {
			if want := fmt.Sprintf(`[{"type":"pdq","value":"%064x"}]}`, i); signals != want {
				t.Fatalf("content %d is %s, want %s", i, signals, want)
			}
		}
	})
}

// TestBanksMoveBetweenDatabases exports from one kind into the other, and back.
func TestBanksMoveBetweenDatabases(t *testing.T) {
	t.Parallel()
	file, server := databaseIn(t.TempDir()), map[string]string{"MEDIAGATE_DATABASE_URL": postgrestest.Start(t).NewDatabase(t)}
	var exports [3]string
	for i, env := range []map[string]string{file, server, databaseIn(t.TempDir())} {
		cmd := command(t, env, "bank", "import", "LIST", "--create")
		if cmd.Stdin = strings.NewReader(hashList(1500)); i > 0 {
			cmd.Stdin = strings.NewReader(exports[i-1])
		}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "added 1500 contents, skipped 0 that the bank has\n" {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := command(t, env, "bank", "export", "--all").Output()
		if err != nil {
			t.Fatal(err)
		}
		if exports[i] = string(out); i > 0 && exports[i] != exports[0] { // the numbers begin anew, and so are the same
			t.Errorf("the export after %d moves is another one", i)
		}
	}
}

// TestServerMatchesWhatIsImported beside it, and is not kept from writing.
func TestServerMatchesWhatIsImported(t *testing.T) {
	t.Parallel()
	env := databaseIn(t.TempDir())
	s := start(t, env)
	cmd := command(t, env, "bank", "import", "LIST", "--create")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	list := hashList(5000)
	if _, err := io.WriteString(stdin, list[:len(list)/2]); err != nil {
		t.Fatal(err)
	}
	found := func(n int) bool { return len(s.found(t, "pdq", fmt.Sprintf("%064x", n))) > 0 }
	s.await(t, "what came first is matched while the rest is on its way", func() bool { return found(1) })
	s.ask(t, asJSON("POST", "/c/banks", `{"name":"MEANWHILE"}`), 201)
	if _, err := io.WriteString(stdin, list[len(list)/2:]); err != nil {
		t.Fatal(err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s.await(t, "the last is matched", func() bool { return found(4999) })
}

// TestImportIsInterrupted while it waits for more lines: it says what it has done.
func TestImportIsInterrupted(t *testing.T) {
	t.Parallel()
	env := databaseIn(t.TempDir())
	cmd := command(t, env, "bank", "import", "LIST", "--create")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said output
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, hashList(1500)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first are committed", func() bool {
		out, err := command(t, env, "bank", "export", "LIST").Output()
		return err == nil && strings.Count(string(out), "\n") == 1002
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 1 || said.String() != "mediagate: bank import: interrupted; before that, added 1000 contents, skipped 0 that the bank has\n" {
		t.Errorf("exit status %d: %s", code, said.String())
	}
	if got := exportOf(t, env, "LIST"); len(got) != 1000 {
		t.Errorf("%d contents", len(got))
	}
}

// TestHashesAreNotForTheScreen gives an export a terminal, and an import one to show
// its progress on.
func TestHashesAreNotForTheScreen(t *testing.T) {
	t.Parallel()
	env := databaseIn(t.TempDir())
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte(hashList(3000)), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := func(args ...string) (string, int) {
		t.Helper()
		cmd := command(t, env, args...)
		terminal, screen := openTerminal(t)
		cmd.Stdout, cmd.Stderr = screen, screen
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = screen.Close()              // the program has its own
		text, _ := io.ReadAll(terminal) // which ends with an error
		_ = terminal.Close()
		return string(text), exitCode(t, cmd.Wait())
	}
	if text, code := shown("bank", "import", "LIST", "--create", list); code != 0 || !strings.Contains(text, "importing") || !strings.Contains(text, "added 3000 contents") {
		t.Errorf("exit status %d: %q", code, text)
	}
	if text, code := shown("bank", "export", "LIST"); code != 1 || strings.Contains(text, "0000") || !strings.Contains(text, "--output") {
		t.Errorf("exit status %d: %q", code, text)
	}
	if text, code := shown("bank", "export", "LIST", "--output", "-"); code != 0 || !strings.Contains(text, fmt.Sprintf("%064x", 2999)) {
		t.Errorf("exit status %d: %q", code, text)
	}
}

// openTerminal returns both ends of a terminal.
func openTerminal(t *testing.T) (terminal, screen *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if screen, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return terminal, screen
}

// TestExportThatFailsLeavesNoFile: a database that is damaged below the program.
func TestExportThatFailsLeavesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := databaseIn(dir)
	importHashes(t, env, 3000)
	if _, err := openStore(t, dir).ExecContext(t.Context(), "UPDATE signal SET type = 'sha1' WHERE content = 2900"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "export")
	out, err := command(t, env, "bank", "export", "LIST", "--output", file).CombinedOutput()
	if code := exitCode(t, err); code != 1 || !strings.Contains(string(out), "content 2900 of bank LIST: malformed signal of type sha1") {
		t.Errorf("exit status %d: %s", code, out)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*export*")); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	// On standard output it has no end, and import knows.
	cmd := command(t, env, "bank", "export", "LIST")
	cut, err := cmd.Output()
	if exitCode(t, err) != 1 || len(cut) == 0 {
		t.Fatalf("%d bytes, %v", len(cut), err)
	}
	again := exec.CommandContext(t.Context(), program(t), "bank", "import", "LIST", "--dry-run")
	again.Env, again.Dir, again.Stdin = cmd.Env, cmd.Dir, strings.NewReader(string(cut))
	if out, err := again.CombinedOutput(); err == nil {
		t.Errorf("it is taken for whole: %s", out)
	}
}
