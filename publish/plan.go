package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"mediagate/bank"
	"mediagate/homeserver"
)

// eventType is MSC4113's, before it is part of the specification.
const eventType = "space.midnightthoughts.policy.media_hash"

const (
	// minQuality is the least quality that readers take, of MSC4113.
	minQuality = 50
	// maxEntries bounds what one room is made to hold.
	maxEntries = 50_000
)

// Errors of banks that are not published.
var (
	// ErrForeign: the bank holds what others publish.
	ErrForeign = errors.New("the bank is fed by an exchange that reads what others publish")
	// ErrTooMany: the bank holds more than a room should.
	ErrTooMany = fmt.Errorf("the bank has more than %d pictures to publish", maxEntries)
)

// ownAPIs are the exchanges that bring what the operator's own people have decided. Any
// other one may bring what another list says, and two lists that repeat each other
// could never take anything back.
var ownAPIs = []string{"synapse_quarantined"}

// CheckBank refuses banks that must not be published, with [ErrForeign], and those that
// are not there.
func CheckBank(ctx context.Context, store *bank.Store, name string) error {
	b, err := store.Bank(ctx, name)
	if err != nil {
		return err
	}
	return checkSource(ctx, store, b.ID)
}

func checkSource(ctx context.Context, store *bank.Store, id int64) error {
	exchanges, err := store.Exchanges(ctx)
	if err != nil {
		return err
	}
	for _, x := range exchanges {
		if x.Bank.ID == id && !slices.Contains(ownAPIs, x.API) {
			return ErrForeign
		}
	}
	return nil
}

// hash is one hash of an event, as MSC4113 has it.
type hash struct {
	Hash    string `json:"hash"`
	Quality string `json:"quality,omitempty"`
}

// content is all that is told of a picture.
type content struct {
	PDQ    hash  `json:"space.midnightthoughts.pdqhash"`
	SHA256 *hash `json:"io.github.mediagate.sha256,omitempty"`
}

// entry is a picture that is to be in the room.
type entry struct {
	id      int64 // of the content
	content content
}

// stateKey is where the event about a hash stands. MSC4113 has the hash itself there,
// but redactions leave state keys as they are: what was taken back would still be told.
func stateKey(hash string) string {
	digest := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(digest[:])
}

// wanted reads what is to be in the room of a bank, by state key. A bank that does not
// block, because it is off, only watched, or of harmless pictures, is not published.
// With [ErrTooMany] it is what the room has and is to keep.
func wanted(ctx context.Context, store *bank.Store, id int64, have room, most int) (map[string]entry, error) {
	entries := make(map[string]entry)
	tooMany := false
	b, err := store.OwnHashes(ctx, id, minQuality, func(h bank.OwnHash) {
		c := content{PDQ: hash{Hash: h.PDQ.Text(), Quality: strconv.Itoa(h.PDQ.Quality)}}
		if h.SHA256 != "" {
			c.SHA256 = &hash{Hash: hex.EncodeToString([]byte(h.SHA256))}
		}
		key := stateKey(c.PDQ.Hash)
		if _, ok := entries[key]; ok { // the first content of a hash speaks for all
			return
		}
		tooMany = tooMany || len(entries) == most
		if _, ok := have.ours[key]; ok || !tooMany { // so memory is bounded
			entries[key] = entry{h.Content, c}
		}
	})
	if errors.Is(err, bank.ErrBankNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if b.Ratio == 0 || b.Monitor || b.Allow {
		return nil, nil
	}
	if !tooMany {
		return entries, nil
	}
	maps.DeleteFunc(entries, func(key string, e entry) bool {
		p, ok := have.ours[key]
		return !ok || !p.says(e.content)
	})
	return entries, ErrTooMany
}

// room is what a room holds of our kind, by state key.
type room struct {
	ours map[string]published
	// others are those that others have set, or the user by hand, or whose event of ours
	// others have taken back: they are left to them.
	others map[string]bool
}

// published is an event of ours.
type published struct {
	id      string
	content json.RawMessage
}

// readRoom reads what a room holds. Memory is bounded by the state's length alone, so
// contents that cannot be ours are not kept.
func readRoom(ctx context.Context, home *homeserver.Client, id, user string) (room, error) {
	r := room{ours: make(map[string]published), others: make(map[string]bool)}
	err := home.RoomState(ctx, id, func(e homeserver.Event) error {
		if e.Type != eventType || e.StateKey == nil {
			return nil
		}
		switch {
		case e.Sender != user, e.RedactedBy != "" && e.RedactedBy != user:
			r.others[*e.StateKey] = true
		case isEmpty(e.Content): // taken back
		case !isOurs(*e.StateKey, e.Content):
			r.others[*e.StateKey] = true
		default:
			if len(e.Content) > maxContent {
				e.Content = json.RawMessage(`null`) // it is replaced or taken back
			}
			r.ours[*e.StateKey] = published{e.ID, e.Content}
		}
		return nil
	})
	return r, err
}

// maxContent is longer than any content that is written here.
const maxContent = 512

// isOurs tells whether what the user has set stands where its hash is put here. What does
// not was set by hand.
func isOurs(key string, raw json.RawMessage) bool {
	var c struct {
		PDQ struct {
			Hash string `json:"hash"`
		} `json:"space.midnightthoughts.pdqhash"`
	}
	return json.Unmarshal(raw, &c) == nil && key == stateKey(c.PDQ.Hash)
}

func isEmpty(raw json.RawMessage) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(raw, &fields) == nil && len(fields) == 0
}

