package server

import (
	"context"
	_ "embed" // the API's description
	"encoding/hex"
	"errors"
	"mime"
	"net/http"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/scanner"
)

// openAPI describes this API; tests hold real answers against it.
//
//go:embed openapi.yaml
var openAPI []byte

// registerV1 adds mediagate's own API. Not as a group of Echo's, which would turn
// wrong methods into unknown paths.
func (s *Server) registerV1(r *routes) {
	posts := []string{http.MethodPost}
	r.add(owner{role: Scanner}, posts, "/v1/scan", s.scanBytes, renderErrors(s.encodeV1))
	r.add(owner{role: Curator}, posts, "/v1/exchanges/:name/fetch", s.fetchNow, renderErrors(s.encodeV1))
	r.add(owner{role: Curator}, reads, "/v1/prediction", s.predict, renderErrors(s.encodeV1))
	r.add(owner{}, []string{http.MethodGet}, "/v1/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", openAPI) })
}

// v1Error is the body of every error.
type v1Error struct {
	// Error is a constant that programs can compare.
	Error   string `json:"error"`
	Message string `json:"message"`
}

// v1Errors holds the constant and the default text of each status.
var v1Errors = map[int]v1Error{
	http.StatusUnauthorized:          {"unauthorized", "send the key as Authorization: Bearer"},
	http.StatusForbidden:             {"forbidden", "the key is not for this path"},
	http.StatusNotFound:              {"not_found", "there is no such path"},
	http.StatusMethodNotAllowed:      {"method_not_allowed", "the path does not have this method"},
	http.StatusConflict:              {"conflict", "that cannot be done now"},
	http.StatusRequestEntityTooLarge: {"too_large", "the content has more bytes than are taken in"},
	http.StatusUnsupportedMediaType:  {"unsupported_media_type", "send the bytes of the file as the body, neither in a form nor compressed"},
	http.StatusBadRequest:            {"bad_request", "the body could not be read to its end"},
	http.StatusServiceUnavailable:    {"unavailable", "nothing is known about this content now; try again"},
	http.StatusInternalServerError:   {"internal", "nothing is known, because the request failed; the log says more"},
}

// writeV1Error answers with an error; an empty message stands for the status's.
func writeV1Error(c echo.Context, status int, message string) error {
	e, ok := v1Errors[status]
	if !ok {
		status, e = http.StatusInternalServerError, v1Errors[http.StatusInternalServerError]
	}
	if message != "" {
		e.Message = message
	}
	if status == http.StatusServiceUnavailable {
		c.Response().Header().Set(echo.HeaderRetryAfter, "1")
	}
	return c.JSON(status, e)
}

