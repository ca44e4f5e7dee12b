package homeserver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"maunium.net/go/mautrix"

	"mediagate/media"
)

// serverName is what is known of our homeserver's name.
type serverName struct {
	name string
	err  error
	at   time.Time // of an error
}

const (
	// nameRetry is how long an error about the name is taken for an answer.
	nameRetry = 5 * time.Second
	// LearnName waits so long after its first question, and twice as long after
	// each other one, up to lastPause.
	firstPause, lastPause = time.Second, 5 * time.Minute
)

// Name returns the homeserver's server name. It needs the service token, and asks
// the homeserver once.
func (c *Client) Name(ctx context.Context) (string, error) {
	if !c.HasToken() {
		return "", fmt.Errorf("ask who we are: %w: there is no token", ErrUnauthorized)
	}
	known := c.name.Load()
	if known != nil && (known.err == nil || time.Since(known.at) <= nameRetry) {
		return known.name, known.err
	}
	name, err := c.whoami(ctx)
	switch {
	case ctx.Err() != nil:
		return "", err
	case err == nil:
		c.name.Store(&serverName{name: name})
	default: // unless somebody has learnt the name meanwhile
		c.name.CompareAndSwap(known, &serverName{err: err, at: time.Now()})
	}
	return name, err
}

// LearnName asks the homeserver for its name until it is known, or the context
// ends. Without a token, and where that is not good enough, it asks for what other
// homeservers are told, which needs none. Until then nothing is known to be local,
// which is safe: such items are looked at again sooner.
func (c *Client) LearnName(ctx context.Context, log *slog.Logger) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		name, err := c.learn(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			c.name.Store(&serverName{name: name})
			log.InfoContext(ctx, "the homeserver has told its name", "name", name)
			return nil
		}
		if pause == firstPause {
			log.WarnContext(ctx, "the homeserver does not tell its name yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// learn asks in one way and the other.
func (c *Client) learn(ctx context.Context) (string, error) {
	if c.HasToken() {
		if name, err := c.whoami(ctx); err == nil {
			return name, nil
		}
	}
	raw, err := c.ask(ctx, "server_key", mautrix.BaseURLPath{"_matrix", "key", "v2", "server"}, nil, make(http.Header))
	if err != nil {
		return "", fmt.Errorf("ask for the server's keys: %w", err)
	}
	var keys struct {
		ServerName string `json:"server_name"`
	}
	if err := json.Unmarshal(raw, &keys); err != nil || !isServerName(keys.ServerName) {
		return "", fmt.Errorf("ask for the server's keys: %w: there is no name", ErrUpstream)
	}
	return keys.ServerName, nil
}

func (c *Client) whoami(ctx context.Context) (string, error) {
	user, err := c.User(ctx)
	_, name, _ := strings.Cut(user, ":")
	return name, err
}

// User returns the id of the service user, whose the token is.
func (c *Client) User(ctx context.Context) (string, error) {
	raw, err := c.call(ctx, "whoami", mautrix.ClientURLPath{"v3", "account", "whoami"}, nil)
	if err != nil {
		return "", fmt.Errorf("ask who we are: %w", err)
	}
	var who struct {
		UserID string `json:"user_id"`
	}
	err = json.Unmarshal(raw, &who)
	_, name, ok := strings.Cut(who.UserID, ":")
	if err != nil || !ok || !isServerName(name) {
		return "", fmt.Errorf("ask who we are: %w: it is no user", ErrUpstream)
	}
	return who.UserID, nil
}

func isServerName(name string) bool {
	_, err := media.NewURI(name, "x")
	return err == nil
}

// IsLocal tells whether an item is known to be our homeserver's own. It asks
// nobody: before the name is known nothing is.
func (c *Client) IsLocal(item media.URI) bool {
	known := c.name.Load()
	return known != nil && known.err == nil && known.name == item.Server
}
