package scanner_test

import (
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mediagate/bank"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/pdq"
	"mediagate/scanner"
)

// pictured is what a picture of that hash is, whose bytes nothing else has.
func pictured(n int, h pdq.Hash) *media.Signals {
	s := &media.Signals{Kind: media.Photo, Type: "image/png", Size: 1, Hashes: []media.Hash{{PDQ: h, Quality: 100}}}
	binary.LittleEndian.PutUint64(s.SHA256[:], uint64(n)+1)
	binary.LittleEndian.PutUint64(s.MD5[:], uint64(n)+1)
	return s
}

// viewed is what a picture is whose views have those hashes.
func viewed(n int, hashes ...pdq.Hash) *media.Signals {
	s := pictured(n, hashes[0])
	for i, h := range hashes[1:] {
		s.Hashes = append(s.Hashes, media.Hash{PDQ: h, Quality: 100, Variant: media.Variant(i + 1)})
	}
	return s
}

func digestOf(kind bank.SignalType, s *media.Signals) bank.Signal {
	if kind == bank.SHA256 {
		return bank.Signal{Type: kind, Value: string(s.SHA256[:]), Quality: bank.NoQuality}
	}
	return bank.Signal{Type: kind, Value: string(s.MD5[:]), Quality: bank.NoQuality}
}

func someHash(rng *rand.Rand) pdq.Hash {
	return pdq.Hash{rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()}
}

// apart flips the first bits of a hash.
func apart(h pdq.Hash, bits int) pdq.Hash {
	h[0] ^= 1<<bits - 1
	return h
}

