package main_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// The tests below read Dockerfile and compose.single.yaml and do without a container
// what those say. They do not build the image.

// image is what the last stage of the Dockerfile makes, and how the first one
// builds the program.
type image struct {
	build              string
	env                map[string]string
	user               string
	volume             string
	entrypoint, health []string
}

func readImage(t *testing.T) image {
	t.Helper()
	raw, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var m image
	list := func(text string) (out []string) {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return out
	}
	for line := range strings.Lines(strings.ReplaceAll(string(raw), "\\\n", " ")) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "FROM":
			m = image{build: m.build, env: make(map[string]string)}
		case "RUN":
			if strings.Contains(rest, "go build") {
				m.build = rest
			}
		case "ENV":
			for _, pair := range strings.Fields(rest) {
				name, value, _ := strings.Cut(pair, "=")
				m.env[name] = value
			}
		case "USER":
			m.user = rest
		case "VOLUME":
			m.volume = rest
		case "ENTRYPOINT":
			m.entrypoint = list(rest)
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(rest, "CMD ")
			m.health = list(command)
		}
	}
	return m
}

// composition is what a compose file says. A key that is not here fails the test:
// it would not be looked at.
type composition struct {
	Services         map[string]service
	Secrets, Configs map[string]struct{ File string }
	Volumes          map[string]any
	// What services take from.
	Common      any `yaml:"x-mediagate"`
	Environment any `yaml:"x-environment"`
}

type service struct {
	Build, Image, Restart, User    string
	Command                        []string
	Environment                    map[string]string
	Secrets, Ports, Volumes, Tmpfs []string
	Configs                        []struct{ Source, Target string }
	DependsOn                      map[string]struct{ Condition string } `yaml:"depends_on"`
	Deploy                         struct{ Replicas int }
	ReadOnly                       bool          `yaml:"read_only"`
	CapDrop                        []string      `yaml:"cap_drop"`
	SecurityOpt                    []string      `yaml:"security_opt"`
	MemLimit                       string        `yaml:"mem_limit"`
	ShmSize                        string        `yaml:"shm_size"`
	PidsLimit                      int           `yaml:"pids_limit"`
	StopSignal                     string        `yaml:"stop_signal"`
	StopGracePeriod                time.Duration `yaml:"stop_grace_period"`
	Healthcheck                    struct {
		Test              []string
		Interval, Timeout time.Duration
		StartPeriod       time.Duration `yaml:"start_period"`
		Retries           int
	}
}

const (
	single  = "compose.single.yaml"
	cluster = "compose.yaml"
)

func readComposition(t *testing.T, file string) composition {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c composition
	if err := yaml.Load(raw, &c, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	return c
}

// environment is what the process of the container is given.
func environment(m image, s service) map[string]string {
	env := maps.Clone(m.env)
	maps.Copy(env, s.Environment)
	return env
}

func TestContainerIsConfined(t *testing.T) {
	m, c := readImage(t), readComposition(t, single)
	s := c.Services["mediagate"]
	env := environment(m, s)
	port := func(name string) string {
		host, port, err := net.SplitHostPort(env[name])
		if err != nil || host != "0.0.0.0" {
			t.Errorf("%s is %q: nobody outside the container reaches it", name, env[name])
		}
		return port
	}
	api, ops := port("MEDIAGATE_LISTEN"), port("MEDIAGATE_OPS_LISTEN")
	_, declared := c.Volumes["data"]
	tests := map[string]bool{
		"the user is not root":                m.user == "65532:65532",
		"the root is read-only":               s.ReadOnly,
		"there are no capabilities":           slices.Equal(s.CapDrop, []string{"ALL"}),
		"none can be gained":                  slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}),
		"memory is limited":                   s.MemLimit == "3g",
		"processes are limited":               s.PidsLimit > 0,
		"only this machine reaches the ports": slices.Equal(s.Ports, []string{"127.0.0.1:" + api + ":" + api, "127.0.0.1:" + ops + ":" + ops}),
		"the key is a secret":                 len(s.Secrets) == 1 && env["MEDIAGATE_API_KEY_FILE"] == "/run/secrets/"+s.Secrets[0] && c.Secrets[s.Secrets[0]].File != "",
		"the banks are on the volume":         slices.Equal(s.Volumes, []string{"data:" + m.volume}) && strings.HasPrefix(env["MEDIAGATE_DATABASE_URL"], "sqlite:"+m.volume+"/"),
		"the volume is declared":              declared && len(c.Volumes) == 1,
		"nothing runs from /tmp":              len(s.Tmpfs) == 1 && strings.HasPrefix(s.Tmpfs[0], "/tmp:size=") && strings.Contains(s.Tmpfs[0], ",noexec,nosuid,nodev"),
		"running requests may end":            s.StopGracePeriod > 20*time.Second,
		"there is nothing else":               len(c.Services) == 1,
		"both files check health alike":       slices.Equal(s.Healthcheck.Test, append([]string{"CMD"}, m.health...)),
		"health is checked in time":           s.Healthcheck.Timeout > 5*time.Second && s.Healthcheck.Interval > 0 && s.Healthcheck.Retries > 0,
	}
	for what, holds := range tests {
		if !holds {
			t.Errorf("not so: %s", what)
		}
	}
}

