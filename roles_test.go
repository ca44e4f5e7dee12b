package main

import (
	"strings"
	"testing"

	"mediagate/server"
)

// TestRoles: two variables name roles, and what they say must be clear.
func TestRoles(t *testing.T) {
	const ours, old, home = "MEDIAGATE_ROLES=", "HMA_WORKER_ROLE=", "MEDIAGATE_HOMESERVER_URL=http://127.0.0.1:8008"
	const list = "is no role: there are HASHER, MATCHER, CURATOR, CRON, UI, SCANNER, GATE, with commas between them"
	for name, tt := range map[string]struct {
		environ []string
		want    server.Roles
		problem string // the error, or its end
	}{
		"neither":                {nil, 0, ""},
		"empty":                  {[]string{ours}, 0, "MEDIAGATE_ROLES: it is set and empty: give it a value, or leave it out"},
		"empty, old":             {[]string{ours + "CRON", old}, 0, "HMA_WORKER_ROLE: it is set and empty: give it a value, or leave it out"},
		"HMA's trap":             {[]string{ours + "HASHER,MATCHER"}, server.Hasher | server.Matcher, ""},
		"the other way round":    {[]string{ours + "MATCHER,HASHER"}, server.Hasher | server.Matcher, ""},
		"in the old variable":    {[]string{old + "HASHER,MATCHER"}, server.Hasher | server.Matcher, ""},
		"trimmed, small, twice":  {[]string{ours + " hasher ,\tMatcher,HASHER"}, server.Hasher | server.Matcher, ""},
		"all of hma-matrix":      {[]string{old + "HASHER,MATCHER,CURATOR,CRON,UI"}, server.Hasher | server.Matcher | server.Curator | server.Cron | server.UI, ""},
		"without a homeserver":   {[]string{ours + "SCANNER,CRON"}, server.Scanner | server.Cron, ""},
		"gate":                   {[]string{ours + "GATE", home}, server.Gate, ""},
		"gate, no homeserver":    {[]string{ours + "MATCHER,GATE"}, 0, "MEDIAGATE_ROLES has GATE, which needs MEDIAGATE_HOMESERVER_URL"},
		"gate, old, none":        {[]string{old + "GATE"}, 0, "HMA_WORKER_ROLE has GATE, which needs MEDIAGATE_HOMESERVER_URL"},
		"both, the same":         {[]string{ours + "CRON,UI", old + "ui, cron"}, server.Cron | server.UI, ""},
		"both, different":        {[]string{ours + "CRON,UI", old + "UI"}, 0, "HMA_WORKER_ROLE and MEDIAGATE_ROLES are both set, and differ: leave one of them out"},
		"unknown":                {[]string{ours + "MATCHER,INDEXER"}, 0, `"INDEXER" ` + list},
		"several unknown":        {[]string{ours + "MATCH,GATE,HASHER MATCHER"}, 0, `"MATCH", "HASHER MATCHER" ` + list},
		"unknown, old":           {[]string{old + "\x00\nCRON"}, 0, `"\x00\nCRON" ` + list},
		"empty element":          {[]string{ours + "MATCHER,,HASHER"}, 0, `"" ` + list},
		"empty element at last":  {[]string{ours + "MATCHER,"}, 0, `"" ` + list},
		"nothing but a space":    {[]string{ours + " "}, 0, `"" ` + list},
		"another sign between":   {[]string{ours + "MATCHER;HASHER"}, 0, `"MATCHER;HASHER" ` + list},
		"a letter like another":  {[]string{ours + "MATCHER,\u212AASHER"}, 0, "\"\u212AASHER\" " + list},
		"small letters of Turks": {[]string{ours + "un\u0131"}, 0, "\"un\u0131\" " + list},
	} {
		c, err := loadConfig(tt.environ)
		if tt.problem == "" && (err != nil || c.Server.Roles != tt.want) {
			t.Errorf("%s: %s, %v, want %s", name, c.Server.Roles, err, tt.want)
		}
		if tt.problem != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.problem) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %s", name, err, tt.problem)
		}
	}
	if got := server.Roles(0).String(); got != "HASHER,MATCHER,CURATOR,CRON,UI,SCANNER,GATE" {
		t.Errorf("all are %s", got)
	}
}