// judge decides about what must not fail.
func (b *bench) judge(t *testing.T, s *media.Signals) scanner.Verdict {
	t.Helper()
	v, err := b.Judge(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// set changes a bank.
func (b *bench) set(t *testing.T, name string, u bank.Settings) {
	t.Helper()
	if _, err := b.store.UpdateBank(t.Context(), name, u); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
}

// told says of matches what bank and signal type they are of, how near, and what
// follows from them.
func told(matches []scanner.Match) []string {
	var out []string
	for _, m := range matches {
		text := fmt.Sprintf("%s %s %d", m.Bank.Name, m.Type, m.Distance)
		if m.Enforced {
			text += " blocks"
		}
		if m.Allowed {
			text += " allowed"
		}
		out = append(out, text)
	}
	return out
}

// lookedUp checks that lookups of a picture's hash name whom its scan is blocked by.
func (b *bench) lookedUp(t *testing.T, item *media.Signals, v scanner.Verdict) {
	t.Helper()
	ix, err := b.live.Load()
	if err != nil {
		t.Fatal(err)
	}
	found := ix.PrimaryWithin(item.Hashes[0].PDQ, defaults.MaxDistance)
	acting := func(of *media.Signals) (n int) {
		for _, m := range b.Unopposed(ix, found, of) {
			if m.Enabled && m.Bank.Ratio > 0 && !m.Bank.Monitor && !m.Bank.Allow {
				n++
			}
		}
		return n
	}
	enforced, bytes := 0, false
	for _, m := range v.Matches {
		bytes = bytes || m.Type != bank.PDQ
		if m.Enforced {
			enforced++
		}
	}
	if got := acting(nil); !bytes && got != enforced {
		t.Errorf("the hash is found %d times, want %d", got, enforced)
	}
	if got := acting(item); v.Outcome == scanner.Clean && got > 0 {
		t.Errorf("the file is found %d times", got)
	}
	unscannable := *item
	unscannable.Refusal = "it cannot be read"
	for _, of := range []*media.Signals{item, &unscannable} {
		if got := b.Unopposed(ix, found, of); (v.Outcome == scanner.Blocked || of == &unscannable) && len(got) != len(found) {
			t.Errorf("of a file that is not let pass %d matches are found, want %d", len(got), len(found))
		}
	}
}

// TestWhatBanksSayOfOneAnother has a picture match contents of several banks. Each is
// "BANK type distance", and "off" where the content is disabled.
func TestWhatBanksSayOfOneAnother(t *testing.T) {
	pool := workertest.Pool(t, patient)
	banks := []bank.Bank{
		{Name: "ON", Ratio: 1, MD5Enforce: true}, {Name: "OFF"}, {Name: "ALSO", Ratio: 1},
		{Name: "WATCHED", Ratio: 1, Monitor: true, MD5Enforce: true},
		{Name: "GOOD", Ratio: 1, Allow: true, MD5Enforce: true}, {Name: "GOODOFF", Allow: true},
		{Name: "ONE", Ratio: 1, Agree: 1}, {Name: "TWO", Ratio: 1, Agree: 2}, {Name: "ALSOONE", Ratio: 1, Agree: 1},
	}
	tests := map[string]struct {
		banked  string
		outcome scanner.Outcome
		matches []string
	}{
		"monitor":                       {"WATCHED pdq 3", scanner.Clean, []string{"WATCHED pdq 3"}},
		"monitor, same bytes":           {"WATCHED sha256 0, WATCHED md5 0", scanner.Clean, []string{"WATCHED sha256 0", "WATCHED md5 0"}},
		"monitor beside one that is on": {"WATCHED pdq 3, ON pdq 9", scanner.Blocked, []string{"ON pdq 9 blocks", "WATCHED pdq 3"}},

		"allowed":                    {"GOOD pdq 3", scanner.Clean, []string{"GOOD pdq 3 allowed"}},
		"allowed, same bytes":        {"GOOD sha256 0", scanner.Clean, []string{"GOOD sha256 0 allowed"}},
		"allowed is nearer":          {"GOOD pdq 3, ON pdq 4", scanner.Clean, []string{"GOOD pdq 3 allowed", "ON pdq 4"}},
		"allowed is as near":         {"ON pdq 4, GOOD pdq 4", scanner.Clean, []string{"ON pdq 4", "GOOD pdq 4 allowed"}},
		"allowed is farther":         {"GOOD pdq 5, ON pdq 4", scanner.Blocked, []string{"ON pdq 4 blocks", "GOOD pdq 5 allowed"}},
		"nearest of the allowed":     {"GOOD pdq 30, GOOD pdq 2, ON pdq 4", scanner.Clean, []string{"GOOD pdq 2 allowed", "ON pdq 4", "GOOD pdq 30 allowed"}},
		"between two that are on":    {"ON pdq 2, GOOD pdq 3, ALSO pdq 4", scanner.Blocked, []string{"ON pdq 2 blocks", "GOOD pdq 3 allowed", "ALSO pdq 4"}},
		"allowed, same file on":      {"GOOD pdq 0, ON sha256 0", scanner.Blocked, []string{"ON sha256 0 blocks", "GOOD pdq 0 allowed"}},
		"allowed, same MD5 on":       {"GOOD sha256 0, ON md5 0", scanner.Blocked, []string{"ON md5 0 blocks", "GOOD sha256 0 allowed"}},
		"bytes allowed, near is on":  {"GOOD sha256 0, ON pdq 0", scanner.Clean, []string{"GOOD sha256 0 allowed", "ON pdq 0"}},
		"MD5 allowed, near is on":    {"GOOD md5 0, ON pdq 1", scanner.Blocked, []string{"ON pdq 1 blocks", "GOOD md5 0 allowed"}},
		"allowed in a bank off":      {"GOODOFF pdq 0, ON pdq 1", scanner.Blocked, []string{"ON pdq 1 blocks", "GOODOFF pdq 0"}},
		"allowed content off":        {"GOOD pdq 0 off, ON pdq 1", scanner.Blocked, []string{"ON pdq 1 blocks", "GOOD pdq 0"}},
		"allowed bytes content off":  {"GOOD sha256 0 off, ON pdq 1", scanner.Blocked, []string{"ON pdq 1 blocks", "GOOD sha256 0"}},
		"allowed beyond the limit":   {"GOOD pdq 32, ON pdq 31", scanner.Blocked, []string{"ON pdq 31 blocks"}},
		"allowed beside one watched": {"GOOD pdq 3, WATCHED pdq 2", scanner.Clean, []string{"WATCHED pdq 2", "GOOD pdq 3 allowed"}},

		"nobody agrees":               {"ONE pdq 3", scanner.Clean, []string{"ONE pdq 3"}},
		"one agrees":                  {"ONE pdq 3, ON pdq 9", scanner.Blocked, []string{"ONE pdq 3 blocks", "ON pdq 9 blocks"}},
		"its own do not agree":        {"ONE pdq 3, ONE pdq 4", scanner.Clean, []string{"ONE pdq 3", "ONE pdq 4"}},
		"two agree with each other":   {"ONE pdq 3, ALSOONE pdq 4", scanner.Blocked, []string{"ONE pdq 3 blocks", "ALSOONE pdq 4 blocks"}},
		"one is not two":              {"TWO pdq 3, ONE pdq 9", scanner.Blocked, []string{"ONE pdq 9 blocks", "TWO pdq 3"}},
		"two of one bank are not two": {"TWO pdq 3, ONE pdq 9, ONE pdq 10", scanner.Blocked, []string{"ONE pdq 9 blocks", "ONE pdq 10 blocks", "TWO pdq 3"}},
		"two are two":                 {"TWO pdq 3, ON pdq 9, ALSO pdq 10", scanner.Blocked, []string{"TWO pdq 3 blocks", "ON pdq 9 blocks", "ALSO pdq 10 blocks"}},
		"one watched does not agree":  {"ONE pdq 3, WATCHED pdq 2", scanner.Clean, []string{"WATCHED pdq 2", "ONE pdq 3"}},
		"one off does not agree":      {"ONE pdq 3, OFF pdq 2", scanner.Clean, []string{"OFF pdq 2", "ONE pdq 3"}},
		"one allowed does not agree":  {"ONE pdq 3, GOOD pdq 4", scanner.Clean, []string{"ONE pdq 3", "GOOD pdq 4 allowed"}},
		"disabled does not agree":     {"ONE pdq 3, ON pdq 2 off", scanner.Clean, []string{"ON pdq 2", "ONE pdq 3"}},
		"cancelled does not agree":    {"ONE pdq 3, ON pdq 5, GOOD pdq 4", scanner.Clean, []string{"ONE pdq 3", "GOOD pdq 4 allowed", "ON pdq 5"}},
		"same bytes do not agree":     {"ONE pdq 3, ALSO md5 0", scanner.Clean, []string{"ALSO md5 0", "ONE pdq 3"}},
		"same bytes need nobody":      {"TWO sha256 0", scanner.Blocked, []string{"TWO sha256 0 blocks"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, defaults, pool, banks...)
			item := pictured(1, someHash(rand.New(rand.NewPCG(1, 1))))
			for banked := range strings.SplitSeq(tt.banked, ", ") {
				var to, kind, state string
				var distance int
				_, _ = fmt.Sscan(banked, &to, &kind, &distance, &state)
				signal := listed(t, apart(item.Hashes[0].PDQ, distance))
				if kind != "pdq" {
					signal = digestOf(bank.SignalType(kind), item)
				}
				id := b.add(t, to, signal)
				if until := bank.DisabledForever; state == "off" {
					if _, err := b.store.UpdateContent(t.Context(), to, id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.sync(t)
			v := b.judge(t, item)
			b.lookedUp(t, item, v)
			if v.Outcome != tt.outcome {
				t.Errorf("%s, want %s", v.Outcome, tt.outcome)
			}
			if diff := cmp.Diff(tt.matches, told(v.Matches)); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAllowedPictureSparesTheViewThatLooksLikeIt and no other: of a picture that shows
// something else on another ground, or to another decoder, one view must not speak for all.
func TestAllowedPictureSparesTheViewThatLooksLikeIt(t *testing.T) {
	pool := workertest.Pool(t, patient)
	rng := rand.New(rand.NewPCG(1, 1))
	bad, logo, onBlack := someHash(rng), someHash(rng), someHash(rng)
	views := func(hashes ...pdq.Hash) []media.Hash { return viewed(1, hashes...).Hashes }
	tests := map[string]struct {
		on, good []media.Hash
		bytes    bool // are allowed
		looked   []pdq.Hash
		outcome  scanner.Outcome
		matches  []string
	}{
		"bad first":            {views(bad), views(logo), false, []pdq.Hash{apart(bad, 5), apart(logo, 2)}, scanner.Blocked, []string{"ON pdq 5 blocks", "GOOD pdq 2 allowed"}},
		"allowed first":        {views(bad), views(logo), false, []pdq.Hash{logo, logo, apart(bad, 5)}, scanner.Blocked, []string{"ON pdq 5 blocks", "GOOD pdq 0 allowed"}},
		"same bytes":           {views(bad), views(logo), true, []pdq.Hash{apart(bad, 5), apart(logo, 2)}, scanner.Clean, []string{"GOOD sha256 0 allowed", "GOOD pdq 2 allowed", "ON pdq 5"}},
		"both views listed":    {views(logo, onBlack), views(logo, onBlack), false, []pdq.Hash{apart(logo, 3), apart(onBlack, 4)}, scanner.Clean, []string{"ON pdq 3", "GOOD pdq 3 allowed"}},
		"one view listed":      {views(onBlack), views(logo, onBlack), false, []pdq.Hash{apart(logo, 3), apart(onBlack, 4)}, scanner.Clean, []string{"GOOD pdq 3 allowed", "ON pdq 4"}},
		"as another view":      {views(bad, logo), views(onBlack, logo), false, []pdq.Hash{apart(logo, 3)}, scanner.Clean, []string{"ON pdq 3", "GOOD pdq 3 allowed"}},
		"nearest is spared":    {views(logo, bad), views(logo), false, []pdq.Hash{apart(logo, 3), apart(bad, 9)}, scanner.Blocked, []string{"ON pdq 9 blocks", "GOOD pdq 3 allowed"}},
		"farther is spared":    {views(logo, bad), views(logo), false, []pdq.Hash{apart(bad, 9), apart(logo, 12)}, scanner.Blocked, []string{"ON pdq 9 blocks", "GOOD pdq 12 allowed"}},
		"allowed is too far":   {views(bad), views(bad), false, []pdq.Hash{apart(bad, 40), apart(bad, 31)}, scanner.Clean, []string{"ON pdq 31", "GOOD pdq 31 allowed"}},
		"one allowed for each": {views(bad), views(bad, apart(logo, 5)), false, []pdq.Hash{logo, bad}, scanner.Clean, []string{"ON pdq 0", "GOOD pdq 0 allowed"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, defaults, pool, bank.Bank{Name: "ON", Ratio: 1}, bank.Bank{Name: "GOOD", Ratio: 1, Allow: true})
			item := viewed(1, tt.looked...)
			pictures := func(hashes []media.Hash) []bank.Signal {
				return slices.DeleteFunc(bank.SignalsOf(media.Signals{Hashes: hashes}), func(s bank.Signal) bool { return s.Type != bank.PDQ })
			}
			b.add(t, "ON", pictures(tt.on)...)
			b.add(t, "GOOD", pictures(tt.good)...)
			if tt.bytes {
				b.add(t, "GOOD", digestOf(bank.SHA256, item))
			}
			b.sync(t)
			v := b.judge(t, item)
			if v.Outcome != tt.outcome {
				t.Errorf("%s, want %s", v.Outcome, tt.outcome)
			}
			if diff := cmp.Diff(tt.matches, told(v.Matches)); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
		})
	}
}

// waves is a picture like no other.
func waves(rng *rand.Rand) *image.Gray {
	img := image.NewGray(image.Rect(0, 0, 256, 256))
	var parts [14][4]float64
	for i := range parts {
		parts[i] = [4]float64{rng.Float64() * .15, rng.Float64() * .15, rng.Float64() * 6, rng.Float64()}
	}
	for y := range 256 {
		for x := range 256 {
			level := 0.0
			for _, p := range parts {
				level += p[3] * math.Sin(float64(x)*p[0]+float64(y)*p[1]+p[2])
			}
			img.SetGray(x, y, color.Gray{uint8(128 + 30*max(-4, min(4, level)))})
		}
	}
	return img
}

// TestPaletteHidesNothing: a palette picture shows what is banned to who looks at it, and
// what is allowed to who takes its indices for levels.
func TestPaletteHidesNothing(t *testing.T) {
	pool := workertest.Pool(t, patient)
	b := newBench(t, defaults, pool, bank.Bank{Name: "ON", Ratio: 1}, bank.Bank{Name: "GOOD", Ratio: 1, Allow: true})
	rng := rand.New(rand.NewPCG(1, 1))
	abuse, logo := waves(rng), waves(rng)
	b.add(t, "ON", bank.SignalsOf(signalsOf(t, pool, pngOf(t, abuse)))...)
	b.add(t, "GOOD", bank.SignalsOf(signalsOf(t, pool, pngOf(t, logo)))...)
	b.sync(t)
	for _, bits := range []int{3, 4} {
		var p color.Palette
		for i := range 256 {
			p = append(p, color.Gray{uint8((i & (1<<bits - 1)) * 255 / (1<<bits - 1))})
		}
		img := image.NewPaletted(abuse.Bounds(), p)
		for i := range img.Pix {
			img.Pix[i] = logo.Pix[i]>>bits<<bits | abuse.Pix[i]>>(8-bits)
		}
		v := b.scan(t, pngOf(t, img))
		if v.Outcome != scanner.Blocked || len(v.Matches) != 2 {
			t.Errorf("%d bits: %s, %v", bits, v.Outcome, told(v.Matches))
		}
	}
}

// TestManyAllowedInOneViewHideNoneInAnother, of more contents than are told of.
func TestManyAllowedInOneViewHideNoneInAnother(t *testing.T) {
	b := newBench(t, defaults, workertest.Pool(t, patient), bank.Bank{Name: "ON", Ratio: 1}, bank.Bank{Name: "GOOD", Ratio: 1, Allow: true})
	rng := rand.New(rand.NewPCG(1, 1))
	plain, onBlack := someHash(rng), someHash(rng)
	for i := range scanner.MaxMatches + 10 {
		b.add(t, "GOOD", listed(t, plain), bank.Signal{Type: bank.MD5, Value: fmt.Sprintf("%016d", i)})
	}
	b.add(t, "GOOD", listed(t, onBlack))
	b.add(t, "ON", listed(t, apart(onBlack, 9)))
	b.sync(t)
	v := b.judge(t, viewed(1, plain, apart(onBlack, 3)))
	if v.Outcome != scanner.Clean || !v.Truncated || len(v.Matches) != scanner.MaxMatches {
		t.Errorf("%s with %d matches, truncated %v", v.Outcome, len(v.Matches), v.Truncated)
	}
}

// TestManyOfOneBankHideNothing puts more contents near a picture than are told of, and one
// of another bank farther away, on which it depends whether it is blocked.
func TestManyOfOneBankHideNothing(t *testing.T) {
	pool := workertest.Pool(t, patient)
	many := scanner.MaxMatches + 10
	tests := map[string]struct {
		near, far bank.Bank
		from, at  int // how near the many, from the nearest on, and the one
		want      scanner.Outcome
	}{
		"watched hides none that blocks":      {bank.Bank{Ratio: 1, Monitor: true}, bank.Bank{Ratio: 1}, 1, 20, scanner.Blocked},
		"agreeing hides none that blocks":     {bank.Bank{Ratio: 1, Agree: 2}, bank.Bank{Ratio: 1}, 1, 20, scanner.Blocked},
		"nor one that agrees":                 {bank.Bank{Ratio: 1, Agree: 1}, bank.Bank{Ratio: 1, Agree: 1}, 1, 20, scanner.Blocked},
		"blocking hides none that allows":     {bank.Bank{Ratio: 1}, bank.Bank{Ratio: 1, Allow: true}, 5, 5, scanner.Clean},
		"watched hides none that allows":      {bank.Bank{Ratio: 1, Monitor: true}, bank.Bank{Ratio: 1, Allow: true}, 1, 3, scanner.Clean},
		"allowing hides none that is as near": {bank.Bank{Ratio: 1, Allow: true}, bank.Bank{Ratio: 1}, 5, 4, scanner.Blocked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.near.Name, tt.far.Name = "NEAR", "FAR"
			b := newBench(t, defaults, pool, tt.near, tt.far)
			item := pictured(1, someHash(rand.New(rand.NewPCG(1, 1))))
			for i := range many {
				h := apart(item.Hashes[0].PDQ, tt.from)
				b.add(t, "NEAR", listed(t, h), bank.Signal{Type: bank.MD5, Value: fmt.Sprintf("%016d", i)})
			}
			b.add(t, "FAR", listed(t, apart(item.Hashes[0].PDQ, tt.at)))
			b.sync(t)
			v := b.judge(t, item)
			if v.Outcome != tt.want || !v.Truncated || len(v.Matches) != scanner.MaxMatches {
				t.Errorf("%s with %d matches, truncated %v, want %s", v.Outcome, len(v.Matches), v.Truncated, tt.want)
			}
		})
	}
}

// plain is one banked signal, as a test knows it.
type plain struct {
	id      int64
	bank    string
	kind    bank.SignalType
	hash    pdq.Hash
	of      int // the item whose digest it is
	enabled bool
}

// plainly decides in the plainest way which contents block an item, by id: what an allowed
// picture spares in one view it spares in that view alone.
func plainly(banks map[string]bank.Bank, all []plain, n int, views []pdq.Hash) (blocking []int64) {
	const far = 1000
	counts := func(p plain) bool { return p.enabled && banks[p.bank].Ratio > 0 }
	allowed := func(h pdq.Hash) int {
		least := far
		for _, p := range all {
			if !banks[p.bank].Allow || !counts(p) {
				continue
			}
			if d := pdq.Distance(p.hash, h); p.kind == bank.PDQ && d <= 31 {
				least = min(least, d)
			}
			if p.kind == bank.SHA256 && p.of == n {
				least = 0
			}
		}
		return least
	}
	near := func(p plain) bool {
		b := banks[p.bank]
		return p.kind == bank.PDQ && counts(p) && !b.Monitor && !b.Allow && slices.ContainsFunc(views, func(h pdq.Hash) bool {
			d := pdq.Distance(p.hash, h)
			return d <= 31 && d < allowed(h)
		})
	}
	for _, p := range all {
		b := banks[p.bank]
		if !counts(p) || b.Monitor || b.Allow {
			continue
		}
		others := make(map[string]bool)
		for _, o := range all {
			if o.bank != p.bank && near(o) {
				others[o.bank] = true
			}
		}
		blocks := p.kind == bank.SHA256 && p.of == n || p.kind == bank.MD5 && p.of == n && b.MD5Enforce ||
			near(p) && len(others) >= b.Agree
		if blocks {
			blocking = append(blocking, p.id)
		}
	}
	slices.Sort(blocking)
	return slices.Compact(blocking)
}

// TestDecisionsArePlain compares decisions over random banks with the plainest way to
// make them.
func TestDecisionsArePlain(t *testing.T) {
	pool := workertest.Pool(t, patient)
	outcomes := make(map[scanner.Outcome]int)
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 3))
		banks := make(map[string]bank.Bank)
		var names []string
		var list []bank.Bank
		for i := range 2 + rng.IntN(5) {
			k := bank.Bank{Name: fmt.Sprint("B_", i), Ratio: float64(rng.IntN(4)), MD5Enforce: rng.IntN(2) == 0, Agree: max(0, rng.IntN(5)-2)}
			k.Ratio = min(1, k.Ratio) // off is one of four
			k.Monitor = rng.IntN(4) == 0
			k.Allow = !k.Monitor && rng.IntN(3) == 0
			banks[k.Name] = k
			names, list = append(names, k.Name), append(list, k)
		}
		b := newBench(t, defaults, pool, list...)
		centre := someHash(rng)
		near := func() pdq.Hash { return apart(centre, rng.IntN(30)) }
		var all []plain
		for range 25 {
			p := plain{bank: names[rng.IntN(len(names))], hash: near(), of: rng.IntN(30), enabled: rng.IntN(5) > 0}
			p.kind = []bank.SignalType{bank.PDQ, bank.PDQ, bank.PDQ, bank.SHA256, bank.MD5}[rng.IntN(5)]
			signal := listed(t, p.hash)
			if p.kind != bank.PDQ {
				signal = digestOf(p.kind, pictured(p.of, p.hash))
			}
			p.id = b.add(t, p.bank, signal)
			if until := bank.DisabledForever; !p.enabled {
				if _, err := b.store.UpdateContent(t.Context(), p.bank, p.id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, p)
		}
		b.sync(t)
		for n := range 30 {
			views := []pdq.Hash{near(), near(), near()}[:1+rng.IntN(3)]
			if rng.IntN(4) == 0 {
				for i := range views {
					views[i][3] = ^views[i][3] // far from all
				}
			}
			v := b.judge(t, viewed(n, views...))
			outcomes[v.Outcome]++
			var got []int64
			for _, m := range v.Matches {
				if m.Enforced {
					got = append(got, m.Content)
				}
			}
			slices.Sort(got)
			got = slices.Compact(got)
			want := plainly(banks, all, n, views)
			if diff := cmp.Diff(want, got); diff != "" || (v.Outcome == scanner.Blocked) != (len(want) > 0) {
				t.Fatalf("seed %d, item %d: %s (-want +got):\n%s\nmatches %v", seed, n, v.Outcome, diff, told(v.Matches))
			}
		}
	}
	if outcomes[scanner.Blocked] < 100 || outcomes[scanner.Clean] < 100 {
		t.Errorf("the banks decide one way only: %v", outcomes)
	}
}

// countedByBank reads the numbers of a metric, by bank.
func countedByBank(t *testing.T, c prometheus.Collector, name string) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return out
}

// TestMonitoredBanksAreCounted once a scan, and not once they are gone.
func TestMonitoredBanksAreCounted(t *testing.T) {
	const metric = "mediagate_monitor_matches_total"
	b := newBench(t, defaults, workertest.Pool(t, patient), bank.Bank{Name: "A", Ratio: 1, Monitor: true}, bank.Bank{Name: "B", Ratio: 1, Monitor: true},
		bank.Bank{Name: "OFF", Monitor: true}, bank.Bank{Name: "ON", Ratio: 1}, bank.Bank{Name: "MD5", Ratio: 1, Monitor: true})
	item := pictured(1, someHash(rand.New(rand.NewPCG(1, 1))))
	for _, to := range []string{"A", "A", "B", "OFF", "ON"} {
		b.add(t, to, listed(t, item.Hashes[0].PDQ))
	}
	b.add(t, "MD5", digestOf(bank.MD5, item))
	b.sync(t)
	for range 3 {
		b.judge(t, item)
	}
	if diff := cmp.Diff(map[string]float64{"A": 3, "B": 3}, countedByBank(t, b, metric)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := b.store.DeleteBank(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
	if diff := cmp.Diff(map[string]float64{"B": 3}, countedByBank(t, b, metric)); diff != "" {
		t.Errorf("without A (-want +got):\n%s", diff)
	}
}
