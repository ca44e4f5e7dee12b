package redis

import (
	"context"
	"errors"
	"fmt"
	"net"

	goredis "github.com/redis/go-redis/v9"
)

// errNoMaster is what Sentinels answer that do not know the master.
var errNoMaster = errors.New("the Sentinels know no such master")

// sentinels tell where the master is. They are asked for each connection to it: one
// that is master no longer has its connections closed, by the Sentinels or because it
// refuses to write. The library's own client takes what they say unseen.
type sentinels struct {
	options goredis.UniversalOptions // with the dialer for them, and for the master
}

// dial connects to the master.
func (s sentinels) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	address, err := s.master(ctx)
	if err != nil {
		return nil, unconnected{err}
	}
	return s.options.Dialer(ctx, network, address)
}

// master asks all at once, and goes by the first that knows. If none does, what one of
// them says tells more than that others do not answer.
func (s sentinels) master(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	type answer struct {
		sentinel int
		address  string
		err      error
	}
	answers := make(chan answer, len(s.options.Addrs))
	for i, sentinel := range s.options.Addrs {
		go func() {
			address, err := s.ask(ctx, sentinel)
			answers <- answer{i, address, err}
		}()
	}
	problems := make([]error, len(s.options.Addrs))
	for range problems {
		a := <-answers
		if a.err == nil {
			return a.address, nil
		}
		problems[a.sentinel] = a.err
	}
	for _, err := range problems {
		var said goredis.Error
		if errors.Is(err, errNoMaster) || errors.As(err, &said) {
			return "", err
		}
	}
	return "", problems[0]
}

func (s sentinels) ask(ctx context.Context, sentinel string) (string, error) {
	client := goredis.NewClient(&goredis.Options{
		Addr: sentinel, Dialer: s.options.Dialer, Password: s.options.SentinelPassword, Protocol: s.options.Protocol,
		PoolSize: 1, PipelinePoolSize: -1, MaxRetries: -1, DialerRetries: 1, DialTimeout: dialTimeout,
		ReadTimeout: dialTimeout, WriteTimeout: dialTimeout, ContextTimeoutEnabled: true,
		DisableIdentity: true, MaintNotificationsConfig: s.options.MaintNotificationsConfig,
	})
	defer func() { _ = client.Close() }() // it has no more to say
	where, err := client.Do(ctx, "sentinel", "get-master-addr-by-name", s.options.MasterName).StringSlice()
	switch {
	case errors.Is(err, goredis.Nil):
		return "", errNoMaster
	case err != nil:
		return "", fmt.Errorf("ask a Sentinel: %w", err)
	case len(where) != 2:
		return "", errReply
	}
	return net.JoinHostPort(where[0], where[1]), nil
}
