package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mediagate/internal/guard"
	"mediagate/media"
)

// fetcher opens the URLs that HMA requests may name instead of sending a file:
// only on hosts that the operator lists, and only at addresses that are public
// or listed. The address is checked when it is dialled, so that a name cannot
// resolve to one thing for the check and to another for the request.
type fetcher struct {
	hosts  []string
	client *http.Client
}

// Bounds of a fetch.
const (
	fetchTimeout   = 30 * time.Second
	fetchRedirects = 5
)

var errUnsafeURL = badRequest("Invalid or unsafe URL provided")

func newFetcher(config HMAConfig) *fetcher {
	f := &fetcher{hosts: config.URLHosts}
	f.client = &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			DialContext:           guard.Dialer(config.URLNetworks).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: fetchTimeout,
			IdleConnTimeout:       time.Minute,
			MaxIdleConns:          16,
			// What arrives is what is hashed: nothing is unpacked on the way.
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > fetchRedirects || !f.allows(req.URL) {
				return errUnsafeURL
			}
			return nil
		},
	}
	return f
}

// allows tells whether a URL names a listed host, in one of the forms that HMA
// accepts.
func (f *fetcher) allows(u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Contains(u.Host, "[") {
		return false
	}
	host := u.Hostname()
	if host == "" || strings.HasSuffix(u.Host, ":") {
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n > 65535 {
			return false
		}
	}
	return slices.ContainsFunc(f.hosts, func(entry string) bool {
		return entry == "*" || strings.EqualFold(host, entry) || strings.HasSuffix(strings.ToLower(host), "."+strings.ToLower(entry))
	})
}

// fetched is an answer being read.
type fetched struct {
	body   io.ReadCloser
	length int64 // -1 if unknown
	mime   string
}

// open requests an address. The caller must close the body.
func (f *fetcher) open(ctx context.Context, address string) (*fetched, error) {
	if len(f.hosts) == 0 {
		return nil, &hmaError{http.StatusForbidden, "fetching URLs is off: MEDIAGATE_HMA_URL_HOSTS lists no host"}
	}
	u, err := url.Parse(address)
	if err != nil || !f.allows(u) {
		return nil, errUnsafeURL
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errUnsafeURL
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, fetchError(err)
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close() // nothing of it is used
		return nil, badRequest("Failed to fetch URL: status %d", res.StatusCode)
	}
	return &fetched{
		body: res.Body, length: res.ContentLength, mime: res.Header.Get("Content-Type"),
	}, nil
}

// fetchError says what went wrong without saying where: addresses and routes of
// this network are nobody's business.
func fetchError(err error) error {
	var timeout interface{ Timeout() bool }
	var dns *net.DNSError
	switch {
	case errors.Is(err, errUnsafeURL), guard.Refused(err):
		return errUnsafeURL
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return badRequest("Failed to fetch URL: it took too long")
	case errors.As(err, &dns):
		return badRequest("Failed to fetch URL: the host name cannot be resolved")
	default:
		return badRequest("Failed to fetch URL: the connection failed")
	}
}

// explain turns what reading the body reported into an answer.
func (*fetched) explain(err error) error {
	if errors.Is(err, media.ErrTooLarge) || errors.Is(err, media.ErrOverloaded) {
		return err
	}
	return fetchError(err)
}

// contentType is HMA's, by the type that the server named.
func (f *fetched) contentType() (string, error) {
	switch {
	case strings.HasPrefix(f.mime, "image"):
		return "photo", nil
	case strings.HasPrefix(f.mime, "video"):
		return "video", nil
	default:
		return "", badRequest("unsupported url ContentType: '%s', if you know the expected type, provide it with the content_type query param", f.mime)
	}
}
