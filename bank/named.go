package bank

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Types of what a content is matched by that has no signals. They are no signal types
// that anything could be looked up by but [Index.Named].
const (
	// NamedItem is one item, by its name.
	NamedItem SignalType = "mxc"
	// NamedServer is all that comes from some servers.
	NamedServer SignalType = "server"
)

// Named is what a content bans that is not known by its bytes: an item, or the media of
// servers. One of the two is set.
type Named struct {
	// Item is the SHA-256 of an mxc URI, as raw bytes.
	Item string
	// Servers is a server's name, in which * stands for any characters and ? for one.
	Servers string
}

// maxServers is how long Named.Servers may be, in bytes.
const maxServers = 255

// ErrNamed is a Named that no content can have.
var ErrNamed = errors.New("it names neither one item nor servers")

func (n Named) check() error {
	if len(n.Item) != sha256.Size && n.Item != "" || len(n.Servers) > maxServers || (n.Item == "") == (n.Servers == "") {
		return ErrNamed
	}
	return checkTexts(n.Servers)
}

// put stores what a content names, instead of what it has named.
func (n Named) put(ctx context.Context, tx *sql.Tx, content int64) error {
	if n == (Named{}) {
		_, err := tx.ExecContext(ctx, "DELETE FROM named WHERE content = $1", content)
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO named (content, item, servers) VALUES ($1, $2, $3)
		ON CONFLICT (content) DO UPDATE SET item = excluded.item, servers = excluded.servers`, content, []byte(n.Item), n.Servers)
	return err
}

// namedBy returns what a content names, which may be nothing.
func namedBy(ctx context.Context, q queryer, content int64) (n Named, err error) {
	var item []byte
	err = q.QueryRowContext(ctx, "SELECT item, servers FROM named WHERE content = $1", content).Scan(&item, &n.Servers)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	n.Item = string(item)
	return n, err
}

// namings are all that contents name. It is immutable.
type namings struct {
	items   map[string][]namedRef // by SHA-256
	servers map[string][]namedRef // by name, in lower case
	globs   map[string][]glob     // by their ending; at "" where that is not written out
}

type namedRef struct {
	content, disableUntil int64
	bank                  int32
}

// glob is a pattern of servers with * or ?, in lower case.
type glob struct {
	pattern string
	namedRef
}

// listNamed reads all. They are few: of lists, those of entries without hashes.
func listNamed(ctx context.Context, q queryer) (n namings, err error) {
	rows, err := q.QueryContext(ctx, "SELECT n.item, n.servers, c.id, c.bank, c.disable_until FROM named n JOIN content c ON c.id = n.content ORDER BY c.id")
	if err != nil {
		return namings{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n = namings{items: make(map[string][]namedRef), servers: make(map[string][]namedRef), globs: make(map[string][]glob)}
	for rows.Next() {
		var item []byte
		var servers string
		var r namedRef
		if err := rows.Scan(&item, &servers, &r.content, &r.bank, &r.disableUntil); err != nil {
			return namings{}, err
		}
		servers = strings.ToLower(servers)
		switch {
		case len(item) == sha256.Size:
			n.items[string(item)] = append(n.items[string(item)], r)
		case servers == "":
			return namings{}, fmt.Errorf("content %d: %w", r.content, ErrNamed)
		case strings.ContainsAny(servers, "*?"):
			end := ending(servers)
			if strings.ContainsAny(end, "*?") {
				end = ""
			}
			n.globs[end] = append(n.globs[end], glob{servers, r})
		default:
			n.servers[servers] = append(n.servers[servers], r)
		}
	}
	return n, rows.Err()
}

// Named returns the contents that name an item, or its server. A pattern of a server
// without a port is of that server on any.
func (ix *Index) Named(server, id string) (out []Match) {
	now := time.Now()
	add := func(t SignalType, r namedRef) {
		if b, ok := ix.banks[r.bank]; ok {
			out = append(out, Match{Content: r.content, Bank: b, Type: t, Enabled: enabledAt(r.disableUntil, now)})
		}
	}
	if len(ix.named.items) > 0 {
		digest := sha256.Sum256([]byte("mxc://" + server + "/" + id))
		for _, r := range ix.named.items[string(digest[:])] {
			add(NamedItem, r)
		}
	}
	if len(ix.named.servers)+len(ix.named.globs) == 0 {
		return out
	}
	server = strings.ToLower(server)
	spellings := []string{server}
	if host := withoutPort(server); host != server {
		spellings = append(spellings, host)
	}
	for _, name := range spellings {
		for _, r := range ix.named.servers[name] {
			add(NamedServer, r)
		}
	}
	for _, g := range ix.named.globs[""] {
		if slices.ContainsFunc(spellings, func(name string) bool { return globMatches(g.pattern, name) }) {
			add(NamedServer, g.namedRef)
		}
	}
	// The endings of two spellings differ: no pattern is met twice.
	for _, name := range spellings {
		end := ending(name)
		if end == "" {
			continue
		}
		for _, g := range ix.named.globs[end] {
			if globMatches(g.pattern, name) {
				add(NamedServer, g.namedRef)
			}
		}
	}
	return out
}

// MatchesServer tells whether a pattern of servers, as of [Named], is of a server.
func MatchesServer(pattern, server string) bool {
	pattern, server = strings.ToLower(pattern), strings.ToLower(server)
	return globMatches(pattern, server) || globMatches(pattern, withoutPort(server))
}

// withoutPort cuts the port off a server's name.
func withoutPort(server string) string {
	host, port, found := strings.Cut(server, ":")
	if strings.HasPrefix(server, "[") {
		end := strings.IndexByte(server, ']')
		return server[:end+1]
	}
	if !found || strings.ContainsFunc(port, func(c rune) bool { return c < '0' || c > '9' }) {
		return server
	}
	return host
}

// ending is the last two names of a server, with its port, or all of them if there are
// no more; empty if there is one. A pattern whose last two are written out matches no
// server with others: of thousands, those with the server's own are tried.
func ending(server string) string {
	last := strings.LastIndexByte(server, '.')
	if last < 0 {
		return ""
	}
	return server[strings.LastIndexByte(server[:last], '.')+1:]
}

// globMatches tells whether all of a name is as a pattern says. It takes time of the
// order of both lengths multiplied, whatever the pattern.
func globMatches(pattern, name string) bool {
	p, n := 0, 0
	star, from := -1, 0 // the last * and where what it stands for ends
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
