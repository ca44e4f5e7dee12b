package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/internal/synapsetest"
)

// readUnit returns what mediagate.service says, by name. What is assigned again is
// added, as systemd does it where lists are concerned.
func readUnit(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile("mediagate.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string][]string{}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			unit[name] = append(unit[name], value)
		}
	}
	return unit
}

func TestUnitIsConfined(t *testing.T) {
	unit := readUnit(t)
	want := map[string]string{
		"Type": "exec", "KillMode": "mixed", "Restart": "on-failure", "OOMPolicy": "continue", "DynamicUser": "yes", "StateDirectory": "mediagate",
		"StateDirectoryMode": "0700", "UMask": "0077", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "NoNewPrivileges": "yes",
		"ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "PrivateUsers": "yes", "ProtectProc": "invisible",
		"ProtectKernelLogs": "yes", "ProtectKernelModules": "yes", "ProtectKernelTunables": "yes", "ProtectControlGroups": "yes", "ProtectClock": "yes",
		"ProtectHostname": "yes", "IPAddressDeny": "any", "IPAddressAllow": "localhost", "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
		"MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes", "RestrictRealtime": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes",
		"LimitCORE": "0", "MemorySwapMax": "0", "SystemCallArchitectures": "native", "NoExecPaths": "/", "ExecPaths": "/usr/local/bin/mediagate",
		"ExecStart": "/usr/local/bin/mediagate serve",
	}
	for name, value := range want {
		if got := unit[name]; !slices.Equal(got, []string{value}) {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if got := unit["SystemCallFilter"]; !slices.Equal(got, []string{"@system-service", "~@privileged"}) {
		t.Errorf("system calls %q", got)
	}
	stop, err := time.ParseDuration(strings.Join(unit["TimeoutStopSec"], ""))
	if err != nil || stop <= 20*time.Second {
		t.Errorf("it has %v to end, %v", stop, err)
	}
	for _, setting := range unit["Environment"] {
		name, value, _ := strings.Cut(setting, "=")
		if secret, ok := strings.CutPrefix(value, "%d/"); strings.HasSuffix(name, "_FILE") && (!ok || !slices.Contains(unit["LoadCredential"], secret+":/etc/mediagate/"+secret)) {
			t.Errorf("%s is not a credential", setting)
		}
	}
}

// environmentOf is what systemd gives the service, with folders of the test's.
func environmentOf(t *testing.T, unit map[string][]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{}
	mapping := strings.NewReplacer("%S/", dir+"/", "%d/", dir+"/")
	for _, setting := range unit["Environment"] {
		name, value, _ := strings.Cut(setting, "=")
		env[name] = mapping.Replace(value)
	}
	for _, credential := range unit["LoadCredential"] {
		name, _, _ := strings.Cut(credential, ":")
		if err := os.WriteFile(filepath.Join(dir, name), []byte("0123456789abcdef\n"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	return env
}

func TestUnitConfiguresTheProgram(t *testing.T) {
	env := environmentOf(t, readUnit(t))
	if out, err := command(t, env, "check-config").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// analyze runs systemd-analyze, which needs no systemd that runs.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		synapsetest.RequireOrSkip(t, "systemd", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// TestSystemdUnderstandsTheUnit has systemd read it and judge it.
func TestSystemdUnderstandsTheUnit(t *testing.T) {
	raw, err := os.ReadFile("mediagate.service")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mediagate.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(raw, []byte("/usr/local/bin/mediagate"), []byte(program(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := analyze(t, "verify", path); strings.Contains(said, "mediagate.service:") {
		t.Errorf("it warns: %s", said)
	}
	analyze(t, "security", "--offline=true", "--threshold=15", path) // 1.5 of 10
}

// expand returns the system calls of a group.
func expand(t *testing.T, group string, into map[string]bool) {
	t.Helper()
	for line := range strings.Lines(analyze(t, "syscall-filter", group)) {
		name := strings.TrimSpace(line)
		switch {
		case name == "" || name == group || strings.HasPrefix(name, "#"):
		case strings.HasPrefix(name, "@"):
			expand(t, name, into)
		default:
			into[name] = true
		}
	}
}

// TestUnitAllowsWhatTheProgramDoes watches the program and its decoders, and
// compares their system calls with those of the unit.
func TestUnitAllowsWhatTheProgramDoes(t *testing.T) {
	t.Parallel()
	tracer, err := exec.LookPath("strace")
	if err != nil {
		synapsetest.RequireOrSkip(t, "strace", err)
	}
	unit := readUnit(t)
	allowed, refused := map[string]bool{}, map[string]bool{}
	for _, filter := range unit["SystemCallFilter"] {
		if group, not := strings.CutPrefix(filter, "~"); not {
			expand(t, group, refused)
		} else {
			expand(t, filter, allowed)
		}
	}
	if !allowed["openat"] || allowed["mount"] || !refused["chroot"] {
		t.Fatalf("%d system calls are allowed, and %d refused again", len(allowed), len(refused))
	}
	log := filepath.Join(t.TempDir(), "calls")
	env := environmentOf(t, unit)
	delete(env, "MEDIAGATE_API_KEY_FILE")
	s := launchUnder(t, env, tracer, "-D", "-f", "-s", "0", "-o", log)
	s.awaitReady(t)
	s.ask(t, asJSON(http.MethodPost, "/c/banks", `{"name":"KNOWN"}`), http.StatusCreated)
	content := picture(t, realPicture)
	s.ask(t, upload(t, "/c/bank/KNOWN/content", "photo", "x.jpg", content, nil), http.StatusOK)
	a := s.ask(t, request{path: "/v1/scan", body: bytes.NewReader(content)}, http.StatusOK)
	if got := decode[scanned](t, a.body); got.Outcome != "blocked" {
		t.Errorf("outcome %q", got.Outcome)
	}
	s.stop(t)
	ended := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+ exited with 0`, s.cmd.Process.Pid))
	var calls string
	eventually(t, "the tracer has written all", func() bool {
		raw, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		calls = string(raw)
		return ended.MatchString(calls)
	})
	done := map[string]bool{}
	for _, call := range regexp.MustCompile(`(?m)^\d+ +([a-z][a-z0-9_]*)\(`).FindAllStringSubmatch(calls, -1) {
		done[call[1]] = true
	}
	if os.Geteuid() == 0 {
		delete(done, "fchown") // by SQLite, for root only
	}
	for _, name := range slices.Sorted(maps.Keys(done)) {
		if !allowed[name] || refused[name] {
			t.Errorf("%s is not allowed", name)
		}
	}
	if !done["execve"] || !done["prlimit64"] || !done["close_range"] || len(done) < 30 {
		t.Errorf("only %v were seen", slices.Sorted(maps.Keys(done)))
	}
}
