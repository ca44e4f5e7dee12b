package policyroom

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type ask struct {
		sender string
		after  time.Duration
		accept bool
	}
	for name, asks := range map[string][]ask{
		"as many as may be":         {{"@a:a", 0, true}, {"@a:a", 0, true}, {"@a:a", 0, false}},
		"each sender for itself":    {{"@a:a", 0, true}, {"@a:a", 0, true}, {"@b:a", 0, true}, {"@a:a", 0, false}},
		"almost an hour later":      {{"@a:a", 0, true}, {"@a:a", time.Minute, true}, {"@a:a", time.Hour - 1, false}},
		"an hour later":             {{"@a:a", 0, true}, {"@a:a", time.Minute, true}, {"@a:a", time.Hour, true}, {"@a:a", time.Hour, false}},
		"what is refused is no use": {{"@a:a", 0, true}, {"@a:a", 0, true}, {"@a:a", 59 * time.Minute, false}, {"@a:a", time.Hour, true}, {"@a:a", time.Hour, true}},
		"a clock that went back":    {{"@a:a", time.Hour, true}, {"@a:a", time.Hour, true}, {"@a:a", 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pace
			for n, a := range asks {
				if got := p.Accept(a.sender, start.Add(a.after), 2); got != a.accept {
					t.Errorf("%d, %s after %v: %v", n, a.sender, a.after, got)
				}
			}
		})
	}
	var p Pace
	if p.Accept("@a:a", start, 0) || p.Accept("@a:a", start, -1) {
		t.Error("something is accepted where nothing may be")
	}
}

func TestPaceForgets(t *testing.T) {
	var p Pace
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range maxRemembered {
		if !p.Accept(fmt.Sprint("@", n, ":a"), now, 1) {
			t.Fatalf("the sender %d is refused", n)
		}
	}
	if p.Accept("@more:a", now, 1) {
		t.Error("there is no bound")
	}
	if now = now.Add(time.Hour); !p.Accept("@more:a", now, 1) || len(p.accepted) != 1 || p.total != 1 {
		t.Errorf("an hour later it remembers %d of %d senders", p.total, len(p.accepted))
	}
}

// It answers as a list of all that was ever accepted would.
func TestPaceAgreesWithAList(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var p Pace
		type added struct {
			sender string
			at     time.Time
		}
		var all []added
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 500 {
			now = now.Add(time.Duration(random.Int64N(int64(10 * time.Minute))))
			sender, most, recent := fmt.Sprint("@", random.IntN(3), ":a"), random.IntN(8), 0
			for _, a := range all {
				if a.sender == sender && a.at.After(now.Add(-time.Hour)) {
					recent++
				}
			}
			want := recent < most
			if want {
				all = append(all, added{sender, now})
			}
			if got := p.Accept(sender, now, most); got != want {
				t.Fatalf("seed %d: %v with %d of %d", seed, got, recent, most)
			}
		}
	}
}
