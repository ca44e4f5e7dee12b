package media

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the pool does. Labels are closed sets.
type metrics struct {
	pictures   *prometheus.CounterVec
	workerEnds *prometheus.CounterVec
	seconds    prometheus.Histogram
	hashes     *prometheus.CounterVec
}

func newMetrics() metrics {
	return metrics{
		pictures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_pictures_total",
			Help: "Pictures looked at, by type and by why they were refused (empty: they were decoded).",
		}, []string{"type", "refusal"}),
		workerEnds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_decode_worker_failures_total",
			Help: "Decoder processes that were killed or crashed, by why.",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mediagate_decode_seconds",
			Help:    "Time from asking for a decoder to its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		hashes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_hashes_total",
			Help: "Views of pictures hashed, by how: exact as asked for, screened, or exact because screening was not sure (fallback).",
		}, []string{"path"}),
	}
}

func (m metrics) decoded(s Signals) {
	m.pictures.WithLabelValues(s.Type, string(s.Refusal)).Inc()
}

func (m metrics) hashed(made tally, how Hashing) {
	exact := "exact"
	if how == Screening {
		exact = "fallback"
	}
	m.hashes.WithLabelValues(exact).Add(float64(made.exact))
	if how == Screening {
		m.hashes.WithLabelValues("screened").Add(float64(made.screened))
	}
}

// Describe and Collect make the pool's numbers, and its load at the moment,
// available to a registry.
func (p *Pool) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p *Pool) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v)
	}
	gauge("mediagate_decode_waiting", "Pictures waiting for a decoder.", float64(p.waiting.Load()))
	gauge("mediagate_decode_busy", "Decoders at work.", float64(p.config.Workers-len(p.free)))
	p.metrics.pictures.Collect(ch)
	p.metrics.workerEnds.Collect(ch)
	p.metrics.seconds.Collect(ch)
	p.metrics.hashes.Collect(ch)
}
