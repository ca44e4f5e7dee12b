package exchange_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/exchange/policyroom"
	"mediagate/internal/secret"
	"mediagate/pdq"
)

const (
	listName  = "LIST"
	listRoom  = "!list:list.test"
	mediaHash = "space.midnightthoughts.policy.media_hash"
)

// policyBench follows rooms of a scripted homeserver.
type policyBench struct {
	*bench
	rooms *rooms
}

func newPolicyBench(t testing.TB) *policyBench {
	t.Helper()
	b := &policyBench{bench: newBench(t), rooms: startRooms(t)}
	b.servers.RedirectNetworks = loopback
	b.servers.Token, b.servers.URL = secret.String{}, ""
	b.rooms.create(listRoom)
	return b
}

// subscribe makes an exchange and runs it. more are further fields of its configuration.
func (b *policyBench) subscribe(name, room, more string) {
	b.t.Helper()
	api, _ := exchange.FindAPI(exchange.MatrixPolicyList)
	b.create(bank.Exchange{
		Name: name, API: api.Name, Bank: api.NewBank(), Enabled: true, Credential: credential(ownToken),
		Config: fmt.Sprintf(`{"room":%q,"homeserver_url":%q%s}`, room, b.rooms.server.URL, more),
	})
	if b.fetcher == nil {
		b.start()
	}
}

// hash is a hash like that of a picture, with half of its bits set, and different for
// each n.
func hash(n int) string {
	raw := sha256.Sum256(fmt.Append(nil, n))
	for i := range 16 {
		raw[16+i] = ^raw[i]
	}
	return hex.EncodeToString(raw[:])
}

// rule is the content of an event that bans a hash.
func rule(hash string) string {
	return `{"space.midnightthoughts.pdqhash":{"hash":"` + hash + `","quality":"100"}}`
}

// banked are the hashes that a list has banked, in order.
func (b *policyBench) banked(name string) []string {
	b.t.Helper()
	list := []string{}
	keys, err := b.store.SourceKeys(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, key := range keys {
		k, _, err := policyroom.ParseSource(key)
		if err != nil {
			b.t.Fatal(err)
		}
		list = append(list, k.StateKey)
	}
	slices.Sort(list)
	return list
}

// want waits until just the rules under these state keys are banked.
func (b *policyBench) want(name string, keys ...string) {
	b.t.Helper()
	slices.Sort(keys)
	var got []string
	defer func() {
		if b.t.Failed() {
			b.t.Logf("%s has %q, wanted are %q; status %+v", name, got, keys, b.report(name))
		}
	}()
	await(b.t, "the list has what the room says", func() bool {
		got = b.banked(name)
		return slices.Equal(got, keys)
	})
}

// policyStatus is what the status of a list tells.
type policyStatus struct {
	Room     string         `json:"room_id"`
	LeadsTo  string         `json:"alias_leads_to"`
	Joined   bool           `json:"joined"`
	Read     *int64         `json:"state_read_ts"`
	Synced   *int64         `json:"synced_ts"`
	Entries  int            `json:"entries"`
	Refused  map[string]int `json:"refused"`
	Examples []struct {
		StateKey string `json:"state_key"`
		Event    string `json:"event_id"`
		Sender   string `json:"sender"`
		Reason   string `json:"reason"`
	} `json:"refused_entries"`
	Warnings []struct{ Danger, Subject string } `json:"warnings"`
}

func (b *policyBench) report(name string) (s policyStatus) {
	b.t.Helper()
	if status, ok := b.fetcher.Status(name); ok && status.Report != "" {
		if err := json.Unmarshal([]byte(status.Report), &s); err != nil {
			b.t.Fatal(err)
		}
	}
	return s
}

func TestPolicyListFollowsItsRoom(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.unhurried = true // the state is not read again before long
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.rooms.set(listRoom, mediaHash, "gone", moderator, `{}`)
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	second := b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.want(listName, "first", "second")
	b.rooms.set(listRoom, mediaHash, "first", moderator, `{}`)
	b.want(listName, "second")
	b.rooms.redact(listRoom, second, moderator, true)
	b.want(listName)
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(3)))
	b.want(listName, "first")
	b.wantHashes(listName, hash(3))
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(4)))
	b.wantHashes(listName, hash(4))
	if s := b.report(listName); s.Room != listRoom || !s.Joined || s.Read == nil || s.Synced == nil || s.Entries != 1 {
		t.Errorf("status %+v", s)
	}
}