// TestRolesNeedTheirSettingsOnly: what a process does not do needs no setting.
func TestRolesNeedTheirSettingsOnly(t *testing.T) {
	const home, reached = "MEDIAGATE_HOMESERVER_URL=http://127.0.0.1:8008", "MEDIAGATE_LISTEN=:5100"
	key, secretFile := "MEDIAGATE_API_KEY_FILE="+keyFile(t, "0123456789abcdef"), "MEDIAGATE_HOOK_SECRET_FILE="+keyFile(t, "x")
	for name, tt := range map[string]struct {
		environ []string
		want    string // part of the error
	}{
		"gate with a secret":        {[]string{"MEDIAGATE_ROLES=GATE,CRON,UI", home, reached, secretFile}, ""},
		"gate without":              {[]string{"MEDIAGATE_ROLES=GATE", home, reached, key}, "MEDIAGATE_HOOK_SECRET_FILE"},
		"all without a secret":      {[]string{home, reached, key}, "MEDIAGATE_HOOK_SECRET_FILE"},
		"scanner with a homeserver": {[]string{"MEDIAGATE_ROLES=SCANNER", home, reached, key}, ""},
		"scanner without a key":     {[]string{"MEDIAGATE_ROLES=SCANNER,GATE", home, reached, secretFile}, "MEDIAGATE_API_KEY_FILE"},
		"hasher without a key":      {[]string{"MEDIAGATE_ROLES=HASHER", reached}, "MEDIAGATE_API_KEY_FILE"},
		"matcher without a key":     {[]string{"MEDIAGATE_ROLES=MATCHER", reached}, "MEDIAGATE_API_KEY_FILE"},
		"curator without a key":     {[]string{"MEDIAGATE_ROLES=CURATOR", reached}, "MEDIAGATE_API_KEY_FILE"},
		"hasher without its key":    {[]string{"MEDIAGATE_ROLES=HASHER,MATCHER", "MEDIAGATE_MATCHER_KEY_FILE=" + keyFile(t, "0123456789abcdef")}, "MEDIAGATE_HASHER_KEY_FILE is required"},
		"curator without its key":   {[]string{"MEDIAGATE_ROLES=CURATOR", "MEDIAGATE_HASHER_KEY_FILE=" + keyFile(t, "0123456789abcdef")}, "MEDIAGATE_CURATOR_KEY_FILE is required"},
		"scanner of items only":     {[]string{"MEDIAGATE_ROLES=SCANNER,MATCHER", "MEDIAGATE_MATCHER_KEY_FILE=" + keyFile(t, "0123456789abcdef")}, ""},
		"cron":                      {[]string{"MEDIAGATE_ROLES=CRON", home, reached}, ""},
		"hook's time, no gate":      {[]string{"MEDIAGATE_ROLES=SCANNER", home, "MEDIAGATE_HOOK_TIMEOUT=1h"}, ""},
		"scan's time, no scanner":   {[]string{"MEDIAGATE_ROLES=GATE", home, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=1h"}, ""},
		"scan's time":               {[]string{"MEDIAGATE_ROLES=SCANNER", home, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=1h"}, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT"},
	} {
		if _, err := loadConfig(tt.environ); (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestKeys: files of keys are looked at as a whole, and no message has a key.
func TestKeys(t *testing.T) {
	const general, hasher, matcher, old = "MEDIAGATE_API_KEY_FILE", "MEDIAGATE_HASHER_KEY_FILE", "MEDIAGATE_MATCHER_KEY_FILE", "HMA_API_KEY="
	const a, b = "s3cret-aaaaaaaaa", "s3cret-bbbbbbbbb" // the shortest
	in := func(setting, content string) string { return setting + "=" + keyFile(t, content) }
	for name, tt := range map[string]struct {
		environ []string
		want    []string // parts of the lines of the error
	}{
		"one":                       {[]string{in(general, a)}, nil},
		"several":                   {[]string{in(general, "\n"+a+"\r\n\n"+b+"\n\n")}, nil},
		"one for two roles":         {[]string{in(hasher, a), in(matcher, b+"\n"+a)}, nil},
		"twice in a file":           {[]string{in(hasher, a+"\n"+a)}, nil},
		"a role's is enough":        {[]string{"MEDIAGATE_LISTEN=:5100", in("MEDIAGATE_CURATOR_KEY_FILE", a)}, nil},
		"old":                       {[]string{"MEDIAGATE_LISTEN=:5100", old + a}, nil},
		"old, also in the file":     {[]string{old + a, in(general, b+"\n"+a)}, nil},
		"old, not in the file":      {[]string{old + a, in(general, b)}, []string{"HMA_API_KEY and MEDIAGATE_API_KEY_FILE are both set, and differ"}},
		"old, part of the file's":   {[]string{old + a, in(general, a+"x")}, []string{"differ"}},
		"old and short":             {[]string{old + a[1:]}, []string{"HMA_API_KEY is too short"}},
		"too short":                 {[]string{in(general, a+"\n"+b[1:])}, []string{general + ": line 2 is too short: a key has 16 characters or more"}},
		"a space":                   {[]string{in(hasher, "s3cret aaaaaaaaaaa")}, []string{hasher + ": line 1 is no key"}},
		"a space at last":           {[]string{in(hasher, a+" ")}, []string{hasher + ": line 1 is no key"}},
		"not ASCII":                 {[]string{in(hasher, a+"é")}, []string{hasher + ": line 1 is no key"}},
		"nothing but empty lines":   {[]string{in(hasher, "\n \r\n")}, []string{hasher + ": the file is empty"}},
		"for everything and a role": {[]string{in(general, b+"\n"+a), in(matcher, a)}, []string{matcher + ": line 1 is a key for everything already"}},
		"old and of a role":         {[]string{old + a, in(matcher, b+"\n"+a)}, []string{matcher + ": line 2 is a key for everything already"}},
		"everything at once": {
			[]string{in(general, a+"\ns3cret"), in(hasher, "s3cret s3cret s3cret\n\n"+a), in(matcher, "")},
			[]string{general + ": line 2 is too short", hasher + ": line 1 is no key", hasher + ": line 3 is a key for everything", matcher + ": the file is empty"},
		},
	} {
		_, err := loadConfig(tt.environ)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if lines := strings.Count(said, "\n") + 1; (err != nil) != (tt.want != nil) || err != nil && lines != len(tt.want) || strings.Contains(said, "s3cret") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		for _, want := range tt.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}