// says tells whether an event has just this content.
func (p published) says(c content) bool {
	var got, want any
	raw, err := json.Marshal(c)
	return err == nil && json.Unmarshal(raw, &want) == nil && json.Unmarshal(p.content, &got) == nil && reflect.DeepEqual(got, want)
}

// difference lists, in a fixed order, the state keys of what must be taken back, and of
// what must be sent after that. What has changed is in both: without the first the room
// would still hold what was said before. left counts what is left to others.
func difference(want map[string]entry, have room) (back, send []string, left int) {
	for _, key := range slices.Sorted(maps.Keys(have.ours)) {
		if e, ok := want[key]; !ok || !have.ours[key].says(e.content) {
			back = append(back, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		switch p, ok := have.ours[key]; {
		case have.others[key]:
			left++
		case !ok || !p.says(want[key].content):
			send = append(send, key)
		}
	}
	return back, send, left
}

// Plan is what publishing a bank would do now.
type Plan struct {
	// Room is where, empty if the bank is not published yet.
	Room string
	// Send are the contents that would be sent, and Redact the events that would be
	// taken back.
	Send   []int64
	Redact []string
	// Kept counts what is in the room already, and Left what others have set there, or
	// taken back, which is left to them.
	Kept, Left int
}

// Preview tells what publishing a bank would do, and does nothing. room is where, of
// which the user must be a member; if it is empty it is the room that the bank is
// published into, and before there is one nobody is asked and all of it would be sent.
// It fails as [CheckBank], and with [ErrTooMany], when the plan tells what would be
// taken back all the same.
func Preview(ctx context.Context, store *bank.Store, home *homeserver.Client, name, room string) (Plan, error) {
	p, err := store.Publication(ctx, name)
	if errors.Is(err, bank.ErrPublicationNotFound) || err == nil && room != "" && room != p.Room {
		var b bank.Bank
		b, err = store.Bank(ctx, name)
		p = bank.Publication{Bank: b.ID, Room: room, Enabled: true}
	}
	if err != nil {
		return Plan{}, err
	}
	return preview(ctx, store, home, p, maxEntries)
}

func preview(ctx context.Context, store *bank.Store, home *homeserver.Client, p bank.Publication, most int) (Plan, error) {
	have := room{}
	if p.Enabled {
		if err := checkSource(ctx, store, p.Bank); err != nil {
			return Plan{}, err
		}
	}
	if p.Room != "" {
		user, err := home.User(ctx)
		if err == nil {
			have, err = readRoom(ctx, home, p.Room, user)
		}
		if err != nil {
			return Plan{}, err
		}
	}
	want := map[string]entry{}
	var refused error
	if p.Enabled {
		if want, refused = wanted(ctx, store, p.Bank, have, most); refused != nil && !errors.Is(refused, ErrTooMany) {
			return Plan{}, refused
		}
	}
	back, send, left := difference(want, have)
	plan := Plan{Room: p.Room, Kept: len(have.ours) - len(back), Left: left}
	for _, key := range send {
		plan.Send = append(plan.Send, want[key].id)
	}
	for _, key := range back {
		plan.Redact = append(plan.Redact, have.ours[key].id)
	}
	return plan, refused
}
