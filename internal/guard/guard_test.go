package guard_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"mediagate/internal/guard"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// TestAddresses holds every kind of address that is not public, at both ends of
// its range, to being refused, and what lies beside to being dialled.
func TestAddresses(t *testing.T) {
	refused := []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.0", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.1",
		"192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:8.8.8.8]", "[::ffff:0:127.0.0.1]",
		"[64:ff9b::127.0.0.1]", "[64:ff9b::8.8.8.8]", "[64:ff9b:1::1]", "[100::1]", "[2001::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
		"[2001:10::1]", "[2001:1ff:ffff::1]", "[2001:db8::1]", "[2002:7f00:1::]", "[2002:a00:1::]", "[2002:808:808::]", "[2620:4f:8000::1]", "[3fff::1]",
		"[4000::1]", "[5f00::1]", "[fc00::1]", "[fd00:ec2::254]", "[fdff:ffff::1]", "[fe80::1]", "[febf::1]", "[fec0::1]", "[ff02::1]",
		"[fe80::1%eth0]", "[fe80::5efe:127.0.0.1]",
	}
	allowed := []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "223.255.255.255",
		"[2001:200::1]", "[2001:4860:4860::8888]", "[2606:4700::1111]", "[2a00::1]", "[2003::1]",
	}
	control := guard.Dialer(nil).Control
	for want, addresses := range map[bool][]string{true: refused, false: allowed} {
		for _, address := range addresses {
			network := "tcp4"
			if strings.HasPrefix(address, "[") {
				network = "tcp6"
			}
			for _, port := range []string{"80", "443", "1", "8448", "65535"} {
				if err := control(network, address+":"+port, nil); (err != nil) != want || guard.Refused(err) != want {
					t.Errorf("%s: refused: %v, want %v: %v", address, err != nil, want, err)
				}
			}
		}
	}
	for _, network := range []string{"udp4", "udp6", "unix", "ip4:icmp", "tcp", ""} {
		if err := control(network, "8.8.8.8:80", nil); !guard.Refused(err) {
			t.Errorf("%q is not refused: %v", network, err)
		}
	}
	for _, address := range []string{"", "8.8.8.8", "localhost:80", "8.8.8.8:http", "8.8.8.8:65536", "/run/x"} {
		if err := control("tcp4", address, nil); err == nil {
			t.Errorf("%q is dialled", address)
		}
	}
}

func TestListedNetworks(t *testing.T) {
	tests := map[string]struct {
		networks []netip.Prefix
		allowed  []string
		refused  []string
	}{
		"one":         {prefixes("10.1.0.0/16"), []string{"10.1.0.0", "10.1.255.255", "8.8.8.8", "[2a00::1]"}, []string{"10.0.255.255", "10.2.0.0", "127.0.0.1", "[::1]", "[::ffff:10.1.0.1]"}},
		"not aligned": {prefixes("10.1.2.3/16"), []string{"10.1.9.9"}, []string{"10.2.0.0"}},
		"one address": {prefixes("127.0.0.1/32"), []string{"127.0.0.1"}, []string{"127.0.0.2", "[::1]"}},
		"both kinds":  {prefixes("fd00::/8", "192.168.0.0/24", "::1/128"), []string{"[fd12::1]", "192.168.0.9", "[::1]"}, []string{"[fc00::1]", "192.168.1.1", "127.0.0.1"}},
		"IPv4 in IPv6": {prefixes("::ffff:10.0.0.0/104"), []string{"[::ffff:10.0.0.1]"},
			[]string{"10.0.0.1", "[::ffff:127.0.0.1]"}},
		"all IPv4":   {prefixes("0.0.0.0/0"), []string{"127.0.0.1", "169.254.169.254"}, []string{"[::1]", "[::ffff:127.0.0.1]"}},
		"no network": {[]netip.Prefix{{}}, []string{"8.8.8.8"}, []string{"127.0.0.1", "[::1]"}},
	}
	for name, tt := range tests {
		control := guard.Dialer(tt.networks).Control
		for want, addresses := range map[bool][]string{false: tt.allowed, true: tt.refused} {
			for _, address := range addresses {
				network := "tcp4"
				if strings.HasPrefix(address, "[") {
					network = "tcp6"
				}
				if err := control(network, address+":8008", nil); guard.Refused(err) != want {
					t.Errorf("%s: %s: %v, refused wanted: %v", name, address, err, want)
				}
			}
		}
	}
}

// TestDialing dials a server of this machine by its address and by names of it,
// which are resolved only when they are dialled.
func TestDialing(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	get := func(dialer *net.Dialer, host string) error {
		transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(host, port), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		return err
	}
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "localhost", "0.0.0.0", "::1", "::ffff:127.0.0.1"} {
		if err := get(guard.Dialer(nil), host); !guard.Refused(err) {
			t.Errorf("%s: %v", host, err)
		}
	}
	// A resolver whose answer is private: what a name says counts for nothing.
	rebinding := guard.Dialer(nil)
	rebinding.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go answerLoopback(server)
		return client, nil
	}}
	if err := get(rebinding, "rebind.test"); !guard.Refused(err) {
		t.Errorf("a name for a private address: %v", err)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests came through", n)
	}
	listed := guard.Dialer(prefixes("127.0.0.0/8"))
	listed.Resolver = rebinding.Resolver
	for _, host := range []string{"127.0.0.1", "rebind.test"} {
		if err := get(listed, host); err != nil {
			t.Errorf("listed, %s: %v", host, err)
		}
	}
}

// answerLoopback is a DNS server, over TCP, that says of every name that it is
// 127.0.0.1, and has no other address.
func answerLoopback(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		buffer := make([]byte, 514)
		n, err := c.Read(buffer)
		if err != nil || n < 14 {
			return
		}
		query := buffer[2:n]
		end := 12
		for end < len(query) && query[end] != 0 {
			end += 1 + int(query[end])
		}
		end += 5 // the last label, type and class
		if end > len(query) {
			return
		}
		answers := byte(0)
		var record []byte
		if query[end-3] == 1 { // A
			answers, record = 1, []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1}
		}
		message := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0}, query[12:end]...)
		message = append(message, record...)
		if _, err := c.Write(append([]byte{byte(len(message) >> 8), byte(len(message))}, message...)); err != nil {
			return
		}
	}
}
