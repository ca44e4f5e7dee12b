package main_test

import (
	"regexp"
	"strings"
	"testing"

	"mediagate/internal/synapsetest"
)

// TestExchangeIsRunByCommand: not beside a server that fetches it, and else as a
// server would.
func TestExchangeIsRunByCommand(t *testing.T) {
	t.Parallel()
	s := &site{hs: synapsetest.Start(t, synapsetest.Options{})}
	s.admin, s.alice = s.hs.Register(t, "admin", true), s.hs.Register(t, "alice", false)
	env := s.environment(t, nil)
	run := func(status int, args ...string) string {
		t.Helper()
		out, err := command(t, env, args...).CombinedOutput()
		if code := exitCode(t, err); code != status || strings.Contains(string(out), s.admin.Token) {
			t.Errorf("%v: exit status %d: %s", args, code, out)
		}
		return string(out)
	}
	post := func(content string) string {
		t.Helper()
		uri := s.hs.Upload(t, s.alice.Token, "application/octet-stream", "x", []byte(content))
		s.hs.Quarantine(t, s.admin.Token, uri)
		return uri
	}
	if out := run(1, "exchange", "run", "SYNAPSE_QUARANTINE"); out != "mediagate: exchange run: open store: there is no store\n" {
		t.Errorf("it says %q", out)
	}
	maker := launch(t, mapWith(env, "MEDIAGATE_ROLES", "CURATOR"))
	maker.awaitListening(t)
	maker.stop(t)
	first := post("first")
	post("second")
	if out := run(0, "exchange", "run", "SYNAPSE_QUARANTINE"); out != "SYNAPSE_QUARANTINE: banked 2 items, removed 0, 0 are pending\n" {
		t.Errorf("it says %q", out)
	}
	listed := regexp.MustCompile(`(?m)^SYNAPSE_QUARANTINE .* on +enforce .* yes .* ok +2 +0 +0 +- +-$`)
	if out := run(0, "exchange", "list"); !listed.MatchString(out) {
		t.Errorf("it is listed as\n%s", out)
	}
	s.hs.Unquarantine(t, s.admin.Token, first)
	if out := run(0, "exchange", "run", "SYNAPSE_QUARANTINE"); out != "SYNAPSE_QUARANTINE: banked 0 items, removed 1, 0 are pending\n" {
		t.Errorf("it says %q", out)
	}
	gate := start(t, env)
	holder := ""
	gate.await(t, "it has the lease", func() bool {
		if m := regexp.MustCompile(`"holder":"([^"]+)"`).FindStringSubmatch(run(0, "exchange", "list", "--json")); m != nil {
			holder = m[1]
		}
		return holder != ""
	})
	if out := run(1, "exchange", "run", "SYNAPSE_QUARANTINE"); !strings.Contains(out, "mediagate: exchange run: take lease: the lease is held by another process, "+holder) {
		t.Errorf("beside %s it says %q", holder, out)
	}
}
