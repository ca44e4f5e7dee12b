package exchange_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mediagate/bank"
)

// policyModel makes up histories of a policy room, and knows what its state means.
type policyModel struct {
	*policyBench
	random *rand.Rand
	// bans tells of each event whether it bans something, if its sender counts.
	bans  map[string]bool
	power map[string]int
	n     int
}

// junk bans nothing.
var junk = []string{
	`{}`, `null`, `[]`, `"x"`, `{"reason":"nothing else"}`,
	`{"space.midnightthoughts.pdqhash":null}`,
	`{"space.midnightthoughts.pdqhash":[]}`,
	`{"space.midnightthoughts.pdqhash":{"hash":"` + strings.Repeat("ab", 31) + `","quality":"100"}}`,
	`{"space.midnightthoughts.pdqhash":{"hash":"` + strings.Repeat("ab", 33) + `","quality":"100"}}`,
	`{"space.midnightthoughts.pdqhash":{"hash":"` + strings.Repeat("zz", 32) + `","quality":"100"}}`,
	`{"space.midnightthoughts.pdqhash":{"hash":"` + hash(7) + `","quality":"49"}}`,
	`{"space.midnightthoughts.pdqhash":{"hash":"` + hash(7) + `"}}`,
	`{"space.midnightthoughts.pdqhash":{"hash":"` + strings.Repeat("00", 32) + `","quality":"100"}}`,
	`{"m.pdqhash":{"hash":7,"quality":100}}`,
}

// good are the forms in which a hash is banned.
var good = []string{
	`{"space.midnightthoughts.pdqhash":{"hash":"%s","quality":"100"},"reason":"x"}`,
	`{"type":"m.pdqhash","hash":"%s","quality":"100"}`,
	`{"m.pdqhash":{"hash":"%s","quality":77}}`,
	`{"m.pdqhash":{"hash":"%s","quality":50.5},"recommendation":"m.ban"}`,
	`{"m.pdqhash":{"hash":"%s","quality":"100"},"unknown.hash":{"hash":"x"},"reason":"` + strings.Repeat("r", 64<<10) + `"}`,
}

func (m *policyModel) pick(from []string) string { return from[m.random.IntN(len(from))] }

func (m *policyModel) sender() string {
	return m.pick([]string{moderator, moderator, stranger, "@third:list.test"})
}

func (m *policyModel) kind() string { return m.pick([]string{mediaHash, "m.policy.media_hash"}) }

// write sends an event under one of a few keys.
func (m *policyModel) write() {
	m.n++
	content, bans := m.pick(junk), false
	if m.random.IntN(3) > 0 {
		content, bans = fmt.Sprintf(m.pick(good), hash(m.n)), true
	}
	id := m.rooms.set(listRoom, m.kind(), fmt.Sprint("key/", m.random.IntN(12)), m.sender(), content)
	m.bans[id] = bans
}

// any returns an event of the past or the state.
func (m *policyModel) any() *fakeEvent {
	m.rooms.mu.Lock()
	defer m.rooms.mu.Unlock()
	var list []*fakeEvent
	for _, e := range m.rooms.rooms[listRoom].timeline {
		if strings.HasSuffix(e.kind, "media_hash") {
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[max(0, len(list)-1-m.random.IntN(20))]
}

func (m *policyModel) setPower() {
	m.power[m.sender()] = m.pick2(0, 49, 50, 100)
	users, err := json.Marshal(m.power)
	if err != nil {
		m.t.Fatal(err)
	}
	m.rooms.set(listRoom, "m.room.power_levels", "", moderator, `{"users":`+string(users)+`,"state_default":50}`)
}

func (m *policyModel) pick2(from ...int) int { return from[m.random.IntN(len(from))] }

func (m *policyModel) step() {
	op := m.random.IntN(16)
	if m.unhurried && (op == 4 || op == 5 || op == 9) {
		op = 15 // what is not told is not found out before long
	}
	switch op {
	case 0:
		m.setPower()
	case 1, 2:
		if e := m.any(); e != nil {
			m.rooms.redact(listRoom, e.id, m.sender(), true)
		}
	case 3:
		if e := m.any(); e != nil {
			m.rooms.redact(listRoom, e.id, m.sender(), false)
		}
	case 4:
		m.rooms.lose(listRoom, m.kind(), fmt.Sprint("key/", m.random.IntN(12)))
	case 5:
		if e := m.any(); e != nil {
			m.rooms.revert(listRoom, e)
		}
	case 6:
		m.rooms.change(func() { m.rooms.limit = 1 + m.random.IntN(5) }) // gaps
	case 7:
		m.rooms.change(func() { m.rooms.limit = 100 })
	case 8:
		m.rooms.change(func() { m.rooms.fault = failing })
		m.write()
		m.rooms.change(func() { m.rooms.fault = healthy })
	case 9:
		m.write()
		m.rooms.change(func() { // it is lost on its way
			timeline := m.rooms.rooms[listRoom].timeline
			timeline[len(timeline)-1].withheld = true
		})
	case 10:
		m.rooms.redact(listRoom, "$nothing", m.sender(), true)
	default:
		m.write()
	}
}

// expected are the keys whose events ban something, in order.
func (m *policyModel) expected() []string {
	m.rooms.mu.Lock()
	defer m.rooms.mu.Unlock()
	list := []string{}
	for key, e := range m.rooms.rooms[listRoom].state {
		if m.bans[e.id] && e.redacted == "" && m.power[e.sender] >= 50 {
			list = append(list, key.key)
		}
	}
	slices.Sort(list)
	return list
}

// TestListIsTheRoomsStateAfterAnyHistory compares what is banked with a plain model of
// the room's state.
func TestListIsTheRoomsStateAfterAnyHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &policyModel{policyBench: newPolicyBench(t), random: rand.New(rand.NewPCG(seed, 1)), bans: make(map[string]bool), power: map[string]int{moderator: 100}}
			m.unhurried = seed%2 == 1
			for range 10 {
				m.step()
			}
			m.subscribe(listName, listRoom, "")
			for round := range 8 {
				for range 12 {
					m.step()
				}
				if round%3 == 2 {
					m.start()
				}
				m.want(listName, m.expected()...)
			}
			// Nothing but signals of rules is banked.
			if n, total := len(m.expected()), m.total(); n != total {
				t.Errorf("%d contents for %d rules", total, n)
			}
		})
	}
}

// total counts the contents of the list's bank.
func (m *policyModel) total() int {
	m.t.Helper()
	all, err := m.store.CountBanks(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(o bank.Census) bool { return o.Name == listName })
	return int(all[i].Contents)
}
