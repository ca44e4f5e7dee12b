package synapsetest_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"mediagate/internal/synapsetest"
)

// TestPair goes through what the package offers on one pair of servers, because
// they take seconds to boot. Its parts build on each other.
func TestPair(t *testing.T) {
	began := time.Now()
	a, b := synapsetest.StartPair(t, synapsetest.Options{},
		synapsetest.Options{UnauthenticatedMedia: true, Extra: "max_upload_size: 1234\n"})
	t.Logf("booted in %v", time.Since(began))
	adminOfA, alice := a.Register(t, "admin", true), a.Register(t, "alice", false)
	adminOfB, bob := b.Register(t, "admin", true), b.Register(t, "bob", false)
	if want := "@alice:" + a.Name; alice.ID != want {
		t.Errorf("registered %q, want %q", alice.ID, want)
	}
	picture := encode(t)
	uri := b.Upload(t, bob.Token, "image/png", "a b.png", picture)
	item := strings.TrimPrefix(uri, "mxc://")
	origin, id, _ := strings.Cut(item, "/")
	if origin != b.Name || id == "" {
		t.Fatalf("uploaded as %q", uri)
	}
	// get expects a status and returns the body.
	get := func(s *synapsetest.Server, path, token string, want int) string {
		t.Helper()
		status, _, body := s.Do(t, http.MethodGet, path, token, nil)
		if status != want {
			t.Fatalf("GET %s: %d, want %d: %s", path, status, want, body)
		}
		return string(body)
	}
	const config, downloads = "/_matrix/client/v1/media/config", "/_matrix/client/v1/media/download/"
	const changes = "/_synapse/admin/v1/media/quarantine_changes"

	// Federation, with the name that was given and without the token it needs.
	get(a, downloads+item, "", http.StatusUnauthorized)
	if got := get(a, downloads+item, alice.Token, http.StatusOK); got != string(picture) {
		t.Errorf("downloaded %d bytes, want the %d that were uploaded", len(got), len(picture))
	}
	_, header, _ := a.Do(t, http.MethodHead, downloads+item, alice.Token, nil)
	if got := header.Get("Content-Disposition"); !strings.HasSuffix(got, "a%20b.png") {
		t.Errorf("the name of the file is in %q", got)
	}

	// Options.
	get(a, "/_matrix/media/v3/download/"+item, "", http.StatusNotFound)
	get(b, "/_matrix/media/v3/download/"+item, "", http.StatusOK)
	if got := get(b, config, bob.Token, http.StatusOK); got != `{"m.upload.size":1234}` {
		t.Errorf("with a limit for uploads: %s", got)
	}

	// Quarantine.
	if got := get(a, changes, adminOfA.Token, http.StatusOK); !strings.Contains(got, `"changes":[]`) {
		t.Errorf("changes at first: %s", got)
	}
	a.Quarantine(t, adminOfA.Token, uri)
	get(a, downloads+item, alice.Token, http.StatusNotFound)
	a.Unquarantine(t, adminOfA.Token, uri)
	get(a, downloads+item, alice.Token, http.StatusOK)
	change := fmt.Sprintf(`{"origin":%q,"media_id":%q,"quarantined":`, origin, id)
	want := `"changes":[` + change + "1}," + change + "0}]"
	if got := get(a, changes, adminOfA.Token, http.StatusOK); !strings.Contains(got, want) {
		t.Errorf("changes %s, want %s", got, want)
	}

	// Federation that has failed. Synapse signs the fragment that this ID looks
	// like and does not send it, so the other server refuses the signature.
	const unknown = "/abcdefghijklmnopqrstuvwx"
	a.ResetFederation(t, adminOfA.Token, b.Name) // there is nothing to reset
	get(a, downloads+b.Name+"/a%23b", alice.Token, http.StatusBadGateway)
	get(a, downloads+b.Name+unknown, alice.Token, http.StatusBadGateway)
	a.ResetFederation(t, adminOfA.Token, b.Name)
	get(a, downloads+b.Name+unknown, alice.Token, http.StatusNotFound)
	a.ResetFederation(t, adminOfA.Token, "localhost:1") // nor is there for a stranger

	// Pausing.
	b.Pause(t)
	if err := ping(t, b, 100*time.Millisecond); !os.IsTimeout(err) {
		t.Errorf("from a paused server %v, want nothing in time", err)
	}
	b.Resume(t)
	get(b, downloads+item, bob.Token, http.StatusOK)

	// Restarting.
	b.Stop(t)
	if err := ping(t, b, 30*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("from a stopped server %v, want it to refuse connections", err)
	}
	began = time.Now()
	b.Restart(t, synapsetest.Options{})
	t.Logf("restarted in %v", time.Since(began))
	get(b, downloads+item, bob.Token, http.StatusOK)
	if got := get(b, config, bob.Token, http.StatusOK); got != `{"m.upload.size":104857600}` {
		t.Errorf("with the usual limit for uploads: %s", got)
	}

	// The end of the item and of the user.
	b.Delete(t, adminOfB.Token, uri)
	get(b, downloads+item, bob.Token, http.StatusNotFound)
	b.Logout(t, bob.Token)
	get(b, downloads+item, bob.Token, http.StatusUnauthorized)
	if log := b.Log(); strings.Count(log, "STARTING SERVER") != 2 || !strings.Contains(log, "POST /_matrix/media/v3/upload?filename=a+b.png") {
		t.Errorf("log of %s:\n%s", b.Name, log)
	}
}

// ping asks a server whether it is there, and waits for so long.
func ping(t *testing.T, s *synapsetest.Server, patience time.Duration) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(req)
	if err == nil {
		_ = res.Body.Close() // only that it came counts
	}
	return err
}

// encode returns a small PNG.
func encode(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
