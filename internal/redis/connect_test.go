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
	if stats := s.Do(t, "INFO", "commandstats"); strings.Contains(stats, "cmdstat_command:") {
		t.Error("it is asked what commands there are, which it takes long to answer")
	}
	s.Kill(t)
	for range 3 {
		_, _ = c.Get(t.Context(), content("a"))
	}
	s.Restart(t)
	recovers(t, c, "a Cluster that was killed")
}

// monitored returns a master, its replica, and a Sentinel, with a password, that knows
// both.
func monitored(t *testing.T) (master, replica, sentinel *redistest.Server) {
	t.Helper()
	master = redistest.Start(t, "repl-diskless-sync-delay 0")
	host, port, err := net.SplitHostPort(master.Address())
	if err != nil {
		t.Fatal(err)
	}
	replica = redistest.Start(t, "replicaof "+host+" "+port)
	eventually(t, "the replica follows", func() bool { return strings.Contains(replica.Do(t, "INFO", "replication"), "master_link_status:up") })
	sentinel = redistest.StartSentinel(t, "s3cret", "sentinel monitor mymaster "+host+" "+port+" 1", "sentinel down-after-milliseconds mymaster 300", "sentinel failover-timeout mymaster 1000")
	return master, replica, sentinel
}

// TestSentinelsAreAsked where the master is, and after it was killed, where it is then.
// Those that do not answer hold nothing up.
func TestSentinelsAreAsked(t *testing.T) {
	first, _, sentinel := monitored(t)
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	c := open(t, redis.Config{
		URL:              secret.New("redis://" + silent.Addr().String() + "?master_name=mymaster&addr=127.0.0.1:1&addr=" + sentinel.Address()),
		SentinelPassword: secret.New("s3cret"), Key: secret.New(key),
	})
	arrived := c.Nudges(t.Context())
	recovers(t, c, "by a Sentinel")
	await(t, arrived, "when it begins to listen")
	if len(first.Keys(t)) == 0 {
		t.Error("the master has nothing")
	}
	first.Kill(t)
	eventually(t, "the other is used", func() bool { return c.Set(t.Context(), content("a"), nil, hour) == nil })
	await(t, arrived, "from the other")
}

// TestMastersThatAreNoLongerAreLeft: they are there, and refuse to write.
func TestMastersThatAreNoLongerAreLeft(t *testing.T) {
	first, second, sentinel := monitored(t)
	c := open(t, redis.Config{URL: secret.New("redis://" + sentinel.Address() + "?master_name=mymaster"), SentinelPassword: secret.New("s3cret"), Key: secret.New(key)})
	recovers(t, c, "by a Sentinel")
	// Sentinels close what is connected to servers that they change.
	said := func(s *redistest.Server, want string, command ...string) {
		t.Helper()
		eventually(t, strings.Join(command, " "), func() bool {
			answer, err := s.Try(t, command...)
			return err == nil && strings.Contains(answer, want)
		})
	}
	said(sentinel, "OK", "SENTINEL", "FAILOVER", "mymaster")
	said(second, "role:master", "INFO", "replication")
	host, port, err := net.SplitHostPort(second.Address())
	if err != nil {
		t.Fatal(err)
	}
	said(first, "OK", "REPLICAOF", host, port) // which the Sentinel does later
	eventually(t, "the other is written to", func() bool { return c.Set(t.Context(), content("a"), nil, hour) == nil })
}

// TestSentinelsThatDoNotHelpAreTold of.
func TestSentinelsThatDoNotHelpAreTold(t *testing.T) {
	s := redistest.StartSentinel(t, "s3cret")
	for name, tt := range map[string]struct{ password, want string }{
		"unknown master": {"s3cret", "the Sentinels know no such master"}, "no password": {"", "redis answers NOAUTH"}, "wrong password": {"other", "redis answers WRONGPASS"},
	} {
		c, j := openLogging(t, redis.Config{
			URL: secret.New("redis://127.0.0.1:1?master_name=none&addr=" + s.Address()), SentinelPassword: secret.New(tt.password), Key: secret.New(key),
		})
		eventually(t, name+" is told", func() bool {
			_, _ = c.Get(t.Context(), content("a"))
			return strings.Contains(j.String(), "redis is bypassed") && !strings.Contains(j.String(), " in time")
		})
		if !strings.Contains(j.String(), tt.want) {
			t.Errorf("%s: %s", name, j.String())
		}
	}
}
