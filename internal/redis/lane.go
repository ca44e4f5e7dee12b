package redis

import (
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// lane is a pool of connections of its own, which can be given up for a new one.
type lane struct {
	options goredis.UniversalOptions

	mu      sync.Mutex
	current goredis.UniversalClient
	since   time.Time
	closed  bool
	ending  sync.WaitGroup
}

func newLane(options goredis.UniversalOptions) *lane {
	return &lane{options: options, current: connect(options)}
}

// connect returns a client that connects when there is something to do.
func connect(options goredis.UniversalOptions) goredis.UniversalClient {
	if options.IsClusterMode {
		cluster := options.Cluster()
		cluster.DisableRoutingPolicies = true // we know what each of our commands is, and need not be told
		return goredis.NewClusterClient(cluster)
	}
	if options.MasterName != "" {
		options.Dialer = sentinels{options}.dial
	}
	return goredis.NewClient(options.Simple())
}

func (l *lane) client() goredis.UniversalClient {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// renew drops all connections of a client that is in use, at most once a second: on
// one of them questions and answers may have parted for good.
func (l *lane) renew(old goredis.UniversalClient) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.current != old || time.Since(l.since) < time.Second {
		return
	}
	l.current, l.since = connect(l.options), time.Now()
	l.ending.Go(func() { _ = old.Close() }) // nothing is read from it any more
}

func (l *lane) close() error {
	l.mu.Lock()
	l.closed = true
	client := l.current
	l.mu.Unlock()
	err := client.Close()
	l.ending.Wait()
	return err
}
