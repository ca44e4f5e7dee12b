package server

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"mediagate/media"
)

// synapseRoutes are Synapse's own rules for the routes that serve media, which it
// matches on the raw path. A file name may follow a download only.
var synapseRoutes = []struct {
	class routeClass
	rule  *regexp.Regexp
}{
	{classClientV1, regexp.MustCompile(`^/_matrix/client/v1/media/download/([^/]*)/([^/]*)(?:/[^/]*)?$`)},
	{classClientV1, regexp.MustCompile(`^/_matrix/client/v1/media/thumbnail/([^/]*)/([^/]*)$`)},
	{classLegacy, regexp.MustCompile(`^/_matrix/media/(?:r0|v3|v1)/download/([^/]*)/([^/]*)(?:/[^/]*)?$`)},
	{classLegacy, regexp.MustCompile(`^/_matrix/media/(?:r0|v3|v1)/thumbnail/([^/]*)/([^/]*)$`)},
	{classFederation, regexp.MustCompile(`^/_matrix/federation/v1/media/(?:download|thumbnail)/()([^/]*)$`)},
}

// synapseServes says which item Synapse answers a raw URI with.
func synapseServes(uri string) (mediaRoute, bool) {
	path, _, _ := strings.Cut(uri, "?")
	for _, r := range synapseRoutes {
		if m := r.rule.FindStringSubmatch(path); m != nil {
			return bytesOf(r.class, pythonUnquote(m[1]), pythonUnquote(m[2])), true
		}
	}
	return mediaRoute{}, false
}

var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func unquoteOnce(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return escapes.ReplaceAllStringFunc(s, func(e string) string {
		b, _ := strconv.ParseUint(e[1:], 16, 8)
		return string([]byte{byte(b)})
	})
}

func pythonUnquote(s string) string { return strings.ToValidUTF8(unquoteOnce(s), "\uFFFD") }

// agrees checks that a URI whose item some homeserver serves, once proxies have
// made another path of its path, is refused or read as the same item, with the
// query that it came with.
func agrees(t *testing.T, uri, path string) {
	t.Helper()
	served, ok := synapseServes(path)
	if !ok {
		return
	}
	got := parseMediaRoute(uri)
	if got.kind == routeRefused {
		return
	}
	if got.kind != routeBytes || got.class != served.class || got.server != served.server || got.id != served.id {
		t.Errorf("%q is read as %+v, but as %q it gives %+v", uri, got, path, served)
	}
	if _, query, _ := strings.Cut(path, "?"); strings.Contains(query, "=") {
		t.Errorf("%q is read as %+v, but as %q it has other parameters", uri, got, path)
	}
}

