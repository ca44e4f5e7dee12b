package secret_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mediagate/internal/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	const canary = "s3cret-canary"
	s := secret.New(canary)
	holder := struct{ Key secret.String }{s}
	raw, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": holder})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", s, "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", s, "holder", holder)
	out := fmt.Sprintf("%v %+v %#v %s %q %x %v %+v %#v", s, s, s, s, s, s, holder, holder, holder) + string(raw) + log.String()
	if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
		t.Errorf("printed: %s", out)
	}
	if s.Reveal() != canary || s.Empty() {
		t.Error("the value is lost")
	}
}

func TestUnmarshalText(t *testing.T) {
	var s secret.String
	if err := s.UnmarshalText([]byte(" key with spaces \r\n\n")); err != nil || s.Reveal() != " key with spaces " {
		t.Errorf("%q, %v", s.Reveal(), err)
	}
}

func TestEqual(t *testing.T) {
	s := secret.New("abc")
	for given, want := range map[string]bool{"abc": true, "abd": false, "ab": false, "": false, "abcd": false} {
		if s.Equal(given) != want {
			t.Errorf("Equal(%q) = %v", given, !want)
		}
	}
}