func (s *Server) encodeV1(c echo.Context, err error) error {
	var he *echo.HTTPError
	switch {
	case errors.As(err, &he):
		return writeV1Error(c, he.Code, "")
	case errors.Is(err, media.ErrTooLarge):
		return writeV1Error(c, http.StatusRequestEntityTooLarge, "")
	case errors.Is(err, bank.ErrNotReady):
		return writeV1Error(c, http.StatusServiceUnavailable, "the index is not complete yet; try again")
	case errors.Is(err, media.ErrOverloaded):
		return writeV1Error(c, http.StatusServiceUnavailable, "all decoders are busy; try again")
	case bank.IsUnavailable(err):
		logged(c, s.log, err)
		return writeV1Error(c, http.StatusServiceUnavailable, "the banks cannot be read or written; try again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return writeV1Error(c, http.StatusServiceUnavailable, "")
	case errors.Is(err, errBody):
		return writeV1Error(c, http.StatusBadRequest, "")
	default:
		logged(c, s.log, err)
		return writeV1Error(c, http.StatusInternalServerError, "")
	}
}

// fetchStarted is the answer to a wish to fetch.
type fetchStarted struct {
	Exchange string `json:"exchange"`
	// Fetching is false if it is for another process to fetch, which does so at its
	// own time.
	Fetching bool `json:"fetching"`
}

// fetchNow makes an exchange fetch without waiting for its time. How that ends is
// told by the exchange's status.
func (s *Server) fetchNow(c echo.Context) error {
	x, err := s.store.Exchange(c.Request().Context(), c.Param("name"))
	switch {
	case errors.Is(err, bank.ErrExchangeNotFound):
		return writeV1Error(c, http.StatusNotFound, "there is no such exchange")
	case err != nil:
		return err
	case !x.Enabled:
		return writeV1Error(c, http.StatusConflict, "the exchange is off")
	}
	return c.JSON(http.StatusAccepted, fetchStarted{Exchange: x.Name, Fetching: s.fetcher.FetchNow(x.Name)})
}

// errBody is a body that broke off.
var errBody = errors.New("body cannot be read")

// scanResult is the body of a scan.
type scanResult struct {
	Outcome   string      `json:"outcome"`
	Epoch     int64       `json:"epoch"`
	Matches   []scanMatch `json:"matches"`
	Truncated bool        `json:"truncated"`
	Signals   scanSignals `json:"signals"`
}

type scanMatch struct {
	Bank          string `json:"bank"`
	ContentID     int64  `json:"content_id"`
	SignalType    string `json:"signal_type"`
	Distance      int    `json:"distance"`
	Variant       string `json:"variant"`
	BankedVariant string `json:"banked_variant"`
	Enforced      bool   `json:"enforced"`
	// Monitor and Allowed tell why a match may not be enforced.
	Monitor bool `json:"monitor"`
	Allowed bool `json:"allowed"`
	// Labels are nil if there are none, or none that could be read in time.
	Labels *scanLabels `json:"labels,omitempty"`
}

type scanSignals struct {
	Type    string     `json:"type"`
	Size    int64      `json:"size"`
	Width   int        `json:"width"`
	Height  int        `json:"height"`
	MD5     string     `json:"md5"`
	SHA256  string     `json:"sha256"`
	Hashes  []scanHash `json:"hashes"`
	Refusal string     `json:"refusal"`
}

type scanHash struct {
	Variant string `json:"variant"`
	PDQ     string `json:"pdq"`
	Quality int    `json:"quality"`
}

// scanBytes decides about the body. Its declared type is ignored: files lie
// about theirs.
func (s *Server) scanBytes(c echo.Context) error {
	r := c.Request()
	if t, _, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType)); t == echo.MIMEMultipartForm {
		return echo.ErrUnsupportedMediaType
	}
	if encoding := r.Header.Get(echo.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return echo.ErrUnsupportedMediaType
	}
	content, release, err := s.pool.Read(r.Context(), r.Body, r.ContentLength)
	if errors.Is(err, media.ErrTooLarge) || errors.Is(err, media.ErrOverloaded) || errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		return errBody
	}
	defer release()
	v, err := s.scanner.Scan(r.Context(), scanner.V1, content)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newScanResult(v, s.labels(r.Context(), v.Matches)))
}

func newScanResult(v scanner.Verdict, labels map[int64]scanLabels) scanResult {
	out := scanResult{
		Outcome: v.Outcome.String(), Epoch: v.Epoch, Truncated: v.Truncated, Matches: []scanMatch{},
		Signals: scanSignals{
			Type: v.Signals.Type, Size: v.Signals.Size, Width: v.Signals.Width, Height: v.Signals.Height,
			MD5: hex.EncodeToString(v.Signals.MD5[:]), SHA256: hex.EncodeToString(v.Signals.SHA256[:]),
			Hashes: []scanHash{}, Refusal: string(v.Signals.Refusal),
		},
	}
	for _, m := range v.Matches {
		match := scanMatch{
			Bank: m.Bank.Name, ContentID: m.Content, SignalType: string(m.Type), Distance: m.Distance,
			Variant: m.Looked.String(), BankedVariant: m.Stored.String(), Enforced: m.Enforced, Monitor: m.Bank.Monitor, Allowed: m.Allowed,
		}
		if l, ok := labels[m.Content]; ok {
			match.Labels = &l
		}
		out.Matches = append(out.Matches, match)
	}
	for _, h := range v.Signals.Hashes {
		out.Signals.Hashes = append(out.Signals.Hashes, scanHash{Variant: h.Variant.String(), PDQ: h.PDQ.String(), Quality: h.Quality})
	}
	return out
}