// routeVocabulary is what spell puts for bytes above 0x7F, so that the fuzzer
// changes whole words.
var routeVocabulary = []string{
	"/", "//", "/./", "/../", "..", ".", "%2F", "%2f", "%5C", `\`, ";", ";x=1", "%", "%25", "%2", "2F", "2e", "%2e", "%252e%252e", "%3F", "?", "#", "%00",
	"_matrix", "/_matrix/", "media", "client", "federation", "v1", "v3", "r0", "unstable", "download", "thumbnail", "upload", "create", "config", "preview_url",
	"%6d", "%64ownload", "%5Fmatrix", "%256d", "%4d", "6d", "Media", "DOWNLOAD", "media_proxy", "http://host", "//host",
	clientTree, legacyTree, federationTree, clientTree + "download/", legacyTree + "thumbnail/", "/_matrix/client/unstable/ns/media/",
	"example.org/AbC", "example.org", "AbC", "[::1]:8448", "%41", "%3A", "/x.png", "a%2Fb", "..%2F..%2Fother.org%2Fid", "\xc3", "%C3%A9", "%0d%0a", " ",
	"access_token=", "%3Faccess_token=", "%253D", "&", "+", "allow_remote=false", "admin_unsafely_bypass_quarantine=true", "=", "http%3A//host",
}

func spell(raw string) string {
	var out strings.Builder
	for i := range len(raw) {
		if raw[i] < 0x80 {
			out.WriteByte(raw[i])
		} else {
			out.WriteString(routeVocabulary[int(raw[i]-0x80)%len(routeVocabulary)])
		}
	}
	return out.String()
}

// routeSeeds leaves the long URIs out, over whose minimising a fuzzer can spend
// minutes.
func routeSeeds() []string {
	var uris []string
	for _, tt := range routeTests {
		if len(tt.uri) < 512 {
			uris = append(uris, tt.uri)
		}
	}
	slices.Sort(uris)
	return uris
}

// FuzzParseMediaRoute compares with Synapse's rule on the raw URI, each once as
// it is and once spelled.
func FuzzParseMediaRoute(f *testing.F) {
	for _, uri := range routeSeeds() {
		f.Add(uri)
	}
	for i := range byte(0x80) { // a word, an item and a word
		f.Add(string([]byte{0x80 + byte(slices.Index(routeVocabulary, clientTree+"download/")), 'a', '/', 'b', 0x80 + i}))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, uri := range []string{raw, spell(raw)} {
			path, _, _ := strings.Cut(uri, "?")
			agrees(t, uri, path)
			r := parseMediaRoute(uri)
			if r.kind != routeBytes {
				if !reflect.DeepEqual(r, mediaRoute{kind: r.kind}) {
					t.Errorf("%q: %+v holds more than its kind", uri, r)
				}
				checkPlain(t, uri, r)
				continue
			}
			if _, ok := synapseServes(uri); !ok {
				t.Errorf("%q is read as %+v, but Synapse does not serve it", uri, r)
			}
			checkQuery(t, uri, r)
			if got := parseMediaRoute(canonical(t, r)); !reflect.DeepEqual(got, r) {
				t.Errorf("%q is read as %+v, and that as %+v", uri, r, got)
			}
		}
	})
}

var plainPath = regexp.MustCompile(`^(?:/[0-9A-Za-z_:!@$=~-][0-9A-Za-z_:!@$=~.-]*)+/?$`)

// checkPlain keeps the parser from refusing more than it must: paths that no
// proxy changes are what they look like.
func checkPlain(t *testing.T, uri string, r mediaRoute) {
	if !plainPath.MatchString(uri) || len(uri) > maxRouteURI {
		return
	}
	if !strings.Contains(strings.ToLower(uri), "/media") && r.kind != routeOther {
		t.Errorf("%q is not other, but %+v", uri, r)
	}
	served, ok := synapseServes(uri)
	server := served.server
	if served.class == classFederation {
		server = "localhost"
	}
	if _, err := media.NewURI(server, served.id); ok && err == nil {
		t.Errorf("%q is not read as %+v, but as %+v", uri, served, r)
	}
}

// checkQuery compares with Twisted, which splits at semicolons too.
func checkQuery(t *testing.T, uri string, r mediaRoute) {
	_, query, _ := strings.Cut(uri, "?")
	args := map[string][]string{}
	for pair := range strings.SplitSeq(strings.ReplaceAll(query, ";", "&"), "&") {
		name, value, _ := strings.Cut(strings.ReplaceAll(pair, "+", " "), "=")
		if value = unquoteOnce(value); !utf8.ValidString(value) {
			return // no token and no truth value either
		}
		args[unquoteOnce(name)] = append(args[unquoteOnce(name)], value)
	}
	if args[quarantineOverride] != nil {
		t.Errorf("%q bypasses the quarantine", uri)
	}
	if !slices.Equal(args["access_token"], r.tokens) {
		t.Errorf("%q has the tokens %q, read are %q", uri, args["access_token"], r.tokens)
	}
	remote := args["allow_remote"]
	if len(remote) > 1 || r.localOnly != (r.class == classLegacy && slices.Equal(remote, []string{"false"})) {
		t.Errorf("%q has allow_remote %q, read is %v", uri, remote, r.localOnly)
	}
}

// canonical spells what was read.
func canonical(t *testing.T, r mediaRoute) string {
	server, path := r.server, ""
	switch r.class {
	case classClientV1:
		path = clientTree + "download/" + url.PathEscape(server) + "/" + r.id
	case classLegacy:
		path = legacyTree + "download/" + url.PathEscape(server) + "/" + r.id
	case classFederation:
		server, path = "localhost", federationTree+"download/"+r.id
	}
	if _, err := media.NewURI(server, r.id); err != nil {
		t.Errorf("%+v: %v", r, err)
	}
	query := url.Values{"access_token": r.tokens}
	if r.localOnly {
		query.Set("allow_remote", "false")
	}
	return path + "?" + query.Encode()
}

// hops are what proxies do to a URI before they pass it on. A hop that answers an
// error gives "".
var hops = []func(string) string{
	func(uri string) string { return nginx(uri, true) },
	func(uri string) string { return nginx(uri, false) },
	unquoteOnce,
	unquoteUnreserved,
	mergeSlashes,
	func(uri string) string { path, _ := resolveDots(uri); return path },
	func(uri string) string { return pathParameter.ReplaceAllString(uri, "") },
	func(uri string) string { return strings.ReplaceAll(uri, `\`, "/") },
	smallRouteWords,
	func(uri string) string { return origin.ReplaceAllString(uri, "") },
	func(uri string) string { return authority.ReplaceAllString(uri, "") },
	func(uri string) string { path, _, _ := strings.Cut(uri, "#"); return path },
}

var (
	slashes       = regexp.MustCompile(`/{2,}`)
	pathParameter = regexp.MustCompile(`;[^/]*`)
	origin        = regexp.MustCompile(`^[A-Za-z]+://[^/]*`)
	authority     = regexp.MustCompile(`^//[^/]*`)
	routeWords    = regexp.MustCompile(`(?is)^.*?/(?:download|thumbnail)(?:/|$)`)
	unreserved    = regexp.MustCompile(`%(?i:2d|2e|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])`)
)

