package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"mediagate/homeserver"
	"mediagate/media"
	"mediagate/scanner"
)

// The hook is what a reverse proxy asks before it passes a request on to the
// homeserver: nginx with auth_request. It answers 200 to let the request pass, 403
// to refuse it, and 503 if nothing is known; never 401, which clients could take
// for the end of their session.

const (
	hookPaths        = "/_mediagate/"
	hookPath         = hookPaths + "check"
	headerSecret     = "X-Mediagate-Secret" //nolint:gosec // a name
	headerVerdict    = "X-Mediagate-Verdict"
	headerURI        = "X-Original-URI"
	headerMethod     = "X-Original-Method"
	headerForwarded  = "X-Forwarded-For"
	bearer           = "Bearer "
	federationScheme = "x-matrix "
)

// hookReason is why a question got its answer, from a closed set.
type hookReason string

const (
	reasonPreflight    hookReason = "preflight"    // of CORS: it carries no media
	reasonOther        hookReason = "other"        // has nothing to do with media
	reasonHarmless     hookReason = "harmless"     // a media route that emits none
	reasonRoute        hookReason = "route"        // no canonical spelling of a media route
	reasonCredential   hookReason = "credential"   // one that cannot be repeated, or several
	reasonTwice        hookReason = "twice"        // two original URIs
	reasonMissing      hookReason = "not_found"    // the homeserver has no such media
	reasonUnauthorized hookReason = "unauthorized" // the homeserver refuses the same credential itself
	reasonForbidden    hookReason = "forbidden"    // the homeserver refuses us
	reasonTooLarge     hookReason = "too_large"    // not looked at
	reasonSecret       hookReason = "secret"       // the proxy's secret is missing or wrong
	reasonSetup        hookReason = "setup"        // the proxy does not say what it asks about
	reasonUnavailable  hookReason = "unavailable"  // something failed
)

func newHookAnswers() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mediagate_hook_answers_total",
		Help: "Answers to reverse proxies, by status and reason; for items that were judged the reason is the outcome.",
	}, []string{"status", "reason"})
}

// check answers the hook.
func (s *Server) check(c echo.Context) error {
	r := c.Request()
	if !s.config.HookSecret.Empty() {
		if given := r.Header.Values(headerSecret); len(given) != 1 || s.secrets.opened(given[0]) == 0 {
			s.warnSometimes(r.Context(), "the secret in "+headerSecret+" is missing or wrong")
			return s.answerHook(c, http.StatusServiceUnavailable, reasonSecret)
		}
	}
	uris := r.Header.Values(headerURI)
	switch {
	case len(uris) == 0:
		s.warnSometimes(r.Context(), "there is no "+headerURI+": it must be set to the request's raw URI")
		return s.answerHook(c, http.StatusServiceUnavailable, reasonSetup)
	case len(uris) > 1:
		return s.answerHook(c, http.StatusForbidden, reasonTwice)
	case r.Header.Get(headerMethod) == http.MethodOptions:
		return s.answerHook(c, http.StatusOK, reasonPreflight)
	}
	route := parseMediaRoute(uris[0])
	switch route.kind {
	case routeOther:
		return s.answerHook(c, http.StatusOK, reasonOther)
	case routeHarmless:
		return s.answerHook(c, http.StatusOK, reasonHarmless)
	case routeBytes:
		return s.checkItem(c, route)
	case routeRefused:
	}
	return s.answerHook(c, http.StatusForbidden, reasonRoute)
}

// warnEvery is how often a set-up that cannot work is complained about.
const warnEvery = time.Minute

// warnSometimes keeps whoever sends such questions from filling the log.
func (s *Server) warnSometimes(ctx context.Context, problem string) {
	now := time.Now().UnixNano()
	if last := s.warned.Load(); now-last > int64(warnEvery) && s.warned.CompareAndSwap(last, now) {
		s.log.WarnContext(ctx, "a question of the reverse proxy cannot be answered", "problem", problem)
	}
}

