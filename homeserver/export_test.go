package homeserver

import (
	"context"
	"io"
	"net/http"

	"mediagate/media"
)

// For the tests of this package, which live outside it.

const (
	BreakerFailures = breakerFailures
	BreakerTimeout  = breakerTimeout
	NameRetry       = nameRetry
	LastPause       = lastPause
	MaxCallBytes    = maxCallBytes
	MaxRedirects    = maxRedirects
	MaxEventBytes   = maxEventBytes
	MaxSyncBytes    = maxSyncBytes
	MaxFilterBytes  = maxFilterBytes
)

var ErrForeignOrigin = errForeignOrigin

// NewDialing is New with another way to connect.
func NewDialing(config Config, dial dialFunc) (*Client, error) { return newClient(config, dial) }

// Send sends a request with a header to any address, as downloads are sent.
func (c *Client) Send(ctx context.Context, address string, header http.Header) error {
	res, err := send(ctx, c.anonymous, address, header)
	if err == nil {
		err = res.Body.Close()
	}
	return err
}

func ParseChanges(raw []byte) (Changes, error)     { return parseChanges(raw) }
func ParseMediaInfo(raw []byte) (MediaInfo, error) { return parseMediaInfo(raw) }
func IsItem(item media.URI) bool                   { return isItem(item) }

func ParseSync(raw []byte) (SyncResponse, error) { return parseSync(raw) }
func ReadElements(body io.Reader, most int64, each func([]byte) error) error {
	return readElements(body, most, each)
}
