package server

import (
	"encoding/hex"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"mediagate/media"
)

// routeKind sorts request URIs by what the gate does about them.
type routeKind uint8

const (
	// routeRefused lies in a media tree, or may once a proxy has normalised it,
	// and is no media route in its canonical spelling.
	routeRefused routeKind = iota
	// routeOther has nothing to do with media.
	routeOther
	// routeHarmless is a media route that emits no media.
	routeHarmless
	// routeBytes is a download or a thumbnail: the item must be scanned.
	routeBytes
)

// routeClass tells whose credentials a route takes.
type routeClass uint8

const (
	classClientV1   routeClass = iota // an access token
	classLegacy                       // none needed, or an access token
	classFederation                   // a signature of another homeserver
)

// mediaRoute is what the homeserver makes of a request URI. All but the kind is
// set for routeBytes only.
type mediaRoute struct {
	kind  routeKind
	class routeClass
	// server and id were decoded once and pass [media.NewURI]. The server is
	// empty for classFederation, which serves the homeserver's own media.
	server, id string
	// tokens holds every access_token of the query, empty values too. They are
	// secrets.
	tokens []string
	// asserts tells that the query names whom the token speaks for, as those of
	// bridges may.
	asserts bool
	// localOnly forbids the homeserver to fetch the item: classLegacy with
	// allow_remote=false.
	localOnly bool
}

// maxRouteURI bounds URIs in media trees. Nginx takes no longer request line.
const maxRouteURI = 8 << 10

// quarantineOverride makes Synapse serve quarantined media to administrators.
const quarantineOverride = "admin_unsafely_bypass_quarantine"

// byteRoutes are the words that name the media; they are followed by the item.
var byteRoutes = []string{"download", "thumbnail"}

// mediaRoots are the literal beginnings of all routes that Synapse has, with the
// last words of those that are harmless.
var mediaRoots = []struct {
	prefix   string
	class    routeClass
	harmless []string
}{
	{"/_matrix/client/v1/media/", classClientV1, []string{"config", "preview_url"}},
	{"/_matrix/media/r0/", classLegacy, []string{"config", "preview_url", "upload"}},
	{"/_matrix/media/v1/", classLegacy, []string{"config", "preview_url", "upload", "create"}},
	{"/_matrix/media/v3/", classLegacy, []string{"config", "preview_url", "upload"}},
	{"/_matrix/federation/v1/media/", classFederation, nil},
}

// asyncUpload is the one harmless route that names an item (MSC2246).
const asyncUpload = "/_matrix/media/v3/upload/"

// mediaTree matches a path with the unstable and future siblings of mediaRoots;
// strayMedia matches one that dot segments and the like could lead into them.
var (
	mediaTree  = regexp.MustCompile(`^/_matrix/(?:(?:client|federation)/(?:unstable/)?(?:[^/]*/)?)?media(?:/|$)`)
	strayMedia = regexp.MustCompile(`(?s)/_matrix/(?:.*/)?media(?:/|$)`)
)

// parseMediaRoute reads a request URI exactly as the client sent it: the path and
// perhaps a query, not decoded. Synapse matches routes on that raw path and then
// decodes each part once, but a proxy in between may hand it another spelling. So
// an item comes out only where all of them agree on it, and a path that some of
// them could take for a media route is refused.
func parseMediaRoute(uri string) mediaRoute {
	path, query, _ := strings.Cut(uri, "?")
	if !mediaTree.MatchString(path) {
		if path == "" || mayBecomeMedia(path) { // no request comes without a path
			return mediaRoute{}
		}
		return mediaRoute{kind: routeOther}
	}
	if len(uri) > maxRouteURI {
		return mediaRoute{}
	}
	r := canonicalRoute(path)
	if r.kind == routeBytes && !r.readQuery(query) {
		return mediaRoute{}
	}
	return r
}

