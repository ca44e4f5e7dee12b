package synapsetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installed is where make peers puts Synapse, from the root of the module, and
// complete the file that is there when it is done.
const (
	installed = ".cache/synapse-1.160.0"
	complete  = "complete"
)

// findSynapse returns the Python interpreter that has Synapse.
func findSynapse(t testing.TB) string {
	t.Helper()
	if python := os.Getenv("MEDIAGATE_TEST_SYNAPSE"); python != "" {
		if _, err := exec.LookPath(python); err != nil {
			RequireOrSkip(t, "synapse", err)
		}
		return python
	}
	dir := filepath.Join(moduleRoot(t), installed)
	if _, err := os.Stat(filepath.Join(dir, complete)); err != nil {
		RequireOrSkip(t, "synapse", fmt.Errorf("make peers installs it: %w", err))
	}
	return filepath.Join(dir, "bin", "python")
}

// findNginx returns the path of nginx, which Debian keeps where only root looks.
func findNginx(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		RequireOrSkip(t, "nginx", err)
	}
	return path
}

// moduleRoot is the folder above that has go.mod. Tests run in their package's.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		t.Fatalf("find the module: %v", err)
	}
}

// RequireOrSkip ends a test whose tool is missing, for the reason err: it is skipped,
// or fails if MEDIAGATE_TEST_REQUIRE names the tool.
func RequireOrSkip(t testing.TB, tool string, err error) {
	t.Helper()
	for required := range strings.SplitSeq(os.Getenv("MEDIAGATE_TEST_REQUIRE"), ",") {
		if required == tool {
			t.Fatalf("%s is required: %v", tool, err)
		}
	}
	t.Skipf("%s is missing: %v", tool, err)
}
