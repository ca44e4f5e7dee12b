package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/media"
	"mediagate/scanner"
)

// hma serves the API of Hasher-Matcher-Actioner 1.1.7, the one that moderation
// tools speak, down to the forms of its errors: a JSON object from handlers, a
// list with status 422 from typed requests, HTML for paths and methods that do
// not exist, plain text for status and missing keys.
type hma struct {
	config  HMAConfig
	roles   Roles
	pool    *media.Pool
	store   *bank.Store
	live    *bank.Live
	scanner *scanner.Scanner
	fetcher *exchange.Fetcher
	home    *homeserver.Client // nil if none is configured
	urls    *fetcher
	maxAge  time.Duration
	log     *slog.Logger
	rules   []string
}

func (h *hma) register(r *routes) {
	open, hasher, matcher, curator := owner{open: true}, owner{role: Hasher}, owner{role: Matcher}, owner{role: Curator}
	h.route(r, owner{}, "/", map[string]echo.HandlerFunc{"GET": h.root})
	h.route(r, open, "/status", map[string]echo.HandlerFunc{"GET": h.status})
	h.route(r, open, "/status/live", map[string]echo.HandlerFunc{"GET": h.alive})
	h.route(r, open, "/site-map", map[string]echo.HandlerFunc{"GET": h.siteMap})
	h.route(r, hasher, "/h/hash", map[string]echo.HandlerFunc{"GET": h.hashURL, "POST": h.hashUpload})
	h.route(r, matcher, "/m/raw_lookup", map[string]echo.HandlerFunc{"GET": h.rawLookup})
	h.route(r, matcher, "/m/lookup", map[string]echo.HandlerFunc{"GET": h.lookup, "POST": h.lookupUpload})
	h.route(r, matcher, "/m/index/status", map[string]echo.HandlerFunc{"GET": h.indexStatus})
	h.route(r, curator, "/c/banks", map[string]echo.HandlerFunc{"GET": h.banks, "POST": h.createBank})
	h.route(r, curator, "/c/bank/<bank_name>", map[string]echo.HandlerFunc{"GET": h.bank, "PUT": h.updateBank, "DELETE": h.deleteBank})
	h.route(r, curator, "/c/bank/<bank_name>/content", map[string]echo.HandlerFunc{"POST": h.addContent})
	h.route(r, curator, "/c/bank/<bank_name>/signal", map[string]echo.HandlerFunc{"POST": h.addSignal})
	h.route(r, curator, "/c/bank/<bank_name>/content/<int:content_id>", map[string]echo.HandlerFunc{
		"GET": h.content, "PUT": h.updateContent, "DELETE": h.deleteContent,
	})
	h.route(r, curator, "/c/exchanges", map[string]echo.HandlerFunc{"GET": h.exchanges, "POST": h.createExchange})
	h.route(r, curator, "/c/exchanges/apis", map[string]echo.HandlerFunc{"GET": h.exchangeAPIs})
	h.route(r, curator, "/c/exchanges/api/<string:api_name>", map[string]echo.HandlerFunc{"GET": h.exchangeAPI, "POST": h.updateExchangeAPI})
	h.route(r, curator, "/c/exchanges/api/<string:api_name>/schema", map[string]echo.HandlerFunc{"GET": h.exchangeSchema})
	h.route(r, curator, "/c/exchange/<string:exchange_name>", map[string]echo.HandlerFunc{
		"GET": h.exchange, "PUT": h.updateExchange, "DELETE": h.deleteExchange,
	})
	h.route(r, curator, "/c/exchange/<string:exchange_name>/status", map[string]echo.HandlerFunc{"GET": h.exchangeStatus})
	h.route(r, curator, "/c/exchange/<string:exchange_name>/review", map[string]echo.HandlerFunc{"GET": h.reviews})
	h.route(r, curator, "/c/exchange/<string:exchange_name>/review/<int:content_id>", map[string]echo.HandlerFunc{"POST": h.decideReview})
	slices.Sort(h.rules)
}

var ruleParameter = regexp.MustCompile(`<(?:int:|string:)?(\w+)>`)

// route registers a rule in Flask's spelling, which is what /site-map lists. As
// in Flask, GET brings HEAD, and every rule has OPTIONS.
func (h *hma) route(r *routes, o owner, rule string, handlers map[string]echo.HandlerFunc) {
	path := ruleParameter.ReplaceAllString(rule, ":$1")
	wrap := func(handler echo.HandlerFunc) echo.HandlerFunc {
		handler = renderErrors(h.encode)(handler)
		return func(c echo.Context) error {
			if strings.Contains(rule, "<int:") && !isDigits(c.Param("content_id")) {
				return echo.ErrNotFound
			}
			if merged, ok := c.Get(mergedSlashes).(string); ok {
				return h.redirect(c, http.StatusPermanentRedirect, merged)
			}
			return handler(c)
		}
	}
	methods := []string{http.MethodOptions}
	for method, handler := range handlers {
		served := []string{method}
		if method == http.MethodGet {
			served = reads
		}
		methods = append(methods, served...)
		r.add(o, served, path, wrap(handler))
	}
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	if r.add(o, []string{http.MethodOptions}, path, wrap(func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderAllow, allow)
		return writeHTML(c, http.StatusOK, "")
	})) {
		h.rules = append(h.rules, rule)
	}
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// mergedSlashes is where cleanPath leaves the path that a request with doubled
// slashes is sent to.
const mergedSlashes = "merged slashes"

