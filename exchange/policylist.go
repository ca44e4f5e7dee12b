package exchange

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mediagate/bank"
	"mediagate/exchange/policyroom"
	"mediagate/homeserver"
)

// policyList keeps a bank at what a Matrix policy room bans.
//
// The room's state is what counts, never what was once in it: it is read whole at
// first, whenever events may have been missed, and from time to time, and in between
// the events of /sync are applied to what was read. A rule is banked under the id of
// the event that says it, so what to change is the difference of two sets, after a
// restart too. Nothing is lifted because the room cannot be read, or because our user
// is not in it any more.
type policyList struct {
	clients
	config policyConfig
	pace   policyroom.Pace

	// What follows is fetch's alone.
	roomID string
	user   string             // ours
	client *homeserver.Client // whom syncer asks
	syncer *syncer            // nil while nothing is followed
	feed   *feed
	joined bool
	room   policyroom.Room
	read   time.Time // when the state was read last, zero before the first
	reread time.Time // when it is to be read again
	gap    time.Duration
	looked time.Time // when the alias was looked up last
	drift  string    // the room that the alias leads to now, if that is another one
	banked map[string]bool
	// retry is when entries are looked at again that wait for their sender's pace, zero
	// while none does.
	retry  time.Time
	report policyroom.Report
	last   policyReport // of who had the lease before
	shrunk time.Time    // since when so many entries are missing that it is not believed
}

func newPolicyList(r *runner) (source, error) {
	config, err := parsePolicyConfig(r.exchange.Config)
	if err != nil {
		return nil, err
	}
	return &policyList{clients: clients{runner: r, address: config.Homeserver}, config: config, last: r.lastReport()}, nil
}

// policyCheckpoint is what a policy list keeps for the next holder of its lease.
type policyCheckpoint struct {
	// Room is the room's id: an alias that leads elsewhere later does not move the list.
	Room string `json:"room_id"`
}

const (
	// aliasEvery is how often is looked where an alias leads.
	aliasEvery = 10 * time.Minute
	// aliasWithin is how long that may take.
	aliasWithin = 3 * time.Second
	// beginWithin is how long a fetch waits for the first answer to a syncer.
	beginWithin = 10 * time.Second
	// A state that has lost more than one in vanishedShare of at least bulkEntries entries,
	// which nobody has taken back, is not believed for vanishedGrace.
	bulkEntries   = 1000
	vanishedShare = 20
	vanishedGrace = 24 * time.Hour
	// paceEvery is how often entries are looked at that wait for their sender's pace.
	paceEvery = 30 * time.Second
)

// errNoState is why an answer is not believed.
var errNoState = errors.New("read the room: what the homeserver says is no room's state: it has no m.room.create")

// errLeft is why a list's state is not followed any more.
var errLeft = errors.New("our user is not in the room any more: what it banned last stays")

// beside has nothing to do: a syncer works for all lists of a user.
func (*policyList) beside(context.Context) {}

func (p *policyList) end() {
	if p.syncer != nil {
		p.unfollow()
	}
}

// attemptDue has nothing to do: nothing of a room is ever pending.
func (*policyList) attemptDue(context.Context, time.Time) error { return nil }

func (p *policyList) fetch(ctx context.Context) (changed bool, err error) {
	x, err := p.store.Exchange(ctx, p.exchange.Name)
	if err != nil {
		return false, err
	}
	if !p.same(x) {
		return false, bank.ErrExchangeNotFound // another one has its name now
	}
	defer func() { p.tell(x) }()
	client, err := p.homeserver(ctx)
	if err != nil {
		return false, err
	}
	x, err = p.pin(ctx, client, x)
	if err != nil {
		return false, err
	}
	if p.user == "" || p.client != client {
		if p.user, err = client.User(ctx); err != nil {
			return false, fmt.Errorf("ask who our user is: %w", err)
		}
	}
	if err := p.follow(ctx, client); err != nil {
		return false, err
	}
	if p.feed != nil {
		c := p.syncer.condition(p.feed)
		p.joined = p.joined && !c.left
		switch {
		case c.err != nil:
			return false, c.err
		case c.left && !p.invited():
			// Somebody may have let our user in again.
			if is, err := p.isMember(ctx, client); !is || err != nil {
				return false, cmp.Or(err, errLeft)
			}
		}
	}
	if err := p.join(ctx, client); err != nil {
		return false, err
	}
	news, err := p.refresh(ctx, client)
	if waited := !p.retry.IsZero() && time.Now().After(p.retry); err != nil || !news && !waited {
		return false, err
	}
	return p.reconcile(ctx, x)
}