// wantHashes waits until a list bans just these hashes.
func (b *policyBench) wantHashes(name string, hashes ...string) {
	b.t.Helper()
	var got []string
	await(b.t, "the list bans what the room says", func() bool {
		b.sync()
		got = nil
		for _, h := range hashes {
			signal, err := bank.ParseSignal(bank.PDQ, h)
			if err != nil {
				b.t.Fatal(err)
			}
			if matches := b.index().PrimaryWithin(pdqOf(signal), 0); len(matches) > 0 {
				got = append(got, h)
			}
		}
		return len(got) == len(hashes) && b.index().Len(bank.PDQ) == len(hashes)
	})
}

func pdqOf(s bank.Signal) pdq.Hash { return pdq.FromBytes([32]byte([]byte(s.Value))) }

func TestForgedRedactionsLiftNothing(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.unhurried = true // the state is not read again before long
	id := b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	b.rooms.redact(listRoom, id, stranger, false) // the homeserver has not let it pass
	b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.want(listName, "first", "second")
}

// TestRedactionIsNotLostWithAnAnswer: what has become of its event cannot be asked at
// first, and no event tells again.
func TestRedactionIsNotLostWithAnAnswer(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.unhurried = true // the state is not read again before long
	id := b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first", "second")
	b.rooms.change(func() { b.rooms.failEvents = 1 })
	b.rooms.redact(listRoom, id, moderator, true)
	b.want(listName, "second")
}

func TestRestartAfterManyMissedEventsEndsInTheRoomsState(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	for n := range 300 {
		b.rooms.set(listRoom, mediaHash, fmt.Sprint(n), moderator, rule(hash(n)))
	}
	b.subscribe(listName, listRoom, "")
	await(t, "all is banked", func() bool { return len(b.banked(listName)) == 300 })
	b.stop()
	var want []string
	for n := range 300 {
		if n%2 == 0 {
			b.rooms.set(listRoom, mediaHash, fmt.Sprint(n), moderator, `{}`)
		} else {
			want = append(want, fmt.Sprint(n))
		}
	}
	for n := 300; n < 650; n++ {
		b.rooms.set(listRoom, mediaHash, fmt.Sprint(n), moderator, rule(hash(n)))
		want = append(want, fmt.Sprint(n))
	}
	b.start()
	b.want(listName, want...)
}

func TestLimitedSyncEndsInTheRoomsState(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.unhurried = true // the state is not read again before long
	b.subscribe(listName, listRoom, "")
	await(t, "it is followed", func() bool { return b.report(listName).Synced != nil })
	var want []string
	b.rooms.change(func() {
		for n := range 450 {
			b.rooms.add(listRoom, mediaHash, fmt.Sprint(n), moderator, rule(hash(n)))
			want = append(want, fmt.Sprint(n))
		}
	})
	b.want(listName, want...)
}

func TestWhatNoEventTellsIsFoundOut(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		every, first, soon time.Duration
		then               func(r *rooms)
		want               []string
	}{
		"every so often":         {short, never, never, func(*rooms) {}, []string{"second"}},
		"soon after it was read": {never, short, never, func(*rooms) {}, []string{"second"}},
		"soon after an event":    {never, never, short, func(r *rooms) { r.set(listRoom, mediaHash, "third", moderator, rule(hash(3))) }, []string{"second", "third"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newPolicyBench(t)
			b.times = func(f *exchange.Fetcher) { f.SetRereads(tt.every, tt.first, tt.soon) }
			b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
			b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
			b.subscribe(listName, listRoom, "")
			b.want(listName, "first", "second")
			b.rooms.lose(listRoom, mediaHash, "first")
			tt.then(b.rooms)
			b.want(listName, tt.want...)
		})
	}
}

