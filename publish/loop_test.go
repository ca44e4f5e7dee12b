package publish_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/internal/synapsetest"
)

// newSide is a bench on its own server, whose bank LIST follows a room that is made
// later.
func newSide(t *testing.T, s *synapsetest.Server) *bench {
	t.Helper()
	b := &bench{t: t, proxy: newProxy(t, s), owner: person{t, s, s.Register(t, "owner", false)}, bot: person{t, s, s.Register(t, "bot", false)}}
	b.store, b.home = newStore(t), newHome(t, b.proxy.url, b.bot)
	b.bank("OWN")
	return b
}

// subscribe follows a room and believes it at once.
func (b *bench) subscribe(room, via string) {
	b.t.Helper()
	if err := b.store.CreateExchange(b.t.Context(), bank.Exchange{
		Name: "LIST", API: exchange.MatrixPolicyList, Enabled: true, Credential: secretObject(b.bot.Token),
		Config: fmt.Sprintf(`{"room":%q,"via":[%q],"homeserver_url":%q}`, room, via, b.proxy.url),
	}); err != nil {
		b.t.Fatal(err)
	}
	servers := homeserver.Config{
		FirstByteTimeout: 10 * time.Second, DownloadTimeout: time.Minute, MinRate: 1, RateWindow: 10 * time.Second,
		RedirectNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	config := exchange.Config{Interval: 100 * time.Millisecond, Downloads: 2}
	f := exchange.NewFetcher(config, servers, nil, b.store, nil, slog.New(slog.NewTextHandler(b.t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("it ends with %v", err)
		}
	})
}

// listed counts what is banked of the other side's room.
func (b *bench) listed() int {
	b.t.Helper()
	keys, err := b.store.SourceKeys(b.t.Context(), "LIST")
	if err != nil {
		b.t.Fatal(err)
	}
	return len(keys)
}

// TestTwoPublishersMakeNoLoop has two sides follow each other over federation: what one
// banks the other one bans, and repeats nothing of it.
func TestTwoPublishersMakeNoLoop(t *testing.T) {
	near, far := synapsetest.StartPair(t, synapsetest.Options{}, synapsetest.Options{})
	a, b := newSide(t, near), newSide(t, far)
	for _, side := range []struct{ own, other *bench }{{a, b}, {b, a}} {
		side.own.room = side.own.owner.createRoom(50, side.own.bot, side.other.bot)
		if err := side.own.store.Publish(t.Context(), "OWN", side.own.room); err != nil {
			t.Fatal(err)
		}
	}
	a.start()
	b.start()
	a.subscribe(b.room, far.Name)
	b.subscribe(a.room, near.Name)
	// What is written while another server joins, that one learns with the next event only.
	await(t, "each has joined the other's room", 6*soon, func() bool {
		return a.owner.sees(b.bot, a.room) && b.owner.sees(a.bot, b.room)
	})
	only := a.add(1)
	both := [2]int64{a.add(2), b.add(2)}
	// The state of a room that was joined is completed in the background.
	await(t, "each knows the other's", 6*soon, func() bool { return b.listed() == 2 && a.listed() == 1 })
	a.want(2, soon)
	b.want(1, soon)

	began := a.add(3)
	await(t, "it is banned by the other side", soon, func() bool { return b.listed() == 3 })
	for _, id := range []int64{only, both[0], began} {
		if _, err := a.store.DeleteContent(t.Context(), "OWN", id); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "it is lifted by the other side", soon, func() bool { return b.listed() == 0 })
	// Time for an echo, if there were one: each side has compared since.
	b.add(4)
	await(t, "it is banned by the first side", soon, func() bool { return a.listed() == 2 })
	a.add(5)
	await(t, "it is banned by the other side", soon, func() bool { return b.listed() == 1 })
	if a, b := a.owner.holds(a.room), b.owner.holds(b.room); a != 1 || b != 2 {
		t.Errorf("the rooms hold %d and %d hashes", a, b)
	}
	for name, tt := range map[string]struct {
		side *bench
		want int
	}{"the first": {a, 4 + 3}, "the other": {b, 2}} {
		if got := tt.side.proxy.writes(); len(got) != tt.want {
			t.Errorf("%s side has written %d times, want %d", name, len(got), tt.want)
		}
	}
}
