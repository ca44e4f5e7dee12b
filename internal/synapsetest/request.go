package synapsetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// maxAnswer is the largest body that is read: a file of the largest size that
// the servers take, and what federation wraps around it.
const maxAnswer = 101 << 20

// newClient returns a client that reports redirects and does not follow them.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Do sends a request to the server's URL and returns the whole answer, whatever
// its status. path is sent as it is, with its query; an empty token sends no
// Authorization. A body that is no bytes.Buffer, bytes.Reader or strings.Reader
// is sent in chunks, which Synapse refuses for uploads.
func (s *Server) Do(t testing.TB, method, path, token string, body io.Reader) (int, http.Header, []byte) {
	t.Helper()
	return s.send(t, method, path, token, "", body)
}

// call sends in as JSON, requires the status 200 and decodes the answer into
// out, unless that is nil.
func (s *Server) call(t testing.TB, method, path, token string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	s.expect(t, method, path, token, "application/json", bytes.NewReader(body), out)
}

// expect is call with any body.
func (s *Server) expect(t testing.TB, method, path, token, contentType string, body io.Reader, out any) {
	t.Helper()
	status, _, answer := s.send(t, method, path, token, contentType, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
}

func (s *Server) send(t testing.TB, method, path, token, contentType string, body io.Reader) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // all of it was read
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("more than %d bytes", maxAnswer)
	}
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return res.StatusCode, res.Header, answer
}

// isHealthy asks the server once whether it serves.
func (s *Server) isHealthy(t testing.TB) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // only the status counts
	return res.StatusCode == http.StatusOK
}
