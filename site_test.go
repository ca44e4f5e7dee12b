package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	pictures "image"
	"image/jpeg"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	xdraw "golang.org/x/image/draw"

	"mediagate/internal/synapsetest"
)

// site is a homeserver as an operator runs it: Synapse, mediagate beside it, and
// nginx in front with the files that we give away.
type site struct {
	hs *synapsetest.Server
	// admin's token is mediagate's too.
	admin, alice, bob synapsetest.User
	gate              *instance
	env               map[string]string // of the gate
	// others are more that nginx asks, as addresses.
	others []string
	nginx  *synapsetest.Nginx
	// web is nginx as an address; webMapped is the same with a proxy_pass that
	// makes nginx normalise paths, as some operators write it.
	web, webMapped string
	// logs is where what nginx logs beside its own logs is.
	logs string
}

// config is where the files are that operators are given.
const config = "synapse-module-config"

// newSite puts mediagate and nginx before a homeserver. env is what mediagate's
// environment has besides what it needs.
func newSite(t *testing.T, hs *synapsetest.Server, env map[string]string) *site {
	t.Helper()
	s := &site{hs: hs}
	s.admin, s.alice, s.bob = hs.Register(t, "admin", true), hs.Register(t, "alice", false), hs.Register(t, "bob", false)
	s.env = s.environment(t, env)
	s.gate = start(t, s.env)
	s.web, s.webMapped = synapsetest.FreeAddress(t), synapsetest.FreeAddress(t)
	s.nginx = synapsetest.StartNginx(t, s.nginxConfig(t, "mediagate.conf"))
	return s
}

// environment is what mediagate needs beside a homeserver.
func (s *site) environment(t *testing.T, more map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(s.admin.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := databaseIn(dir)
	env["MEDIAGATE_HOMESERVER_URL"], env["MEDIAGATE_HOMESERVER_TOKEN_FILE"] = s.hs.URL, token
	maps.Copy(env, more)
	return env
}

// nginxConfig is an nginx.conf that includes the files which operators are given:
// the one for http with the addresses of this site, the one for server as it is,
// and once more as an operator may have changed it.
func (s *site) nginxConfig(t *testing.T, file string) string {
	t.Helper()
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(config, "nginx", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	dir := t.TempDir()
	s.logs = dir
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	replace := func(text, old, with string) string {
		if strings.Count(text, old) != 1 {
			t.Fatalf("%q is not once in the file", old)
		}
		return strings.Replace(text, old, with, 1)
	}
	address := func(url string) string { return strings.TrimPrefix(url, "http://") }
	common := read("mediagate-http.conf")
	common = replace(common, "127.0.0.1:8008", address(s.hs.URL))
	line := "    server 127.0.0.1:5100 max_fails=0;\n"
	var lines strings.Builder
	for _, at := range append([]string{address(s.gate.api)}, s.others...) {
		lines.WriteString(strings.Replace(line, "127.0.0.1:5100", at, 1))
	}
	common = replace(common, line, lines.String())
	given := read(file)
	guarded := regexp.MustCompile(`(location \^~ (\S+) \{[^}]*?proxy_pass http://synapse);`)
	if n := len(guarded.FindAllString(given, -1)); n != 3 {
		t.Fatalf("%d locations pass media on to Synapse", n)
	}
	mapped := guarded.ReplaceAllString(given, "$1$2;")
	// What is logged beside the operator's own logs goes to where the test can read.
	given = strings.ReplaceAll(given, "/var/log/nginx/", dir+"/")
	mapped = strings.ReplaceAll(mapped, "/var/log/nginx/", dir+"/mapped-")
	return fmt.Sprintf(`events { }
http {
	include %s;
	server {
		listen %s;
		access_log given.log mediagate;
		# An operator's own, which must not make anything of ours a success.
		error_page 500 502 503 504 =200 /maintenance.html;
		# As Synapse's documentation has it, and before what it must not win over.
		location ~ ^(/_matrix|/_synapse/client) { proxy_pass http://synapse; }
		include %s;
		location / { proxy_pass http://synapse; }
	}
	server {
		listen %s;
		access_log given.log mediagate;
		location /_matrix/ { proxy_pass http://synapse/_matrix/; }
		include %s;
	}
}
`, write("http.conf", common), s.web, write("given.conf", given), s.webMapped, write("mapped.conf", mapped))
}

// call is a request that goes out exactly as it is written.
type call struct {
	method, target string
	header         []string // "Name: value"
}

// as is the header that carries a token.
func as(user synapsetest.User) string { return "Authorization: Bearer " + user.Token }

// raw sends a request without changing its target and reads the answer.
func raw(t *testing.T, address string, c call) answer {
	t.Helper()
	a, err := sendRaw(t, address, c)
	if err != nil {
		t.Fatalf("%s %s: %v", c.method, c.target, err)
	}
	return a
}

func sendRaw(t *testing.T, address string, c call) (a answer, err error) {
	t.Helper()
	if c.method == "" {
		c.method = http.MethodGet
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		return answer{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	lines := append([]string{c.method + " " + c.target + " HTTP/1.1", "Host: localhost", "Connection: close"}, c.header...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return answer{}, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: c.method})
	if err != nil {
		return answer{}, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

// path is the rest of an mxc URI, as it follows a route.
func path(mxc string) string { return strings.TrimPrefix(mxc, "mxc://") }

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// within is what the promise is: a decision takes effect everywhere in that time.
const within = 5 * time.Second

// soon is eventually with the promised time as its deadline.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// smallCopy is a picture as somebody might post it again: smaller, and encoded
// once more.
func smallCopy(t *testing.T, content []byte, quality int) []byte {
	t.Helper()
	img, _, err := pictures.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	small := pictures.NewRGBA(pictures.Rect(0, 0, img.Bounds().Dx()*7/10, img.Bounds().Dy()*7/10))
	xdraw.CatmullRom.Scale(small, small.Rect, img, img.Bounds(), xdraw.Src, nil)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// metric is the value of a metric with these labels, 0 if there is none yet.
func (s *instance) metric(t *testing.T, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(s.metrics(t))
	if found == nil {
		return 0
	}
	var v float64
	if _, err := fmt.Sscan(found[1], &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// accessLog is what nginx has logged in the format that operators are given.
func (s *site) accessLog(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.nginx.Dir, "given.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// unchecked is the log of what the variant that fails open has let pass.
func (s *site) unchecked(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.logs, "mediagate-unchecked.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
