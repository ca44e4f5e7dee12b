package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// openPaths need no key: what load balancers and orchestrators ask. They say
// nothing about banks.
var openPaths = []string{"/status", "/status/live", "/site-map", "/healthz", "/readyz"}

// isMatrixPath tells paths whose requests carry credentials of their own: the
// homeserver's users' tokens, or the reverse proxy's secret.
func isMatrixPath(path string) bool {
	return strings.HasPrefix(path, matrixPaths) || path == hookPath
}

// requireKey lets requests pass that carry the key, in the one form that HMA
// accepts. It guards everything, paths that do not exist included.
func (s *Server) requireKey(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		if s.config.APIKey.Empty() || slices.Contains(openPaths, path) || s.home != nil && isMatrixPath(path) {
			return next(c)
		}
		given := c.Request().Header.Values(echo.HeaderAuthorization)
		if len(given) == 1 {
			if key, ok := strings.CutPrefix(given[0], "Bearer "); ok && s.config.APIKey.Equal(key) {
				return next(c)
			}
		}
		if strings.HasPrefix(path, "/v1/") {
			return writeV1Error(c, http.StatusUnauthorized, "")
		}
		return writeHTML(c, http.StatusUnauthorized, "Authentication required")
	}
}
