package synapsetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// sharedSecret lets who knows it register users, see [Server.Register].
const sharedSecret = "registration"

// homeserver is the configuration of every server. The listener for other
// homeservers comes first: Synapse opens them in this order, so both are open
// when the other one answers.
const homeserver = `
server_name: "{name}"
public_baseurl: "{url}/"
listeners:
  - {port: {federation_port}, type: http, tls: true, bind_addresses: ["127.0.0.1"], resources: [{names: [federation, media], compress: false}]}
  - {port: {client_port}, type: http, tls: false, bind_addresses: ["127.0.0.1"], resources: [{names: [client, federation, media], compress: false}]}
tls_certificate_path: ./tls.crt
tls_private_key_path: ./tls.key
signing_key_path: ./signing.key
database: {name: sqlite3, args: {database: ./homeserver.db}}
media_store_path: ./media
max_upload_size: 100M
enable_authenticated_media: {authenticated_media}
report_stats: false

# The other homeserver is on this machine, and nobody vouches for it.
federation_verify_certificates: false
ip_range_blacklist: []
federation_ip_range_blacklist: []
trusted_key_servers: []
suppress_key_server_warning: true

registration_shared_secret: "{shared_secret}"
macaroon_secret_key: "macaroon"
form_secret: "form"
bcrypt_rounds: 4 # the fewest; passwords protect nothing here

# There are some fifty for a new database, and one a second by default.
background_updates: {sleep_enabled: false}

# Tests ask as fast as they can, from one address.
rc_message: &unlimited {per_second: 1000000, burst_count: 1000000}
rc_registration: *unlimited
rc_login: {address: *unlimited, account: *unlimited, failed_attempts: *unlimited}
rc_admin_redaction: *unlimited
rc_joins: {local: *unlimited, remote: *unlimited}
rc_joins_per_room: *unlimited
rc_invites: {per_room: *unlimited, per_user: *unlimited, per_issuer: *unlimited}
rc_media_create: *unlimited
rc_reports: *unlimited
rc_room_creation: *unlimited
rc_federation: {window_size: 1000, sleep_limit: 1000000, sleep_delay: 0, reject_limit: 1000000, concurrent: 1000}
remote_media_download_per_second: 1000G
remote_media_download_burst_count: 1000G
`

// config is the server's homeserver.yaml.
func (s *Server) config(o Options) string {
	return strings.NewReplacer(
		"{name}", s.Name,
		"{url}", s.URL,
		"{federation_port}", port(s.Name),
		"{client_port}", port(s.URL),
		"{authenticated_media}", fmt.Sprint(!o.UnauthenticatedMedia),
		"{shared_secret}", sharedSecret,
	).Replace(homeserver)
}

// writeKeys makes the key that the server signs with, and a certificate.
func (s *Server) writeKeys(t testing.TB) {
	t.Helper()
	seed := make([]byte, 32) // of an Ed25519 key
	_, _ = rand.Read(seed)   // never fails
	s.write(t, "signing.key", "ed25519 a_test "+base64.RawStdEncoding.EncodeToString(seed)+"\n")

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})))
	s.write(t, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}
