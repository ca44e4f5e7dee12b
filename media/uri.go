package media

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// URI names a media item: the mxc:// URI of the Matrix specification, in parts.
type URI struct {
	// Server is the name of the homeserver of origin, with its port if it has
	// one. It is an identity: letter case counts.
	Server string
	// ID is the item's name on that server.
	ID string
}

// ErrMalformed is what parsers of this package wrap for input that does not
// follow its grammar.
var ErrMalformed = errors.New("malformed")

var (
	serverName = regexp.MustCompile(`^(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,255})(?::[0-9]{1,5})?$`)
	mediaID    = regexp.MustCompile(`^[A-Za-z0-9_=-]{1,255}$`)
)

const maxServerName = 255

// ParseURI reads mxc://server/id. Nothing is decoded or forgiven: a name that
// some homeserver would read differently (percent signs, dots, slashes) is
// ErrMalformed.
func ParseURI(s string) (URI, error) {
	rest, ok := strings.CutPrefix(s, "mxc://")
	if !ok {
		return URI{}, fmt.Errorf("%w media URI: it does not start with mxc://", ErrMalformed)
	}
	server, id, _ := strings.Cut(rest, "/")
	return NewURI(server, id)
}

// NewURI checks the parts of a URI that were taken from elsewhere, already
// decoded.
func NewURI(server, id string) (URI, error) {
	// Dots alone fit the grammar, but are another path to whoever resolves them.
	if len(server) > maxServerName || !serverName.MatchString(server) || strings.Trim(server, ".-") == "" {
		return URI{}, fmt.Errorf("%w media URI: no valid server name", ErrMalformed)
	}
	if !mediaID.MatchString(id) {
		return URI{}, fmt.Errorf("%w media URI: no valid media id", ErrMalformed)
	}
	return URI{Server: server, ID: id}, nil
}

// String returns the mxc:// form that [ParseURI] reads.
func (u URI) String() string { return "mxc://" + u.Server + "/" + u.ID }
