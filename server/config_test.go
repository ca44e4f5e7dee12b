package server_test

import (
	"net/netip"
	"strings"
	"testing"

	"mediagate/internal/secret"
	"mediagate/server"
)

func TestConfigRefusesWhatIsNotSafe(t *testing.T) {
	safe := server.Config{Listen: "127.0.0.1:5100", OpsListen: "127.0.0.1:5101"}
	key := secret.New("0123456789abcdef")
	for name, tt := range map[string]struct {
		change func(*server.Config)
		want   string // a part of the error; empty for none
	}{
		"defaults":               {func(*server.Config) {}, ""},
		"IPv6 loopback":          {func(c *server.Config) { c.Listen = "[::1]:5100" }, ""},
		"localhost":              {func(c *server.Config) { c.Listen = "localhost:5100" }, ""},
		"no operations":          {func(c *server.Config) { c.OpsListen = "" }, ""},
		"everywhere with a key":  {func(c *server.Config) { c.Listen, c.APIKey = ":5100", key }, ""},
		"everywhere":             {func(c *server.Config) { c.Listen = ":5100" }, "MEDIAGATE_API_KEY_FILE"},
		"all of IPv4":            {func(c *server.Config) { c.Listen = "0.0.0.0:5100" }, "MEDIAGATE_API_KEY_FILE"},
		"all of IPv6":            {func(c *server.Config) { c.Listen = "[::]:5100" }, "MEDIAGATE_API_KEY_FILE"},
		"another address":        {func(c *server.Config) { c.Listen = "192.168.1.2:5100" }, "MEDIAGATE_API_KEY_FILE"},
		"mapped address":         {func(c *server.Config) { c.Listen = "[::ffff:192.168.1.2]:5100" }, "MEDIAGATE_API_KEY_FILE"},
		"a name":                 {func(c *server.Config) { c.Listen = "gate.example.org:5100" }, "MEDIAGATE_API_KEY_FILE"},
		"a name like localhost":  {func(c *server.Config) { c.Listen = "localhost.example.org:5100" }, "MEDIAGATE_API_KEY_FILE"},
		"no port":                {func(c *server.Config) { c.Listen = "127.0.0.1" }, "MEDIAGATE_LISTEN must be"},
		"bad operations address": {func(c *server.Config) { c.OpsListen = "x" }, "MEDIAGATE_OPS_LISTEN must be"},
		"profiles for everyone":  {func(c *server.Config) { c.OpsListen, c.Pprof = ":5101", true }, "MEDIAGATE_PPROF"},
		"profiles at home":       {func(c *server.Config) { c.Pprof = true }, ""},
		"hosts":                  {func(c *server.Config) { c.HMA.URLHosts = []string{"a.example", "*", "127.0.0.1"} }, ""},
		"empty host":             {func(c *server.Config) { c.HMA.URLHosts = []string{"a.example", ""} }, "MEDIAGATE_HMA_URL_HOSTS"},
		"host with a space":      {func(c *server.Config) { c.HMA.URLHosts = []string{"a.example", " b.example"} }, "MEDIAGATE_HMA_URL_HOSTS"},
		"host with a dot":        {func(c *server.Config) { c.HMA.URLHosts = []string{".example"} }, "MEDIAGATE_HMA_URL_HOSTS"},
		"port too large":         {func(c *server.Config) { c.Listen = "127.0.0.1:99999" }, "MEDIAGATE_LISTEN must be"},
		"port by name":           {func(c *server.Config) { c.Listen = "127.0.0.1:http" }, "MEDIAGATE_LISTEN must be"},
		"one address for both":   {func(c *server.Config) { c.OpsListen = c.Listen }, "must differ"},
		"trusted proxies":        {func(c *server.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, ""},
		"everybody trusted":      {func(c *server.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("::/0")} }, "MEDIAGATE_TRUSTED_PROXIES"},
		"empty network":          {func(c *server.Config) { c.TrustedProxies = []netip.Prefix{{}} }, "MEDIAGATE_TRUSTED_PROXIES"},
		"several secrets":        {func(c *server.Config) { c.HookSecret = secret.New("a\n\r\nb c\r\n") }, ""},
		"secret with a space":    {func(c *server.Config) { c.HookSecret = secret.New("a\nb \nc") }, "MEDIAGATE_HOOK_SECRET_FILE: line 2"},
		"secret with a tab":      {func(c *server.Config) { c.HookSecret = secret.New("a\nb\nc\td") }, "MEDIAGATE_HOOK_SECRET_FILE: line 3"},
		"negative grace":         {func(c *server.Config) { c.ShutdownGrace = -1 }, "MEDIAGATE_SHUTDOWN_GRACE"},
		"negative delay":         {func(c *server.Config) { c.ShutdownDelay = -1 }, "MEDIAGATE_SHUTDOWN_DELAY"},
		"negative age":           {func(c *server.Config) { c.IndexMaxAge = -1 }, "MEDIAGATE_INDEX_MAX_AGE"},
		"networks without hosts": {func(c *server.Config) { c.HMA.URLNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, "MEDIAGATE_HMA_URL_NETWORKS"},
	} {
		c := safe
		tt.change(&c)
		if err := c.Validate(); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