// TestForgottenPositionIsNoEnd: a homeserver that does not know any more where it was
// asked from is asked from now on, and the state is read.
func TestForgottenPositionIsNoEnd(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.unhurried = true
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	b.rooms.change(func() {
		b.rooms.add(listRoom, mediaHash, "second", moderator, rule(hash(2)))
		b.rooms.forgotten = b.rooms.at
	})
	b.want(listName, "first", "second")
	b.rooms.set(listRoom, mediaHash, "third", moderator, rule(hash(3)))
	b.want(listName, "first", "second", "third")
}

func TestListThatCannotBeReadKeepsWhatItBans(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	b.rooms.change(func() { b.rooms.fault = failing })
	await(t, "the problem is told", func() bool { return strings.Contains(b.problem(listName), "M_UNKNOWN") })
	b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.want(listName, "first")
	b.rooms.change(func() { b.rooms.fault = healthy })
	b.want(listName, "first", "second")
	// Thrown out.
	b.rooms.change(func() {
		b.rooms.at++
		r := b.rooms.rooms[listRoom]
		r.left, r.joined, r.invited = b.rooms.at, false, true
	})
	await(t, "that is told", func() bool { return strings.Contains(b.problem(listName), "not in the room any more") })
	b.start()
	await(t, "that is told", func() bool { return strings.Contains(b.problem(listName), "join the room") })
	b.want(listName, "first", "second")
	// How old it is, and how much, is told also by who has never read it.
	if s := b.report(listName); s.Joined || s.Entries != 2 || s.Synced == nil {
		t.Errorf("status %+v", s)
	}
	// Let in again, by whomever.
	b.rooms.change(func() {
		r := b.rooms.rooms[listRoom]
		r.joined, r.left, r.invited = true, 0, false
	})
	b.rooms.set(listRoom, mediaHash, "third", moderator, rule(hash(3)))
	b.want(listName, "first", "second", "third")
}

func TestThrownOutUserIsNotFooledByTheStateOfThen(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	b.rooms.change(func() { b.rooms.rooms[listRoom].outside = true }) // and nobody tells
	await(t, "that is told", func() bool {
		return strings.Contains(b.problem(listName), "not in the room any more") && !b.report(listName).Joined
	})
	b.want(listName, "first")
	// It is let in again.
	b.rooms.change(func() { b.rooms.rooms[listRoom].outside = false })
	b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.want(listName, "first", "second")
}

func TestStateThatIsNoneIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	var lost map[fakeKey]*fakeEvent
	b.rooms.change(func() {
		r := b.rooms.rooms[listRoom]
		lost, r.state = r.state, map[fakeKey]*fakeEvent{}
	})
	await(t, "that is told", func() bool { return strings.Contains(b.problem(listName), "no m.room.create") })
	b.want(listName, "first")
	b.rooms.change(func() { b.rooms.rooms[listRoom].state = lost })
	await(t, "it is believed again", func() bool { return b.problem(listName) == "" })
	b.want(listName, "first")
}

func TestStatusIsKeptWhateverTheRoomSays(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	for n := range 60 {
		b.rooms.set(listRoom, mediaHash, fmt.Sprint(n, strings.Repeat("<", 240)), moderator, `[]`)
	}
	b.rooms.set(listRoom, mediaHash, strings.Repeat("\u0001", 250), moderator, `[]`)
	b.rooms.set(listRoom, "m.room.tombstone", "", moderator, `{"replacement_room":"`+strings.Repeat("<", 30_000)+`"}`)
	b.subscribe(listName, listRoom, "")
	await(t, "the status is kept", func() bool { return strings.Contains(b.exchange(listName).Status.Report, `"not_an_object":61`) })
}

func TestAliasIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.create("!other:list.test")
	b.rooms.set("!other:list.test", mediaHash, "theirs", moderator, rule(hash(9)))
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.rooms.change(func() { b.rooms.aliases["#list:list.test"] = listRoom })
	b.subscribe(listName, "#list:list.test", "")
	b.want(listName, "first")
	b.rooms.change(func() { b.rooms.aliases["#list:list.test"] = "!other:list.test" })
	b.start()
	await(t, "it is told where the alias leads", func() bool { return b.report(listName).LeadsTo == "!other:list.test" })
	b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.want(listName, "first", "second")
}

func TestRoomIsJoinedBySomeOfItsServers(t *testing.T) {
	t.Parallel()
	many := []string{"1.test", "2.test", "3.test", "4.test", "5.test", "6.test"}
	for name, tt := range map[string]struct {
		room, more string
		servers    []string
		want       []string
	}{
		"id":              {listRoom, "", nil, nil},
		"id and servers":  {listRoom, `,"via":["own.test"]`, nil, []string{"own.test"}},
		"alias":           {"#list:list.test", "", many[:5], many[:5]},
		"alias with many": {"#list:list.test", `,"via":["own.test"]`, many, append([]string{"own.test"}, many[:5]...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newPolicyBench(t)
			b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
			b.rooms.change(func() { b.rooms.aliases["#list:list.test"], b.rooms.servers = listRoom, tt.servers })
			b.subscribe(listName, tt.room, tt.more)
			b.want(listName, "first")
			b.rooms.mu.Lock()
			defer b.rooms.mu.Unlock()
			if !slices.Equal(b.rooms.asked, tt.want) {
				t.Errorf("it asks %q to join, want %q", b.rooms.asked, tt.want)
			}
		})
	}
}

func TestRoomIsJoinedOnlyOnTheInvitationOfAnInviter(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe(listName, listRoom, `,"inviters":["@inviter:list.test"]`)
	await(t, "the problem is told", func() bool { return strings.Contains(b.problem(listName), "none of the inviters") })
	b.rooms.change(func() { b.rooms.invites = append(b.rooms.invites, listRoom+" "+stranger) })
	await(t, "it was told", func() bool { b.rooms.mu.Lock(); defer b.rooms.mu.Unlock(); return len(b.rooms.invites) == 0 })
	// Another list is followed meanwhile, by the same sync.
	b.rooms.create("!second:list.test")
	b.rooms.set("!second:list.test", mediaHash, "x", moderator, rule(hash(5)))
	b.subscribe("SECOND", "!second:list.test", "")
	b.want("SECOND", "x")
	b.want(listName)
	if n := b.rooms.count("join"); n != 1 {
		t.Errorf("%d rooms were joined", n)
	}
	b.rooms.change(func() { b.rooms.invites = append(b.rooms.invites, listRoom+" @inviter:list.test") })
	b.want(listName, "first")
}

func TestManyRoomsShareOneSync(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	for n := range 10 {
		room := fmt.Sprintf("!room%d:list.test", n)
		b.rooms.create(room)
		b.rooms.set(room, mediaHash, "x", moderator, rule(hash(n)))
		b.subscribe(fmt.Sprintf("LIST%d", n), room, "")
	}
	for n := range 10 {
		b.want(fmt.Sprintf("LIST%d", n), "x")
	}
	await(t, "they are all followed", func() bool {
		for n := range 10 {
			if b.report(fmt.Sprintf("LIST%d", n)).Synced == nil {
				return false
			}
		}
		return true
	})
	before := b.rooms.count("sync")
	b.rooms.set("!room3:list.test", mediaHash, "y", moderator, rule(hash(77)))
	b.want("LIST3", "x", "y")
	if n := b.rooms.count("sync") - before; n > 3 {
		t.Errorf("%d requests for one event", n)
	}
}

