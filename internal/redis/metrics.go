package redis

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

// metrics count what is asked of Redis. Labels are closed sets.
type metrics struct {
	operations *prometheus.CounterVec
	rejected   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
}

var bypassedDesc = prometheus.NewDesc("mediagate_redis_bypassed", "1 while Redis is not asked because it has failed.", nil, nil)

func newMetrics() metrics {
	return metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_redis_operations_total",
			Help: "Operations on Redis by what they are of and by how they ended.",
		}, []string{"operation", "kind", "outcome"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mediagate_redis_rejected_total",
			Help: "Values found in Redis that are not ours as they are.",
		}, []string{"kind"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mediagate_redis_seconds",
			Help:    "How long operations on Redis took, those that were bypassed among them.",
			Buckets: []float64{.00001, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"operation"}),
	}
}

// timed begins to time an operation; what it returns ends that.
func (m metrics) timed(operation string) func() {
	start := time.Now()
	return func() { m.seconds.WithLabelValues(operation).Observe(time.Since(start).Seconds()) }
}

// Describe and Collect make the numbers available to a registry.
func (c *Client) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *Client) Collect(ch chan<- prometheus.Metric) {
	bypassed := 0.0
	if c.breaker.State() != gobreaker.StateClosed {
		bypassed = 1
	}
	ch <- prometheus.MustNewConstMetric(bypassedDesc, prometheus.GaugeValue, bypassed)
	c.metrics.operations.Collect(ch)
	c.metrics.rejected.Collect(ch)
	c.metrics.seconds.Collect(ch)
}
