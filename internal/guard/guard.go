// Package guard dials addresses that others name: only public ones, and those
// that the operator lists. The address is checked when it is dialled, so that a
// name cannot resolve to one thing for the check and to another for the
// connection.
package guard

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"code.dny.dev/ssrf"
)

// dialTimeout is how long a connection may take to be made.
const dialTimeout = 5 * time.Second

// Dialer returns a dialer that refuses every address which is not public,
// unless it lies in one of the networks.
func Dialer(networks []netip.Prefix) *net.Dialer {
	var v4, v6 []netip.Prefix
	for _, network := range networks {
		if network.Addr().Is4() {
			v4 = append(v4, network)
		} else {
			v6 = append(v6, network)
		}
	}
	guard := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return &net.Dialer{Timeout: dialTimeout, Control: guard.Safe}
}

// Refused tells whether an error means that a Dialer refused an address.
func Refused(err error) bool {
	return errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork)
}
