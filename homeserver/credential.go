package homeserver

import (
	"crypto/sha256"
	"strings"

	"mediagate/internal/secret"
)

// Credential is on whose behalf media is downloaded, and over which route. Its
// token does not print.
type Credential struct {
	route         route
	authorization secret.String
	localOnly     bool
	bypass        bool
}

// route is a way to media.
type route uint8

const (
	authenticated route = iota // client/v1
	legacy                     // media/v3, and r0 where that is all there is
)

// Header is the credential of a request whose Authorization header was this;
// empty if there was none.
func Header(authorization string) Credential {
	return Credential{authorization: secret.New(authorization)}
}

// IsToken tells whether text can be an access token: printable ASCII without a
// space, so that it goes into a header as it is and ends where it should. Empty text
// is none. Any length will do: callers that keep tokens bound it.
func IsToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Bearer is the credential that an access token is.
func Bearer(token string) Credential { return Header("Bearer " + token) }

// Legacy is for the routes without authentication. With localOnly the homeserver
// asks no other server.
func Legacy(localOnly bool) Credential { return Credential{route: legacy, localOnly: localOnly} }

// Service is the homeserver's own service user, the one of the configured token.
func (c *Client) Service() Credential { return Bearer(c.config.Token.Reveal()) }

// Moderator is Service, and reads what is quarantined.
func (c *Client) Moderator() Credential {
	credential := c.Service()
	credential.bypass = true
	return credential
}

// Digest tells credentials apart without holding them.
func (c Credential) Digest() [sha256.Size]byte {
	return sha256.Sum256(append([]byte{byte(c.route), flag(c.localOnly), flag(c.bypass)}, c.authorization.Reveal()...))
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
