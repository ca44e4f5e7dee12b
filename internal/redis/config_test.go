package redis_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mediagate/internal/redis"
	"mediagate/internal/secret"
)

const (
	urlVar      = "MEDIAGATE_REDIS_URL"
	passwordVar = "MEDIAGATE_REDIS_PASSWORD_FILE"
	sentinelVar = "MEDIAGATE_REDIS_SENTINEL_PASSWORD_FILE"
	keyVar      = "MEDIAGATE_REDIS_KEY_FILE"
)

var key = strings.Repeat("k", 32)

func TestEveryProblemIsNamedAndNoSecret(t *testing.T) {
	const canary = "canary"
	tests := map[string]struct {
		url, password, sentinel, key string
		want                         []string
	}{
		"nothing":                      {},
		"host":                         {"redis://localhost", "", "", key, nil},
		"database":                     {"redis://localhost:1/15", "", "", key, nil},
		"slash":                        {"redis://localhost/", "", "", key, nil},
		"TLS":                          {"rediss://localhost", "", "", key, nil},
		"IPv6":                         {"redis://[::1]", "", "", key, nil},
		"IPv6 and a port":              {"redis://[::1]:6379", "", "", key, nil},
		"user":                         {"redis://user@localhost", canary, "", key, nil},
		"password without a user":      {"redis://localhost", canary, "", key, nil},
		"password in the URL":          {"redis://user:" + canary + "@localhost", "", "", key, nil},
		"socket":                       {"unix:///run/redis.sock?db=3", "", "", key, nil},
		"socket and a user":            {"unix://user@/run/redis.sock", canary, "", key, nil},
		"Sentinels":                    {"redis://a?master_name=m&addr=b:1&addr=c", canary, canary, key, nil},
		"Cluster":                      {"redis://a?cluster=true&addr=b", "", "", key, nil},
		"cluster in one address":       {"redis://a/0?cluster=true", "", "", key, nil},
		"key of 31 bytes":              {"redis://a", "", "", key[1:], []string{keyVar}},
		"no key":                       {"redis://a", "", "", "", []string{keyVar}},
		"key without a URL":            {"", "", "", key, []string{keyVar}},
		"passwords without a URL":      {"", canary, canary, "", []string{passwordVar, sentinelVar}},
		"password twice":               {"redis://:" + canary + "@a", canary, "", key, []string{passwordVar}},
		"user without a password":      {"redis://user@a", "", "", key, []string{urlVar}},
		"Sentinels' password of none":  {"redis://a", "", canary, key, []string{sentinelVar}},
		"other scheme":                 {"http://user:" + canary + "@a", "", "", key, []string{urlVar}},
		"no scheme":                    {"localhost:6379", "", "", key, []string{urlVar}},
		"no URL":                       {"redis://user:" + canary + "%zz@a", "", "", key, []string{urlVar}},
		"# in the password":            {"redis://user:" + canary + "#" + canary + "@a", "", "", key, []string{urlVar}},
		"? in the password":            {"redis://user:a?" + canary + "=" + canary + "@a", "", "", key, []string{urlVar}},
		"/ in the password":            {"redis://user:a/" + canary + "@a", "", "", key, []string{urlVar}},
		"opaque":                       {"redis:" + canary, "", "", key, []string{urlVar}},
		"no host":                      {"redis://", "", "", key, []string{urlVar}},
		"only a port":                  {"redis://:6379", "", "", key, []string{urlVar}},
		"port 0":                       {"redis://a:0", "", "", key, []string{urlVar}},
		"port too large":               {"redis://a:65536", "", "", key, []string{urlVar}},
		"colons":                       {"redis://a?cluster=true&addr=b:c:1", "", "", key, []string{urlVar}},
		"empty address":                {"redis://a?cluster=true&addr=", "", "", key, []string{urlVar}},
		"socket at a host":             {"unix://run/redis.sock", "", "", key, []string{urlVar}},
		"socket that is a root":        {"unix:///", "", "", key, []string{urlVar}},
		"database that is no number":   {"redis://a/" + canary, "", "", key, []string{urlVar}},
		"database below 0":             {"redis://a/-1", "", "", key, []string{urlVar}},
		"database of a Cluster":        {"redis://a/1?cluster=true", "", "", key, []string{urlVar}},
		"database in another way":      {"redis://a?db=1", "", "", key, []string{urlVar}},
		"several without a kind":       {"redis://a?addr=b", "", "", key, []string{urlVar}},
		"two kinds":                    {"redis://a?master_name=m&cluster=true", "", "", key, []string{urlVar}},
		"master without a name":        {"redis://a?master_name=", "", "", key, []string{urlVar}},
		"two masters":                  {"redis://a?master_name=m&master_name=n", "", "", key, []string{urlVar}},
		"cluster neither true nor not": {"redis://a?cluster=1", "", "", key, []string{urlVar}},
		"unverified":                   {"rediss://a?skip_verify=true", "", "", key, []string{urlVar}},
		"unknown":                      {"redis://a?" + canary + "=" + canary, "", "", key, []string{urlVar}},
		"unreadable":                   {"redis://a?a=%zz" + canary, "", "", key, []string{urlVar}},
		"semicolon":                    {"redis://a?cluster=true;" + canary, "", "", key, []string{urlVar}},
		"all at once":                  {"rediss://u:" + canary + "@a:0/x?addr=b", canary, canary, "k", []string{keyVar, passwordVar, sentinelVar, urlVar}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := redis.Config{URL: secret.New(tt.url), Password: secret.New(tt.password), SentinelPassword: secret.New(tt.sentinel), Key: secret.New(tt.key)}
			err := c.Validate()
			var got []string
			if err != nil {
				got = regexp.MustCompile(`(?m)^MEDIAGATE_\w+`).FindAllString(err.Error(), -1)
				if strings.Contains(err.Error(), canary) {
					t.Errorf("a secret is in: %v", err)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, slices.Compact(got)); diff != "" {
				t.Errorf("variables named (-want +got):\n%s\nin: %v", diff, err)
			}
			if !c.Configured() {
				return
			}
			client, err := redis.New(c, discard)
			if (err == nil) != (tt.want == nil) {
				t.Errorf("a client: %v", err)
			}
			if client != nil {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestEveryParameterIsReported(t *testing.T) {
	c := redis.Config{URL: secret.New("rediss://a?x=1&skip_verify=true&cluster=2"), Key: secret.New(strings.Repeat("ab", 32))}
	var got []string
	if err := c.Validate(); err != nil {
		for line := range strings.Lines(err.Error()) {
			got = append(got, strings.Join(strings.Fields(line)[:3], " "))
		}
	}
	want := []string{"MEDIAGATE_REDIS_URL has cluster,", "MEDIAGATE_REDIS_URL has skip_verify:", "MEDIAGATE_REDIS_URL has a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
