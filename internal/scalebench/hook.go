package main

import (
	"context"
	"fmt"
	"time"
)

// What a proxy asks about: one request in 20 is about a picture that nobody has seen,
// one about a picture that is banned, all others about so many that are known.
const (
	hookRate   = 1000
	knownItems = 1000
	oneIn      = 20
	bannedItem = "banned"
)

// hook is a mediagate that a reverse proxy asks, and the homeserver behind it.
type hook struct {
	*gate
	home  *homeserver
	asked int // about pictures that were not seen before
}

// startHook starts one that has seen the known pictures. The list has the banned one.
func (b *bench) startHook(ctx context.Context, l *list, env ...string) (_ *hook, err error) {
	home, err := startHomeserver()
	if err != nil {
		return nil, err
	}
	h := &hook{home: home}
	defer func() {
		if err != nil {
			b.endHook(h)
		}
	}()
	if err := l.ban(ctx, home.content(bannedItem)); err != nil {
		return nil, err
	}
	if h.gate, err = startGate(b.program, b.dir, append(env, "MEDIAGATE_DATABASE_URL="+l.url(), "MEDIAGATE_HOMESERVER_URL="+home.url)...); err != nil {
		return nil, err
	}
	if _, err := h.ready(ctx); err != nil {
		return nil, err
	}
	return h, h.warm(ctx)
}

// warm asks about everything known, and not faster than is answered.
func (h *hook) warm(ctx context.Context) error {
	l := h.load(func(i int) ([]byte, answer) {
		if i == knownItems {
			return h.question(bannedItem), answer{status: "403"}
		}
		return h.question(knownItem(i)), answer{status: "200"}
	}, 0, patience)
	l.connections, l.most = 4, knownItems+1
	out, err := l.run(ctx)
	if err == nil && out.wrong > 0 {
		err = fmt.Errorf("%d of %d first answers are wrong: %s", out.wrong, out.asked, out.first)
	}
	return err
}

func (b *bench) endHook(h *hook) {
	if h.gate != nil {
		b.end(h.gate)
	}
	if err := h.home.close(); err != nil {
		b.say("%v", err)
	}
}

func knownItem(i int) string { return fmt.Sprint("known", i%knownItems) }

// question is what nginx asks about an item.
func (h *hook) question(id string) []byte {
	return fmt.Appendf(nil, "GET /_mediagate/check HTTP/1.1\r\nHost: mediagate\r\nX-Original-URI: /_matrix/client/v1/media/download/host%d.example.org/%s\r\n"+
		"X-Original-Method: GET\r\nAuthorization: Bearer token\r\n\r\n", len(id)%8, id)
}

// load is so many requests a second, due whether or not others are answered.
func (h *hook) load(request func(int) ([]byte, answer), rate float64, duration time.Duration) load {
	api, _ := h.addresses()
	return load{address: api, connections: 256, request: request, rate: rate, duration: duration}
}

// busy is the load that hooks are measured with.
func (h *hook) busy(duration time.Duration) load {
	questions := make([][]byte, knownItems)
	for i := range questions {
		questions[i] = h.question(knownItem(i))
	}
	banned := h.question(bannedItem)
	return h.load(func(i int) ([]byte, answer) {
		switch i % oneIn {
		case 0:
			h.asked++
			return h.question(fmt.Sprint("new", h.asked)), answer{status: "200"}
		case 1:
			return banned, answer{status: "403"}
		default:
			return questions[i*7919%knownItems], answer{status: "200"}
		}
	}, hookRate, duration)
}
