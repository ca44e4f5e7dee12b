// Package scanner decides about one item: its bytes, or its name on our
// homeserver, in; a [Verdict] out.
//
// Call [Scanner.Scan] with bytes. For an item of a homeserver call
// [Scanner.Check], [Scanner.ScanItem] or [Scanner.Download], by who it is that
// lets the caller have it. An error means that nothing is known about the item,
// and it must not be served on the strength of it; being blocked is a value and no
// error.
package scanner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/internal/redis"
	"mediagate/media"
	"mediagate/pdq"
)

// Config says what counts as a match. Fields are read from variables with the
// prefix MEDIAGATE_SCAN_.
type Config struct {
	// MaxDistance is how many bits of its hash a picture may differ by from a
	// banked one and still match. Unrelated pictures differ by about 128.
	MaxDistance int `env:"MAX_DISTANCE" envDefault:"31"`
	// MinQuality is the quality below which a picture has too little contrast
	// for its hash to say anything; such pictures are matched by digests only.
	MinQuality int `env:"MIN_QUALITY" envDefault:"50"`
	// Downloads is how many items are downloaded from the homeserver at once. A
	// quarter of them is for the homeserver's own media.
	Downloads int `env:"DOWNLOADS" envDefault:"16"`
	// DownloadsPerOrigin is how many of them may be of one other server.
	DownloadsPerOrigin int `env:"DOWNLOADS_PER_ORIGIN" envDefault:"4"`
	// Queue is how many items may wait to be downloaded; more are refused at once.
	Queue int `env:"QUEUE" envDefault:"64"`
	// QueueWait is how long an item waits before it is refused as overload.
	QueueWait time.Duration `env:"QUEUE_WAIT" envDefault:"2s"`
	// CacheBytes is how much memory signals of items may take that were seen
	// before.
	CacheBytes int64 `env:"CACHE_BYTES" envDefault:"67108864"`
	// MemoryBytes is how much memory may be taken by what is remembered of items that
	// were let pass: their signals, since when, and how often. It is what predictions and
	// the breakers of banks go by, and holds about 100,000 items as it is.
	MemoryBytes int64 `env:"MEMORY_BYTES" envDefault:"67108864"`
	// KnownAfter is over how long an item must have been let pass, from its first request
	// to its last, for the breaker of a bank to count how often it was asked for. What a
	// bank with a breaker matched at the time is not counted. 0 is at once, which lets
	// whoever asks often enough for an item have it pass when it is listed.
	KnownAfter time.Duration `env:"KNOWN_AFTER" envDefault:"24h"`
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var problems []error
	if c.MaxDistance < 0 || c.MaxDistance > pdq.Bits/4 {
		problems = append(problems, fmt.Errorf("MEDIAGATE_SCAN_MAX_DISTANCE must be from 0 to %d", pdq.Bits/4))
	}
	if c.MinQuality < 0 || c.MinQuality > 100 {
		problems = append(problems, errors.New("MEDIAGATE_SCAN_MIN_QUALITY must be from 0 to 100"))
	}
	if c.Downloads < 1 || c.Downloads > 1024 {
		problems = append(problems, errors.New("MEDIAGATE_SCAN_DOWNLOADS must be from 1 to 1024"))
	}
	if c.DownloadsPerOrigin < 1 || c.DownloadsPerOrigin > 1024 {
		problems = append(problems, errors.New("MEDIAGATE_SCAN_DOWNLOADS_PER_ORIGIN must be from 1 to 1024"))
	}
	if c.Queue < 0 {
		problems = append(problems, errors.New("MEDIAGATE_SCAN_QUEUE must be 0 or more"))
	}
	if c.QueueWait <= 0 {
		problems = append(problems, errors.New("MEDIAGATE_SCAN_QUEUE_WAIT must be more than 0"))
	}
	if c.CacheBytes < 1<<20 || c.CacheBytes > 1<<40 {
		problems = append(problems, fmt.Errorf("MEDIAGATE_SCAN_CACHE_BYTES must be from %d to %d", 1<<20, 1<<40))
	}
	if c.MemoryBytes < 1<<20 || c.MemoryBytes > 1<<40 {
		problems = append(problems, fmt.Errorf("MEDIAGATE_SCAN_MEMORY_BYTES must be from %d to %d", 1<<20, 1<<40))
	}
	if c.KnownAfter < 0 {
		problems = append(problems, errors.New("MEDIAGATE_SCAN_KNOWN_AFTER must be 0 or more"))
	}
	return errors.Join(problems...)
}

