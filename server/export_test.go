package server

// For the tests of this package, which live outside it.

// Route is a route as it is registered.
type Route struct {
	Method, Pattern string
	Role            Roles // 0: it is always there
	Open, Owned     bool
}

// Routes are all that a server has.
func (s *Server) Routes() []Route {
	r := s.route()
	var list []Route
	for _, x := range r.echo.Routes() {
		o, owned := r.owners[x.Path]
		list = append(list, Route{x.Method, x.Path, o.role, o.open, owned})
	}
	return list
}

// ParseLabels finds labels in metadata.
func ParseLabels(metadata string) (recommendation string, harms []string, ok bool) {
	l, ok := parseLabels(metadata)
	return l.Recommendation, l.Harms, ok
}
