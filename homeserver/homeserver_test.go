package homeserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/media"
)

// The tokens of all tests. No error and nothing printed may hold them.
const (
	serviceToken = "c4n4ry-service"
	userToken    = "c4n4ry-user"
)

var item = media.URI{Server: "a.test", ID: "x"}

// defaults are those of the variables.
func defaults(url string) homeserver.Config {
	return homeserver.Config{
		URL: url, Token: secret.New(serviceToken), FirstByteTimeout: 10 * time.Second, DownloadTimeout: time.Minute,
		MinRate: 16384, RateWindow: 10 * time.Second,
	}
}

// newClient returns a client of the homeserver at url. change may be nil.
func newClient(t *testing.T, url string, change func(*homeserver.Config)) *homeserver.Client {
	t.Helper()
	config := defaults(url)
	if change != nil {
		change(&config)
	}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := homeserver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handled serves requests, and says where.
func handled(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// spoken answers each connection's only request with what speak writes, which
// need not be HTTP, and says where.
func spoken(t *testing.T, speak func(c net.Conn, r *http.Request)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					speak(c, r)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// read downloads all of an item, as a user.
func read(ctx context.Context, c *homeserver.Client) ([]byte, error) {
	d, err := c.Download(ctx, item, homeserver.Bearer(userToken), homeserver.Options{})
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(d.Body)
	return content, errors.Join(err, d.Body.Close())
}

// calls are the requests that are no downloads.
var calls = map[string]func(ctx context.Context, c *homeserver.Client) error{
	"changes": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.QuarantineChanges(ctx, 7)
		return err
	},
	"media info": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.MediaInfo(ctx, item)
		return err
	},
	"name": func(ctx context.Context, c *homeserver.Client) error {
		_, err := c.Name(ctx)
		return err
	},
}

var sentinels = []struct {
	name string
	err  error
}{
	{"not found", homeserver.ErrNotFound},
	{"unauthorized", homeserver.ErrUnauthorized},
	{"forbidden", homeserver.ErrForbidden},
	{"upstream", homeserver.ErrUpstream},
	{"unreachable", homeserver.ErrUnreachable},
	{"broken", homeserver.ErrBroken},
	{"content type", homeserver.ErrContentType},
	{"not modified", homeserver.ErrNotModified},
	{"beyond stream", homeserver.ErrBeyondStream},
	{"canceled", context.Canceled},
}

// kinds names all that an error is.
func kinds(err error) string {
	if err == nil {
		return "success"
	}
	var names []string
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ", ")
}

// checkError holds an error to what it must be, and to telling no token.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if got := kinds(err); got != want {
		t.Errorf("the error is %q, want %q: %v", got, want, err)
	}
	checkSecrets(t, err)
}

// checkSecrets prints things in every way, errors with all that they wrap.
func checkSecrets(t *testing.T, things ...any) {
	t.Helper()
	for len(things) > 0 {
		thing := things[0]
		things = things[1:]
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			text := fmt.Sprintf(verb, thing)
			for _, canary := range []string{serviceToken, userToken, fmt.Sprintf("%x", serviceToken), fmt.Sprintf("%x", userToken)} {
				if strings.Contains(text, canary) {
					t.Errorf("%s of a %T tells a token: %s", verb, thing, text)
				}
			}
		}
		switch e := thing.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				things = append(things, inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				things = append(things, inner)
			}
		}
	}
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}