// API names who asks for a scan, for metrics. It is a closed set.
type API string

// The APIs that scan.
const (
	V1             API = "v1"
	ContentScanner API = "content_scanner"
	Hook           API = "hook"
)

// Scanner decides about items. It is safe for concurrent use.
type Scanner struct {
	config Config
	pool   *media.Pool
	live   *bank.Live
	home   *homeserver.Client // nil if none is configured
	// expected is the exchange that there must be, empty for none.
	expected string
	log      *slog.Logger
	cache    *cache
	shared   *shared
	slots    *slots
	flights  flights
	memory   *memory
	breaker  *breaker
	reviewer Reviewer // nil if nobody reviews
	// predicting has room for who predicts.
	predicting chan struct{}
	scans      *prometheus.HistogramVec
	matched    *prometheus.CounterVec
	monitored  *bankCounter
	joined     prometheus.Counter
}

// New returns a Scanner that decodes in pool and judges by what is live. home is
// nil if no homeserver is configured; with one, nothing is judged before every
// exchange that is on has been through once.
func New(config Config, pool *media.Pool, live *bank.Live, home *homeserver.Client, log *slog.Logger) *Scanner {
	past := newMemory(config.MemoryBytes)
	return &Scanner{
		memory: past, breaker: newBreaker(config.KnownAfter, past, log), predicting: make(chan struct{}, 1),
		config: config, pool: pool, live: live, home: home, log: log,
		cache: newCache(config.CacheBytes, newMonotonic()), shared: newShared(), slots: newSlots(config), flights: flights{running: make(map[flightKey]*flight)},
		scans: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mediagate_scan_seconds",
			Help:    "Scans by API and outcome, and how long they took.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"api", "outcome"}),
		matched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_matches_total",
			Help: "Contents matched, by signal type and by whether the match blocks.",
		}, []string{"type", "enforced"}),
		monitored: newBankCounter("mediagate_monitor_matches_total", "Scans in which a bank matched that is in monitor, by bank."),
		joined: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mediagate_scans_joined_total",
			Help: "Scans that waited for another caller's download of the same item.",
		}),
	}
}

// Expect has nothing judged while there is no exchange of that name: somebody has
// deleted it, and what it will bank when it is there again is not known. It must be
// called before anything else.
func (s *Scanner) Expect(exchange string) { s.expected = exchange }

// Share has the scanner look in Redis for what others have found out, and tell them
// what it finds out as long as Run runs. It must be called before anything else; client
// may be nil.
func (s *Scanner) Share(client *redis.Client) {
	if client == nil {
		return
	}
	s.shared.redis, s.shared.decoder = client, s.pool.Fingerprint()
	if s.home != nil {
		s.shared.home = s.home.URL()
	}
}

// Run tells others what was found out, and what is held, until the context ends.
func (s *Scanner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { s.review(ctx) })
	s.shared.run(ctx)
	running.Wait()
	return nil
}

// Scan decides about a content. Its signals, which callers show, are exact. It
// fails, and the verdict is Unknown, with [bank.ErrNotReady],
// [media.ErrOverloaded], the context's end, or a decoder that cannot run.
func (s *Scanner) Scan(ctx context.Context, api API, content []byte) (Verdict, error) {
	return s.observed(ctx, api, nil, func(ctx context.Context) (Verdict, error) {
		// Nothing is worth decoding before there is anything to compare with.
		if err := s.Ready(); err != nil {
			return Verdict{}, err
		}
		signals, err := s.signals(ctx, media.Digest(content), content, media.Exact)
		if err != nil {
			return Verdict{}, err
		}
		return s.judge(ctx, nil, signals)
	})
}

