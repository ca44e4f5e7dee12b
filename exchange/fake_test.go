package exchange_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mediagate/media"
)

const (
	adminToken = "admin-token"
	userToken  = "user-token" // valid, and no administrator's
	localName  = "local.test"
)

// fault is what goes wrong with an answer.
type fault int

const (
	healthy      fault = iota
	unauthorized       // the token is not known any more
	forbidden          // the user is no administrator, or federation is denied
	limited
	failing
	badGateway
	page    // a proxy's page, as a success
	unfound // a proxy's page, as 404
	cut     // ends in the middle of the body
	slow    // some bytes now and then
	hanging // no answer at all
	otherBytes
	gone // the file is not there any more
)

// item is a row of Synapse's tables of media, and the file.
type item struct {
	uri         media.URI
	content     []byte
	digest      bool // the row has one: it was stored by 1.128 or later
	protected   bool
	quarantined bool
	download    fault
	info        fault
	held        chan struct{} // downloads wait until it is closed
	infoHeld    chan struct{} // infos that were read by now are sent when it is closed
	wavering    bool          // between two infos it is put into quarantine, or taken out
}

type record struct {
	id  int64
	raw json.RawMessage
}

// state is what Synapse's database holds; a backup is a copy of it.
type state struct {
	items  map[media.URI]*item
	stream []record
	last   int64 // the highest number in the stream
}

// synapse plays the parts of Synapse 1.160 that are fetched from: names, pages,
// errors and all its habits were taken from a real one.
type synapse struct {
	t       testing.TB
	address string
	// postgres writes truth values as true and false, and not as 1 and 0.
	postgres bool

	mu       sync.Mutex
	server   *http.Server
	listener net.Listener
	admins   []string // the tokens of administrators
	state    state
	fault    fault // of all answers
	counts   map[string]int
	held     chan struct{} // pages of changes are read when it is closed; nil for at once
	// headers are those of all requests.
	headers []http.Header
}

func startSynapse(t testing.TB) *synapse {
	t.Helper()
	s := &synapse{t: t, admins: []string{adminToken}, counts: make(map[string]int), state: state{items: make(map[media.URI]*item), last: 1}}
	s.up()
	t.Cleanup(s.down)
	return s
}

func (s *synapse) url() string { return "http://" + s.address }

// up listens, at the same address as before.
func (s *synapse) up() {
	s.t.Helper()
	address := s.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	var l net.Listener
	await(s.t, "the address can be listened at", func() bool {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil
	})
	s.address = l.Addr().String()
	server := &http.Server{Handler: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.listener = server, l
	go func() { _ = server.Serve(l) }() // ends with down
}

// down refuses connections and cuts those there are.
func (s *synapse) down() {
	s.mu.Lock()
	server, l := s.server, s.listener
	s.mu.Unlock()
	_ = l.Close() // the server may not have begun to serve it
	_ = server.Close()
}

// accept makes a token that of the only administrator.
func (s *synapse) accept(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admins = []string{token}
}

// sent are the headers of all requests.
func (s *synapse) sent() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.headers)
}

// change does something to the server's state.
func (s *synapse) change(do func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(&s.state)
}

// hold makes pages of changes wait until the function that it returns is called.
func (s *synapse) hold() (release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = nil
		close(held)
	}
}

func (s *synapse) breakAll(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// count tells how often something was asked for since the start.
func (s *synapse) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[what]
}

func local(id string) media.URI            { return media.URI{Server: localName, ID: id} }
func remote(id string) media.URI           { return media.URI{Server: "remote.test", ID: id} }
func sha(content []byte) [sha256.Size]byte { return sha256.Sum256(content) }

// add stores an item, uploaded or cached.
func (s *synapse) add(uri media.URI, content []byte) {
	s.change(func(st *state) { st.items[uri] = &item{uri: uri, content: content, digest: true} })
}

// edit changes an item's row.
func (s *synapse) edit(uri media.URI, do func(*item)) {
	s.change(func(st *state) { do(st.items[uri]) })
}

// quarantine does as the admin API: all rows of the same digest go along, and
// each of them is a record. What is not there is silently ignored.
func (s *synapse) quarantine(uri media.URI) { s.decide(uri, true) }

func (s *synapse) unquarantine(uri media.URI) { s.decide(uri, false) }

func (s *synapse) decide(uri media.URI, quarantined bool) {
	s.change(func(st *state) {
		named := st.items[uri]
		if named == nil {
			return
		}
		for _, other := range st.sorted() {
			same := other == named || named.digest && other.digest && sha(other.content) == sha(named.content)
			if !same || quarantined && other.protected {
				continue
			}
			other.quarantined = quarantined
			st.record(s.recordOf(other.uri, quarantined))
		}
	})
}