// canonicalRoute reads a path of a media tree.
func canonicalRoute(path string) mediaRoute {
	if _, err := url.PathUnescape(path); err != nil || !isURIText(path) {
		return mediaRoute{}
	}
	for _, root := range mediaRoots {
		rest, ok := strings.CutPrefix(path, root.prefix)
		if !ok {
			continue
		}
		words := strings.Split(rest, "/")
		r := mediaRoute{class: root.class}
		switch {
		case slices.Contains(root.harmless, rest):
			return mediaRoute{kind: routeHarmless}
		case len(words) == 3 && strings.HasPrefix(path, asyncUpload):
			if r.readItem(words[1], words[2]) {
				return mediaRoute{kind: routeHarmless}
			}
		case !slices.Contains(byteRoutes, words[0]):
		case root.class == classFederation:
			if len(words) == 2 && r.readItem("localhost", words[1]) {
				r.kind, r.server = routeBytes, ""
				return r
			}
		case len(words) == 3 || len(words) == 4 && words[0] == "download" && isFileName(words[3]):
			if r.readItem(words[1], words[2]) {
				r.kind = routeBytes
				return r
			}
		}
	}
	return mediaRoute{}
}

// readItem decodes the parts of a media URI, once.
func (r *mediaRoute) readItem(server, id string) bool {
	server, serverErr := url.PathUnescape(server)
	id, idErr := url.PathUnescape(id)
	if serverErr != nil || idErr != nil {
		return false
	}
	u, err := media.NewURI(server, id)
	r.server, r.id = u.Server, u.ID
	return err == nil
}

// isFileName accepts what Synapse accepts, which ignores it, unless a proxy that
// decodes could let it climb over the item, add parameters to the query or leave
// the request line.
func isFileName(name string) bool {
	decoded := unquoteAll(name)
	if _, query, _ := strings.Cut(decoded, "?"); strings.Contains(query, "=") {
		return false
	}
	for word := range pathWords(decoded) {
		if word == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(decoded, unicode.IsControl)
}

// readQuery splits as Twisted does, at semicolons too. A parameter without a
// value, which Twisted drops, counts: other homeservers keep it.
func (r *mediaRoute) readQuery(query string) bool {
	if !isURIText(query) {
		return false
	}
	var remote []string
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(unquoteAll(name), quarantineOverride) {
			return false
		}
		switch decodeParameter(name) {
		case "access_token":
			r.tokens = append(r.tokens, decodeParameter(value))
		case "user_id":
			r.asserts = true
		case "allow_remote":
			remote = append(remote, decodeParameter(value))
		}
	}
	r.localOnly = r.class == classLegacy && slices.Equal(remote, []string{"false"})
	return len(remote) <= 1
}

// mayBecomeMedia tells whether proxies could make a path of a media tree from
// this one, however often they decode it and in whatever order they merge
// slashes, resolve dots, drop ;parameters, and take a \ for a slash and capitals
// for small letters. All of that only takes away segments of the fully decoded
// path. Where what is taken away depends on the order, any media after any
// _matrix will do.
func mayBecomeMedia(path string) bool {
	path = unquoteAll(path)
	tree := mediaTree
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || // perhaps a host in front
		strings.ContainsAny(path, `;\`) || strings.ContainsFunc(path, unicode.IsControl) {
		tree = strayMedia
	}
	var clean strings.Builder
	for word := range pathWords(path) {
		if word == ".." {
			tree = strayMedia
		}
		clean.WriteString("/" + word)
	}
	return tree.MatchString(clean.String())
}

// pathWords yields the segments of a decoded path: in small letters, without
// parameters, and without those that are empty or one dot.
func pathWords(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for word := range strings.FieldsFuncSeq(strings.ToLower(path), func(c rune) bool { return c == '/' || c == '\\' }) {
			word, _, _ = strings.Cut(word, ";")
			if word != "" && word != "." && !yield(word) {
				return
			}
		}
	}
}

// unquoteAll decodes percent escapes until none is left, in one pass: a byte that
// completes an escape together with decoded ones is decoded with them. Invalid
// escapes stay.
func unquoteAll(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		out = append(out, s[i])
		for n := len(out) - 3; n >= 0 && out[n] == '%'; n = len(out) - 3 {
			if _, err := hex.Decode(out[n:], out[n+1:]); err != nil {
				break
			}
			out = out[:n+1]
		}
	}
	return string(out)
}

// isURIText tells whether a URI may contain s; escapes are not looked at.
func isURIText(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7F || c == '#' || c == '\\'
	})
}
