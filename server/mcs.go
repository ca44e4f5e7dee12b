package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/media"
	"mediagate/scanner"
)

// The API of Element's matrix-content-scanner: clients download media through it
// in place of the homeserver. There is no specification; what clients rely on is
// the reference's behaviour: errors of two keys, reason and info, from a closed
// set, and never Matrix's own errcode, by which clients would not see the reason.

const (
	mcsBase     = "/_matrix/media_proxy/unstable"
	mcsScan     = mcsBase + "/scan/"
	mcsDownload = mcsBase + "/download/"
	// matrixPaths is where our errors are those of Matrix.
	matrixPaths = "/_matrix/"
)

// mcsError is the body of an error.
type mcsError struct {
	Reason string `json:"reason"`
	Info   string `json:"info"`
}

// The reasons that clients know. Others would make them take the error for a
// general one.
const (
	mcsNotClean      = "MCS_MEDIA_NOT_CLEAN"
	mcsRequestFailed = "MCS_MEDIA_REQUEST_FAILED"
	mcsNotFound      = "M_NOT_FOUND"
	mcsUnknown       = "M_UNKNOWN"
	mcsMissingToken  = "M_MISSING_TOKEN"
	mcsUnknownToken  = "M_UNKNOWN_TOKEN"
)

// The texts are the reference's. What is refused and why is nobody's business.
const (
	infoClean     = "File is clean"
	infoNotClean  = "***VIRUS DETECTED***"
	infoMalformed = "Malformed media ID"
)

// mcsVerdict is the body of a scan.
type mcsVerdict struct {
	Clean bool   `json:"clean"`
	Info  string `json:"info"`
}

func (s *Server) registerMCS(r *routes) {
	if !r.roles.Has(Scanner) {
		return
	}
	r.echo.Use(preflight)
	for base, handler := range map[string]echo.HandlerFunc{mcsScan: s.mcsScan, mcsDownload: s.mcsDownload} {
		r.add(owner{role: Scanner, open: true}, reads, base+"*", handler, s.mcsRoute, renderErrors(s.encodeMCS))
	}
}

// preflight answers what browsers ask before they send a credential, for every
// path, whether it exists or not.
func preflight(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method != http.MethodOptions || !strings.HasPrefix(c.Request().URL.Path, matrixPaths) {
			return next(c)
		}
		setCORS(c.Response().Header())
		return c.NoContent(http.StatusOK)
	}
}

// mcsRoute sends paths with doubled slashes to where they have none, except for
// those just after the route, which are a part of the item: a malformed one.
func (s *Server) mcsRoute(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		merged, doubled := c.Get(mergedSlashes).(string)
		if !doubled || strings.HasPrefix(c.Request().RequestURI, mcsScan+"/") || strings.HasPrefix(c.Request().RequestURI, mcsDownload+"/") {
			setCORS(c.Response().Header())
			return next(c)
		}
		c.Response().Header().Set(echo.HeaderLocation, merged)
		return c.String(http.StatusPermanentRedirect, "308: Permanent Redirect")
	}
}

// errMalformedItem is a path that names no item.
var errMalformedItem = errors.New("malformed media ID")

// mcsRequest reads a request. With credentials it is judged by the routes that
// want them, without by those that do not, as the reference does.
func (s *Server) mcsRequest(c echo.Context) (scanner.Request, error) {
	r := c.Request()
	_, item, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, mcsBase+"/"), "/")
	server, id, ok := strings.Cut(item, "/")
	if c.Get(mergedSlashes) != nil || !ok {
		return scanner.Request{}, errMalformedItem
	}
	uri, err := media.NewURI(server, id)
	if err != nil {
		return scanner.Request{}, errMalformedItem
	}
	q := scanner.Request{API: scanner.ContentScanner, Item: uri, As: homeserver.Legacy(false), For: s.clientAddress(r)}
	switch given := r.Header.Values(echo.HeaderAuthorization); len(given) {
	case 0:
	case 1:
		q.As = homeserver.Header(given[0])
	default:
		return scanner.Request{}, &mcsStatus{http.StatusUnauthorized, mcsError{mcsMissingToken, "Several access tokens in one request"}}
	}
	return q, nil
}

// clientAddress is who the homeserver should take for the client: whom a proxy that
// is trusted names, or who is connected.
func (s *Server) clientAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := peer.Addr().Unmap()
	trusted := from.IsLoopback() || slices.ContainsFunc(s.config.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(from) })
	if at := forwardedFor(r.Header); trusted && at.IsValid() {
		return at
	}
	return from
}

func (s *Server) mcsScan(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.config.ContentScannerTimeout)
	defer cancel()
	q, err := s.mcsRequest(c)
	if errors.Is(err, errMalformedItem) {
		return c.JSON(http.StatusOK, mcsVerdict{false, infoMalformed})
	}
	if err != nil {
		return err
	}
	v, err := s.scanner.ScanItem(ctx, q)
	if err != nil {
		return err
	}
	if !v.Outcome.Allowed() {
		return c.JSON(http.StatusOK, mcsVerdict{false, infoNotClean})
	}
	return c.JSON(http.StatusOK, mcsVerdict{true, infoClean})
}