func (st *state) sorted() []*item {
	return slices.SortedFunc(maps.Values(st.items), func(a, b *item) int { return strings.Compare(a.uri.String(), b.uri.String()) })
}

func (s *synapse) recordOf(uri media.URI, quarantined bool) json.RawMessage {
	value := any(quarantined)
	if !s.postgres {
		value = map[bool]int{true: 1}[quarantined]
	}
	raw, err := json.Marshal(map[string]any{"origin": uri.Server, "media_id": uri.ID, "quarantined": value})
	if err != nil {
		s.t.Error(err)
	}
	return raw
}

func (st *state) record(raw json.RawMessage) {
	st.last++
	st.stream = append(st.stream, record{st.last, raw})
}

// storm does what the upgrade to 1.157 did: everything that is quarantined
// appears once more.
func (s *synapse) storm() {
	s.change(func(st *state) {
		for _, i := range st.sorted() {
			if i.quarantined {
				st.record(s.recordOf(i.uri, true))
			}
		}
	})
}

// remove deletes a local item. The stream does not tell.
func (s *synapse) remove(uri media.URI) {
	s.change(func(st *state) { delete(st.items, uri) })
}

// backup copies the database.
func (s *synapse) backup() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.clone()
}

func (st state) clone() state {
	out := state{items: make(map[media.URI]*item), stream: slices.Clone(st.stream), last: st.last}
	for uri, i := range st.items {
		row := *i
		out.items[uri] = &row
	}
	return out
}

// restore puts a backup in place.
func (s *synapse) restore(st state) {
	s.change(func(now *state) { *now = st.clone() })
}

func (s *synapse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.headers = append(s.headers, r.Header.Clone())
	all, admins := s.fault, s.admins
	s.mu.Unlock()
	s.tally("requests")
	if s.misbehave(w, r, all, nil) {
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	admin := slices.Contains(admins, token)
	switch {
	case !ok:
		answer(w, http.StatusUnauthorized, "M_MISSING_TOKEN", "Missing access token")
		return
	case !admin && token != userToken:
		answer(w, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "Invalid access token passed.")
		return
	}
	var parts []string
	for part := range strings.SplitSeq(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			s.t.Errorf("path %q: %v", r.URL.EscapedPath(), err)
		}
		parts = append(parts, plain)
	}
	isAdminAPI := len(parts) > 4 && slices.Equal(parts[:4], []string{"_synapse", "admin", "v1", "media"})
	switch {
	case r.Method != http.MethodGet:
		answer(w, http.StatusMethodNotAllowed, "M_UNRECOGNIZED", "Unrecognized request")
	case slices.Equal(parts, []string{"_matrix", "client", "v3", "account", "whoami"}):
		write(w, http.StatusOK, map[string]any{"user_id": "@admin:" + localName, "is_guest": false})
	case isAdminAPI && !admin:
		answer(w, http.StatusForbidden, "M_FORBIDDEN", "You are not a server admin")
	case isAdminAPI && len(parts) == 5 && parts[4] == "quarantine_changes":
		s.tally("changes")
		s.changes(w, r)
	case isAdminAPI && len(parts) == 6:
		s.tally("infos")
		s.info(w, r, media.URI{Server: parts[4], ID: parts[5]})
	case len(parts) == 7 && slices.Equal(parts[:5], []string{"_matrix", "client", "v1", "media", "download"}):
		uri := media.URI{Server: parts[5], ID: parts[6]}
		s.tally("downloads")
		s.tally("download " + uri.String())
		s.download(w, r, uri, admin)
	default:
		answer(w, http.StatusNotFound, "M_UNRECOGNIZED", "Unrecognized request")
	}
}

