package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"mediagate/homeserver"
	"mediagate/internal/secret"
	"mediagate/media"
)

var (
	errNoHomeserver = errors.New("no homeserver is configured: set MEDIAGATE_HOMESERVER_URL")
	errNoToken      = errors.New("there is no access token: set MEDIAGATE_HOMESERVER_TOKEN_FILE, or give the exchange a credential")
	errOwnToken     = errors.New("the exchange names another address than MEDIAGATE_HOMESERVER_URL and needs a credential of its own")
)

// homeserverFrom is what a client is made of.
type homeserverFrom struct {
	url   string
	token secret.String
}

// clients has the client of an exchange's homeserver.
type clients struct {
	*runner
	address string // that the exchange names, empty for the configured one

	mu     sync.Mutex
	client *homeserver.Client // of a token or address that is not the configured one
	from   homeserverFrom     // what client was made of
}

// homeserver returns the client of the exchange's homeserver. Tokens of the
// environment, and those given for all exchanges, go to the configured homeserver
// alone: whoever may name an address may not have them sent there.
func (c *clients) homeserver(ctx context.Context) (*homeserver.Client, error) {
	given, err := c.store.Credential(ctx, c.exchange.API)
	if err != nil {
		return nil, err
	}
	from, own, err := c.origin(given)
	if err != nil {
		return nil, err
	}
	if !own && from.token.Equal(c.servers.Token.Reveal()) {
		return c.home, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil && c.from.url == from.url && c.from.token.Equal(from.token.Reveal()) {
		return c.client, nil
	}
	config := c.servers
	config.URL, config.Token = from.url, from.token
	create := homeserver.New
	if own {
		create = homeserver.NewGuarded
	}
	client, err := create(config)
	if err != nil {
		return nil, err
	}
	c.client, c.from = client, from
	return client, nil
}

// origin says which address to ask with which token, and whether the address is
// the exchange's own.
func (c *clients) origin(given secret.String) (from homeserverFrom, own bool, err error) {
	if c.address != "" && (c.home == nil || !sameAddress(c.address, c.home.URL())) {
		if c.exchange.Credential.Empty() {
			return from, true, errOwnToken
		}
		token, err := tokenOf(c.exchange.Credential)
		return homeserverFrom{c.address, token}, true, err
	}
	if c.home == nil {
		return from, false, errNoHomeserver
	}
	from = homeserverFrom{c.home.URL(), c.servers.Token}
	for _, credential := range []secret.String{c.exchange.Credential, given} {
		if !credential.Empty() {
			from.token, err = tokenOf(credential)
			return from, false, err
		}
	}
	if from.token.Empty() {
		return from, false, errNoToken
	}
	return from, false, nil
}

func sameAddress(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// tokenOf reads a stored credential.
func tokenOf(credential secret.String) (secret.String, error) {
	var c struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(credential.Reveal()), &c); err != nil || c.Token == "" {
		return secret.String{}, errors.New("the credential holds no access_token")
	}
	return secret.New(c.Token), nil
}

// parseKey reads what key wrote. Names are as homeservers have them, which
// media.ParseURI need not accept.
func parseKey(k string) (media.URI, error) {
	server, id, ok := strings.Cut(strings.TrimPrefix(k, "mxc://"), "/")
	if !ok || server == "" || id == "" {
		return media.URI{}, fmt.Errorf("%w key of a pending item", media.ErrMalformed)
	}
	return media.URI{Server: server, ID: id}, nil
}