// container runs what an image holds in a folder that stands for its root.
type container struct {
	root    string
	env     []string
	mapping *strings.Replacer
}

// newContainer builds the program as the Dockerfile does.
func newContainer(t *testing.T, m image, s service) *container {
	t.Helper()
	c := &container{root: t.TempDir()}
	build := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(m.build, "/out/", c.root+"/"))
	build.Env = append(os.Environ(), "RELEASE=v1.2.3")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", m.build, err, out)
	}
	c.mapping = strings.NewReplacer("/mediagate", c.root+"/mediagate", m.volume+"/", c.root+m.volume+"/", "/run/secrets/", c.root+"/run/secrets/",
		":5100", ":"+freePort(t), ":5101", ":"+freePort(t))
	for name, value := range environment(m, s) {
		c.env = append(c.env, name+"="+c.mapping.Replace(value))
	}
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it has served
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// command is a run inside the container.
func (c *container) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.mapping.Replace(args[0]), args[1:]...)
	cmd.Dir, cmd.Env = c.root, c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// status is that of a request from outside, 0 if nobody listens.
func (c *container) status(t *testing.T, address, key string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.mapping.Replace(address), nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close() // only the status counts
	return res.StatusCode
}

func TestContainerServes(t *testing.T) {
	m, s := readImage(t), readComposition(t, single).Services["mediagate"]
	c := newContainer(t, m, s)
	keyFile := c.root + m.env["MEDIAGATE_API_KEY_FILE"]
	if err := os.MkdirAll(filepath.Dir(keyFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := c.command(append(m.entrypoint, "check-config")...).CombinedOutput(); err == nil {
		t.Errorf("without a key the configuration passes: %s", out)
	}
	if err := os.WriteFile(keyFile, []byte("s3cret-0123456789\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if out, err := c.command(append(m.entrypoint, "version")...).Output(); err != nil || string(out) != "v1.2.3\n" {
		t.Errorf("version %q, %v", out, err)
	}
	server := c.command(m.entrypoint...)
	var log bytes.Buffer
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() { _ = server.Process.Kill() }) // if it has not ended yet
	const api, ops = "http://127.0.0.1:5100", "http://127.0.0.1:5101"
	for deadline := time.Now().Add(patience); c.status(t, api+"/readyz", "") != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = server.Process.Kill() // it may have ended
			t.Fatalf("it does not become ready, and ended with %v:\n%s", <-ended, log.String())
		}
	}
	tests := map[string]struct {
		address, key string
		want         int
	}{
		"no key":      {api + "/c/banks", "", http.StatusUnauthorized},
		"another key": {api + "/c/banks", "s3cret-012345678", http.StatusUnauthorized},
		"the key":     {api + "/c/banks", "s3cret-0123456789", http.StatusOK},
		"health":      {api + "/healthz", "", http.StatusOK},
		"metrics":     {ops + "/metrics", "", http.StatusOK},
	}
	for name, tt := range tests {
		if got := c.status(t, tt.address, tt.key); got != tt.want {
			t.Errorf("%s: status %d, want %d", name, got, tt.want)
		}
	}
	for _, check := range [][]string{m.health, s.Healthcheck.Test[1:]} {
		if out, err := c.command(check...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", check, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(c.root, m.volume, "mediagate.db")); err != nil {
		t.Errorf("the banks are not on the volume: %v", err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v:\n%s", err, log.String())
		}
	case <-time.After(s.StopGracePeriod):
		t.Error("it does not end in the time that it is given")
	}
	if out, err := c.command(m.health...).CombinedOutput(); err == nil {
		t.Errorf("healthy after its end: %s", out)
	}
}

// TestContainerSettingsExist asks the program about every variable that the files
// name, comments included.
func TestContainerSettingsExist(t *testing.T) {
	for _, file := range []string{"Dockerfile", single, cluster, "mediagate.service"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`MEDIAGATE_[A-Z0-9_]+`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no variable", file)
		}
		env := make(map[string]string)
		for _, name := range names {
			env[name] = ""
		}
		env["MEDIAGATE_"] = "" // which there is not
		out, err := command(t, env, "check-config").CombinedOutput()
		if n := strings.Count(string(out), "there is no such setting"); exitCode(t, err) != 1 || n != 1 {
			t.Errorf("%s: %d settings do not exist: %s", file, n-1, out)
		}
	}
}
