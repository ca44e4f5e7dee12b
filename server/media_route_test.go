package server

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	refused  = mediaRoute{}
	other    = mediaRoute{kind: routeOther}
	harmless = mediaRoute{kind: routeHarmless}
)

func bytesOf(class routeClass, server, id string) mediaRoute {
	return mediaRoute{kind: routeBytes, class: class, server: server, id: id}
}

func withTokens(r mediaRoute, tokens ...string) mediaRoute {
	r.tokens = tokens
	return r
}

func onlyLocal(r mediaRoute) mediaRoute {
	r.localOnly = true
	return r
}

// Beginnings of the canonical routes, and the item that most tests ask for.
const (
	clientTree     = "/_matrix/client/v1/media/"
	legacyTree     = "/_matrix/media/v3/"
	federationTree = "/_matrix/federation/v1/media/"
	item           = "example.org/AbC_1-x"
)

var (
	clientItem     = bytesOf(classClientV1, "example.org", "AbC_1-x")
	legacyItem     = bytesOf(classLegacy, "example.org", "AbC_1-x")
	federationItem = bytesOf(classFederation, "", "AbC_1-x")
)

// routeTest is one request URI and what must come out; the zero value is refused.
type routeTest struct {
	uri  string
	want mediaRoute
}

var routeTests = map[string]routeTest{
	"client download":             {clientTree + "download/" + item, clientItem},
	"client thumbnail":            {clientTree + "thumbnail/" + item + "?width=1&height=1", clientItem},
	"thumbnail with slash":        {clientTree + "thumbnail/" + item + "/", refused},
	"thumbnail with file name":    {legacyTree + "thumbnail/" + item + "/x.png", refused},
	"legacy r0":                   {"/_matrix/media/r0/download/" + item, legacyItem},
	"legacy v1":                   {"/_matrix/media/v1/download/" + item, legacyItem},
	"legacy v3":                   {"/_matrix/media/v3/download/" + item, legacyItem},
	"legacy v3 thumbnail":         {"/_matrix/media/v3/thumbnail/" + item, legacyItem},
	"legacy v2":                   {"/_matrix/media/v2/download/" + item, refused},
	"federation download":         {federationTree + "download/AbC_1-x?timeout_ms=20000", federationItem},
	"federation thumbnail":        {federationTree + "thumbnail/AbC_1-x", federationItem},
	"federation with a server":    {federationTree + "download/" + item, refused},
	"federation trailing slash":   {federationTree + "download/AbC_1-x/", refused},
	"client v3 media":             {"/_matrix/client/v3/media/download/" + item, refused},
	"unstable client":             {"/_matrix/client/unstable/org.matrix.msc3916/media/download/" + item, refused},
	"unstable federation":         {"/_matrix/federation/unstable/org.matrix.msc3916.v2/media/download/AbC", refused},
	"unstable upload":             {"/_matrix/media/unstable/fi.mau.msc2246/create", refused},
	"local copy of another store": {"/_matrix/media/unstable/local_copy/" + item, refused},

	"file name":                         {clientTree + "download/" + item + "/x.png", clientItem},
	"empty file name":                   {clientTree + "download/" + item + "/", clientItem},
	"escaped slash in file name":        {clientTree + "download/" + item + "/a%2Fb", clientItem},
	"file name with markup":             {clientTree + "download/" + item + "/<script>", clientItem},
	"file name beyond ASCII":            {clientTree + "download/" + item + "/%C3%A9%20100%25;v=1.png", clientItem},
	"file name with backslash":          {clientTree + "download/" + item + "/C:%5Cfakepath%5Cx.png", clientItem},
	"file name with dots":               {clientTree + "download/" + item + "/...a..b..", clientItem},
	"file name climbs":                  {clientTree + "download/" + item + "/..%2F..%2Fexample.org%2Fother", refused},
	"file name climbs, backslash":       {clientTree + "download/" + item + "/%2e%2e%5c..%5cexample.org%5cother", refused},
	"file name climbs, twice decoded":   {clientTree + "download/" + item + "/x%252F..;a%252F..", refused},
	"file name with question mark":      {clientTree + "download/" + item + "/what%3F.png", clientItem},
	"file name with parameter":          {clientTree + "download/" + item + "/x%3Fadmin_unsafely_bypass_quarantine=true", refused},
	"file name with parameter, escaped": {clientTree + "download/" + item + "/x%253Faccess_token%253Da", refused},
	"file name is two dots":             {clientTree + "download/" + item + "/..", refused},
	"file name with line break":         {clientTree + "download/" + item + "/x%0d%0aGET%20", refused},
	"file name with NUL":                {clientTree + "download/" + item + "/x%00", refused},
	"file name, raw space":              {clientTree + "download/" + item + "/a b", refused},
	"file name, raw bytes":              {clientTree + "download/" + item + "/\xc3\xa9", refused},
	"file name, fragment":               {clientTree + "download/" + item + "/a#f", refused},
	"file name, invalid escape":         {clientTree + "download/" + item + "/100%.png", refused},
	"two trailing segments":             {clientTree + "download/" + item + "/x.png/", refused},

	"escaped id":                      {clientTree + "download/example.org/%41bC_1-x", clientItem},
	"escaped server":                  {clientTree + "download/%65xample.org/AbC_1-x", clientItem},
	"escaped port":                    {clientTree + "download/%6cocalhost%3A8441/M", bytesOf(classClientV1, "localhost:8441", "M")},
	"IPv6":                            {clientTree + "download/[::1]:8448/M", bytesOf(classClientV1, "[::1]:8448", "M")},
	"IPv6 escaped":                    {clientTree + "download/%5B::1%5d/M", bytesOf(classClientV1, "[::1]", "M")},
	"server in capitals is another":   {clientTree + "download/Example.Org/M", bytesOf(classClientV1, "Example.Org", "M")},
	"Dendrite's id":                   {clientTree + "download/a/b%3D=", bytesOf(classClientV1, "a", "b==")},
	"port 0":                          {clientTree + "download/a:0/M", bytesOf(classClientV1, "a:0", "M")},
	"port of Python's":                {clientTree + "download/a:+8441/M", refused},
	"IPv4":                            {clientTree + "download/127.0.0.1/M", bytesOf(classClientV1, "127.0.0.1", "M")},
	"longest server":                  {clientTree + "download/" + strings.Repeat("a", 255) + "/M", bytesOf(classClientV1, strings.Repeat("a", 255), "M")},
	"server too long":                 {clientTree + "download/" + strings.Repeat("a", 256) + "/M", refused},
	"server beyond ASCII":             {clientTree + "download/%C3%A9.org/M", refused},
	"punycode":                        {clientTree + "download/xn--9ca.org/M", bytesOf(classClientV1, "xn--9ca.org", "M")},
	"server with user":                {clientTree + "download/user@host/M", refused},
	"server with underscore":          {clientTree + "download/a_b/M", refused},
	"server with line break":          {clientTree + "download/a%0a/M", refused},
	"server is a dot":                 {clientTree + "download/./localhost/AbC", refused},
	"server is two dots":              {clientTree + "download/../thumbnail/example.org%2FAbC", refused},
	"server is two dots, escaped":     {clientTree + "download/%2e%2E/thumbnail/example.org%2FAbC", refused},
	"empty server":                    {clientTree + "download//M", refused},
	"empty id":                        {clientTree + "download/example.org/", refused},
	"empty id and file name":          {clientTree + "download/example.org//x", refused},
	"no id":                           {clientTree + "download/example.org", refused},
	"no item":                         {clientTree + "download", refused},
	"id double encoded":               {clientTree + "download/example.org/%2563", refused},
	"id with query":                   {clientTree + "download/example.org/M%3Fx=1", refused},
	"id with fragment":                {clientTree + "download/example.org/M%23x", refused},
	"id with ampersand":               {clientTree + "download/example.org/M%26x", refused},
	"id with slash":                   {clientTree + "download/example.org/M%2F", refused},
	"id that climbs":                  {clientTree + "download/example.org/x%2F..%2FM", refused},
	"id beyond ASCII":                 {clientTree + "download/example.org/M%C3%A9", refused},
	"id overlong dot":                 {clientTree + "download/example.org/%C0%AE", refused},
	"id is two dots":                  {clientTree + "download/example.org/..", refused},
	"id with parameter":               {clientTree + "download/example.org/M;x=1", refused},
	"id with NUL":                     {clientTree + "download/example.org/M%00", refused},
	"id with line feed":               {clientTree + "download/example.org/M%0A", refused},
	"id with space":                   {clientTree + "download/example.org/M%20", refused},
	"id with raw fragment":            {clientTree + "download/example.org/M#f", refused},
	"id with raw backslash":           {clientTree + `download/example.org\M`, refused},
	"longest id":                      {clientTree + "download/a/" + strings.Repeat("a", 255), bytesOf(classClientV1, "a", strings.Repeat("a", 255))},
	"id too long":                     {clientTree + "download/a/" + strings.Repeat("a", 256), refused},
	"longest URI":                     {padded(clientTree+"download/"+item+"?x=", maxRouteURI), clientItem},
	"URI too long":                    {padded(clientTree+"download/"+item+"?x=", maxRouteURI+1), refused},
	"URI too long, harmless":          {padded(clientTree+"preview_url?url=", maxRouteURI+1), refused},
	"URI too long, normalised":        {padded("/%5Fmatrix/media/?x=", maxRouteURI+1), refused},
	"URI too long, of something else": {padded("/_matrix/client/v3/sync?filter=", maxRouteURI+1), other},

	"double slash":                    {"/_matrix//client/v1/media/download/" + item, refused},
	"double slash in front":           {"//_matrix/client/v1/media/download/" + item, refused},
	"double slash inside":             {"/_matrix/client//v1/media/download/" + item, refused},
	"double slash before the server":  {clientTree + "download//" + item, refused},
	"dot segment":                     {"/_matrix/./client/v1/media/download/" + item, refused},
	"dot segment after the tree":      {"/_matrix/media/./v3/download/" + item, refused},
	"two dots":                        {"/_matrix/x/../client/v1/media/download/" + item, refused},
	"two dots over the root":          {"/../_matrix/client/v1/media/download/" + item, refused},
	"two dots, slashes not merged":    {"/_matrix/x/../media//../v3/download/" + item, refused},
	"two dots, slashes merged early":  {"/x//y/%2F../../_matrix/media/v3/download/" + item, refused},
	"escaped dots":                    {"/x/%2e%2e/_matrix/media/v3/download/" + item, refused},
	"escaped dots and slashes":        {"/zz%2F..%2F_matrix/media/v3/download/" + item, refused},
	"dots escaped twice":              {"/x/%252e%252e/_matrix/media/v3/download/" + item, refused},
	"dots escaped five times":         {"/x/%252525252e./_matrix/media/v3/download/" + item, refused},
	"escaped slash as separator":      {"/_matrix%2Fmedia/v3/download/" + item, refused},
	"escaped slash, small letter":     {"/_matrix/client%2fv1/media/download/" + item, refused},
	"escaped backslash as separator":  {"/_matrix%5cmedia%5Cv3/download/" + item, refused},
	"raw backslash as separator":      {`\_matrix\media\v3\download\` + item, refused},
	"escaped route word":              {clientTree + "%64ownload/" + item, refused},
	"escaped tree":                    {"/_matrix/%6dedia/v3/download/" + item, refused},
	"escaped root":                    {"/%5Fmatrix/media/v3/download/" + item, refused},
	"escaped in pieces":               {"/_matrix/%25%36dedia/v3/download/" + item, refused},
	"invalid escape, normalised tree": {"/_matrix/%6dedia/v3/download/a/b%zz", refused},
	"route word in capitals":          {clientTree + "Download/" + item, refused},
	"tree in capitals":                {"/_MATRIX/MEDIA/V3/DOWNLOAD/" + item, refused},
	"tree in capitals elsewhere":      {"/_matrix/client/v1/Media/download/" + item, refused},
	"parameter on a route word":       {"/_matrix;x=1/media;y/v3/download/" + item, refused},
	"parameter with slash":            {"/%5Fmatrix;%2Ffoo/media/v3/download/" + item, refused},
	"dots with parameter":             {"/x/..;a/_matrix/media/v3/download/" + item, refused},
	"absolute form":                   {"http://host/_matrix/client/v1/media/download/" + item, refused},
	"absolute form of something else": {"http://host/_matrix/client/versions", other},
	"host in front":                   {"//host/_matrix/media/v3/download/" + item, refused},
	"no slash in front":               {"_matrix/media/v3/download/" + item, refused},
	"second request":                  {"/x%20HTTP/1.1%0d%0a%0d%0aGET%20/_matrix/media/v3/download/" + item, refused},
	"fragment in the tree":            {"/_matrix/%6dedia/v3/download/" + item + "#/../../../../..", refused},
	"control character in the tree":   {"/_matrix/media/v3/download/a\t/b", refused},
	"root of a tree":                  {"/_matrix/media", refused},
	"root of a tree, slash":           {"/_matrix/client/v1/media/", refused},
	"unknown route of a tree":         {"/_matrix/media/v3/identicon/x", refused},

	"upload":                         {legacyTree + "upload?filename=%2e%2e", harmless},
	"upload r0":                      {"/_matrix/media/r0/upload", harmless},
	"upload, slash":                  {legacyTree + "upload/", refused},
	"upload, client":                 {clientTree + "upload", refused},
	"upload to an id":                {legacyTree + "upload/" + item, harmless},
	"upload to an id, v1":            {"/_matrix/media/v1/upload/" + item, refused},
	"upload that becomes a download": {legacyTree + "upload/../download%2Fa%2Fb", refused},
	"upload to an invalid id":        {legacyTree + "upload/a/..", refused},
	"create":                         {"/_matrix/media/v1/create", harmless},
	"create, v3":                     {legacyTree + "create", refused},
	"config":                         {clientTree + "config", harmless},
	"config, slash":                  {clientTree + "config/", refused},
	"config, legacy":                 {legacyTree + "config", harmless},
	"config, federation":             {federationTree + "config", refused},
	"preview":                        {clientTree + "preview_url?url=https://example.org/#%", harmless},
	"preview, legacy":                {"/_matrix/media/r0/preview_url?url=x", harmless},
	"preview that is a path":         {clientTree + "preview_url%3Furl=x", refused},

	"content scanner":             {"/_matrix/media_proxy/unstable/download/" + item, other},
	"content scanner that climbs": {"/_matrix/media_proxy/..%2Fmedia/v3/download/" + item, refused},
	"administration":              {"/_synapse/admin/v1/media/example.org", other},
	"sync":                        {"/_matrix/client/v3/sync?since=s1_2", other},
	"room alias":                  {"/_matrix/client/v3/directory/room/%23media%2Fv3%2Fx%3Aexample.org", other},
	"state named media":           {"/_matrix/client/v3/rooms/%21a%3Aexample.org/state/m.room.name/media", other},
	"state with empty key":        {"/_matrix/client/v3/rooms/!a:example.org/state/media/", other},
	"device named media":          {"/_matrix/client/v3/devices/media", other},
	"invalid escape elsewhere":    {"/_matrix/client/v3/%zz/\xff", other},
	"tree only in the query":      {"/_matrix/client/versions?/../_matrix/media/v3/download/a/b", other},
	"root":                        {"/", other},
	"empty":                       {"", refused},
	"only a query":                {"?a", refused},
	"asterisk":                    {"*", other},

	"token":                            {clientTree + "download/" + item + "?access_token=syt_a", withTokens(clientItem, "syt_a")},
	"token, escaped":                   {legacyTree + "download/" + item + "?acc%65ss_token=a%2Bb+c%zz", withTokens(legacyItem, "a+b c%zz")},
	"two tokens":                       {clientTree + "download/" + item + "?access_token=a;x&access_token=b", withTokens(clientItem, "a", "b")},
	"empty tokens":                     {clientTree + "download/" + item + "?access_token=&access_token", withTokens(clientItem, "", "")},
	"token in capitals is none":        {clientTree + "download/" + item + "?Access_Token=a", clientItem},
	"local only":                       {legacyTree + "download/" + item + "?allow_remote=false&allow_redirect=true", onlyLocal(legacyItem)},
	"local only, escaped":              {legacyTree + "download/" + item + "?timeout_ms=9e9;allow%5fremote=f%61lse", onlyLocal(legacyItem)},
	"remote allowed":                   {legacyTree + "download/" + item + "?allow_remote=true", legacyItem},
	"local only, capitals":             {legacyTree + "download/" + item + "?allow_remote=False", legacyItem},
	"local only, twice":                {legacyTree + "download/" + item + "?allow_remote=false&allow_remote=false", refused},
	"local only, contradicted":         {legacyTree + "download/" + item + "?allow_remote=true;allow_remote=false", refused},
	"local only, client":               {clientTree + "download/" + item + "?allow_remote=false", clientItem},
	"bypass":                           {clientTree + "download/" + item + "?admin_unsafely_bypass_quarantine=true", refused},
	"bypass, off":                      {clientTree + "download/" + item + "?admin_unsafely_bypass_quarantine=false", refused},
	"bypass, no value":                 {clientTree + "download/" + item + "?a&admin_unsafely_bypass_quarantine", refused},
	"bypass, escaped":                  {clientTree + "download/" + item + "?%61dmin%5funsafely_bypass_quarantine=true", refused},
	"bypass, escaped twice, capitals":  {clientTree + "download/" + item + "?x=1;Admin%255Funsafely_bypass_quarantine=true", refused},
	"bypass, legacy":                   {legacyTree + "thumbnail/" + item + "?admin_unsafely_bypass_quarantine=true", refused},
	"bypass, value of something else":  {clientTree + "download/" + item + "?x=admin_unsafely_bypass_quarantine", clientItem},
	"many parameters":                  {clientTree + "download/" + item + "?" + strings.Repeat("a=1&", 1000), clientItem},
	"query with an invalid escape":     {clientTree + "download/" + item + "?%=%zz&&;=", clientItem},
	"query with a second mark":         {clientTree + "download/" + item + "?a?access_token=b", clientItem},
	"query with fragment":              {clientTree + "download/" + item + "?a=1#f", refused},
	"query with raw space":             {clientTree + "download/" + item + "?a=1 HTTP/1.1", refused},
	"query with raw bytes":             {clientTree + "download/" + item + "?a=\xff", refused},
	"empty query":                      {clientTree + "download/" + item + "?", clientItem},
	"same text in path and file name":  {legacyTree + "download/download/thumbnail/download", bytesOf(classLegacy, "download", "thumbnail")},
	"fullwidth letters are no letters": {"/_matrix/%EF%BD%8Dedia/v3/download/" + item, other},
}

// padded makes a URI n bytes long.
func padded(uri string, n int) string { return uri + strings.Repeat("a", n-len(uri)) }

func TestParseMediaRoute(t *testing.T) {
	for name, tt := range routeTests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseMediaRoute(tt.uri), cmp.AllowUnexported(mediaRoute{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.uri, diff)
			}
		})
	}
}

// A URI may be as long as the header limit lets it, and is read before anything
// is known about its sender.
func TestParseMediaRouteCostsLinearTime(t *testing.T) {
	const size = 1 << 18
	for name, part := range map[string]string{
		"nested escapes":  "%25",
		"broken escapes":  "%2",
		"nested at last":  "25",
		"dot segments":    "/..",
		"slashes":         "/",
		"parameters":      ";/_matrix",
		"matrix segments": "/../_matrix/medi",
		"capitals":        "/%C4%B0",
	} {
		t.Run(name, func(t *testing.T) {
			uri := "/%" + strings.Repeat(part, size/len(part))
			start := time.Now()
			parseMediaRoute(uri)
			// A quadratic step would take a minute.
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
