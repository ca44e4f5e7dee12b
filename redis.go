package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"mediagate/internal/redis"
)

// The settings whose files hold Redis's secrets.
const redisKey, redisPassword = "MEDIAGATE_REDIS_KEY_FILE", "MEDIAGATE_REDIS_PASSWORD_FILE" //nolint:gosec // names of settings

// newRedis returns the Redis that is configured, or nil, which is one that knows
// nothing.
func newRedis(config redis.Config, metrics *prometheus.Registry, log *slog.Logger) (*redis.Client, error) {
	if !config.Configured() {
		return nil, nil
	}
	client, err := redis.New(config, log)
	if err != nil {
		return nil, err
	}
	metrics.MustRegister(client)
	return client, nil
}
