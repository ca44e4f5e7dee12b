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

func connect(options goredis.UniversalOptions) goredis.UniversalClient {
	return goredis.NewUniversalClient(&options)
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
