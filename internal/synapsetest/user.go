package synapsetest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the registration API has it so
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
)

// User is somebody who is logged in.
type User struct {
	ID    string // with the server's name: @alice:localhost:1234
	Token string // for the Authorization header
}

// Register makes a user, and an admin of the server if told so. localpart is
// what their ID begins with, behind the @, and must be new to the server.
func (s *Server) Register(t testing.TB, localpart string, admin bool) User {
	t.Helper()
	const path, password = "/_synapse/admin/v1/register", "password"
	var challenge struct{ Nonce string }
	s.call(t, http.MethodGet, path, "", nil, &challenge)
	role := "notadmin"
	if admin {
		role = "admin"
	}
	mac := hmac.New(sha1.New, []byte(sharedSecret))
	_, _ = mac.Write([]byte(strings.Join([]string{challenge.Nonce, localpart, password, role}, "\x00"))) // never fails
	var registered struct {
		UserID      string `json:"user_id"`
		AccessToken string `json:"access_token"`
	}
	s.call(t, http.MethodPost, path, "", map[string]any{
		"nonce": challenge.Nonce, "username": localpart, "password": password, "admin": admin,
		"mac": hex.EncodeToString(mac.Sum(nil)),
	}, &registered)
	return User{ID: registered.UserID, Token: registered.AccessToken}
}

// Logout revokes a token.
func (s *Server) Logout(t testing.TB, token string) {
	t.Helper()
	s.call(t, http.MethodPost, "/_matrix/client/v3/logout", token, struct{}{}, nil)
}
