package main_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/exchange"
)

// follows makes an exchange that follows a list, monitored, with three rules of which the
// first is held for review.
func follows(t *testing.T, env map[string]string) *bank.Store {
	t.Helper()
	s, err := bank.Open(t.Context(), env["MEDIAGATE_DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var f bank.Fetched
	for n := range 3 {
		signal, err := bank.ParseSignal(bank.PDQ, fmt.Sprintf("%064x", n))
		if err != nil {
			t.Fatal(err)
		}
		f.Put = append(f.Put, bank.SourceContent{Key: fmt.Sprintf("rule/\x1b%d", n), Signals: []bank.Signal{signal}, Alone: true})
	}
	x := bank.Exchange{Name: "LIST", API: exchange.MatrixPolicyList, Config: "{}", Enabled: true, Bank: bank.Bank{Monitor: true, Agree: 1, Breaker: 20}}
	for _, err := range []error{
		s.CreateExchange(t.Context(), x), s.Commit(t.Context(), "LIST", f), s.Hold(t.Context(), []int64{1}, "it blocks much"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestExchangeIsPromotedByCommand, and reviewed.
func TestExchangeIsPromotedByCommand(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		run := func(status int, args ...string) string {
			t.Helper()
			out, err := command(t, env, append([]string{"exchange"}, args...)...).CombinedOutput()
			if code := exitCode(t, err); code != status {
				t.Errorf("%v: exit status %d: %s", args, code, out)
			}
			return string(out)
		}
		says := func(want string, status int, args ...string) {
			t.Helper()
			if got := run(status, args...); got != want+"\n" {
				t.Errorf("%v says %q, want %q", args, got, want)
			}
		}
		says("mediagate: exchange promote: open store: there is no store", 1, "promote", "LIST")
		s := follows(t, env)
		if out := run(0, "list"); !regexp.MustCompile(`(?m)^LIST .* on +monitor .* 3 +0 +1 +- +-$`).MatchString(out) {
			t.Errorf("it is listed as\n%s", out)
		}
		bankList, err := command(t, env, "bank", "list").Output()
		if err != nil || !regexp.MustCompile(`(?m)^LIST +on 1 +looked up +monitor, agree 1, breaker 20 +3 `).Match(bankList) {
			t.Errorf("its bank is listed as\n%s", bankList)
		}
		says("mediagate: exchange promote: LIST is in monitor already", 1, "promote", "LIST", "--back")
		says("mediagate: exchange promote: change exchange: the exchange has not been read once, and cannot block before", 1, "promote", "LIST")
		if err := s.Commit(t.Context(), "LIST", bank.Fetched{Completed: true}); err != nil {
			t.Fatal(err)
		}
		says("LIST: 2 contents begin to block, 1 are held for review", 0, "promote", "LIST")
		says("mediagate: exchange promote: LIST is not in monitor: its contents block already", 1, "promote", "LIST")
		if out := run(0, "list", "--json"); !strings.Contains(out, `"mode":"enforce"`) || !strings.Contains(out, `"in_review":1`) {
			t.Errorf("it is listed as\n%s", out)
		}
		listed := regexp.MustCompile("(?m)^ID +STATE +SINCE +KEY +REASON\n1 +held +2.*Z +rule/\uFFFD0 +it blocks much\n$")
		if out := run(0, "review", "LIST"); !listed.MatchString(out) {
			t.Errorf("in review is\n%s", out)
		}
		says("LIST: content 1 blocks, and is not held again", 0, "review", "LIST", "--block", "1")
		var line struct {
			Content     int64 `json:"content_id"`
			Key, Reason string
			Confirmed   bool
		}
		if err := json.Unmarshal([]byte(run(0, "review", "LIST", "--json")), &line); err != nil || line.Content != 1 || line.Key != "rule/\x1b0" || !line.Confirmed {
			t.Errorf("%+v, %v", line, err)
		}
		says("LIST: 3 contents are monitored, and do not block any more, 0 are held for review", 0, "promote", "LIST", "--back")
		says("LIST: content 1 does not block, for good", 0, "review", "--dismiss", "1", "LIST")
		says("mediagate: exchange review: content 1: decide review: the content is not in review", 1, "review", "LIST", "--block", "1")
		says("mediagate: exchange review: content 77: decide review: content not found", 1, "review", "LIST", "--dismiss", "77")
		if err := s.Hold(t.Context(), []int64{2}, ""); err != nil {
			t.Fatal(err)
		}
		says("LIST: content 2 blocks once the exchange is promoted, and is not held again", 0, "review", "LIST", "--block", "2")
		off := 0.0
		if _, err := s.UpdateBank(t.Context(), "LIST", bank.Settings{Ratio: &off}); err != nil {
			t.Fatal(err)
		}
		says("LIST: 2 contents would block, and do not: their bank is off, 0 are held for review", 0, "promote", "LIST")
		for wrong, args := range map[string][]string{
			"exchange promote: it needs the name of one exchange\n":                    {"promote"},
			"exchange review: it needs the name of one exchange\n":                     {"review", "A", "B"},
			"exchange review: it takes one of --json, --block and --dismiss\n":         {"review", "LIST", "--block", "2", "--dismiss", "2"},
			"exchange review: there is no content 0\n":                                 {"review", "LIST", "--block", "0"},
			"exchange review: invalid value \"x\" for flag -dismiss: parse error\n":    {"review", "LIST", "--dismiss", "x"},
			"exchange promote: exchange not found\n":                                   {"promote", "NONE"},
			"exchange promote: flag provided but not defined: -json\nusage: mediagate": {"promote", "LIST", "--json"},
		} {
			if out := run(1, args...); !strings.HasPrefix(out, "mediagate: "+wrong) {
				t.Errorf("%v says %q", args, out)
			}
		}
	})
}