// checkItem answers for a route that emits media. A thumbnail is judged by its
// original.
func (s *Server) checkItem(c echo.Context, route mediaRoute) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.config.HookTimeout)
	defer cancel()
	q, err := s.question(ctx, route, c.Request().Header)
	if errors.Is(err, errCredential) {
		return s.answerHook(c, http.StatusForbidden, reasonCredential)
	}
	var verdict scanner.Verdict
	if err == nil {
		verdict, err = s.scanner.Check(ctx, q.Request)
	}
	switch {
	case err == nil && verdict.Outcome.Allowed():
		return s.answerHook(c, http.StatusOK, hookReason(verdict.Outcome.String()))
	case err == nil:
		return s.answerHook(c, http.StatusForbidden, hookReason(verdict.Outcome.String()))
	case errors.Is(err, homeserver.ErrNotFound):
		return s.answerHook(c, http.StatusForbidden, reasonMissing)
	case errors.Is(err, media.ErrTooLarge):
		return s.answerHook(c, http.StatusForbidden, reasonTooLarge)
	case (errors.Is(err, homeserver.ErrUnauthorized) || errors.Is(err, homeserver.ErrForbidden)) && !q.service:
		if q.own {
			return s.answerHook(c, http.StatusOK, reasonUnauthorized)
		}
		return s.answerHook(c, http.StatusForbidden, reasonForbidden)
	default:
		if !isPassing(err) {
			logged(c, s.log, err)
		}
		return s.answerHook(c, http.StatusServiceUnavailable, reasonUnavailable)
	}
}

// question is what the scanner is asked on behalf of a proxy's client.
type question struct {
	scanner.Request
	// own tells that the homeserver is asked with the very credential that the
	// client's own request carries, so that it will refuse that too. service tells
	// that it is asked with ours.
	own, service bool
}

// errCredential is a credential that the homeserver cannot be asked with.
var errCredential = errors.New("the request's credential cannot be repeated")

// question chooses the credential: what the client's own request will be judged
// by, and for requests of other homeservers, which cannot be repeated, our own.
func (s *Server) question(ctx context.Context, route mediaRoute, header http.Header) (question, error) {
	given := header.Values(echo.HeaderAuthorization)
	q := question{Request: scanner.Request{API: scanner.Hook, For: forwardedFor(header)}}
	q.Item = media.URI{Server: route.server, ID: route.id} // the route's parser has checked them
	switch route.class {
	case classLegacy:
		// The homeserver looks at no credential there, whatever the client sends.
		q.As, q.own = homeserver.Legacy(route.localOnly), len(given)+len(route.tokens) == 0
		return q, nil
	case classFederation:
		for _, authorization := range given {
			if len(authorization) < len(federationScheme) || !strings.EqualFold(authorization[:len(federationScheme)], federationScheme) {
				return question{}, errCredential
			}
		}
		if len(route.tokens) > 0 {
			return question{}, errCredential
		}
		var err error
		q.As, q.service = s.home.Service(), true
		q.Item.Server, err = s.home.Name(ctx)
		return q, err
	case classClientV1:
		authorization := ""
		switch {
		case len(given)+len(route.tokens) > 1:
			return question{}, errCredential
		case len(given) == 1:
			authorization = given[0]
		case len(route.tokens) == 1:
			authorization = bearer + route.tokens[0]
		}
		if authorization != "" || len(given) == 1 {
			token, ok := strings.CutPrefix(authorization, bearer)
			if !ok || !homeserver.IsToken(token) {
				return question{}, errCredential
			}
		}
		q.As, q.own = homeserver.Header(authorization), !route.asserts
		return q, nil
	default:
		return question{}, errCredential
	}
}

// forwardedFor is the address that the proxy says it speaks for, for the
// homeserver's own limits.
func forwardedFor(header http.Header) netip.Addr {
	if given := header.Values(headerForwarded); len(given) == 1 {
		if at, err := netip.ParseAddr(given[0]); err == nil {
			return at.Unmap()
		}
	}
	return netip.Addr{}
}

func (s *Server) answerHook(c echo.Context, status int, reason hookReason) error {
	s.hookAnswers.WithLabelValues(strconv.Itoa(status), string(reason)).Inc()
	h := c.Response().Header()
	h.Set(headerVerdict, string(reason))
	h.Set(echo.HeaderCacheControl, "no-store")
	if status == http.StatusOK {
		return c.NoContent(status)
	}
	setCORS(h) // some proxies pass refusals on as they are
	switch status {
	case http.StatusForbidden:
		return c.JSON(status, matrixError{"M_NOT_FOUND", "Not found"})
	default:
		h.Set(echo.HeaderRetryAfter, "10")
		return c.JSON(status, matrixError{"M_UNKNOWN", "Media cannot be checked now"})
	}
}

// matrixError is the standard error of Matrix.
type matrixError struct {
	Code    string `json:"errcode"`
	Message string `json:"error"`
}

// setCORS lets pages of any origin read an answer, as Matrix wants.
func setCORS(h http.Header) {
	h.Set(echo.HeaderAccessControlAllowOrigin, "*")
	h.Set(echo.HeaderAccessControlAllowMethods, "GET, POST, OPTIONS")
	h.Set(echo.HeaderAccessControlAllowHeaders, "Origin, X-Requested-With, Content-Type, Accept, Authorization")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}
