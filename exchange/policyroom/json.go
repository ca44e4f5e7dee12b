package policyroom

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// text reads a JSON string.
func text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// number reads a quality, from 0 to 100, as a number or as a text.
func number(raw json.RawMessage) (float64, bool) {
	digits := string(raw)
	if s, ok := text(raw); ok {
		digits = s
	}
	if digits == "" || strings.ContainsAny(digits, "xXpP_nN") {
		return 0, false
	}
	f, err := strconv.ParseFloat(digits, 64)
	return f, err == nil && !math.IsNaN(f) && f >= 0 && f <= 100
}

func hasObject(fields map[string]json.RawMessage) bool {
	for _, raw := range fields {
		if raw[0] == '{' {
			return true
		}
	}
	return false
}

// object writes fields again.
func object(fields map[string]json.RawMessage) json.RawMessage {
	raw, _ := json.Marshal(fields) // fields of a document that was read
	return raw
}
