package exchange_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"mediagate/bank"
	"mediagate/exchange"
)

func policyAPI(t testing.TB) exchange.API {
	t.Helper()
	api, ok := exchange.FindAPI(exchange.MatrixPolicyList)
	if !ok {
		t.Fatal("there is no such API")
	}
	return api
}

func TestNewPolicyListIsNotBelieved(t *testing.T) {
	if b := policyAPI(t).NewBank(); !b.Monitor || b.Breaker <= 0 || b.Allow {
		t.Errorf("%+v", b)
	}
	if b := synapseAPI(t).NewBank(); b != (bank.Bank{}) {
		t.Errorf("%+v", b)
	}
}

func TestCheckPolicyConfig(t *testing.T) {
	texts := func(n int, text string) (list []any) {
		for range n {
			list = append(list, text)
		}
		return list
	}
	for name, tt := range map[string]struct {
		change map[string]any // of a configuration that is right
		field  string         // that is wrong, empty for none
	}{
		"least":                {nil, ""},
		"alias":                {map[string]any{"room": "#list:example.org"}, ""},
		"id of version 12":     {map[string]any{"room": "!4pkua3Hf-Ztu0ezKkh0OgafyPVFaWpzXYbDB2PkHEQM"}, ""},
		"all":                  {map[string]any{"via": []any{"a.org", "[::1]:8448"}, "homeserver_url": "https://h", "inviters": []any{"@a:b"}, "senders": []any{"@a:b"}, "min_power": int64(0), "max_entries": int64(1), "max_additions_per_hour": int64(1), "trusted_removals": true, "servers": true}, ""},
		"most":                 {map[string]any{"min_power": int64(1 << 53), "max_entries": int64(1_000_000), "max_additions_per_hour": int64(1_000_000), "senders": texts(1000, "@a:b")}, ""},
		"no room":              {map[string]any{"room": nil}, "room"},
		"empty room":           {map[string]any{"room": ""}, "room"},
		"user for a room":      {map[string]any{"room": "@a:b"}, "room"},
		"alias without server": {map[string]any{"room": "#list"}, "room"},
		"path in a room":       {map[string]any{"room": "!a/../b:c"}, "room"},
		"longest room":         {map[string]any{"room": "!" + strings.Repeat("a", 254)}, ""},
		"longest server":       {map[string]any{"via": []any{strings.Repeat("a", 255)}}, ""},
		"long server":          {map[string]any{"via": []any{strings.Repeat("a", 256)}}, "via"},
		"too many additions":   {map[string]any{"max_additions_per_hour": int64(1_000_001)}, "max_additions_per_hour"},
		"long room":            {map[string]any{"room": "!" + strings.Repeat("a", 255)}, "room"},
		"number for a room":    {map[string]any{"room": int64(5)}, "room"},
		"text for via":         {map[string]any{"via": "a.org"}, "via"},
		"number in via":        {map[string]any{"via": []any{int64(1)}}, "via"},
		"path in via":          {map[string]any{"via": []any{"a/b"}}, "via"},
		"empty server":         {map[string]any{"via": []any{""}}, "via"},
		"other scheme":         {map[string]any{"homeserver_url": "ftp://h"}, "homeserver_url"},
		"room for a sender":    {map[string]any{"senders": []any{"!a:b"}}, "senders"},
		"blank in a sender":    {map[string]any{"senders": []any{"@a b:c"}}, "senders"},
		"too many senders":     {map[string]any{"senders": texts(1001, "@a:b")}, "senders"},
		"empty inviter":        {map[string]any{"inviters": []any{""}}, "inviters"},
		"negative power":       {map[string]any{"min_power": int64(-1)}, "min_power"},
		"too much power":       {map[string]any{"min_power": int64(1<<53 + 1)}, "min_power"},
		"text for power":       {map[string]any{"min_power": "50"}, "min_power"},
		"fraction":             {map[string]any{"min_power": 0.5}, "min_power"},
		"no entries":           {map[string]any{"max_entries": int64(0)}, "max_entries"},
		"too many entries":     {map[string]any{"max_entries": int64(1_000_001)}, "max_entries"},
		"no additions":         {map[string]any{"max_additions_per_hour": int64(0)}, "max_additions_per_hour"},
		"text for a flag":      {map[string]any{"servers": "true"}, "servers"},
		"null for a flag":      {map[string]any{"trusted_removals": nil}, "trusted_removals"},
	} {
		given := map[string]any{"room": "!a:b"}
		for field, value := range tt.change {
			given[field] = value
		}
		stored, err := policyAPI(t).CheckConfig(given)
		var wrong *exchange.FieldError
		switch {
		case tt.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.field == "" && !json.Valid([]byte(stored)):
			t.Errorf("%s: stored is %q", name, stored)
		case tt.field != "" && (!errors.As(err, &wrong) || wrong.Field != tt.field):
			t.Errorf("%s: %v, want one about %s", name, err, tt.field)
		}
	}
}

func FuzzCheckPolicyConfig(f *testing.F) {
	f.Add(`{"room":"#a:b","via":["c"],"min_power":5}`)
	f.Add(`{"room":"!a","senders":["@a:b"],"servers":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		var given map[string]any
		if json.Unmarshal([]byte(text), &given) != nil {
			return
		}
		for field, value := range given {
			if n, ok := value.(float64); ok && n == float64(int64(n)) {
				given[field] = int64(n)
			}
		}
		stored, err := policyAPI(t).CheckConfig(given)
		var wrong *exchange.FieldError
		if err != nil && !errors.As(err, &wrong) {
			t.Fatalf("%v is about no field", err)
		}
		if err != nil {
			return
		}
		var again map[string]any
		if err := json.Unmarshal([]byte(stored), &again); err != nil {
			t.Fatal(err)
		}
		if room, _ := again["room"].(string); room == "" || strings.ContainsAny(room, " \n/?") {
			t.Errorf("room %q", room)
		}
	})
}
