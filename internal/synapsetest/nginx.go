package synapsetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Nginx is a running nginx.
type Nginx struct {
	// Dir is its prefix, which relative paths of its configuration start from.
	Dir string

	process *process
}

// StartNginx runs nginx with a whole nginx.conf until the test ends. It returns
// once nginx listens. Take the addresses for that from [FreeAddress].
//
// What nginx needs to run in the foreground, as who runs the test, and without a
// trace outside its prefix is added if the configuration does not have it: daemon,
// pid, user and the folders for bodies. A user other than root cannot read the
// prefix. An error log and an access log are always added, so all of its own have
// to be in the prefix too. Lines keep their numbers.
func StartNginx(t testing.TB, config string) *Nginx {
	t.Helper()
	path := findNginx(t)
	n := &Nginx{Dir: t.TempDir()}
	file := filepath.Join(n.Dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(completeConfig(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-p", n.Dir, "-e", "error.log", "-c", file) //nolint:gosec,noctx // as found; it outlives this call
	cmd.Env = []string{}
	// Not SIGKILL, because that would leave the workers without their master.
	n.process = startProcess(t, cmd, filepath.Join(n.Dir, "output"), syscall.SIGTERM)
	t.Cleanup(func() {
		n.process.kill()
		if t.Failed() {
			t.Logf("error log of nginx ends with:\n%s", tail(n.ErrorLog()))
		}
	})
	// To connect would prove less: whoever else has the address answers too.
	n.process.await(t, "nginx listens", patience, n.output, func() bool {
		return strings.Contains(n.ErrorLog(), "start worker processes")
	})
	return n
}

// AccessLog has a line for each request that was answered so far, in the format
// "combined", but for those in a server or location with an access_log of its
// own. nginx writes it after the answer.
func (n *Nginx) AccessLog() string { return read(filepath.Join(n.Dir, "access.log")) }

// ErrorLog is what nginx has logged so far from the level notice, but for what
// has an error_log of its own.
func (n *Nginx) ErrorLog() string { return read(filepath.Join(n.Dir, "error.log")) }

// output is what nginx says when it cannot start.
func (n *Nginx) output() string { return read(filepath.Join(n.Dir, "output")) }

var (
	comments  = regexp.MustCompile(`(?m)(^|\s)#.*$`)
	httpBlock = regexp.MustCompile(`(?m)^[^#\n]*?\bhttp\s*\{`)
)

// completeConfig adds to an nginx.conf what it must have here.
func completeConfig(config string) string {
	said := comments.ReplaceAllString(config, "")
	top := []string{"daemon off;", "pid nginx.pid;"}
	if os.Geteuid() == 0 {
		top = append(top, "user root;")
	}
	folders := []string{
		"client_body_temp_path client_body;", "proxy_temp_path proxy;", "fastcgi_temp_path fastcgi;",
		"uwsgi_temp_path uwsgi;", "scgi_temp_path scgi;",
	}
	if at := httpBlock.FindStringIndex(config); at != nil {
		config = config[:at[1]] + " access_log access.log; " + unsaid(said, folders) + config[at[1]:]
	}
	return "error_log error.log notice; " + unsaid(said, top) + config
}

// unsaid returns the directives whose names a configuration does not have. Those
// of logs may come more than once, so they are not asked for.
func unsaid(config string, directives []string) string {
	var missing strings.Builder
	for _, d := range directives {
		name, _, _ := strings.Cut(d, " ")
		if !regexp.MustCompile(`(^|[\s;{])` + name + `\s`).MatchString(config) {
			missing.WriteString(d + " ")
		}
	}
	return missing.String()
}