func mergeSlashes(path string) string { return slashes.ReplaceAllString(path, "/") }

func unquoteUnreserved(path string) string {
	return unreserved.ReplaceAllStringFunc(path, unquoteOnce)
}

// smallRouteWords leaves the item alone: in small letters it is another one.
func smallRouteWords(path string) string {
	return routeWords.ReplaceAllStringFunc(path, strings.ToLower)
}

// resolveDots removes dot segments as RFC 3986 does, section 5.2.4. It tells
// whether they stay below the root.
func resolveDots(path string) (resolved string, ok bool) {
	words := strings.Split(path, "/")
	out := words[:1:1]
	ok = true
	for i, word := range words[1:] {
		if word != "." && word != ".." {
			out = append(out, word)
			continue
		}
		if word == ".." {
			ok = ok && len(out) > 1
			out = out[:max(1, len(out)-1)]
		}
		if i == len(words)-2 {
			out = append(out, "")
		}
	}
	return strings.Join(out, "/"), ok
}

// nginx passes on what proxy_pass with a path does: the normalised URI, escaped
// again if it was before. Merging slashes is its default. What it answers 400 is
// empty.
func nginx(uri string, merge bool) string {
	raw, _, _ := strings.Cut(origin.ReplaceAllString(uri, ""), "#")
	path := unquoteOnce(raw)
	if !strings.HasPrefix(path, "/") || strings.Contains(escapes.ReplaceAllString(raw, ""), "%") || strings.Contains(path, "\x00") {
		return ""
	}
	if merge {
		path = mergeSlashes(path)
	}
	path, ok := resolveDots(path)
	switch {
	case !ok:
		return ""
	case !strings.Contains(raw, "%"):
		return path
	}
	var out strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7F || strings.IndexByte(`"#%<>?\^{|}`+"`", c) >= 0 {
			out.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// FuzzMediaRouteBehindProxies compares with Synapse's rule on what up to six hops
// in any order make of the path.
func FuzzMediaRouteBehindProxies(f *testing.F) {
	for _, uri := range routeSeeds() {
		f.Add(uri, []byte{})
		f.Add(uri, []byte{2, 8, 7, 6, 4, 5})
		f.Add(uri, []byte{9, 2, 2, 5})
	}
	f.Fuzz(func(t *testing.T, raw string, route []byte) {
		for _, uri := range []string{raw, spell(raw)} {
			path, _, _ := strings.Cut(uri, "?")
			agrees(t, uri, nginx(path, true))
			agrees(t, uri, nginx(path, false))
			for _, hop := range route[:min(len(route), 6)] {
				path = hops[int(hop)%len(hops)](path)
				agrees(t, uri, path)
			}
		}
	})
}
