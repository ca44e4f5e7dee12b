// Package scanner decides about one item: its bytes in, a [Verdict] out.
//
// Call [Scanner.Scan]. An error means that nothing is known about the item, and
// it must not be served on the strength of it; being blocked is a value and no
// error.
package scanner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"mediagate/bank"
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
	return errors.Join(problems...)
}

// API names who asks for a scan, for metrics. It is a closed set.
type API string

// The APIs that scan.
const (
	V1 API = "v1"
)

// Scanner decides about items. It is safe for concurrent use.
type Scanner struct {
	config  Config
	pool    *media.Pool
	live    *bank.Live
	scans   *prometheus.HistogramVec
	matched *prometheus.CounterVec
}

// New returns a Scanner that decodes in pool and judges by what is live.
func New(config Config, pool *media.Pool, live *bank.Live) *Scanner {
	return &Scanner{
		config: config, pool: pool, live: live,
		scans: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mediagate_scan_seconds",
			Help:    "Scans by API and outcome, and how long they took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"api", "outcome"}),
		matched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_matches_total",
			Help: "Contents matched, by signal type and by whether the match blocks.",
		}, []string{"type", "enforced"}),
	}
}

// Scan decides about a content. It fails, and the verdict is Unknown, with
// [bank.ErrNotReady], [media.ErrOverloaded], the context's end, or a decoder
// that cannot run.
func (s *Scanner) Scan(ctx context.Context, api API, content []byte) (Verdict, error) {
	start := time.Now()
	ctx, span := otel.Tracer("mediagate/scanner").Start(ctx, "scan")
	defer span.End()
	v, err := s.scan(ctx, content)
	s.scans.WithLabelValues(string(api), v.Outcome.String()).Observe(time.Since(start).Seconds())
	span.SetAttributes(attribute.String("verdict", v.Outcome.String()), attribute.Int64("epoch", v.Epoch))
	if err != nil {
		span.SetStatus(codes.Error, "scan failed")
		return Verdict{}, fmt.Errorf("scan: %w", err)
	}
	for _, m := range v.Matches {
		s.matched.WithLabelValues(string(m.Type), fmt.Sprint(m.Enforced)).Inc()
	}
	return v, nil
}

func (s *Scanner) scan(ctx context.Context, content []byte) (Verdict, error) {
	// Nothing is worth decoding before there is anything to compare with.
	if _, err := s.live.Load(); err != nil {
		return Verdict{}, err
	}
	signals, err := s.pool.Signals(ctx, content)
	if err != nil {
		return Verdict{}, err
	}
	ix, err := s.live.Load() // the newest, now that decoding has taken its time
	if err != nil {
		return Verdict{}, err
	}
	_, span := otel.Tracer("mediagate/scanner").Start(ctx, "bank.match")
	defer span.End()
	return s.decide(ix, signals), nil
}

// MinQuality is the quality below which hashes are not matched.
func (s *Scanner) MinQuality() int { return s.config.MinQuality }

// MaxDistance is the largest distance that matches.
func (s *Scanner) MaxDistance() int { return s.config.MaxDistance }

// Describe and Collect make the scanner's numbers available to a registry.
func (s *Scanner) Describe(ch chan<- *prometheus.Desc) {
	s.scans.Describe(ch)
	s.matched.Describe(ch)
}

// Collect implements prometheus.Collector.
func (s *Scanner) Collect(ch chan<- prometheus.Metric) {
	s.scans.Collect(ch)
	s.matched.Collect(ch)
}