// mcsDownload serves an item: the bytes that were scanned.
func (s *Server) mcsDownload(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.config.ContentScannerTimeout)
	defer cancel()
	q, err := s.mcsRequest(c)
	if err != nil {
		return err
	}
	item, err := s.scanner.Download(ctx, q)
	if err != nil {
		return err
	}
	defer item.Release()
	if !item.Outcome.Allowed() {
		return &mcsStatus{http.StatusForbidden, mcsError{mcsNotClean, infoNotClean}}
	}
	return serveItem(c, item)
}

// passedHeaders are what a homeserver says about media that clients need.
var passedHeaders = []string{
	"Content-Type", "Content-Disposition", "Content-Security-Policy", "X-Content-Security-Policy", "Cross-Origin-Resource-Policy",
	"Referrer-Policy", "X-Robots-Tag", "ETag", "Last-Modified",
}

const (
	// mediaPolicy keeps browsers from running what media may hold. It is Synapse's.
	mediaPolicy = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; " +
		"style-src 'unsafe-inline'; media-src 'self'; object-src 'self';"
	// mediaCaching is short, so that what is blocked later is soon gone: Synapse
	// lets clients keep media for a day.
	mediaCaching = "private, max-age=300"
)

func serveItem(c echo.Context, item *scanner.Item) error {
	h := c.Response().Header()
	for _, name := range passedHeaders {
		if values := item.Header.Values(name); len(values) > 0 {
			h[http.CanonicalHeaderKey(name)] = values
		}
	}
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", mediaPolicy)
	}
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderCacheControl, mediaCaching)
	if strings.Contains(item.Header.Get(echo.HeaderCacheControl), "no-store") {
		h.Set(echo.HeaderCacheControl, "no-store")
	}
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(item.Content)))
	c.Response().WriteHeader(http.StatusOK)
	_, err := c.Response().Write(item.Content)
	if errors.Is(err, http.ErrBodyNotAllowed) { // HEAD
		return nil
	}
	return err
}

// mcsStatus is an error with its answer.
type mcsStatus struct {
	status int
	body   mcsError
}

func (e *mcsStatus) Error() string { return e.body.Info }

// isPassing tells errors that time heals and the homeserver or the load explains:
// they are counted, not logged.
func isPassing(err error) bool {
	for _, known := range []error{
		homeserver.ErrUnreachable, homeserver.ErrBroken, homeserver.ErrUpstream, homeserver.ErrUnauthorized, homeserver.ErrForbidden,
		bank.ErrNotReady, media.ErrOverloaded, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

const (
	infoUnreachable = "Failed to reach the remote server"
	infoUpstream    = "The remote server responded with an error"
	infoContentType = "The remote server responded with an invalid amount of Content-Type headers"
)

// encodeMCS answers errors. What a client should try again is 5xx or 429.
func (s *Server) encodeMCS(c echo.Context, err error) error {
	var told *mcsStatus
	var status *homeserver.StatusError
	answer := func(code int, reason, info string) error { return c.JSON(code, mcsError{reason, info}) }
	switch {
	case errors.As(err, &told):
		return c.JSON(told.status, told.body)
	case errors.Is(err, errMalformedItem):
		return answer(http.StatusForbidden, mcsNotClean, infoMalformed)
	case errors.Is(err, homeserver.ErrNotFound):
		return answer(http.StatusNotFound, mcsNotFound, "File not found")
	case errors.Is(err, media.ErrTooLarge):
		return answer(http.StatusRequestEntityTooLarge, mcsRequestFailed, "The file is too large to be scanned")
	case errors.Is(err, media.ErrOverloaded), errors.Is(err, bank.ErrNotReady):
		c.Response().Header().Set(echo.HeaderRetryAfter, "1")
		return answer(http.StatusServiceUnavailable, mcsRequestFailed, "The file cannot be scanned now")
	case errors.As(err, &status):
		return s.encodeUpstream(c, status)
	case errors.Is(err, homeserver.ErrContentType):
		return answer(http.StatusBadGateway, mcsRequestFailed, infoContentType)
	case errors.Is(err, homeserver.ErrUpstream):
		return answer(http.StatusBadGateway, mcsRequestFailed, infoUpstream)
	case isPassing(err):
		return answer(http.StatusBadGateway, mcsRequestFailed, infoUnreachable)
	default:
		logged(c, s.log, err)
		return answer(http.StatusInternalServerError, mcsUnknown, "Internal Server Error")
	}
}

// encodeUpstream passes on what a homeserver's status means to a client.
func (*Server) encodeUpstream(c echo.Context, e *homeserver.StatusError) error {
	switch {
	case e.Status == http.StatusUnauthorized && e.Code == mcsMissingToken:
		return c.JSON(http.StatusUnauthorized, mcsError{mcsMissingToken, "Access token missing from request"})
	case e.Status == http.StatusUnauthorized && e.Code == mcsUnknownToken:
		return c.JSON(http.StatusUnauthorized, mcsError{mcsUnknownToken, "Invalid access token passed"})
	case errors.Is(e, homeserver.ErrForbidden), e.Status == http.StatusGone:
		// For good: clients would try a 502 again and again. A proxy's refusal is
		// no word about the item.
		return c.JSON(http.StatusNotFound, mcsError{mcsNotFound, "File not found"})
	}
	if e.RetryAfter > 0 {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(e.RetryAfter.Seconds()+1)))
	}
	return c.JSON(http.StatusBadGateway, mcsError{mcsRequestFailed, infoUpstream})
}
