package scanner

import (
	"crypto/sha256"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"

	"mediagate/media"
)

// How long what is known of an item holds. What an item is does not change; what
// its homeserver calls by its name can.
const (
	localTTL   = 24 * time.Hour
	remoteTTL  = 10 * time.Minute
	grantTTL   = time.Minute
	missingTTL = 30 * time.Second
	// refusedTTL is for pictures that cost more than they may: a busy machine
	// may have made them.
	refusedTTL = 10 * time.Minute
)

// cache remembers what items are, never what was thought of them: an index that
// has changed since needs nothing to be forgotten. Keys hold names that were
// checked, and digests; there is one hasher in a process, so that its version is
// part of no key.
type cache struct {
	contents *otter.Cache[[sha256.Size]byte, *media.Signals] // by SHA-256 of the bytes
	items    *otter.Cache[media.URI, known]
	callers  *otter.Cache[callerKey, permission]
	lookups  *prometheus.CounterVec
}

// known is what an item was when it was last downloaded.
type known struct {
	signals *media.Signals
	etag    string
	ttl     time.Duration
}

// callerKey is an item and who asked for it, by digest of the credential.
type callerKey struct {
	item media.URI
	as   [sha256.Size]byte
}

// permission is what the homeserver last said to a caller about an item.
type permission uint8

const (
	granted permission = iota
	missing
)

// entryOverhead estimates what an entry costs besides what it holds.
const entryOverhead = 256

func weigh(s *media.Signals) uint32 {
	return entryOverhead + uint32(48*len(s.Hashes))
}

func newCache(bytes int64, clock otter.Clock) *cache {
	third := uint64(bytes) / 3
	return &cache{
		contents: otter.Must(&otter.Options[[sha256.Size]byte, *media.Signals]{
			MaximumWeight: third, Clock: clock,
			Weigher: func(_ [sha256.Size]byte, s *media.Signals) uint32 { return weigh(s) },
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[[sha256.Size]byte, *media.Signals]) time.Duration {
				return contentTTL(e.Value)
			}),
		}),
		items: otter.Must(&otter.Options[media.URI, known]{
			MaximumWeight: third, Clock: clock,
			Weigher: func(item media.URI, k known) uint32 {
				return weigh(k.signals) + uint32(len(item.Server)+len(item.ID)+len(k.etag))
			},
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[media.URI, known]) time.Duration {
				return min(e.Value.ttl, contentTTL(e.Value.signals))
			}),
		}),
		callers: otter.Must(&otter.Options[callerKey, permission]{
			MaximumWeight: third, Clock: clock,
			Weigher: func(k callerKey, _ permission) uint32 {
				return entryOverhead + uint32(len(k.item.Server)+len(k.item.ID))
			},
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[callerKey, permission]) time.Duration {
				if e.Value == missing {
					return missingTTL
				}
				return grantTTL
			}),
		}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_cache_lookups_total",
			Help: "Lookups of signals, by what they are looked up by and whether they were there, or shared by another process.",
		}, []string{"by", "outcome"}),
	}
}

func contentTTL(s *media.Signals) time.Duration {
	switch s.Refusal {
	case media.RefusedTime, media.RefusedMemory, media.RefusedCrash:
		return refusedTTL
	default:
		return localTTL
	}
}

// content finds the signals of bytes. Exact ones are good for screening, and
// screened ones for nothing else.
func (c *cache) content(digest [sha256.Size]byte, how media.Hashing) (*media.Signals, bool) {
	s, ok := c.contents.GetIfPresent(digest)
	return s, ok && (how == media.Screening || !s.Screened)
}

// counted counts a lookup by where it was answered.
func (c *cache) counted(by string, here, shared bool) {
	outcome := "miss"
	switch {
	case here:
		outcome = "hit"
	case shared:
		outcome = "shared"
	}
	c.lookups.WithLabelValues(by, outcome).Inc()
}

// maxETag bounds what is kept of a homeserver's words.
const maxETag = 128

// keep remembers what an item is, and returns that.
func (c *cache) keep(item media.URI, s *media.Signals, etag string, ttl time.Duration) known {
	if len(etag) > maxETag {
		etag = ""
	}
	k := known{s, etag, ttl}
	c.items.Set(item, k)
	return k
}

// monotonic is a clock that nobody sets.
type monotonic struct{ start time.Time }

func newMonotonic() monotonic { return monotonic{time.Now()} }

// NowNano implements otter.Clock.
func (m monotonic) NowNano() int64 { return int64(time.Since(m.start)) }

// Tick implements otter.Clock. The caches live as long as the process.
func (monotonic) Tick(d time.Duration) <-chan time.Time { return time.Tick(d) }
