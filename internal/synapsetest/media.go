package synapsetest

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Upload stores a file as the user whose token it is and returns its mxc URI.
// The file has no name if fileName is empty.
func (s *Server) Upload(t testing.TB, token, contentType, fileName string, content []byte) string {
	t.Helper()
	path := "/_matrix/media/v3/upload"
	if fileName != "" {
		path += "?filename=" + url.QueryEscape(fileName)
	}
	var uploaded struct {
		URI string `json:"content_uri"`
	}
	s.expect(t, http.MethodPost, path, token, contentType, bytes.NewReader(content), &uploaded)
	return uploaded.URI
}

// Quarantine hides a media item, and all others here that have the same bytes.
// Of another server's item nothing happens, and nothing is said, if this server
// does not have it yet: download it before.
func (s *Server) Quarantine(t testing.TB, adminToken, uri string) {
	t.Helper()
	s.call(t, http.MethodPost, "/_synapse/admin/v1/media/quarantine/"+item(t, uri), adminToken, struct{}{}, nil)
}

// Unquarantine shows a media item again, and all others here that have the same
// bytes.
func (s *Server) Unquarantine(t testing.TB, adminToken, uri string) {
	t.Helper()
	s.call(t, http.MethodPost, "/_synapse/admin/v1/media/unquarantine/"+item(t, uri), adminToken, struct{}{}, nil)
}

// Delete removes the content of a media item of this server for good.
func (s *Server) Delete(t testing.TB, adminToken, uri string) {
	t.Helper()
	s.call(t, http.MethodDelete, "/_synapse/admin/v1/media/"+item(t, uri), adminToken, struct{}{}, nil)
}

// ResetFederation lets the server ask another one at once which it has given up
// on for some minutes, as it does after any failed request. destination is that
// one's name. It is no mistake if there is nothing to reset.
func (s *Server) ResetFederation(t testing.TB, adminToken, destination string) {
	t.Helper()
	path := "/_synapse/admin/v1/federation/destinations/" + destination + "/reset_connection"
	status, _, answer := s.Do(t, http.MethodPost, path, adminToken, strings.NewReader("{}"))
	switch {
	case status == http.StatusOK:
	case status == http.StatusBadRequest && bytes.Contains(answer, []byte("does not need to be reset")):
	case status == http.StatusNotFound && bytes.Contains(answer, []byte("Unknown destination")):
	default:
		t.Fatalf("POST %s: %d %s", path, status, answer)
	}
}

// item is the server name and media ID of an mxc URI as paths have them.
func item(t testing.TB, uri string) string {
	t.Helper()
	name, ok := strings.CutPrefix(uri, "mxc://")
	if !ok {
		t.Fatalf("%q is no mxc URI", uri)
	}
	return name
}