// pin finds out the room's id, once.
func (p *policyList) pin(ctx context.Context, client *homeserver.Client, x bank.Exchange) (bank.Exchange, error) {
	var at policyCheckpoint
	if x.Checkpoint != "" {
		if err := json.Unmarshal([]byte(x.Checkpoint), &at); err != nil || at.Room == "" {
			return x, fmt.Errorf("the checkpoint cannot be read: %q", x.Checkpoint)
		}
		p.roomID = at.Room
		return x, nil
	}
	at.Room = p.config.Room
	if at.Room[0] == '#' {
		var err error
		if at.Room, _, err = client.ResolveAlias(ctx, at.Room); err != nil {
			return x, fmt.Errorf("look up the alias: %w", err)
		}
	}
	raw, _ := json.Marshal(at) // it cannot fail
	if err := p.commit(x, string(raw), bank.Fetched{}); err != nil {
		return x, err
	}
	p.roomID, x.Checkpoint = at.Room, string(raw)
	return x, nil
}

// watchAlias looks where the alias leads now.
func (p *policyList) watchAlias(ctx context.Context, client *homeserver.Client) {
	if p.config.Room[0] != '#' || time.Since(p.looked) < aliasEvery {
		return
	}
	p.looked = time.Now() // whoever answers for it, or does not, holds nothing else up
	ctx, cancel := context.WithTimeout(ctx, aliasWithin)
	defer cancel()
	room, _, err := client.ResolveAlias(ctx, p.config.Room)
	if err != nil {
		return // what it leads to is not known now; what is followed is
	}
	was := p.drift
	if p.drift = ""; room != p.roomID {
		p.drift = room
	}
	if p.drift != was && p.drift != "" {
		p.log.WarnContext(ctx, "the alias of a policy list leads to another room: the list stays with the old one", "exchange", p.exchange.Name, "room", p.roomID, "now", room)
	}
}

// follow begins to follow the room, unless that is done for one look only.
func (p *policyList) follow(ctx context.Context, client *homeserver.Client) error {
	if p.tally != nil {
		return nil
	}
	if p.feed != nil && p.client != client {
		p.unfollow() // another token
	}
	if p.feed == nil {
		p.client = client
		p.syncer, p.feed = p.followRoom(client, p.roomID, p.wake)
		p.read, p.gap = time.Time{}, 0
	}
	// What is read now must be what later events follow on.
	select {
	case <-p.feed.begun:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(beginWithin):
	}
	if err := p.syncer.condition(p.feed).err; err != nil {
		return err
	}
	return homeserver.ErrUnreachable
}

func (p *policyList) unfollow() {
	p.unfollowRoom(p.syncer, p.feed)
	p.syncer, p.feed, p.client, p.joined = nil, nil, nil, false
}

// invited tells whether one whom the operator trusts with that has invited our user.
func (p *policyList) invited() bool {
	return p.syncer != nil && slices.ContainsFunc(p.syncer.invitersTo(p.roomID), func(user string) bool {
		return slices.Contains(p.config.Inviters, user)
	})
}

// errNotInvited is why a room is not joined.
var errNotInvited = errors.New("our user is not in the room, and none of the inviters has invited it")

// join makes sure that our user is in the room. Being in it already is no error.
func (p *policyList) join(ctx context.Context, client *homeserver.Client) error {
	if p.joined {
		return nil
	}
	if len(p.config.Inviters) > 0 && !p.invited() {
		// It may be in the room already.
		is, err := p.isMember(ctx, client)
		if err != nil {
			return err
		}
		if !is {
			return errNotInvited
		}
	} else if _, err := client.Join(ctx, p.roomID, p.via(ctx, client)); err != nil {
		return fmt.Errorf("join the room: %w", err)
	}
	if p.joined, p.gap = true, 0; p.feed != nil {
		p.syncer.join(p.feed)
	}
	return nil
}

// isMember tells whether our user is in a room. That its state can be read does not say
// so: who was thrown out is told what it was then.
func (p *policyList) isMember(ctx context.Context, client *homeserver.Client) (bool, error) {
	e, err := client.StateEvent(ctx, p.roomID, memberType, p.user)
	if errors.Is(err, homeserver.ErrForbidden) || errors.Is(err, homeserver.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read our membership: %w", err)
	}
	return isJoined(e), nil
}

