package exchange_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
)

// malformed are what stands in place of events, none of which may count, or keep others
// from counting.
var malformed = []string{
	`null`, `[]`, `5`, `"event"`, `{}`, `{"type":"` + mediaHash + `"}`,
	`{"type":5,"state_key":"a","sender":"` + moderator + `","event_id":"$a","content":` + rule(hash(90)) + `}`,
	`{"type":"` + mediaHash + `","sender":"` + moderator + `","event_id":"$b","content":` + rule(hash(91)) + `}`,
	`{"type":"` + mediaHash + `","state_key":5,"sender":"` + moderator + `","event_id":"$c","content":` + rule(hash(92)) + `}`,
	`{"type":"` + mediaHash + `","state_key":null,"sender":"` + moderator + `","event_id":"$d","content":` + rule(hash(93)) + `}`,
	`{"type":"` + mediaHash + `","state_key":"nobodys","event_id":"$e","content":` + rule(hash(94)) + `}`,
	`{"type":"` + mediaHash + `","state_key":"numbers","sender":5,"event_id":"$f","content":` + rule(hash(95)) + `}`,
	`{"type":"` + mediaHash + `","state_key":"forged","sender":"@nobody:list.test","Sender":"` + moderator + `","event_id":"$g","content":` + rule(hash(96)) + `}`,
	`{"type":"` + mediaHash + `","state_key":"null","sender":"` + moderator + `","event_id":"$h","content":null}`,
	`{"type":"` + mediaHash + `","state_key":"array","sender":"` + moderator + `","event_id":"$i","content":[` + rule(hash(97)) + `]}`,
	`{"type":"` + mediaHash + `","state_key":"` + strings.Repeat("k", 300) + `","sender":"` + moderator + `","event_id":"$j","content":` + rule(hash(98)) + `}`,
	`{"type":"m.room.power_levels","state_key":"x","sender":"` + stranger + `","event_id":"$k","content":{"users":{"` + stranger + `":100}}}`,
	`{"type":"m.room.redaction","sender":"` + stranger + `","event_id":"$l","redacts":5,"content":{"redacts":[]}}`,
}

func TestMalformedEventsCountForNothing(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"state", "timeline"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			b := newPolicyBench(t)
			b.unhurried = true
			b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
			var odd []json.RawMessage
			for _, text := range malformed {
				odd = append(odd, json.RawMessage(text))
			}
			if part == "state" {
				b.rooms.change(func() { b.rooms.oddState = odd })
			}
			b.subscribe(listName, listRoom, "")
			b.want(listName, "first")
			if part == "timeline" {
				await(t, "it is followed", func() bool { return b.report(listName).Synced != nil })
				b.rooms.change(func() { b.rooms.oddTimeline = odd })
			}
			b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
			b.want(listName, "first", "second")
			b.wantHashes(listName, hash(1), hash(2))
			for reason, least := range map[string]int{"powerless_sender": 3, "not_an_object": 2, "key_too_long": 1} {
				await(t, reason+" is told", func() bool { return b.report(listName).Refused[reason] >= least })
			}
		})
	}
}

func TestKeyThatTheStateHasTwiceIsOneRule(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.change(func() {
		for n := range 3 {
			b.rooms.oddState = append(b.rooms.oddState, json.RawMessage(fmt.Sprintf(
				`{"type":%q,"state_key":"twice","sender":%q,"event_id":"$twice%d","content":%s}`, mediaHash, moderator, n, rule(hash(n)))))
		}
	})
	b.subscribe(listName, listRoom, "")
	b.want(listName, "twice")
}

// flood is a homeserver whose room has so many entries that they cannot all be in
// memory, and which tells all of them in each answer.
type flood struct {
	entries int
	good    int // of the entries, how many count
	reasons int // and come with a long text
	began   atomic.Bool
	long    string
}

func (f *flood) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &script{bufio.NewWriter(w)}
	defer func() { _ = out.Flush() }() // the client may have gone
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/sync") && r.URL.Query().Get("since") == "":
		out.add(`{"next_batch":"s1"}`)
	case strings.HasSuffix(path, "/sync"):
		if f.began.Swap(true) {
			select { // it has told all
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
			out.add(`{"next_batch":"s2"}`)
			return
		}
		out.add(`{"next_batch":"s2","rooms":{"join":{%q:{"timeline":{"limited":false,"events":`, listRoom)
		f.events(out)
		out.add(`}}}}}`)
	case strings.HasSuffix(path, "/state"):
		f.events(out)
	default:
		out.add(`{"room_id":%q,"user_id":"@own:local.test"}`, listRoom)
	}
}

// script writes what a homeserver says.
type script struct{ *bufio.Writer }

func (s *script) add(format string, values ...any) {
	_, _ = fmt.Fprintf(s, format, values...) // the client may have gone
}

func (f *flood) events(out *script) {
	out.add(`[{"type":"m.room.create","state_key":"","sender":%q,"event_id":"$c","content":{"room_version":"12"}}`, moderator)
	out.add(`,{"type":"m.room.member","state_key":"@own:local.test","sender":"@own:local.test","event_id":"$m","content":{"membership":"join"}}`)
	out.add(`,{"type":"m.room.power_levels","state_key":"","sender":"x","event_id":"$p","content":{}}`)
	for n := range f.entries {
		reason := ""
		if n < f.reasons {
			reason = f.long
		}
		quality := 49
		if n < f.good {
			quality = 50
		}
		out.add(`,{"type":%q,"state_key":"%d","sender":%q,"event_id":"$%d","content":{"m.pdqhash":{"hash":%q,"quality":%d},"reason":"%s"}}`, mediaHash, n, moderator, n, hash(n), quality, reason)
	}
	out.add(`]`)
}

func TestFloodOfEventsIsReadInBoundedMemory(t *testing.T) {
	b := newBench(t) // not beside others: memory is measured
	b.unhurried = true
	f := &flood{entries: 10_000, good: 500, reasons: 1_000, long: strings.Repeat("r", 64_000)}
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	b.servers.RedirectNetworks, b.servers.URL = loopback, ""
	b.create(bank.Exchange{
		Name: listName, API: exchange.MatrixPolicyList, Enabled: true, Credential: credential(ownToken),
		Config: fmt.Sprintf(`{"room":%q,"homeserver_url":%q}`, listRoom, server.URL),
	})
	// What is garbage hardly counts.
	t.Cleanup(func(percent int) func() { return func() { debug.SetGCPercent(percent) } }(debug.SetGCPercent(10)))
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	b.start()
	most := uint64(0)
	defer func() {
		if status, _ := b.fetcher.Status(listName); t.Failed() {
			t.Logf("%+v", status)
		}
	}()
	await(t, "all entries are banked", func() bool {
		time.Sleep(50 * time.Millisecond) // to look stops the world
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc)
		n, _ := b.counts(listName)
		return n == f.good && f.began.Load()
	})
	var status policyStatus
	await(t, "what is refused is counted", func() bool {
		s, _ := b.fetcher.Status(listName)
		return json.Unmarshal([]byte(s.Report), &status) == nil && status.Refused["low_quality"] == f.entries-f.good
	})
	// The room's state is 67 MB, of which one event is in memory at a time.
	if grown := int64(most) - int64(before.HeapAlloc); grown > 100<<20 {
		t.Errorf("it takes %d MiB of memory", grown>>20)
	}
	t.Logf("%d MiB more memory at most", (int64(most)-int64(before.HeapAlloc))>>20)
}
