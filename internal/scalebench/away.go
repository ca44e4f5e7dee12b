package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

var (
	bypassed   = regexp.MustCompile(`^mediagate_redis_bypassed$`)
	signalsSet = regexp.MustCompile(`^mediagate_redis_operations_total\{kind="(content|item)",operation="set",outcome="success"\}$`)
)

// awayTime is how long requests are measured with Redis, and as long without.
const awayTime = 20 * time.Second

// away measures what those who ask notice of Redis being gone, and how soon it is
// used again when it is back.
func (b *bench) away(ctx context.Context) error {
	l, err := b.changeable(ctx, b.hashes)
	if err != nil {
		return err
	}
	r, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer r.end()
	env, err := b.withRedis(r)
	if err != nil {
		return err
	}
	h, err := b.startHook(ctx, l, env...)
	if err != nil {
		return err
	}
	defer b.endHook(h)
	for range b.rounds {
		if err := h.awaitBypassed(ctx, 0); err != nil {
			return err
		}
		with, err := h.busy(awayTime).run(ctx)
		if err != nil {
			return err
		}
		r.end()
		if err := h.awaitBypassed(ctx, 1); err != nil {
			return err
		}
		without, err := h.busy(awayTime).run(ctx)
		if err != nil {
			return err
		}
		if err := b.reportBeside(fmt.Sprintf("Hook/hashes=%d", b.hashes), "redis_away", with, without); err != nil {
			return err
		}
		before, err := h.metric(ctx, signalsSet)
		if err != nil {
			return err
		}
		if err := r.startRedis(ctx); err != nil {
			return err
		}
		back := time.Now()
		err = h.awaitMetric(ctx, "signals are in Redis again", signalsSet, func(now float64) bool { return now > before })
		if err := errors.Join(err, b.report.run("CachedAgain", metric{time.Since(back).Seconds(), "sec/op"})); err != nil {
			return err
		}
	}
	return nil
}

// awaitBypassed asks about new pictures until Redis is, or is not, left alone.
func (h *hook) awaitBypassed(ctx context.Context, want float64) error {
	return h.awaitMetric(ctx, fmt.Sprintf("mediagate_redis_bypassed is %v", want), bypassed, func(now float64) bool { return now == want })
}

// awaitMetric asks about new pictures until a metric has come to something.
func (h *hook) awaitMetric(ctx context.Context, what string, name *regexp.Regexp, holds func(now float64) bool) error {
	return h.await(ctx, what, time.Minute, func() (bool, error) {
		const rate = 100
		out, err := h.load(func(int) ([]byte, answer) {
			h.asked++
			return h.question(fmt.Sprint("new", h.asked)), answer{status: "200"}
		}, rate, 100*time.Millisecond).run(ctx)
		if err == nil && out.wrong > 0 {
			err = fmt.Errorf("%d of %d answers are wrong: %s", out.wrong, out.asked, out.first)
		}
		if err != nil {
			return false, err
		}
		now, err := h.metric(ctx, name)
		return holds(now), err
	})
}
