package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caarlos0/env/v11"
	"github.com/google/go-cmp/cmp"

	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/media"
	"mediagate/scanner"
	"mediagate/server"
)

var update = flag.Bool("update", false, "write the table of settings into README.md")

func TestDefaults(t *testing.T) {
	got, err := loadConfig([]string{"PATH=/bin", "HOME=/"})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Server: server.Config{
			Listen: "127.0.0.1:5100", OpsListen: "127.0.0.1:5101",
			ShutdownGrace: 20 * time.Second, IndexMaxAge: 65 * time.Second, HookTimeout: 10 * time.Second, ContentScannerTimeout: 25 * time.Second,
		},
		Homeserver: homeserver.Config{FirstByteTimeout: 10 * time.Second, DownloadTimeout: time.Minute, MinRate: 16 << 10, RateWindow: 10 * time.Second},
		Exchange:   exchange.Config{Interval: time.Second, Downloads: 4},
		Scan: scanner.Config{
			MaxDistance: 31, MinQuality: 50, Downloads: 16, DownloadsPerOrigin: 4, Queue: 64, QueueWait: 2 * time.Second, CacheBytes: 64 << 20,
			MemoryBytes: 64 << 20, KnownAfter: 24 * time.Hour,
		},
		Media: media.Config{
			Queue: 64, QueueWait: 2 * time.Second, Deadline: 5 * time.Second,
			WorkerMemory: 640 << 20, TotalMemory: 1536 << 20, MaxBytes: 100 << 20, TotalBytes: 512 << 20, MaxDecodeBytes: 50 << 20,
			MaxSide: 30_000, MaxPixels: 32_000_000, MaxBaselinePixels: 120_000_000, MaxPixelsPerByte: 10_000,
			MaxScans: 64, MaxSegments: 2000, MaxFrames: 400, MaxFramePixels: 512_000_000,
		},
		DatabaseURL: secret.New("sqlite:./data/mediagate.db"), DatabaseWait: 30 * time.Second,
		HMADatabase: HMADatabase{Host: "localhost", Name: "hma", User: "hma"},
		LogLevel:    slog.LevelInfo,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b secret.String) bool { return a.Equal(b.Reveal()) })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// named are the variables that an error begins a line with.
