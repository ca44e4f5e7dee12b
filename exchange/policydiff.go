package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mediagate/bank"
	"mediagate/exchange/policyroom"
	"mediagate/pdq"
)

// serversOff is why rules about servers do not count.
const serversOff policyroom.Refusal = "servers_off"

// ownServer is why a rule does not count that would ban the media of our own users.
const ownServer policyroom.Refusal = "own_server"

// serverOf is the server of a user.
func serverOf(user string) string {
	_, server, _ := strings.Cut(user, ":")
	return server
}

// policyBatch is how many entries one commit banks.
const policyBatch = 500

// reconcile brings the bank to what the room, and those who run this server, let count.
func (p *policyList) reconcile(ctx context.Context, x bank.Exchange) (changed bool, err error) {
	defer func() {
		if err != nil {
			p.read = time.Time{} // what was not done is done when the state is read again
		}
	}()
	allowed, err := p.store.AllowedHashes(ctx)
	if err != nil {
		return false, err
	}
	digests, err := p.store.AllowedDigests(ctx)
	if err != nil {
		return false, err
	}
	trust := p.config.trust()
	near := pdq.NewIndex(allowed)
	trust.Lint = func(r policyroom.Rule) []policyroom.Refusal {
		refused := policyroom.Lint(r, near, p.spared)
		switch {
		case r.Servers == "":
		case !p.config.Servers:
			refused = append(refused, serversOff)
		case bank.MatchesServer(r.Servers, serverOf(p.user)):
			refused = append(refused, ownServer)
		}
		if slices.ContainsFunc(r.Signals, func(s bank.Signal) bool { return digests[s.Value] }) {
			refused = append(refused, policyroom.NearAllowed)
		}
		return refused
	}
	reading := p.room.Rules(trust, slices.Sorted(maps.Keys(p.banked)))
	put, err := p.additions(x, &reading)
	if err != nil {
		return false, err
	}
	p.spareVanished(&reading)
	p.report = reading.Report
	if len(put)+len(reading.Removed) == 0 && x.Completed {
		return false, nil
	}
	removed, replaced := replacements(put, reading.Removed)
	for first := true; first || len(put) > 0; first = false {
		batch := put[:min(len(put), policyBatch)]
		put = put[len(batch):]
		for _, c := range batch {
			removed = append(removed, replaced[c.Key]...)
		}
		f := bank.Fetched{Put: batch, Removed: removed, Completed: len(put) == 0}
		if err := p.commit(x, x.Checkpoint, f); err != nil {
			for _, c := range put {
				p.pace.Undo(reading.Rules[c.Key].Sender)
			}
			for _, c := range batch {
				p.pace.Undo(reading.Rules[c.Key].Sender)
			}
			return changed, err
		}
		for _, c := range batch {
			p.banked[c.Key] = true
		}
		for _, key := range removed {
			delete(p.banked, key)
		}
		p.items.WithLabelValues(x.Name, "banked").Add(float64(len(batch)))
		p.items.WithLabelValues(x.Name, released).Add(float64(len(removed)))
		changed, removed = true, nil
	}
	return changed, nil
}

// vanished is why an entry stays that the room's state does not have any more.
const vanished policyroom.Refusal = "vanished"

// spareVanished keeps entries that a large part of the list has vanished with. Who takes
// an entry back leaves an empty event in its place: what leaves none was lost by the
// homeserver, or by a state reset, which can be brought about.
func (p *policyList) spareVanished(reading *policyroom.Reading) {
	gone := make(map[string]bool)
	for _, source := range reading.Removed {
		if key, _, err := policyroom.ParseSource(source); err == nil && !p.room.Has(key) {
			gone[source] = true
		}
	}
	if len(p.banked) < bulkEntries || len(gone) <= len(p.banked)/vanishedShare {
		p.shrunk = time.Time{}
		return
	}
	if p.shrunk.IsZero() {
		p.shrunk = time.Now()
		p.log.Warn("a policy list has lost many entries at once: they stay for now", "exchange", p.exchange.Name, "entries", len(gone))
	}
	if time.Since(p.shrunk) > vanishedGrace {
		return
	}
	reading.Removed = slices.DeleteFunc(reading.Removed, func(source string) bool { return gone[source] })
	for _, source := range slices.Sorted(maps.Keys(gone)) {
		key, event, _ := policyroom.ParseSource(source) // it was read above
		reading.Add(policyroom.Refused{Key: key, EventID: event, Reason: vanished})
	}
}

// replacements sorts sources that are to be removed: those whose place others take go with
// these, by source, in one commit. Then what was decided about a rule stays when it is
// said again. The others go at once.
func replacements(put []bank.SourceContent, removed []string) (others []string, replaced map[string][]string) {
	placed := make(map[policyroom.Key]string)
	for _, c := range put {
		key, _, _ := policyroom.ParseSource(c.Key) // it was written by Source
		placed[key] = c.Key
	}
	replaced = make(map[string][]string)
	for _, source := range removed {
		key, _, err := policyroom.ParseSource(source)
		if by, ok := placed[key]; ok && err == nil {
			replaced[by] = append(replaced[by], source)
		} else {
			others = append(others, source)
		}
	}
	return others, replaced
}

// additions are the rules that are to be banked now. Who subscribes to a list takes it as
// it is; later its senders' pace is limited. Where a rule must wait that takes the place
// of another, that one stays so long: a gap would let pass what both ban.
func (p *policyList) additions(x bank.Exchange, reading *policyroom.Reading) (put []bank.SourceContent, err error) {
	now := time.Now()
	p.retry = time.Time{}
	waiting := make(map[policyroom.Key]bool)
	for _, source := range slices.Sorted(maps.Keys(reading.Rules)) {
		if p.banked[source] {
			continue
		}
		rule := reading.Rules[source]
		key, event, err := policyroom.ParseSource(source)
		if err != nil {
			return nil, err
		}
		if x.Completed && !p.pace.Accept(rule.Sender, now, int(p.config.MaxAdditions)) {
			reading.Add(policyroom.Refused{Key: key, EventID: event, Sender: rule.Sender, Reason: policyroom.TooManyAdditions})
			p.retry, waiting[key] = now.Add(paceEvery), true
			continue
		}
		content, err := sourceOf(source, rule)
		if err != nil {
			return nil, err
		}
		put = append(put, content)
	}
	reading.Removed = slices.DeleteFunc(reading.Removed, func(source string) bool {
		key, _, err := policyroom.ParseSource(source)
		return err == nil && waiting[key]
	})
	return put, nil
}

// sourceOf is what is banked of a rule.
func sourceOf(key string, r policyroom.Rule) (bank.SourceContent, error) {
	c := bank.SourceContent{Key: key, Signals: r.Signals, Named: bank.Named{Item: r.Item, Servers: r.Servers}, Alone: true}
	if r.Recommendation == "" && len(r.Harms) == 0 {
		return c, nil
	}
	labels := make(map[string]any)
	if r.Recommendation != "" {
		labels["recommendation"] = r.Recommendation
	}
	if len(r.Harms) > 0 {
		labels["harms"] = r.Harms
	}
	raw, err := json.Marshal(map[string]any{"json": labels})
	if err != nil {
		return c, fmt.Errorf("label a rule: %w", err)
	}
	c.Metadata = string(raw)
	return c, nil
}