// observed counts, traces and logs a decision. item is nil if only bytes are
// known.
func (s *Scanner) observed(ctx context.Context, api API, item *media.URI, decide func(ctx context.Context) (Verdict, error)) (Verdict, error) {
	start := time.Now()
	ctx, span := otel.Tracer("mediagate/scanner").Start(ctx, "scan")
	defer span.End()
	v, err := decide(ctx)
	if err != nil {
		v = Verdict{}
	}
	s.scans.WithLabelValues(string(api), v.Outcome.String()).Observe(time.Since(start).Seconds())
	if span.IsRecording() {
		span.SetAttributes(attribute.String("verdict", v.Outcome.String()), attribute.Int64("epoch", v.Epoch))
	}
	if err != nil {
		span.SetStatus(codes.Error, "scan failed")
		return Verdict{}, fmt.Errorf("scan: %w", err)
	}
	for _, m := range v.Matches {
		s.matched.WithLabelValues(string(m.Type), strconv.FormatBool(m.Enforced)).Inc()
	}
	if v.Outcome == Blocked {
		nearest := v.Matches[0]
		attrs := []any{"api", string(api), "bank", nearest.Bank.Name, "content_id", nearest.Content, "signal_type", string(nearest.Type), "distance", nearest.Distance, "epoch", v.Epoch}
		if item != nil {
			attrs = append(attrs, "mxc", item.String())
		}
		s.log.InfoContext(ctx, "blocked", attrs...)
	}
	return v, nil
}

// index returns what to judge by.
func (s *Scanner) index() (*bank.Index, error) {
	ix, err := s.live.Load()
	if err != nil {
		return nil, err
	}
	names := ix.Awaiting()
	if s.expected != "" && !ix.HasExchange(s.expected) {
		names = append(slices.Clip(names), s.expected)
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%w: %s has not been fetched once", bank.ErrNotReady, strings.Join(names, ", "))
	}
	return ix, nil
}

// Ready tells why nothing can be judged now, or nil.
func (s *Scanner) Ready() error {
	_, err := s.index()
	return err
}

// judge decides by the newest index, and remembers what it lets pass. item is nil if
// only bytes are known.
func (s *Scanner) judge(ctx context.Context, item *media.URI, signals *media.Signals) (Verdict, error) {
	ix, err := s.index()
	if err != nil {
		return Verdict{}, err
	}
	ctx, span := otel.Tracer("mediagate/scanner").Start(ctx, "bank.match")
	defer span.End()
	v := s.decide(ix, item, signals)
	for v.Outcome == Blocked && s.breaker.trips(ctx, ix, &v) {
		v = s.decide(ix, item, signals)
	}
	if v.Outcome.Allowed() {
		s.memory.pass(signals, listed(v.Matches))
	}
	s.countMonitored(v.Matches)
	v.truncate()
	return v, nil
}

// listed tells whether a bank with a breaker matches, whatever follows from that.
func listed(matches []Match) bool {
	return slices.ContainsFunc(matches, func(m Match) bool { return m.Bank.Breaker > 0 && (rules{}).counts(&m) })
}

// countMonitored counts the banks in monitor that match, each once.
func (s *Scanner) countMonitored(matches []Match) {
	var counted []int64
	for i := range matches {
		m := &matches[i]
		if m.Bank.Monitor && (rules{}).counts(m) && !slices.Contains(counted, m.Bank.ID) {
			counted = append(counted, m.Bank.ID)
			s.monitored.inc(m.Bank.Name)
		}
	}
}

// MonitorMatches counts the scans of this process in which a bank has matched that was in
// monitor.
func (s *Scanner) MonitorMatches(bank string) int64 { return s.monitored.of(bank) }

// MinQuality is the quality below which hashes are not matched.
func (s *Scanner) MinQuality() int { return s.config.MinQuality }

// MaxDistance is the largest distance that matches.
func (s *Scanner) MaxDistance() int { return s.config.MaxDistance }

// Describe and Collect make the scanner's numbers available to a registry.
func (s *Scanner) Describe(ch chan<- *prometheus.Desc) {
	s.scans.Describe(ch)
	s.matched.Describe(ch)
	s.joined.Describe(ch)
	s.monitored.Describe(ch)
	s.breaker.holds.Describe(ch)
	s.cache.lookups.Describe(ch)
	s.shared.dropped.Describe(ch)
}

// Collect implements prometheus.Collector.
func (s *Scanner) Collect(ch chan<- prometheus.Metric) {
	s.scans.Collect(ch)
	s.matched.Collect(ch)
	s.joined.Collect(ch)
	if ix, err := s.live.Load(); err == nil {
		s.monitored.forget(ix)
		s.breaker.holds.forget(ix)
	}
	s.monitored.Collect(ch)
	s.breaker.holds.Collect(ch)
	s.cache.lookups.Collect(ch)
	s.shared.dropped.Collect(ch)
}