func named(err error) []string {
	var out []string
	if err != nil {
		out = regexp.MustCompile(`(?m)^MEDIAGATE_[A-Z0-9_]*`).FindAllString(err.Error(), -1)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestProblemsAreNamed(t *testing.T) {
	key, empty, line, long := keyFile(t, "s3cret-0123456789\n"), keyFile(t, ""), keyFile(t, "\r\n"), keyFile(t, strings.Repeat("k", 32))
	const listen, ops, file = "MEDIAGATE_LISTEN", "MEDIAGATE_OPS_LISTEN", "MEDIAGATE_API_KEY_FILE"
	tests := map[string]struct {
		environ []string
		want    []string
	}{
		"nothing set":                 {nil, nil},
		"variables of others":         {[]string{"MEDIAGATEX=1", "mediagate_x=1", "OTEL_SDK_DISABLED=true"}, nil},
		"variables of tests":          {[]string{"MEDIAGATE_TEST_REQUIRE=redis", "MEDIAGATE_TEST_X="}, nil},
		"unknown":                     {[]string{"MEDIAGATE_X=1", "MEDIAGATE_HMA_STRCIT=true"}, []string{"MEDIAGATE_HMA_STRCIT", "MEDIAGATE_X"}},
		"unknown and empty":           {[]string{"MEDIAGATE_X="}, []string{"MEDIAGATE_X"}},
		"without its section":         {[]string{"MEDIAGATE_WORKERS=1", "MEDIAGATE_SCAN_LISTEN=x"}, []string{"MEDIAGATE_SCAN_LISTEN", "MEDIAGATE_WORKERS"}},
		"key":                         {[]string{file + "=" + key}, nil},
		"key file that is empty":      {[]string{file + "=" + empty}, []string{file}},
		"key file of a line end":      {[]string{file + "=" + line}, []string{file}},
		"key file that is missing":    {[]string{file + "=" + key + "x"}, []string{file}},
		"key file that is a folder":   {[]string{file + "=" + filepath.Dir(key)}, []string{file}},
		"IPv4 loopback":               {[]string{listen + "=127.8.8.8:80"}, nil},
		"IPv6 loopback":               {[]string{listen + "=[::1]:5100"}, nil},
		"IPv4 loopback in IPv6":       {[]string{listen + "=[::ffff:127.0.0.1]:5100"}, nil},
		"localhost":                   {[]string{listen + "=localhost:5100"}, nil},
		"every address":               {[]string{listen + "=0.0.0.0:5100"}, []string{listen}},
		"every address, shortly":      {[]string{listen + "=:5100"}, []string{listen}},
		"every IPv6 address":          {[]string{listen + "=[::]:5100"}, []string{listen}},
		"private address":             {[]string{listen + "=192.168.0.1:5100"}, []string{listen}},
		"name":                        {[]string{listen + "=localhost.example.org:5100"}, []string{listen}},
		"every address, with a key":   {[]string{listen + "=:5100", file + "=" + key}, nil},
		"every address, no such key":  {[]string{listen + "=:5100", file + "=" + key + "x"}, []string{file}},
		"every address, empty key":    {[]string{listen + "=:5100", file + "=" + empty}, []string{file}},
		"every address, no such role": {[]string{listen + "=:5100", "MEDIAGATE_ROLES=CRON,TYPO"}, []string{"MEDIAGATE_ROLES"}},
		"a role's keys, one missing":  {[]string{"MEDIAGATE_ROLES=HASHER,MATCHER", "MEDIAGATE_HASHER_KEY_FILE=" + key, "MEDIAGATE_MATCHER_KEY_FILE=" + key + "x"}, []string{"MEDIAGATE_MATCHER_KEY_FILE"}},
		"a role's keys, no general":   {[]string{"MEDIAGATE_ROLES=HASHER,MATCHER", "MEDIAGATE_HASHER_KEY_FILE=" + key, file + "=" + key + "x"}, []string{file}},
		"no such secret of the hook":  {[]string{listen + "=:5100", file + "=" + key, "MEDIAGATE_HOMESERVER_URL=http://127.0.0.1:8008", "MEDIAGATE_HOOK_SECRET_FILE=" + key + "x"}, []string{"MEDIAGATE_HOOK_SECRET_FILE"}},
		"no address, both the same":   {[]string{listen + "=", ops + "=127.0.0.1:5100"}, []string{listen}},
		"no memory for a worker":      {[]string{"MEDIAGATE_MEDIA_WORKER_MEMORY=x", "MEDIAGATE_MEDIA_TOTAL_MEMORY=268435456"}, []string{"MEDIAGATE_MEDIA_WORKER_MEMORY"}},
		"no memory for bytes":         {[]string{"MEDIAGATE_MEDIA_MAX_BYTES=x", "MEDIAGATE_MEDIA_TOTAL_BYTES=1000"}, []string{"MEDIAGATE_MEDIA_MAX_BYTES"}},
		"no memory for anything":      {[]string{"MEDIAGATE_MEDIA_MAX_BYTES=x", "MEDIAGATE_MEDIA_TOTAL_BYTES=0"}, []string{"MEDIAGATE_MEDIA_MAX_BYTES", "MEDIAGATE_MEDIA_TOTAL_BYTES"}},
		"everybody, twice":            {[]string{"MEDIAGATE_TRUSTED_PROXIES=0.0.0.0/0,::/0"}, []string{"MEDIAGATE_TRUSTED_PROXIES"}},
		"no port":                     {[]string{listen + "=127.0.0.1", ops + "=[::1]"}, []string{listen, ops}},
		"port left out":               {[]string{listen + "=127.0.0.1:", ops + "=127.0.0.1:"}, []string{listen, ops}},
		"operations for all":          {[]string{ops + "=0.0.0.0:5101"}, nil},
		"profiles":                    {[]string{"MEDIAGATE_PPROF=true"}, nil},
		"profiles for all":            {[]string{ops + "=0.0.0.0:5101", "MEDIAGATE_PPROF=true"}, []string{"MEDIAGATE_PPROF"}},
		"duration without a unit":     {[]string{"MEDIAGATE_SHUTDOWN_GRACE=5"}, []string{"MEDIAGATE_SHUTDOWN_GRACE"}},
		"durations of 0":              {[]string{"MEDIAGATE_SHUTDOWN_GRACE=0", "MEDIAGATE_SHUTDOWN_DELAY=0s", "MEDIAGATE_INDEX_MAX_AGE=0"}, nil},
		"waits of 0":                  {[]string{"MEDIAGATE_MEDIA_QUEUE_WAIT=0s", "MEDIAGATE_MEDIA_DEADLINE=0s"}, []string{"MEDIAGATE_MEDIA_DEADLINE", "MEDIAGATE_MEDIA_QUEUE_WAIT"}},
		"longest deadline":            {[]string{"MEDIAGATE_MEDIA_DEADLINE=1m"}, nil},
		"longer deadline":             {[]string{"MEDIAGATE_MEDIA_DEADLINE=1m1ns"}, []string{"MEDIAGATE_MEDIA_DEADLINE"}},
		"highest numbers":             {[]string{"MEDIAGATE_SCAN_MAX_DISTANCE=64", "MEDIAGATE_SCAN_MIN_QUALITY=100", "MEDIAGATE_MEDIA_WORKERS=1024"}, nil},
		"higher numbers":              {[]string{"MEDIAGATE_SCAN_MAX_DISTANCE=65", "MEDIAGATE_SCAN_MIN_QUALITY=101", "MEDIAGATE_MEDIA_WORKERS=1025"}, []string{"MEDIAGATE_MEDIA_WORKERS", "MEDIAGATE_SCAN_MAX_DISTANCE", "MEDIAGATE_SCAN_MIN_QUALITY"}},
		"no number":                   {[]string{"MEDIAGATE_MEDIA_MAX_BYTES=100MB"}, []string{"MEDIAGATE_MEDIA_MAX_BYTES"}},
		"number beyond 64 bits":       {[]string{"MEDIAGATE_MEDIA_MAX_BYTES=99999999999999999999"}, []string{"MEDIAGATE_MEDIA_MAX_BYTES"}},
		"less memory than one worker": {[]string{"MEDIAGATE_MEDIA_TOTAL_MEMORY=268435456"}, []string{"MEDIAGATE_MEDIA_TOTAL_MEMORY"}},
		"hosts and networks":          {[]string{"MEDIAGATE_HMA_URL_HOSTS=a.example,b.example", "MEDIAGATE_HMA_URL_NETWORKS=10.0.0.0/8,fd00::/8"}, nil},
		"Redis without a key":         {[]string{"MEDIAGATE_REDIS_URL=redis://127.0.0.1"}, []string{"MEDIAGATE_REDIS_KEY_FILE"}},
		"Redis with an empty key":     {[]string{"MEDIAGATE_REDIS_URL=redis://127.0.0.1", "MEDIAGATE_REDIS_KEY_FILE=" + empty}, []string{"MEDIAGATE_REDIS_KEY_FILE"}},
		"Redis without such a file":   {[]string{"MEDIAGATE_REDIS_URL=redis://u@127.0.0.1", "MEDIAGATE_REDIS_KEY_FILE=" + key + "x", "MEDIAGATE_REDIS_PASSWORD_FILE=" + empty}, []string{"MEDIAGATE_REDIS_KEY_FILE", "MEDIAGATE_REDIS_PASSWORD_FILE"}},
		"no Redis, nor such a file":   {[]string{"MEDIAGATE_REDIS_KEY_FILE=" + key + "x", "MEDIAGATE_REDIS_PASSWORD_FILE=" + empty}, []string{"MEDIAGATE_REDIS_KEY_FILE", "MEDIAGATE_REDIS_PASSWORD_FILE"}},
		"Redis with a short key":      {[]string{"MEDIAGATE_REDIS_URL=redis://127.0.0.1", "MEDIAGATE_REDIS_KEY_FILE=" + key}, []string{"MEDIAGATE_REDIS_KEY_FILE"}},
		"Redis":                       {[]string{"MEDIAGATE_REDIS_URL=redis://127.0.0.1", "MEDIAGATE_REDIS_KEY_FILE=" + long}, nil},
		"secrets of no Redis":         {[]string{"MEDIAGATE_REDIS_KEY_FILE=" + long, "MEDIAGATE_REDIS_PASSWORD_FILE=" + key}, []string{"MEDIAGATE_REDIS_KEY_FILE", "MEDIAGATE_REDIS_PASSWORD_FILE"}},
		"networks without hosts":      {[]string{"MEDIAGATE_HMA_URL_NETWORKS=10.0.0.0/8"}, []string{"MEDIAGATE_HMA_URL_NETWORKS"}},
		"no network":                  {[]string{"MEDIAGATE_HMA_URL_HOSTS=*", "MEDIAGATE_HMA_URL_NETWORKS=10.0.0.0"}, []string{"MEDIAGATE_HMA_URL_NETWORKS"}},
		"everything at once": {
			[]string{
				"MEDIAGATE_Z=1", "MEDIAGATE_A=1", listen + "=:5100", ops + "=x", file + "=" + empty, "MEDIAGATE_LOG_LEVEL=loud", "MEDIAGATE_PPROF=maybe",
				"MEDIAGATE_HMA_STRICT=2", "MEDIAGATE_SHUTDOWN_DELAY=-1s", "MEDIAGATE_SCAN_MIN_QUALITY=low", "MEDIAGATE_SCAN_MAX_DISTANCE=-1",
				"MEDIAGATE_MEDIA_MAX_SIDE=0",
			},
			[]string{
				"MEDIAGATE_A", file, "MEDIAGATE_HMA_STRICT", "MEDIAGATE_LOG_LEVEL", "MEDIAGATE_MEDIA_MAX_SIDE", ops, "MEDIAGATE_PPROF",
				"MEDIAGATE_SCAN_MAX_DISTANCE", "MEDIAGATE_SCAN_MIN_QUALITY", "MEDIAGATE_SHUTDOWN_DELAY", "MEDIAGATE_Z",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(tt.environ)
			if (err == nil) != (len(tt.want) == 0) {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(tt.want, named(err)); diff != "" {
				t.Errorf("variables named (-want +got):\n%s\nin: %v", diff, err)
			}
			if err != nil && strings.Count(err.Error(), "\n")+1 != len(tt.want) {
				t.Errorf("not one line for each: %v", err)
			}
		})
	}
}

func keyFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNegativeNumbersAreRefused(t *testing.T) {
	checked := 0
	for _, s := range settings(t) {
		value := map[reflect.Type]string{
			reflect.TypeFor[int](): "-1", reflect.TypeFor[int64](): "-1", reflect.TypeFor[time.Duration](): "-1ns",
		}[s.kind]
		if value == "" {
			continue
		}
		checked++
		if _, err := loadConfig([]string{s.variable + "=" + value}); !slices.Contains(named(err), s.variable) {
			t.Errorf("%s=%s: %v", s.variable, value, err)
		}
	}
	if checked < 20 {
		t.Errorf("only %d settings are numbers", checked)
	}
}

// TestSecretsAreNotPrinted makes every message there is while a secret is set.
func TestSecretsAreNotPrinted(t *testing.T) {
	const canary = "s3cret-canary-0123456789"
	environ := []string{"MEDIAGATE_API_KEY_FILE=" + keyFile(t, canary), "MEDIAGATE_DATABASE_URL=postgres://user:" + canary + "@host/db", "MEDIAGATE_X=" + canary}
	good, err := loadConfig(environ[:1])
	if err != nil || good.Server.APIKey.Reveal() != canary {
		t.Fatalf("the key is not read: %v", err)
	}
	for _, s := range settings(t) {
		if s.variable != "MEDIAGATE_API_KEY_FILE" && s.variable != "MEDIAGATE_DATABASE_URL" {
			environ = append(environ, s.variable+"=-1x")
		}
	}
	_, err = loadConfig(environ)
	if len(named(err)) < 20 {
		t.Errorf("few problems: %v", err)
	}
	database, err2 := loadConfig(environ[1:2])
	if err2 != nil || !strings.Contains(database.DatabaseURL.Reveal(), canary) {
		t.Errorf("the database is not read: %v", err2)
	}
	_, err3 := loadConfig([]string{"MEDIAGATE_REDIS_URL=redis://user:" + canary + "@host:port", "MEDIAGATE_REDIS_KEY_FILE=" + keyFile(t, canary)})
	if got := named(err3); !slices.Equal(got, []string{"MEDIAGATE_REDIS_KEY_FILE", "MEDIAGATE_REDIS_URL"}) {
		t.Errorf("problems with Redis: %v", err3)
	}
	for _, text := range []string{
		fmt.Sprint(err, err3), fmt.Sprintf("%v %+v %#v", good.Server, good.Server, good.Server), fmt.Sprintf("%v %+v %#v", database, database, database),
	} {
		if strings.Contains(text, canary) {
			t.Errorf("printed: %s", text)
		}
	}
}

// setting is one variable, and one row of the README's table.
type setting struct {
	variable, fallback, meaning string
	kind                        reflect.Type
}

// settings are the fields of Config in their order.
func settings(t *testing.T) []setting {
	t.Helper()
	return settingsOf(t, reflect.TypeFor[Config](), "")
}

func settingsOf(t *testing.T, typ reflect.Type, prefix string) []setting {
	t.Helper()
	var out []setting
	docs := fieldDocs(t, typ)
	for f := range typ.Fields() {
		if below, ok := f.Tag.Lookup("envPrefix"); ok {
			out = append(out, settingsOf(t, f.Type, prefix+below)...)
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if key == "" || docs[f.Name] == "" {
			t.Errorf("%s.%s has no variable or no comment", typ, f.Name)
		}
		out = append(out, setting{prefix + key, f.Tag.Get("envDefault"), meaning(f.Name, docs[f.Name]), f.Type})
	}
	return out
}

// fieldDocs reads the comments of a struct's fields from its package's source.
func fieldDocs(t *testing.T, typ reflect.Type) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(".", strings.TrimPrefix(typ.PkgPath(), "mediagate"), "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source of %s: %v", typ, err)
	}
	docs := make(map[string]string)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != typ.Name() {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, name := range f.Names {
						docs[name.Name] = f.Doc.Text()
					}
				}
			}
			return false
		})
	}
	return docs
}

