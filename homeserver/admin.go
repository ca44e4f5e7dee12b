package homeserver

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"maunium.net/go/mautrix"

	"mediagate/media"
)

// Change is one record of Synapse's quarantine stream: an item was quarantined,
// or not any more.
type Change struct {
	Item        media.URI
	Quarantined bool
}

// Changes is one page of that stream.
type Changes struct {
	// Changes are in the order in which they were made.
	Changes []Change
	// Next is where to read on.
	Next int64
	// More tells that this page was not empty, so that there may be more.
	More bool
	// Malformed counts records that name no item.
	Malformed int
}

// QuarantineChanges reads a page of the quarantine stream, which Synapse has from
// 1.152 on, from just after a position; 0 is its beginning. It needs the service
// token, of an administrator. It fails with [ErrBeyondStream] if the stream has
// never come to that position.
func (c *Client) QuarantineChanges(ctx context.Context, from int64) (Changes, error) {
	raw, err := c.call(ctx, "quarantine_changes", mautrix.SynapseAdminURLPath{"v1", "media", "quarantine_changes"},
		map[string]string{"from": strconv.FormatInt(from, 10)})
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest && status.Code == "M_INVALID_PARAM" {
		return Changes{}, ErrBeyondStream
	}
	if err != nil {
		return Changes{}, fmt.Errorf("read quarantine changes: %w", err)
	}
	page, err := parseChanges(raw)
	if err != nil {
		return Changes{}, fmt.Errorf("read quarantine changes: %w", err)
	}
	if page.Next < from || page.More && page.Next == from {
		return Changes{}, fmt.Errorf("read quarantine changes: %w: the stream goes backwards", ErrUpstream)
	}
	return page, nil
}

// parseChanges reads a page. On SQLite Synapse writes 0 and 1 for truth values.
func parseChanges(raw []byte) (Changes, error) {
	var page struct {
		Next    *int64 `json:"next_batch"`
		Changes *[]struct {
			Origin      string `json:"origin"`
			ID          string `json:"media_id"`
			Quarantined *truth `json:"quarantined"`
		} `json:"changes"`
	}
	if err := json.Unmarshal(raw, &page); err != nil || page.Next == nil || page.Changes == nil || *page.Next < 0 {
		return Changes{}, fmt.Errorf("%w: it is no page of changes", ErrUpstream)
	}
	out := Changes{Next: *page.Next, More: len(*page.Changes) > 0}
	for _, c := range *page.Changes {
		item := media.URI{Server: c.Origin, ID: c.ID}
		if !isItem(item) || c.Quarantined == nil {
			out.Malformed++
			continue
		}
		out.Changes = append(out.Changes, Change{item, bool(*c.Quarantined)})
	}
	return out, nil
}

// isItem tells whether an item can be asked for. Homeservers know items under
// names that [media.NewURI] refuses, spellings of others among them, and one that
// is quarantined must be looked at under whatever name.
func isItem(item media.URI) bool {
	for _, part := range []string{item.Server, item.ID} {
		if part == "" || part == "." || part == ".." || len(part) > 255 || !utf8.ValidString(part) || strings.ContainsFunc(part, unicode.IsControl) {
			return false
		}
	}
	return !strings.Contains(item.Server, "/")
}

// truth is a truth value as true, false, 1 or 0.
type truth bool

// UnmarshalJSON implements json.Unmarshaler.
func (t *truth) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case "true", "1":
		*t = true
	case "false", "0":
		*t = false
	default:
		return errors.New("no truth value")
	}
	return nil
}

// MediaInfo is what the homeserver knows of an item.
type MediaInfo struct {
	Quarantined bool
	// SHA256 is the digest of its bytes, nil for what was stored before Synapse
	// 1.128.
	SHA256 []byte
}

// MediaInfo asks what the homeserver knows of an item. [ErrNotFound] means that
// it does not hold it, or not any more.
func (c *Client) MediaInfo(ctx context.Context, item media.URI) (MediaInfo, error) {
	if !isItem(item) {
		return MediaInfo{}, fmt.Errorf("read media info: %w: no address can name it", ErrNotFound)
	}
	raw, err := c.call(ctx, "media_info", mautrix.SynapseAdminURLPath{"v1", "media", item.Server, item.ID}, nil)
	if err == nil {
		var info MediaInfo
		if info, err = parseMediaInfo(raw); err == nil {
			return info, nil
		}
	}
	var status *StatusError
	if errors.Is(err, ErrNotFound) && errors.As(err, &status) && status.Code != "M_NOT_FOUND" {
		// That is said of the route, by a server or proxy that does not know it.
		return MediaInfo{}, fmt.Errorf("read media info: %w: it knows no such request", ErrUpstream)
	}
	return MediaInfo{}, fmt.Errorf("read media info: %w", err)
}

func parseMediaInfo(raw []byte) (MediaInfo, error) {
	var body struct {
		Info *struct {
			By     *string `json:"quarantined_by"`
			SHA256 *string `json:"sha256"`
		} `json:"media_info"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || body.Info == nil {
		return MediaInfo{}, fmt.Errorf("%w: it is no media info", ErrUpstream)
	}
	info := MediaInfo{Quarantined: body.Info.By != nil}
	if body.Info.SHA256 != nil {
		digest, err := hex.DecodeString(*body.Info.SHA256)
		if err != nil || len(digest) != 32 {
			return MediaInfo{}, fmt.Errorf("%w: its digest is none", ErrUpstream)
		}
		info.SHA256 = digest
	}
	return info, nil
}

// call asks with the service token.
func (c *Client) call(ctx context.Context, name string, path mautrix.PrefixableURLPath, query map[string]string) ([]byte, error) {
	header := make(http.Header)
	if c.HasToken() {
		header.Set("Authorization", c.Service().authorization.Reveal())
	}
	return c.ask(ctx, name, path, query, header)
}

// ask asks with that header.
func (c *Client) ask(ctx context.Context, name string, path mautrix.PrefixableURLPath, query map[string]string, header http.Header) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := c.matrix.MakeFullRequest(ctx, mautrix.FullRequest{Method: http.MethodGet, URL: c.matrix.BuildURLWithQuery(path, query), Headers: header})
	if err != nil {
		err = callError(ctx, err)
	}
	c.counted(name, err)
	return raw, err
}
