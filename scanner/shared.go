package scanner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"mediagate/internal/redis"
	"mediagate/media"
)

// shared is what the processes on one Redis have found out, below what each
// remembers itself. Like that it holds signals, and nothing that anybody was allowed.
// Reading takes 50 ms at most, and nobody waits for writing. A shared without a Redis
// knows nothing.
type shared struct {
	redis *redis.Client
	// decoder and home are part of what values are of: a decoder of other limits says
	// something else of the same bytes, and another homeserver may have been sent other
	// bytes by the same name.
	decoder, home string
	now           func() time.Time
	findings      chan finding
	asking        singleflight.Group
	dropped       prometheus.Counter
}

// finding is something to be told to the others: what a content is or, with a name,
// what an item was.
type finding struct {
	item    *media.URI
	signals *media.Signals
	etag    string
	ttl     time.Duration
	found   time.Time
}

const (
	// maxFindings is how many may wait to be written; more are dropped.
	maxFindings = 1024
	writers     = 2
	// maxSkew is how far the clocks of two machines may be apart.
	maxSkew = 5 * time.Second
)

func newShared() *shared {
	return &shared{
		now: time.Now, findings: make(chan finding, maxFindings),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mediagate_cache_writes_dropped_total",
			Help: "Signals that were not shared because too many were waiting to be.",
		}),
	}
}

func (s *shared) contentKey(digest [sha256.Size]byte) redis.Key {
	return redis.Key{Kind: redis.Content, Of: s.decoder + "\n" + string(digest[:])}
}

func (s *shared) itemKey(item media.URI) redis.Key {
	return redis.Key{Kind: redis.Item, Of: s.decoder + "\n" + s.home + "\n" + item.String()}
}

// content finds the signals of bytes whose digests are known.
func (s *shared) content(ctx context.Context, digests media.Signals, how media.Hashing) (*media.Signals, bool) {
	value, err := s.redis.Get(ctx, s.contentKey(digests.SHA256))
	if err != nil {
		return nil, false
	}
	found, err := media.ParseSignals(value)
	if err != nil || how == media.Exact && found.Screened || found.SHA256 != digests.SHA256 || found.MD5 != digests.MD5 ||
		found.Size != digests.Size || found.Type != digests.Type || found.Kind != digests.Kind || !shareable(&found) {
		return nil, false
	}
	return &found, true
}

// item finds what an item was, if that was no longer ago than ttl. Those who ask at
// the same time ask once.
func (s *shared) item(ctx context.Context, item media.URI, ttl time.Duration) (known, bool) {
	if s.redis == nil {
		return known{}, false
	}
	found, err, _ := s.asking.Do(item.String(), func() (any, error) {
		// The answer is for all who wait, and does not take long.
		value, err := s.redis.Get(context.WithoutCancel(ctx), s.itemKey(item))
		if err != nil {
			return known{}, err
		}
		return s.parseItem(value, item, ttl)
	})
	return found.(known), err == nil
}

// tell has the others know. It never waits.
func (s *shared) tell(f finding) {
	if s.redis == nil || !shareable(f.signals) {
		return
	}
	f.found = s.now()
	select {
	case s.findings <- f:
	default:
		s.dropped.Inc()
	}
}

// shareable tells whether signals depend on the content alone. What one machine was
// too busy for, another may not be.
func shareable(s *media.Signals) bool { return contentTTL(s) != refusedTTL }

// run writes what there is to tell until the context ends.
func (s *shared) run(ctx context.Context) {
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case f := <-s.findings:
					s.write(ctx, f)
				}
			}
		})
	}
	running.Wait()
}

// write stores a finding. What cannot be stored is found out again; Redis counts it.
func (s *shared) write(ctx context.Context, f finding) {
	value, err := f.signals.AppendBinary(nil)
	if err != nil {
		return
	}
	if f.item == nil {
		_ = s.redis.Set(ctx, s.contentKey(f.signals.SHA256), value, f.ttl)
		return
	}
	if left := f.ttl - s.now().Sub(f.found); left >= time.Millisecond {
		_ = s.redis.Set(ctx, s.itemKey(*f.item), appendItem(f, value), left)
	}
}

// What is shared of an item is the form in a byte, when it was found out in Unix
// milliseconds, its URI and its ETag, each behind its length, and its signals. The
// URI and the time are there for values of yesterday, which somebody may have put
// back.
const itemForm = 1

var errNotTheItem = errors.New("not what the item is now")

func appendItem(f finding, signals []byte) []byte {
	uri := f.item.String()
	out := []byte{itemForm}
	out = binary.LittleEndian.AppendUint64(out, uint64(f.found.UnixMilli()))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(uri)))
	out = append(out, uri...)
	out = append(out, byte(len(f.etag)))
	out = append(out, f.etag...)
	return append(out, signals...)
}

// parseItem reads what was shared of an item no longer ago than ttl.
func (s *shared) parseItem(value []byte, item media.URI, ttl time.Duration) (known, error) {
	uri := item.String()
	const head = 1 + 8 + 2
	if len(value) < head+len(uri)+1 || value[0] != itemForm || int(binary.LittleEndian.Uint16(value[9:])) != len(uri) || !bytes.HasPrefix(value[head:], []byte(uri)) {
		return known{}, errNotTheItem
	}
	millis := binary.LittleEndian.Uint64(value[1:])
	rest := value[head+len(uri):]
	size := int(rest[0])
	if rest = rest[1:]; millis > math.MaxInt64 || size > maxETag || len(rest) < size {
		return known{}, errNotTheItem
	}
	signals, err := media.ParseSignals(rest[size:])
	if err != nil {
		return known{}, fmt.Errorf("%w: %w", errNotTheItem, err)
	}
	age := s.now().Sub(time.UnixMilli(int64(millis)))
	if age < -maxSkew || age >= ttl || !shareable(&signals) {
		return known{}, errNotTheItem
	}
	return known{signals: &signals, etag: string(rest[:size]), ttl: min(ttl, ttl-age)}, nil
}