func TestOneListsRemovalDoesNotLiftAnothers(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.rooms.create("!second:list.test")
	for _, room := range []string{listRoom, "!second:list.test"} {
		b.rooms.set(room, mediaHash, "x", moderator, rule(hash(1)))
	}
	b.subscribe(listName, listRoom, "")
	b.subscribe("SECOND", "!second:list.test", "")
	b.want(listName, "x")
	b.want("SECOND", "x")
	b.rooms.set("!second:list.test", mediaHash, "x", moderator, `{}`)
	b.want("SECOND")
	b.want(listName, "x")
	b.wantHashes(listName, hash(1))
}

func TestManyEntriesThatNobodyTookBackStay(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	keys := make([]string, 1000)
	b.rooms.change(func() {
		for n := range keys {
			keys[n] = fmt.Sprint(n)
			b.rooms.add(listRoom, mediaHash, keys[n], moderator, rule(hash(n)))
		}
	})
	b.subscribe(listName, listRoom, "")
	await(t, "all is banked", func() bool { return len(b.banked(listName)) == len(keys) })
	for _, key := range keys[:60] {
		b.rooms.lose(listRoom, mediaHash, key)
	}
	b.refuses(listName, map[string]int{"vanished": 60})
	// What is taken back goes, as many as it is; and a few that are lost go, too.
	b.rooms.change(func() {
		for _, key := range keys[:60] {
			b.rooms.add(listRoom, mediaHash, key, moderator, rule(hash(5000)))
		}
		for _, key := range keys[100:900] {
			b.rooms.add(listRoom, mediaHash, key, moderator, `{}`)
		}
	})
	for _, key := range keys[950:960] {
		b.rooms.lose(listRoom, mediaHash, key)
	}
	b.want(listName, slices.Concat(keys[:100], keys[900:950], keys[960:])...)
}

func TestPolicyListIsFetchedOnce(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	for n := range 3 {
		b.rooms.set(listRoom, mediaHash, fmt.Sprint(n), moderator, rule(hash(n)))
	}
	b.subscribe(listName, listRoom, "")
	b.want(listName, "0", "1", "2")
	b.stop()
	b.rooms.set(listRoom, mediaHash, "0", moderator, `{}`)
	b.rooms.set(listRoom, mediaHash, "3", moderator, rule(hash(3)))
	b.rooms.set(listRoom, mediaHash, "4", moderator, rule(hash(4)))
	syncs := b.rooms.count("sync")
	round, err := b.newFetcher().FetchOnce(t.Context(), listName)
	if err != nil || round != (exchange.Round{Banked: 2, Removed: 1}) {
		t.Errorf("%+v, %v", round, err)
	}
	if n := b.rooms.count("sync"); n != syncs {
		t.Error("it waits for news")
	}
	if got := b.banked(listName); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("banked are %q", got)
	}
}

// TestRoomThatHomeserversRefuseHoldsNoOtherUp: a name that is none would fail the request
// for all rooms.
func TestRoomThatHomeserversRefuseHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	b := newPolicyBench(t)
	b.unhurried = true
	b.rooms.set(listRoom, mediaHash, "first", moderator, rule(hash(1)))
	b.subscribe("BAD", "!nothing:list.test", "")
	b.subscribe(listName, listRoom, "")
	b.want(listName, "first")
	await(t, "the problem is told", func() bool { return strings.Contains(b.problem("BAD"), "join the room") })
	b.rooms.set(listRoom, mediaHash, "second", moderator, rule(hash(2)))
	b.want(listName, "first", "second")
	if s := b.report(listName); s.Synced == nil || !s.Joined {
		t.Errorf("%+v", s)
	}
	if n := b.rooms.count("rooms"); n != 1 {
		t.Errorf("the state was read %d times", n)
	}
}
