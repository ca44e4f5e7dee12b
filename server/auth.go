package server

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// owner says whose a route is.
type owner struct {
	// role is the one role that the route belongs to. A route of none is always
	// there, and any key opens it.
	role Roles
	// open routes ask for no key: what load balancers ask, which says nothing about
	// banks, and what carries credentials of another kind, those of the
	// homeserver's users or the reverse proxy's secret.
	open bool
}

// routes registers what the process's roles have. Nothing else may register: a
// route of a role that is off must not exist, and a key must open no other role's.
type routes struct {
	echo   *echo.Echo
	roles  Roles
	owners map[string]owner // by pattern
}

// add registers a pattern, and tells whether its role is on.
func (r *routes) add(o owner, methods []string, pattern string, handler echo.HandlerFunc, middleware ...echo.MiddlewareFunc) bool {
	if o.role != 0 && !r.roles.Has(o.role) {
		return false
	}
	r.owners[pattern] = o
	r.echo.Match(methods, pattern, handler, middleware...)
	return true
}

// hasOwnCredentials tells paths of the APIs whose requests carry no API key. What
// does not exist there is answered without one, too: 401 would be taken for the
// end of a session.
func hasOwnCredentials(path string) bool {
	return strings.HasPrefix(path, matrixPaths) || strings.HasPrefix(path, hookPaths)
}

// requireKey lets requests pass whose key opens the route. It guards everything,
// paths that do not exist included, as soon as there is one key.
func (s *Server) requireKey(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		o, exists := s.owners[c.Path()]
		if len(s.keys) == 0 || o.open || !exists && hasOwnCredentials(path) {
			return next(c)
		}
		opens := s.keys.openedBy(c.Request())
		switch own := strings.HasPrefix(path, "/v1/"); {
		case opens == 0 && own:
			return writeV1Error(c, http.StatusUnauthorized, "")
		case opens == 0:
			return writeHTML(c, http.StatusUnauthorized, "Authentication required")
		case o.role == 0 || opens&o.role != 0:
			return next(c)
		case own:
			return writeV1Error(c, http.StatusForbidden, "")
		default:
			return c.Blob(http.StatusForbidden, echo.MIMEApplicationJSON, resultJSON(map[string]string{"message": "the key is not for this path"}))
		}
	}
}