func (s *synapse) tally(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// wait tells that a channel is closed, or nil, while the client is still there.
func wait(r *http.Request, held chan struct{}) bool {
	if held == nil {
		return true
	}
	select {
	case <-held:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (s *synapse) changes(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("from")
	from, err := strconv.ParseInt(text, 10, 64)
	if text != "" && err != nil {
		answer(w, http.StatusBadRequest, "M_INVALID_PARAM", "Query parameter b'from' must be an integer")
		return
	}
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != nil {
		s.tally("held changes")
	}
	if !wait(r, held) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from > s.state.last {
		answer(w, http.StatusBadRequest, "M_INVALID_PARAM", "The `from` token is considered invalid")
		return
	}
	const most = 100
	page := []json.RawMessage{}
	next := s.state.last
	for _, r := range s.state.stream {
		if r.id > from && len(page) < most {
			page, next = append(page, r.raw), r.id
		}
	}
	write(w, http.StatusOK, map[string]any{"next_batch": next, "changes": page})
}

func (s *synapse) info(w http.ResponseWriter, r *http.Request, uri media.URI) {
	i, ok := s.row(uri)
	if i.infoHeld != nil {
		s.tally("held infos")
	}
	if !wait(r, i.infoHeld) || s.misbehave(w, r, i.info, nil) {
		return
	}
	if !ok {
		answer(w, http.StatusNotFound, "M_NOT_FOUND", "Unknown media")
		return
	}
	info := map[string]any{
		"media_origin": uri.Server, "user_id": nil, "media_id": uri.ID, "media_type": "image/png", "media_length": len(i.content),
		"upload_name": nil, "created_ts": 1, "filesystem_id": "abc", "url_cache": nil, "last_access_ts": 1, "quarantined_by": nil,
		"authenticated": s.truth(true), "safe_from_quarantine": nil, "sha256": nil,
	}
	if uri.Server == localName {
		info["media_origin"], info["user_id"], info["filesystem_id"] = nil, "@u:"+localName, nil
		info["safe_from_quarantine"] = s.truth(i.protected)
	}
	if i.quarantined {
		info["quarantined_by"] = "@admin:" + localName
	}
	if i.digest {
		digest := sha(i.content)
		info["sha256"] = hex.EncodeToString(digest[:])
	}
	write(w, http.StatusOK, map[string]any{"media_info": info})
}

func (s *synapse) truth(v bool) any {
	if s.postgres {
		return v
	}
	return map[bool]int{true: 1}[v]
}

// row is a copy of an item's row.
func (s *synapse) row(uri media.URI) (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.state.items[uri]
	if i == nil {
		return item{}, false
	}
	now := *i
	i.quarantined = i.quarantined != i.wavering
	return now, true
}

func (s *synapse) download(w http.ResponseWriter, r *http.Request, uri media.URI, admin bool) {
	bypass := r.URL.Query().Get("admin_unsafely_bypass_quarantine") == "true"
	if bypass && !admin {
		answer(w, http.StatusBadRequest, "M_UNKNOWN", "Must be a server admin to bypass quarantine")
		return
	}
	i, ok := s.row(uri)
	if !ok || i.quarantined && !bypass || i.download == gone {
		answer(w, http.StatusNotFound, "M_NOT_FOUND", "Not found '"+r.URL.Path+"'")
		return
	}
	if i.held != nil {
		s.tally("held downloads")
	}
	if !wait(r, i.held) {
		return
	}
	if s.misbehave(w, r, i.download, i.content) {
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Content-Disposition", "inline")
	w.Header().Set("Content-Length", strconv.Itoa(len(i.content)))
	_, _ = w.Write(i.content) // the client may have gone
	s.tally("delivered " + uri.String())
}

// misbehave answers as a fault says, and tells whether it did. content is nil for
// what is no download.
func (s *synapse) misbehave(w http.ResponseWriter, r *http.Request, f fault, content []byte) bool {
	half := func() []byte {
		w.Header().Set("Content-Type", "image/png")
		if content == nil {
			w.Header().Set("Content-Type", "application/json")
			content = []byte(`{"next_batch": 1000000, "changes": []}`)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		return content[:len(content)/2]
	}
	switch f {
	case unauthorized:
		answer(w, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "Invalid access token passed.")
	case forbidden:
		answer(w, http.StatusForbidden, "M_FORBIDDEN", "Federation denied with remote.test.")
	case limited:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "Too Many Requests")
	case failing:
		answer(w, http.StatusInternalServerError, "M_UNKNOWN", "Internal server error")
	case badGateway:
		answer(w, http.StatusBadGateway, "M_UNKNOWN", "Failed to fetch remote media")
	case page, unfound:
		w.Header().Set("Content-Type", "text/html")
		if f == unfound {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte("<html><body>nginx</body></html>"))
	case cut:
		_, _ = w.Write(half())
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case slow:
		_ = half()
		for n := 0; n < len(content) && r.Context().Err() == nil; n++ {
			_, _ = w.Write(content[n : n+1])
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	case hanging:
		<-r.Context().Done()
	case otherBytes:
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write([]byte("something else"))
	default:
		return false
	}
	return true
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}

func answer(w http.ResponseWriter, status int, code, text string) {
	write(w, status, map[string]string{"errcode": code, "error": text})
}

// text is content that is no picture.
func text(n int) []byte { return fmt.Appendf(nil, "content %d", n) }
