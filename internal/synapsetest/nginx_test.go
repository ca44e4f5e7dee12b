package synapsetest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mediagate/internal/synapsetest"
)

// ask sends a request and returns the body of the answer.
func ask(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // all of it is read
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestNginx(t *testing.T) {
	// A body that nginx does not keep in memory has to find its folder.
	large := strings.Repeat("x", 1<<20)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %d %v", r.RequestURI, len(body), err) // the test reads it
	}))
	t.Cleanup(backend.Close)
	first, second := synapsetest.FreeAddress(t), synapsetest.FreeAddress(t)
	_, secondPort, err := net.SplitHostPort(second)
	if err != nil {
		t.Fatal(err)
	}
	n := synapsetest.StartNginx(t, `
# http { listen 127.0.0.1:1;
worker_processes 2; # the daemon is told to stay
events {}
http {
	proxy_temp_path bodies;
	log_format own '$status';
	server {
		listen `+first+` default_server;
		client_max_body_size 2m;
		location / { proxy_pass `+backend.URL+`; }
		location = /silent { access_log own.log own; return 204; }
	}
	server { listen `+secondPort+`; return 200 second; }
}
`)
	if got, want := ask(t, http.MethodPost, "http://"+first+"/a%2Fb?c", large), "/a%2Fb?c 1048576 <nil>"; got != want {
		t.Errorf("through nginx %q, want %q", got, want)
	}
	if got := ask(t, http.MethodGet, "http://"+second+"/", ""); got != "second" {
		t.Errorf("from the other server %q", got)
	}
	ask(t, http.MethodGet, "http://"+first+"/silent", "")
	deadline := time.Now().Add(30 * time.Second)
	for strings.Count(n.AccessLog(), "\n") < 2 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if log := n.AccessLog(); !strings.Contains(log, `"POST /a%2Fb?c HTTP/1.1" 200 `) || strings.Contains(log, "silent") {
		t.Errorf("access log %q", log)
	}
	if log := n.ErrorLog(); !strings.Contains(log, "a client request body is buffered to a temporary file") ||
		strings.Contains(log, "[error]") || strings.Contains(log, "[emerg]") {
		t.Errorf("error log %q", log)
	}
	if _, err := os.Stat(filepath.Join(n.Dir, "own.log")); err != nil {
		t.Error(err)
	}
}