const memberType = "m.room.member"

// isJoined tells whether a membership is that of somebody who is in the room.
func isJoined(e homeserver.Event) bool {
	var member struct {
		Membership string `json:"membership"`
	}
	_ = json.Unmarshal(e.Content, &member) // what cannot be read is no membership
	return member.Membership == "join"
}

func isKey(e homeserver.Event, key string) bool { return e.StateKey != nil && *e.StateKey == key }

// via are servers that are in the room: those that the operator names, and of an alias
// those that it is known by. Ids of rooms name none from version 12 on.
func (p *policyList) via(ctx context.Context, client *homeserver.Client) []string {
	if p.config.Room[0] != '#' {
		return p.config.Via
	}
	room, servers, err := client.ResolveAlias(ctx, p.config.Room)
	if err != nil || room != p.roomID {
		return p.config.Via
	}
	return append(slices.Clone(p.config.Via), servers[:min(len(servers), maxVia)]...)
}

// maxVia is how many servers of an alias are asked.
const maxVia = 5

// refresh brings the room to what it is now, and tells whether anything may have
// changed.
func (p *policyList) refresh(ctx context.Context, client *homeserver.Client) (news bool, err error) {
	p.watchAlias(ctx, client)
	if p.feed == nil { // one look only
		return true, p.readState(ctx, client)
	}
	events, stale := p.syncer.look(p.feed)
	if stale || p.read.IsZero() || time.Now().After(p.reread) {
		err := p.syncer.read(p.feed, func() error { return p.readState(ctx, client) })
		return true, err
	}
	if len(events) > 0 {
		// What the homeserver tells can lack a redaction, and it does not say so.
		p.rereadWithin(p.pauses.rereadSoon)
	}
	for _, e := range events {
		if err := p.apply(ctx, client, e); err != nil {
			p.syncer.setStale(p.feed)
			return false, err
		}
	}
	return len(events) > 0, nil
}

// readState reads the whole state. What is cut off changes nothing.
func (p *policyList) readState(ctx context.Context, client *homeserver.Client) error {
	var room policyroom.Room
	created, member := false, false
	if err := client.RoomState(ctx, p.roomID, func(e homeserver.Event) error {
		room.Load(e)
		created = created || e.Type == "m.room.create" && isKey(e, "")
		member = member || e.Type == memberType && isKey(e, p.user) && isJoined(e)
		return nil
	}); err != nil {
		return fmt.Errorf("read the room: %w", err)
	}
	switch {
	case !created: // each room has one
		return errNoState
	case !member: // who was thrown out is told what the state was then
		if p.joined = false; p.feed != nil {
			p.syncer.leftRoom(p.feed)
		}
		return errLeft
	}
	keys, err := p.store.SourceKeys(ctx, p.exchange.Name)
	if err != nil {
		return err
	}
	p.banked = make(map[string]bool, len(keys))
	for _, key := range keys {
		p.banked[key] = true
	}
	// The state of a room that was just joined may still come, and no event tells.
	p.gap = min(max(2*p.gap, p.pauses.rereadFirst), p.pauses.reread)
	p.room, p.read, p.reread = room, time.Now(), time.Now().Add(jittered(p.gap))
	return nil
}

// rereadWithin has the state read again before long.
func (p *policyList) rereadWithin(d time.Duration) {
	if at := time.Now().Add(d); at.Before(p.reread) {
		p.reread = at
	}
}

// apply applies an event. A redaction is not believed: the homeserver is asked what
// has become of the event.
func (p *policyList) apply(ctx context.Context, client *homeserver.Client, e homeserver.Event) error {
	if e.Type != policyroom.Redaction {
		p.room.Set(e)
		return nil
	}
	key, ok := p.room.Redacted(e)
	if !ok {
		return nil // it is about something old, or about something that is still to come
	}
	now, err := client.StateEvent(ctx, p.roomID, key.Type, key.StateKey)
	if err != nil {
		return fmt.Errorf("read a redacted event: %w", err)
	}
	p.room.Set(now)
	return nil
}

// commit applies a batch.
func (p *policyList) commit(x bank.Exchange, to string, f bank.Fetched) error {
	f.Bank, f.Lease, f.From, f.To = x.Bank.ID, p.lease, x.Checkpoint, to
	return p.checked(p.tallied(f, func() error { return p.store.Commit(p.ctx, x.Name, f) }))
}