var doubledSlashes = regexp.MustCompile(`/{2,}`)

// cleanPath routes as WSGI servers do: by the decoded path, leading slashes
// counted once. Doubled slashes inside lead to a redirect if there is a route.
func cleanPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		path := "/" + strings.TrimLeft(u.Path, "/")
		merged := path
		if strings.Contains(path, "//") {
			merged = doubledSlashes.ReplaceAllString(path, "/")
			target := *u
			target.Scheme, target.Host, target.Path, target.RawPath = "", "", merged, ""
			c.Set(mergedSlashes, target.String())
		}
		u.Path, u.RawPath = merged, ""
		return next(c)
	}
}

func (h *hma) redirect(c echo.Context, status int, to string) error {
	c.Response().Header().Set(echo.HeaderLocation, to)
	shown := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(to)
	return writeHTML(c, status, "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n"+
		"<p>You should be redirected automatically to the target URL: <a href=\""+shown+"\">"+shown+"</a>. If not, click the link.\n")
}

// hmaError is an error that a handler answers with {"message": …}.
type hmaError struct {
	status  int
	message string
}

func (e *hmaError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &hmaError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// encode writes the error of a handler.
func (h *hma) encode(c echo.Context, err error) error {
	var invalid invalidRequest
	if errors.As(err, &invalid) {
		return c.Blob(http.StatusUnprocessableEntity, echo.MIMEApplicationJSON, invalid.body())
	}
	var told *hmaError
	switch {
	case errors.As(err, &told):
	case errors.Is(err, bank.ErrText):
		told = &hmaError{http.StatusBadRequest, "texts must be Unicode, without U+0000"}
	case errors.Is(err, bank.ErrNotReady):
		told = &hmaError{http.StatusServiceUnavailable, "index not yet ready"}
	case errors.Is(err, media.ErrOverloaded):
		c.Response().Header().Set(echo.HeaderRetryAfter, "1")
		told = &hmaError{http.StatusServiceUnavailable, "all decoders are busy, try again"}
	case errors.Is(err, media.ErrTooLarge):
		told = &hmaError{http.StatusRequestEntityTooLarge, "Content too large"}
	case bank.IsUnavailable(err):
		logged(c, h.log, err)
		c.Response().Header().Set(echo.HeaderRetryAfter, "1")
		told = &hmaError{http.StatusServiceUnavailable, "the banks cannot be read or written, try again"}
	case errors.Is(err, context.Canceled):
		told = &hmaError{http.StatusServiceUnavailable, "the request was given up"}
	default:
		logged(c, h.log, err)
		told = &hmaError{http.StatusInternalServerError, pages[http.StatusInternalServerError]}
	}
	return h.json(c, told.status, map[string]string{"message": told.message})
}

func (h *hma) json(c echo.Context, status int, v any) error {
	return c.Blob(status, echo.MIMEApplicationJSON, resultJSON(v))
}

// maxJSONBody bounds the bodies that are parsed as JSON.
const maxJSONBody = 1 << 20

// readJSONBody returns the body, which may be empty.
func readJSONBody(c echo.Context) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(c.Request().Body, maxJSONBody+1))
	if err != nil {
		return nil, badRequest("the body could not be read")
	}
	if len(raw) > maxJSONBody {
		return nil, &hmaError{http.StatusRequestEntityTooLarge, "The data value transmitted exceeds the capacity limit."}
	}
	return raw, nil
}

// requiredJSON reads the body of a request that HMA parses without a model.
func requiredJSON(c echo.Context) (document, error) {
	if !isJSON(c) {
		return nil, &hmaError{http.StatusUnsupportedMediaType,
			"Did not attempt to load JSON data because the request Content-Type was not 'application/json'."}
	}
	raw, err := readJSONBody(c)
	if err != nil {
		return nil, err
	}
	doc, err := parseJSON(raw)
	if err != nil {
		return nil, badRequest("The browser (or proxy) sent a request that this server could not understand.")
	}
	return doc, nil
}

func (h *hma) root(c echo.Context) error { return h.redirect(c, http.StatusFound, "/status") }

func (h *hma) alive(c echo.Context) error { return writeHTML(c, http.StatusOK, "I-AM-ALIVE") }

// status tells whether the index can be asked, if this process has one.
func (h *hma) status(c echo.Context) error {
	switch {
	case !h.roles.Match():
		return h.alive(c)
	case !isLoaded(h.live):
		return writeHTML(c, http.StatusServiceUnavailable, "INDEX-NOT-LOADED")
	case isStale(h.live, h.maxAge):
		return writeHTML(c, http.StatusServiceUnavailable, "INDEX-STALE")
	default:
		return h.alive(c)
	}
}

func (h *hma) siteMap(c echo.Context) error { return h.json(c, http.StatusOK, h.rules) }

// settle waits until what was committed is matched, so that whoever changes a
// bank and looks at once sees the change. The commit stands in any case.
func (h *hma) settle(c echo.Context) {
	if !h.roles.Match() { // others do, and follow by themselves
		return
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), time.Second)
	defer cancel()
	epoch, err := h.store.Epoch(ctx)
	if err == nil {
		err = h.live.Wait(ctx, epoch)
	}
	if err != nil {
		h.log.WarnContext(c.Request().Context(), "change is committed but not matched yet", "err", err)
	}
}
