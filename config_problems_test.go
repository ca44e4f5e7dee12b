package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblemsAreToldAsAWhole: all there are, in the order of the settings, in the
// operator's words, and nothing that only follows from another one.
func TestProblemsAreToldAsAWhole(t *testing.T) {
	missing := keyFile(t, "") + "x"
	for name, tt := range map[string]struct {
		environ []string
		want    []string
	}{
		"values": {
			[]string{
				"MEDIAGATE_LOG_LEVEL=loud", "MEDIAGATE_PPROF=maybe", "MEDIAGATE_SHUTDOWN_DELAY=soon", "MEDIAGATE_SHUTDOWN_GRACE=5", "MEDIAGATE_MEDIA_MAX_BYTES=100MB",
				"MEDIAGATE_SCAN_QUEUE=9999999999", "MEDIAGATE_MEDIA_QUEUE=1.5", "MEDIAGATE_TRUSTED_PROXIES=10.0.0.0,::/8", "MEDIAGATE_HOMESERVER_REDIRECT_NETWORKS=10.0.0.1/x", "MEDIAGATE_ROLES=CRON,TYPO",
				"MEDIAGATE_Y=2", "MEDIAGATE_X=1",
			},
			[]string{
				`MEDIAGATE_ROLES: "TYPO" is no role: there are HASHER, MATCHER, CURATOR, CRON, UI, SCANNER, GATE, with commas between them`,
				`MEDIAGATE_PPROF: "maybe" is neither true nor false`,
				`MEDIAGATE_SHUTDOWN_DELAY: "soon" is no duration: it needs a number and a unit, as 30s or 1h30m`,
				`MEDIAGATE_SHUTDOWN_GRACE: "5" is no duration: it needs a number and a unit, as 30s or 1h30m`,
				`MEDIAGATE_TRUSTED_PROXIES: "10.0.0.0,::/8" is no list of networks, as 10.0.0.0/8, with commas between them`,
				`MEDIAGATE_HOMESERVER_REDIRECT_NETWORKS: "10.0.0.1/x" is no list of networks, as 10.0.0.0/8, with commas between them`,
				`MEDIAGATE_SCAN_QUEUE: "9999999999" is out of range`,
				`MEDIAGATE_MEDIA_QUEUE: "1.5" is no whole number`,
				`MEDIAGATE_MEDIA_MAX_BYTES: "100MB" is no whole number`,
				`MEDIAGATE_LOG_LEVEL: "loud" is no level: there are DEBUG, INFO, WARN and ERROR`,
				`MEDIAGATE_X: there is no such setting`,
				`MEDIAGATE_Y: there is no such setting`,
			},
		},
		"files": {
			[]string{
				"MEDIAGATE_DATABASE_PASSWORD_FILE=" + keyFile(t, "\n"), "MEDIAGATE_REDIS_KEY_FILE=" + missing, "MEDIAGATE_REDIS_PASSWORD_FILE=" + keyFile(t, " \r\n"),
				"MEDIAGATE_HOMESERVER_TOKEN_FILE=" + keyFile(t, ""), "MEDIAGATE_SCANNER_KEY_FILE=/", "MEDIAGATE_HOOK_SECRET_FILE=" + keyFile(t, "\n\n"), "MEDIAGATE_LISTEN=:5100",
			},
			[]string{
				"MEDIAGATE_SCANNER_KEY_FILE: the file cannot be read: is a directory",
				"MEDIAGATE_HOOK_SECRET_FILE: the file is empty",
				"MEDIAGATE_HOMESERVER_TOKEN_FILE: the file is empty",
				"MEDIAGATE_DATABASE_PASSWORD_FILE: the file is empty",
				"MEDIAGATE_REDIS_PASSWORD_FILE: the file is empty",
				"MEDIAGATE_REDIS_KEY_FILE: the file cannot be read: no such file or directory",
			},
		},
		"limits": {
			[]string{
				"MEDIAGATE_SHUTDOWN_DELAY=-1s", "MEDIAGATE_SHUTDOWN_GRACE=-1s", "MEDIAGATE_INDEX_MAX_AGE=-1s", "MEDIAGATE_HOOK_TIMEOUT=-1s", "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=-1s",
				"MEDIAGATE_HOMESERVER_FIRST_BYTE_TIMEOUT=0s", "MEDIAGATE_HOMESERVER_DOWNLOAD_TIMEOUT=0s", "MEDIAGATE_HOMESERVER_RATE_WINDOW=0s",
				"MEDIAGATE_MEDIA_MAX_PIXELS=0", "MEDIAGATE_MEDIA_MAX_SCANS=0", "MEDIAGATE_MEDIA_MAX_SEGMENTS=0", "MEDIAGATE_MEDIA_MAX_FRAMES=0",
			},
			[]string{
				"MEDIAGATE_SHUTDOWN_DELAY must not be negative", "MEDIAGATE_SHUTDOWN_GRACE must not be negative", "MEDIAGATE_INDEX_MAX_AGE must not be negative",
				"MEDIAGATE_HOOK_TIMEOUT must not be negative", "MEDIAGATE_CONTENT_SCANNER_TIMEOUT must not be negative",
				"MEDIAGATE_HOMESERVER_FIRST_BYTE_TIMEOUT must be more than 0", "MEDIAGATE_HOMESERVER_DOWNLOAD_TIMEOUT must be more than 0", "MEDIAGATE_HOMESERVER_RATE_WINDOW must be more than 0",
				"MEDIAGATE_MEDIA_MAX_PIXELS must be more than 0", "MEDIAGATE_MEDIA_MAX_SCANS must be more than 0", "MEDIAGATE_MEDIA_MAX_SEGMENTS must be more than 0", "MEDIAGATE_MEDIA_MAX_FRAMES must be more than 0",
			},
		},
		"roles": {
			[]string{"MEDIAGATE_ROLES=", "HMA_WORKER_ROLE=", "MEDIAGATE_LISTEN=:5100"},
			[]string{"MEDIAGATE_ROLES: it is set and empty: give it a value, or leave it out", "HMA_WORKER_ROLE: it is set and empty: give it a value, or leave it out"},
		},
		"roles that differ": {
			[]string{"MEDIAGATE_ROLES=CRON,GATE", "HMA_WORKER_ROLE=UI", "MEDIAGATE_LISTEN=:5100"},
			[]string{"MEDIAGATE_ROLES has GATE, which needs MEDIAGATE_HOMESERVER_URL", "HMA_WORKER_ROLE and MEDIAGATE_ROLES are both set, and differ: leave one of them out"},
		},
		"one role that is known": {
			[]string{"MEDIAGATE_ROLES=CRON", "HMA_WORKER_ROLE=TYPO", "MEDIAGATE_LISTEN=:5100"},
			[]string{`HMA_WORKER_ROLE: "TYPO" is no role: there are HASHER, MATCHER, CURATOR, CRON, UI, SCANNER, GATE, with commas between them`},
		},
		"a key": {
			[]string{"HMA_API_KEY=short", "MEDIAGATE_LISTEN=:5100"},
			[]string{"HMA_API_KEY is too short: a key has 16 characters or more, as of openssl rand -hex 32"},
		},
		"a host": {
			[]string{"HMA_DB_HOST=a/b"},
			[]string{"HMA_DB_PASS or MEDIAGATE_DATABASE_PASSWORD_FILE is required with HMA_DB_HOST", "HMA_DB_HOST must be the name of a server, or its address, and may have a port"},
		},
		"two databases": {
			[]string{"HMA_DB_HOST=a/b", "MEDIAGATE_DATABASE_URL=mysql:x"},
			[]string{
				"MEDIAGATE_DATABASE_URL: HMA_DB_HOST names another database: leave one of them out",
				"MEDIAGATE_DATABASE_URL: the URL must be sqlite: and a path, or postgres:// with a server and a database",
				"HMA_DB_PASS or MEDIAGATE_DATABASE_PASSWORD_FILE is required with HMA_DB_HOST",
				"HMA_DB_HOST must be the name of a server, or its address, and may have a port",
			},
		},
		"passwords": {
			[]string{"HMA_DB_HOST=h:x", "HMA_DB_PASS=s3cret", "MEDIAGATE_DATABASE_PASSWORD_FILE=" + keyFile(t, "s3cret")},
			[]string{
				"MEDIAGATE_DATABASE_PASSWORD_FILE: HMA_DB_PASS is set, too: leave one of them out",
				"HMA_DB_HOST, HMA_DB_PASS: the PostgreSQL URL cannot be read: is a parameter wrong, or a character other than letters and digits not written as %XX?",
			},
		},
		"no password": {
			[]string{"HMA_DB_NAME=", "HMA_DB_PASS=", "MEDIAGATE_DATABASE_URL="},
			[]string{
				"MEDIAGATE_DATABASE_URL: it is set and empty: give it a value, or leave it out",
				"HMA_DB_NAME: it is set and empty: give it a value, or leave it out", "HMA_DB_PASS: it is set and empty: give it a value, or leave it out",
			},
		},
		"a password that cannot be read": {
			[]string{"MEDIAGATE_DATABASE_URL=postgres://u@h/db", "MEDIAGATE_DATABASE_PASSWORD_FILE=" + missing},
			[]string{"MEDIAGATE_DATABASE_PASSWORD_FILE: the file cannot be read: no such file or directory"},
		},
		"a password of no database": {
			[]string{"MEDIAGATE_DATABASE_URL=", "MEDIAGATE_DATABASE_PASSWORD_FILE=" + keyFile(t, "s3cret")},
			[]string{"MEDIAGATE_DATABASE_URL: it is set and empty: give it a value, or leave it out"},
		},
	} {
		_, err := loadConfig(tt.environ)
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestEmptyVariables: one that is set and empty has lost its value. It may not stand
// for another database, for no key, or for all roles.
func TestEmptyVariables(t *testing.T) {
	meant := []string{ // by which nothing is turned on, or a list has no entry
		"MEDIAGATE_OPS_LISTEN", "MEDIAGATE_TRUSTED_PROXIES", "MEDIAGATE_HMA_URL_HOSTS", "MEDIAGATE_HMA_URL_NETWORKS", "MEDIAGATE_HOMESERVER_URL",
		"MEDIAGATE_HOMESERVER_REDIRECT_NETWORKS", "MEDIAGATE_REDIS_URL", "HMA_API_KEY", "SYNAPSE_ADMIN_ACCESS_TOKEN",
	}
	refused := 0
	for _, s := range settings(t) {
		want := s.variable + ": it is set and empty: give it a value, or leave it out"
		_, err := loadConfig([]string{s.variable + "="})
		if slices.Contains(meant, s.variable) {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		refused++
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if refused < 50 {
		t.Errorf("only %d are refused", refused)
	}
	c, err := loadConfig([]string{"MEDIAGATE_OPS_LISTEN="})
	if err != nil || c.Server.OpsListen != "" {
		t.Errorf("%q, %v", c.Server.OpsListen, err)
	}
}

// TestFilesHoldSomething: all that settings name.
func TestFilesHoldSomething(t *testing.T) {
	empty, checked := keyFile(t, " \r\n\n"), 0
	for _, s := range settings(t) {
		if !strings.HasSuffix(s.variable, "_FILE") {
			continue
		}
		checked++
		for path, want := range map[string]string{empty: "the file is empty", empty + "x": "the file cannot be read: no such file or directory"} {
			if _, err := loadConfig([]string{s.variable + "=" + path}); err == nil || err.Error() != s.variable+": "+want {
				t.Errorf("%s: %v, want %s", s.variable, err, want)
			}
		}
	}
	if checked < 11 {
		t.Errorf("only %d settings name files", checked)
	}
}
