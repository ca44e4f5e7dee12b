package homeserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"maunium.net/go/mautrix"

	"mediagate/media"
)

// Download is media on its way. Its Body must be closed; a read that fails with
// [ErrBroken] tells that what came before is not all.
type Download struct {
	Body io.ReadCloser
	// Length is how many bytes there are, -1 if the homeserver does not say.
	Length int64
	// Header is the homeserver's, or that of where it redirected to.
	Header http.Header
	// ETag is what a later Download of the same media can be asked with.
	ETag string
}

// notUploadedYet is how long the homeserver may wait for a file that is announced
// and not uploaded, in milliseconds: less than we wait for it.
const notUploadedYet = "8000"

// Options change how an item is asked for.
type Options struct {
	// ETag is that of the item as it is known. If it is still that, the answer is
	// [ErrNotModified]: the homeserver has authorised the caller and sends no
	// bytes.
	ETag string
	// For is the address of whom the item is for. A homeserver that limits
	// downloads by address, and that is set up to be told, counts it there.
	For netip.Addr
}

// Download asks for an item on somebody's behalf.
func (c *Client) Download(ctx context.Context, item media.URI, as Credential, o Options) (*Download, error) {
	ctx, span := otel.Tracer("mediagate/homeserver").Start(ctx, "homeserver.download")
	d, err := c.download(ctx, item, as, o)
	c.counted("download", err)
	if err != nil {
		if !errors.Is(err, ErrNotModified) {
			span.SetStatus(codes.Error, outcome(err))
		}
		span.End()
		return nil, fmt.Errorf("download: %w", err)
	}
	d.Body = closeWith{d.Body, func() { span.End() }}
	return d, nil
}

func (c *Client) download(ctx context.Context, item media.URI, as Credential, o Options) (*Download, error) {
	if !isItem(item) {
		return nil, fmt.Errorf("%w: no address can name it", ErrNotFound)
	}
	if as.route == authenticated {
		return c.get(ctx, c.address(mautrix.ClientURLPath{"v1", "media", "download", item.Server, item.ID}, as), as, o)
	}
	d, err := c.get(ctx, c.address(mautrix.MediaURLPath{"v3", "download", item.Server, item.ID}, as), as, o)
	if errors.Is(err, ErrNotFound) {
		return c.get(ctx, c.address(mautrix.MediaURLPath{"r0", "download", item.Server, item.ID}, as), as, o)
	}
	return d, err
}

func (c *Client) address(path mautrix.PrefixableURLPath, as Credential) string {
	return c.matrix.BuildURLWithFullQuery(path, func(q url.Values) {
		q.Set("timeout_ms", notUploadedYet)
		if as.bypass {
			q.Set("admin_unsafely_bypass_quarantine", "true")
		}
		if as.localOnly {
			q.Set("allow_remote", "false")
		}
	})
}

// get asks the homeserver, and whom it redirects to.
func (c *Client) get(ctx context.Context, address string, as Credential, o Options) (_ *Download, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.DownloadTimeout)
	ctx, giveUp := context.WithCancelCause(ctx)
	stop := func() {
		giveUp(nil)
		cancel()
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	header := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {userAgent}}
	if authorization := as.authorization.Reveal(); authorization != "" {
		header.Set("Authorization", authorization)
	}
	if o.ETag != "" {
		header.Set("If-None-Match", o.ETag)
	}
	if o.For.IsValid() {
		header.Set("X-Forwarded-For", o.For.String())
	}
	res, err := send(ctx, c.anonymous, address, header)
	if err != nil {
		return nil, err
	}
	redirected := isRedirect(res.StatusCode)
	if redirected {
		if res, err = c.follow(ctx, res); err != nil {
			return nil, err
		}
	}
	res.Body = newSteadyBody(ctx, res.Body, c.config, giveUp)
	if redirected && res.StatusCode != http.StatusOK {
		// Whoever answers there knows no caller: it says nothing about his rights.
		err = fmt.Errorf("%w: it redirects to an answer of %d", ErrUpstream, res.StatusCode)
	} else {
		err = checkMedia(res, o)
	}
	if err != nil {
		_ = res.Body.Close() // nothing of it is used
		return nil, err
	}
	d := &Download{Length: res.ContentLength, Header: res.Header, ETag: res.Header.Get("ETag")}
	d.Body = closeWith{res.Body, stop}
	return d, nil
}

// send makes one request.
func send(ctx context.Context, client *http.Client, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: the address cannot be asked", ErrUpstream)
	}
	req.Header = header
	res, err := client.Do(req)
	return res, transportError(ctx, err)
}

func isRedirect(status int) bool {
	return status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect
}

const maxRedirects = 3

// follow goes where the homeserver redirects to: without any credential, and
// only to addresses that are public or listed.
func (c *Client) follow(ctx context.Context, res *http.Response) (*http.Response, error) {
	for range maxRedirects {
		_ = res.Body.Close() // it says nothing
		to, err := res.Location()
		if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.User != nil {
			return nil, fmt.Errorf("%w: it redirects to no address", ErrUpstream)
		}
		res, err = send(ctx, c.redirects, to.String(), http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {userAgent}})
		if err != nil {
			return nil, err
		}
		if !isRedirect(res.StatusCode) {
			return res, nil
		}
	}
	_ = res.Body.Close()
	return nil, fmt.Errorf("%w: it redirects again and again", ErrUpstream)
}

const maxErrorBytes = 64 << 10

// checkMedia refuses answers that are not media, all of it, as it is.
func checkMedia(res *http.Response, o Options) error {
	switch {
	case res.StatusCode == http.StatusOK:
	case res.StatusCode == http.StatusNotModified && o.ETag != "":
		return ErrNotModified
	default:
		return readStatusError(res)
	}
	types := res.Header.Values("Content-Type")
	if len(types) != 1 {
		return fmt.Errorf("%w: %w", ErrUpstream, ErrContentType)
	}
	for _, encoding := range res.Header.Values("Content-Encoding") {
		if encoding != "" && encoding != "identity" {
			return fmt.Errorf("%w: it is encoded, though that was not asked for", ErrUpstream)
		}
	}
	if res.ContentLength < 0 && len(res.TransferEncoding) == 0 {
		return fmt.Errorf("%w: nothing would tell if it broke off", ErrUpstream)
	}
	if isPage(types[0]) && res.Header.Get("Content-Disposition") == "" {
		return fmt.Errorf("%w: it is a page, no media", ErrUpstream)
	}
	return nil
}

// readStatusError reads the error that an answer is.
func readStatusError(res *http.Response) error {
	var body struct{ Errcode string }
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes))
	if err == nil {
		_ = json.Unmarshal(raw, &body) // an error without a code is one too
	}
	return newStatusError(res.StatusCode, body.Errcode, res.Header)
}

// isPage tells the types of what proxies and error handlers write in a
// homeserver's place. Media of these types comes with a Content-Disposition.
func isPage(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err != nil || strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "json") || strings.HasSuffix(t, "xml")
}

// closeWith does something more when it is closed.
type closeWith struct {
	io.ReadCloser
	then func()
}

func (c closeWith) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}
