package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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

// homeserver returns the client of the exchange's homeserver. Tokens of the
// environment, and those given for all exchanges, go to the configured homeserver
// alone: whoever may name an address may not have them sent there.
func (q *quarantine) homeserver(ctx context.Context) (*homeserver.Client, error) {
	given, err := q.store.Credential(ctx, q.exchange.API)
	if err != nil {
		return nil, err
	}
	from, own, err := q.origin(given)
	if err != nil {
		return nil, err
	}
	if !own && from.token.Equal(q.servers.Token.Reveal()) {
		return q.home, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.client != nil && q.from.url == from.url && q.from.token.Equal(from.token.Reveal()) {
		return q.client, nil
	}
	config := q.servers
	config.URL, config.Token = from.url, from.token
	create := homeserver.New
	if own {
		create = homeserver.NewGuarded
	}
	client, err := create(config)
	if err != nil {
		return nil, err
	}
	q.client, q.from = client, from
	return client, nil
}

// origin says which address to ask with which token, and whether the address is
// the exchange's own.
func (q *quarantine) origin(given secret.String) (from homeserverFrom, own bool, err error) {
	var config struct {
		URL string `json:"admin_api_url"`
	}
	if err := json.Unmarshal([]byte(q.exchange.Config), &config); err != nil {
		return from, false, errors.New("the configuration of the exchange cannot be read")
	}
	if config.URL != "" && (q.home == nil || !sameAddress(config.URL, q.home.URL())) {
		if q.exchange.Credential.Empty() {
			return from, true, errOwnToken
		}
		token, err := tokenOf(q.exchange.Credential)
		return homeserverFrom{config.URL, token}, true, err
	}
	if q.home == nil {
		return from, false, errNoHomeserver
	}
	from = homeserverFrom{q.home.URL(), q.servers.Token}
	for _, credential := range []secret.String{q.exchange.Credential, given} {
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
