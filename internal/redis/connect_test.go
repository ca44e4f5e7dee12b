package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mediagate/internal/redis"
	"mediagate/internal/redistest"
	"mediagate/internal/secret"
)

// certificate is that of 127.0.0.1, by an authority that the tests trust. TestMain
// makes it, because what is trusted is read once.
var certificate tls.Certificate

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if certificate, err = issue(); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), 0o600); err != nil {
		return 0, err
	}
	if err := os.Setenv("SSL_CERT_FILE", path); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// issue makes a certificate of 127.0.0.1 that is its own authority.
func issue() (tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: private}, err
}

// secured speaks TLS in front of a server and returns where.
func secured(t *testing.T, s *redistest.Server, certificate tls.Certificate) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Address())
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestTLSIsVerified(t *testing.T) {
	s := redistest.Start(t)
	c := connect(t, "rediss://"+secured(t, s, certificate), key)
	recovers(t, c, "with TLS")
	if err := c.Keep(t.Context(), redis.Key{Kind: redis.Part}, make([]byte, redis.MaxLarge), hour); err != nil {
		t.Error(err)
	}
	foreign, err := issue()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(secured(t, s, certificate))
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{
		"another authority": secured(t, s, foreign), "another name": "localhost:" + port, "no TLS": s.Address(),
	} {
		c := connect(t, "rediss://"+address, key)
		for range 5 {
			if err := c.Keep(t.Context(), content("a"), nil, hour); !errors.Is(err, redis.ErrBypassed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestUserNeedsFewRights: these are all that an ACL user must have.
func TestUserNeedsFewRights(t *testing.T) {
	s := redistest.Start(t)
	s.Do(t, "ACL", "SETUSER", "gate", "on", ">s3cret", "~mediagate:*", "&mediagate:*", "+getrange", "+set", "+unlink", "+pexpire", "+publish", "+subscribe", "+echo", "+ping", "+select")
	s.Do(t, "ACL", "SETUSER", "default", "off", "resetpass")
	good := redis.Config{URL: secret.New("redis://gate@" + s.Address() + "/1"), Password: secret.New("s3cret"), Key: secret.New(key)}
	c := open(t, good)
	arrived := c.Nudges(t.Context())
	recovers(t, c, "as a user")
	<-arrived
	if there, err := c.Has(t.Context(), content("back"), hour); !there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	if err := errors.Join(c.Nudge(t.Context()), c.Delete(t.Context(), content("back")), c.Keep(t.Context(), content("a"), nil, hour)); err != nil {
		t.Error(err)
	}
	<-arrived
	inURL := open(t, redis.Config{URL: secret.New("redis://gate:s3cret@" + s.Address()), Key: secret.New(key)})
	recovers(t, inURL, "with the password in the URL")
	for name, bad := range map[string]redis.Config{
		"wrong password": {URL: good.URL, Password: secret.New("other"), Key: good.Key},
		"no password":    {URL: secret.New("redis://" + s.Address()), Key: good.Key},
	} {
		c := open(t, bad)
		for range 5 {
			if _, err := c.Get(t.Context(), content("a")); !errors.Is(err, redis.ErrBypassed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if metric(t, c, "mediagate_redis_bypassed") != 1 {
			t.Errorf("%s: it is asked again and again", name)
		}
	}
}

// TestClusterIsUsed: one node has all slots.
func TestClusterIsUsed(t *testing.T) {
	s := redistest.Start(t, "cluster-enabled yes")
	s.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	eventually(t, "the Cluster is one", func() bool { return strings.Contains(s.Do(t, "CLUSTER", "INFO"), "cluster_state:ok") })
	c := connect(t, s.URL()+"?cluster=true", key)
	arrived := c.Nudges(t.Context())
	recovers(t, c, "in a Cluster")
	<-arrived
	set(t, c, content("a"), "1")
	set(t, c, content("b"), "2")
	expect(t, c, content("a"), "1")
	expect(t, c, content("b"), "2")
	if err := errors.Join(c.Delete(t.Context(), content("a"), content("b")), c.Nudge(t.Context())); err != nil {
		t.Error(err)
	}
	<-arrived
	expect(t, c, content("a"), "")
	s.Kill(t)
	for range 3 {
		_, _ = c.Get(t.Context(), content("a"))
	}
	s.Restart(t)
	recovers(t, c, "a Cluster that was killed")
}

// TestSentinelsAreAsked where the master is, and after it was killed, where it is then.
func TestSentinelsAreAsked(t *testing.T) {
	first := redistest.Start(t)
	host, port, err := net.SplitHostPort(first.Address())
	if err != nil {
		t.Fatal(err)
	}
	second := redistest.Start(t, "replicaof "+host+" "+port)
	eventually(t, "the replica follows", func() bool { return strings.Contains(second.Do(t, "INFO", "replication"), "master_link_status:up") })
	sentinel := redistest.StartSentinel(t, "s3cret", "sentinel monitor mymaster "+host+" "+port+" 1", "sentinel down-after-milliseconds mymaster 300", "sentinel failover-timeout mymaster 1000")
	c := open(t, redis.Config{
		URL: secret.New("redis://127.0.0.1:1?master_name=mymaster&addr=" + sentinel.Address()), SentinelPassword: secret.New("s3cret"), Key: secret.New(key),
	})
	recovers(t, c, "by a Sentinel")
	if len(first.Keys(t)) == 0 {
		t.Error("the master has nothing")
	}
	first.Kill(t)
	eventually(t, "the other is used", func() bool { return c.Set(t.Context(), content("a"), nil, hour) == nil })
}