// meaning makes a cell of a field's comment, which begins with the field's name.
func meaning(field, doc string) string {
	text := strings.Join(strings.Fields(doc), " ")
	for _, start := range []string{field + " is ", field + " are ", field + " "} {
		if rest, ok := strings.CutPrefix(text, start); ok {
			text = rest
			break
		}
	}
	first, n := utf8.DecodeRuneInString(text)
	return strings.ReplaceAll(string(unicode.ToUpper(first))+text[n:], "|", `\|`)
}

// TestSettingsAreWhatIsRead holds what the table is made of to what the library
// that reads variables sees.
func TestSettingsAreWhatIsRead(t *testing.T) {
	params, err := env.GetFieldParams(&Config{})
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, p := range params {
		want = append(want, p.Key+"="+p.DefaultValue)
	}
	for _, s := range settings(t) {
		got = append(got, s.variable+"="+s.fallback)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestREADMEHasTheConfiguration(t *testing.T) {
	const begin, end = "<!-- configuration -->\n", "<!-- /configuration -->"
	table := "| variable | default | meaning |\n| --- | --- | --- |\n"
	for _, s := range settings(t) {
		fallback := "none"
		if s.fallback != "" {
			fallback = "`" + s.fallback + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", s.variable, fallback, s.meaning)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(readme), begin)
	written, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("README.md has no place for the table: %s%s", begin, end)
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, written); diff != "" {
		t.Errorf("go test -run TestREADMEHasTheConfiguration -update . writes it anew (-want +got):\n%s", diff)
	}
}

// TestHomeserverSettings: whoever has a homeserver needs all that keeps it safe, and
// one token.
func TestHomeserverSettings(t *testing.T) {
	key := keyFile(t, "0123456789abcdef\n")
	token, other, two := keyFile(t, "syt_a\n"), keyFile(t, "syt_b"), keyFile(t, "syt_a syt_b")
	const home, file, old = "MEDIAGATE_HOMESERVER_URL=http://127.0.0.1:8008", "MEDIAGATE_HOMESERVER_TOKEN_FILE=", "SYNAPSE_ADMIN_ACCESS_TOKEN="
	for name, tt := range map[string]struct {
		environ []string
		want    string // part of the error
		token   string
	}{
		"neither":                 {nil, "", ""},
		"no token":                {[]string{home}, "", ""},
		"token":                   {[]string{home, file + token}, "", "syt_a"},
		"token of hma-matrix":     {[]string{home, old + "syt_a"}, "", "syt_a"},
		"both, the same":          {[]string{home, file + token, old + "syt_a"}, "", "syt_a"},
		"both, different":         {[]string{home, file + other, old + "syt_a"}, "differ", ""},
		"token without a server":  {[]string{old + "syt_a"}, "no effect", ""},
		"two tokens in one file":  {[]string{home, file + two}, "one token", ""},
		"no address":              {[]string{"MEDIAGATE_HOMESERVER_URL=matrix.org"}, "MEDIAGATE_HOMESERVER_URL must be", ""},
		"reachable, no secret":    {[]string{home, "MEDIAGATE_LISTEN=0.0.0.0:5100", "MEDIAGATE_API_KEY_FILE=" + key}, "MEDIAGATE_HOOK_SECRET_FILE", ""},
		"reachable, with secret":  {[]string{home, "MEDIAGATE_LISTEN=0.0.0.0:5100", "MEDIAGATE_API_KEY_FILE=" + key, "MEDIAGATE_HOOK_SECRET_FILE=" + other}, "", ""},
		"hook without end":        {[]string{home, "MEDIAGATE_HOOK_TIMEOUT=0s"}, "MEDIAGATE_HOOK_TIMEOUT", ""},
		"hook longer than a call": {[]string{home, "MEDIAGATE_HOOK_TIMEOUT=1h"}, "MEDIAGATE_HOOK_TIMEOUT", ""},
		"longest hook":            {[]string{home, "MEDIAGATE_HOOK_TIMEOUT=45s"}, "", ""},
		"longer hook":             {[]string{home, "MEDIAGATE_HOOK_TIMEOUT=45s1ns"}, "MEDIAGATE_HOOK_TIMEOUT must be more than 0 and at most 45s", ""},
		"scan without end":        {[]string{home, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=0s"}, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT", ""},
		"shortest scan":           {[]string{home, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=1ns"}, "", ""},
		"longest scan":            {[]string{home, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=45s"}, "", ""},
		"longer scan":             {[]string{home, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=45s1ns"}, "MEDIAGATE_CONTENT_SCANNER_TIMEOUT must be more than 0 and at most 45s", ""},
		"no homeserver, no limit": {[]string{"MEDIAGATE_HOOK_TIMEOUT=1h", "MEDIAGATE_CONTENT_SCANNER_TIMEOUT=0s"}, "", ""},
	} {
		c, err := loadConfig(tt.environ)
		if tt.want == "" && (err != nil || c.Homeserver.Token.Reveal() != tt.token) {
			t.Errorf("%s: %v", name, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "syt_")) {
			t.Errorf("%s: %v, want something with %q and no token", name, err, tt.want)
		}
	}
}

// TestDatabaseSettings: one database, and one password for it.
func TestDatabaseSettings(t *testing.T) {
	const given, password, hma = "MEDIAGATE_DATABASE_URL=", "MEDIAGATE_DATABASE_PASSWORD_FILE=", "HMA_DB_"
	file, odd := keyFile(t, "s3cret\n"), keyFile(t, "s3cret @/?&=+%:é\n")
	for name, tt := range map[string]struct {
		environ []string
		want    string // the URL
		problem string // part of the error
	}{
		"nothing":                 {nil, "sqlite:./data/mediagate.db", ""},
		"a file":                  {[]string{given + "sqlite:/x/y.db"}, "sqlite:/x/y.db", ""},
		"a server":                {[]string{given + "postgres://u:s3cret@h/db"}, "postgres://u:s3cret@h/db", ""},
		"a server, long":          {[]string{given + "postgresql://u@h:5433/db"}, "postgresql://u@h:5433/db", ""},
		"password from a file":    {[]string{given + "postgres://u@h/db", password + file}, "postgres://u@h/db?password=s3cret", ""},
		"one with signs":          {[]string{given + "postgres://u@h/db?sslmode=disable", password + odd}, "postgres://u@h/db?sslmode=disable&password=s3cret%20%40%2F%3F%26%3D%2B%25%3A%C3%A9", ""},
		"two passwords":           {[]string{given + "postgres://u:s3cret@h/db", password + file}, "", password[:len(password)-1] + ": the URL has a password already"},
		"password of a file":      {[]string{password + file}, "", "only the URL of a PostgreSQL server"},
		"no file":                 {[]string{given + "postgres://u@h/db", password + file + "x"}, "", password[:len(password)-1] + ": the file cannot be read"},
		"empty file":              {[]string{given + "postgres://u@h/db", password + keyFile(t, "\n")}, "", "the file is empty"},
		"no URL":                  {[]string{given + "postgres"}, "", "must be sqlite: and a path, or postgres://"},
		"hma-matrix":              {[]string{hma + "PASS=s3cret"}, "postgres://hma@localhost/hma?password=s3cret", ""},
		"hma-matrix, all":         {[]string{hma + "HOST=h:5433", hma + "NAME=n/m", hma + "USER=u:v", hma + "PASS=s3:cret"}, "postgres://u%3Av@h:5433/n%2Fm?password=s3%3Acret", ""},
		"hma-matrix, IPv6":        {[]string{hma + "HOST=[::1]:5433", hma + "PASS=s3cret"}, "postgres://hma@[::1]:5433/hma?password=s3cret", ""},
		"hma-matrix, a file":      {[]string{hma + "HOST=h", password + file}, "postgres://hma@h/hma?password=s3cret", ""},
		"hma-matrix, both":        {[]string{hma + "PASS=s3cret", password + file}, "", "leave one of them out"},
		"hma-matrix, no password": {[]string{hma + "HOST=h", hma + "USER=u"}, "", "HMA_DB_PASS or MEDIAGATE_DATABASE_PASSWORD_FILE is required with HMA_DB_HOST, HMA_DB_USER"},
		"hma-matrix, a URL":       {[]string{hma + "HOST=postgres://h", hma + "PASS=s3cret"}, "", "HMA_DB_HOST must be"},
		"hma-matrix, a port":      {[]string{hma + "HOST=h:s3cret", hma + "PASS=s3cret"}, "", "HMA_DB_HOST, HMA_DB_PASS: the PostgreSQL URL cannot be read"},
		"hma-matrix, empty":       {[]string{hma + "HOST=h", hma + "PASS="}, "", "HMA_DB_PASS: it is set and empty"},
		"hma-matrix and ours":     {[]string{given + "sqlite:x.db", hma + "PASS=s3cret"}, "", "MEDIAGATE_DATABASE_URL: HMA_DB_PASS names another database"},
	} {
		c, err := loadConfig(tt.environ)
		if tt.problem == "" && (err != nil || c.DatabaseURL.Reveal() != tt.want) {
			t.Errorf("%s: %q, %v, want %q", name, c.DatabaseURL.Reveal(), err, tt.want)
		}
		if tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want one problem, with %q and no password", name, err, tt.problem)
		}
	}
}
