package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "mediagate"

// arrows is the table of the architecture: which of our packages each of them
// may import outside its tests. A package that is not here has no place yet.
// internal/secret may be imported by all.
var arrows = map[string][]string{
	"":                           {"server", "scanner", "exchange", "exchange/policyroom", "publish", "homeserver", "bank", "media", "pdq", "internal/redis"},
	"pdq":                        {},
	"media":                      {"pdq"},
	"bank":                       {"pdq", "media", "internal/redis"},
	"homeserver":                 {"media", "internal/guard"},
	"exchange":                   {"exchange/policyroom", "bank", "homeserver", "media", "pdq"},
	"exchange/policyroom":        {"bank", "homeserver", "pdq"},
	"publish":                    {"bank", "homeserver"},
	"scanner":                    {"bank", "homeserver", "media", "pdq", "internal/redis"},
	"server":                     {"scanner", "exchange", "bank", "homeserver", "media", "pdq", "internal/guard"},
	"internal/secret":            {},
	"internal/guard":             {},
	"internal/redis":             {},
	"internal/synapsetest":       {},
	"internal/postgrestest":      {"internal/synapsetest"},
	"internal/redistest":         {"internal/synapsetest"},
	"internal/bombtest":          {},
	"internal/workertest":        {"media"},
	"internal/workertest/worker": {"media"},
	"internal/benchtable":        {},       // a program of ours for us: nothing can import it, and it needs nothing that is shipped
	"internal/scalebench":        {"bank"}, // another one, which makes stores
}

// owners says which of our packages may import what others made, and all below
// it. Tests may use what they like: this is about what is shipped.
var owners = []struct{ paths, by []string }{
	{[]string{"github.com/caarlos0/env"}, []string{"", "internal/workertest"}},
	{[]string{"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/contrib/exporters"}, []string{""}},
	{[]string{"github.com/labstack/echo"}, []string{"server", "internal/scalebench"}}, // the latter to compare with
	{[]string{"modernc.org/sqlite", "github.com/jackc/pgx"}, []string{"bank"}},
	{[]string{"maunium.net/go/mautrix"}, []string{"homeserver"}},
	{[]string{"github.com/sony/gobreaker"}, []string{"homeserver", "internal/redis"}},
	{[]string{"github.com/redis/go-redis", "golang.org/x/crypto"}, []string{"internal/redis"}},
	{[]string{"github.com/maypok86/otter"}, []string{"scanner"}},
	{[]string{"code.dny.dev/ssrf"}, []string{"internal/guard"}},
	{[]string{"golang.org/x/perf"}, []string{"internal/benchtable"}},
	{[]string{"image/jpeg", "image/png", "image/gif", "golang.org/x/image"}, []string{"media"}},
}

// listed is what go list tells of a package; Imports and GoFiles leave its tests
// out.
type listed struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
}

// name is the package's path without the module's.
func (p listed) name() string { return ours(p.ImportPath) }

// ours strips the module from the path of one of our packages.
func ours(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// isTestOnly tells packages that only tests, and one another, may import.
func isTestOnly(name string) bool {
	return strings.HasPrefix(name, "internal/") && strings.HasSuffix(name, "test")
}

func isBelow(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	missing := make(map[string]bool)
	for name := range arrows {
		missing[name] = true
	}
	for _, p := range listPackages(t) {
		may, known := arrows[p.name()]
		if !known {
			t.Errorf("package %s is not in the table", p.ImportPath)
			continue
		}
		delete(missing, p.name())
		for _, path := range p.Imports {
			if !isOurs(path) || ours(path) == "internal/secret" {
				continue
			}
			if !slices.Contains(may, ours(path)) {
				t.Errorf("%s imports %s, and may only import %q", p.ImportPath, path, may)
			}
			if isTestOnly(ours(path)) && !isTestOnly(p.name()) {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, path)
			}
		}
	}
	for name := range missing {
		t.Errorf("package %q is in the table and not in the module", name)
	}
}

func TestEachDependencyHasItsOwners(t *testing.T) {
	packages := listPackages(t)
	for _, rule := range owners {
		for _, dependency := range rule.paths {
			used := false
			for _, p := range packages {
				for _, path := range p.Imports {
					if !isBelow(path, dependency) {
						continue
					}
					used = true
					if !slices.Contains(rule.by, p.name()) {
						t.Errorf("%s imports %s, and only %q may", p.ImportPath, path, rule.by)
					}
				}
			}
			if !used {
				t.Errorf("nothing imports %s: is that still its path?", dependency)
			}
		}
	}
}

// TestPDQNeedsNothingElse looks at everything that is linked in, not at imports
// alone: the hash is to be usable by itself.
func TestPDQNeedsNothingElse(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./pdq").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if got := strings.Fields(string(out)); !slices.Equal(got, []string{"golang.org/x/sys/cpu", "golang.org/x/sys/unix", module + "/pdq"}) {
		t.Errorf("pdq needs %q", got)
	}
}

// TestOnlyScansScreen: what is hashed for a bank, an answer or the shell is hashed
// the exact way. Package scanner alone asks for screening, package media alone does it.
func TestOnlyScansScreen(t *testing.T) {
	said := false
	for _, p := range listPackages(t) {
		for _, name := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(source, []byte("pdq.Screen(")) && p.name() != "media" {
				t.Errorf("%s/%s screens", p.name(), name)
			}
			if !bytes.Contains(source, []byte("media.Screening")) {
				continue
			}
			if said = true; p.name() != "scanner" {
				t.Errorf("%s/%s asks for screening", p.name(), name)
			}
		}
	}
	if !said {
		t.Error("nobody asks for screening")
	}
}
