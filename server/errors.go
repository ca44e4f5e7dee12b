package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// renderErrors is the one place of an API where errors become answers: encode
// writes the error in that API's form. Errors of the router (unknown path, wrong
// method) do not come here but to Server.routeError.
func renderErrors(encode func(c echo.Context, err error) error) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			if err == nil || c.Response().Committed || errors.Is(err, echo.ErrNotFound) {
				return err
			}
			return encode(c, err)
		}
	}
}

// logged reports an error that the caller is only told a constant about.
func logged(c echo.Context, log *slog.Logger, err error) {
	log.ErrorContext(c.Request().Context(), "request failed", "route", c.Path(), "err", err)
}

// routeError answers for what no handler did: paths that do not exist, methods
// they do not have, panics.
func (s *Server) routeError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status := http.StatusInternalServerError
	var he *echo.HTTPError
	if errors.As(err, &he) {
		status = he.Code
	}
	if status == http.StatusInternalServerError && !errors.Is(err, errPanic) {
		logged(c, s.log, err)
	}
	switch path := c.Request().URL.Path; {
	case strings.HasPrefix(path, "/v1/"):
		err = writeV1Error(c, status, "")
	case strings.HasPrefix(path, hookPaths) && status != http.StatusInternalServerError:
		err = c.JSON(status, matrixError{"M_UNRECOGNIZED", "Unrecognized request"})
	case strings.HasPrefix(path, matrixPaths) && status != http.StatusInternalServerError:
		setCORS(c.Response().Header())
		err = c.JSON(status, matrixError{"M_UNRECOGNIZED", "Unrecognized request"})
	case strings.HasPrefix(path, matrixPaths):
		setCORS(c.Response().Header())
		err = c.JSON(status, mcsError{mcsUnknown, "Internal Server Error"})
	default:
		err = writePage(c, status)
	}
	if err != nil {
		s.log.WarnContext(c.Request().Context(), "answer could not be sent", "err", err)
	}
}

// pages are the texts of HMA's HTML errors.
var pages = map[int]string{
	http.StatusNotFound: "The requested URL was not found on the server. If you entered the URL manually " +
		"please check your spelling and try again.",
	http.StatusMethodNotAllowed: "The method is not allowed for the requested URL.",
	http.StatusInternalServerError: "The server encountered an internal error and was unable to complete your request. " +
		"Either the server is overloaded or there is an error in the application.",
}

func writePage(c echo.Context, status int) error {
	name := http.StatusText(status)
	return writeHTML(c, status, fmt.Sprintf("<!doctype html>\n<html lang=en>\n<title>%d %s</title>\n<h1>%s</h1>\n<p>%s</p>\n", status, name, name, pages[status]))
}

// writeHTML writes a page with the content type spelt as HMA spells it.
func writeHTML(c echo.Context, status int, page string) error {
	return c.Blob(status, "text/html; charset=utf-8", []byte(page))
}
