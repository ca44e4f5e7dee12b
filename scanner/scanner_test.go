package scanner_test

import (
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/homeserver"
	"mediagate/internal/workertest"
	"mediagate/media"
	"mediagate/pdq"
	"mediagate/scanner"
)

func TestMain(m *testing.M) { workertest.Main(m) }

// defaults are those of the variables; the test of the configuration says so.
var defaults = scanner.Config{
	MaxDistance: 31, MinQuality: 50, Downloads: 16, DownloadsPerOrigin: 4, Queue: 64, QueueWait: 2 * time.Second, CacheBytes: 64 << 20,
	MemoryBytes: 64 << 20, KnownAfter: 24 * time.Hour,
}

// patient lets pictures take long: a busy machine must not change what is found
// out about them.
func patient(c *media.Config) { c.Deadline, c.QueueWait = time.Minute, time.Minute }

func withLimits(distance, quality int) scanner.Config {
	c := defaults
	c.MaxDistance, c.MinQuality = distance, quality
	return c
}

// bench is a scanner with everything real behind it.
type bench struct {
	*scanner.Scanner
	pool  *media.Pool
	store *bank.Store
	live  *bank.Live
}

// newBench starts a bench with empty banks and no homeserver.
func newBench(t *testing.T, config scanner.Config, pool *media.Pool, banks ...bank.Bank) *bench {
	t.Helper()
	return newBenchAt(t, config, pool, nil, banks...)
}

// newBenchAt starts a bench that asks a homeserver.
func newBenchAt(t *testing.T, config scanner.Config, pool *media.Pool, home *homeserver.Client, banks ...bank.Bank) *bench {
	t.Helper()
	store, err := bank.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{pool: pool, store: store, live: bank.NewLive()}
	b.Scanner = scanner.New(config, pool, b.live, home, slog.New(slog.DiscardHandler))
	for _, k := range banks {
		if _, err := store.CreateBank(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	indexer := bank.NewIndexer(store, b.live, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := indexer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b.sync(t)
	return b
}

// sync waits until what was committed is matched.
func (b *bench) sync(t *testing.T) {
	t.Helper()
	epoch, err := b.store.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.live.Wait(ctx, epoch); err != nil {
		t.Fatal(err)
	}
}

// add banks a content and returns its number.
func (b *bench) add(t *testing.T, name string, signals ...bank.Signal) int64 {
	t.Helper()
	id, err := b.store.AddContent(t.Context(), bank.NewContent{Bank: name, Signals: signals})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// scan scans what must not fail to be scanned.
func (b *bench) scan(t *testing.T, content []byte) scanner.Verdict {
	t.Helper()
	v, err := b.Scan(t.Context(), scanner.V1, content)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func signalsOf(t *testing.T, pool *media.Pool, content []byte) media.Signals {
	t.Helper()
	s, err := pool.Signals(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listed is a hash as lists hold it: without a quality, not told to be a view.
func listed(t *testing.T, h pdq.Hash) bank.Signal {
	t.Helper()
	s, err := bank.ParseSignal(bank.PDQ, h.String())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// only is the signal of one type among those of a content.
func only(kind bank.SignalType, signals []bank.Signal) []bank.Signal {
	for _, s := range signals {
		if s.Type == kind {
			return []bank.Signal{s}
		}
	}
	return nil
}

// texts says what matters of matches: type, distance, views other than primary,
// and whether they block.
func texts(matches []scanner.Match) []string {
	var out []string
	for _, m := range matches {
		text := fmt.Sprintf("%s %d", m.Type, m.Distance)
		if m.Stored != media.Primary {
			text += " stored " + m.Stored.String()
		}
		if m.Looked != media.Primary {
			text += " looked " + m.Looked.String()
		}
		if m.Enforced {
			text += " blocks"
		}
		out = append(out, text)
	}
	return out
}

func TestOutcomes(t *testing.T) {
	pool := workertest.Pool(t, patient)
	var (
		picture = readFile(t, vectors, "formats/rgb.png")
		near    = readFile(t, vectors, "formats/q30.jpg")
		other   = readFile(t, vectors, "png/q0122.png")
		lying   = sideways(t, picture)
		indexed = readFile(t, vectors, "formats/static.gif")
		flat    = pngOf(t, gradient())
		flatToo = encoded(t, func(w io.Writer) error { return jpeg.Encode(w, gradient(), nil) })
		text    = []byte("hello, world")
		half    = picture[:len(picture)/2]

		on     = bank.Bank{Name: "A", Ratio: 1}
		barely = bank.Bank{Name: "A", Ratio: 1e-9}
		off    = bank.Bank{Name: "A"}
		strict = bank.Bank{Name: "A", Ratio: 1, MD5Enforce: true}
	)
	all := func(content []byte) []bank.Signal { return bank.SignalsOf(signalsOf(t, pool, content)) }
	video := func(content []byte) []bank.Signal {
		s := only(bank.MD5, all(content))[0]
		s.Type = bank.VideoMD5
		return []bank.Signal{s}
	}
	compatible := func(content []byte) []bank.Signal {
		for _, h := range signalsOf(t, pool, content).Hashes {
			if h.Variant == media.Compatible {
				return []bank.Signal{listed(t, h.PDQ)}
			}
		}
		t.Fatal("no hash of the palette indices")
		return nil
	}
	// views has two views of the picture, so many bits away.
	views := func(primary, upright int) []bank.Signal {
		rng, hash := splitmix(6), signalsOf(t, pool, picture).Hashes[0].PDQ
		signals := []bank.Signal{listed(t, flip(&rng, hash, primary)), listed(t, flip(&rng, hash, upright))}
		signals[1].Variant = media.Upright
		return signals
	}
	tests := map[string]struct {
		bank    bank.Bank
		banked  []bank.Signal
		until   int64 // DisableUntil, counted from this second; Enabled and DisabledForever as they are
		item    []byte
		outcome scanner.Outcome
		matches []string
	}{
		"another picture":               {on, all(picture), bank.Enabled, other, scanner.Clean, nil},
		"the same file":                 {on, all(picture), bank.Enabled, picture, scanner.Blocked, []string{"pdq 0 blocks", "sha256 0 blocks", "md5 0"}},
		"a near copy":                   {on, only(bank.PDQ, all(picture)), bank.Enabled, near, scanner.Blocked, []string{"pdq 4 blocks"}},
		"flat, same file":               {on, all(flat), bank.Enabled, flat, scanner.Blocked, []string{"sha256 0 blocks", "md5 0"}},
		"flat, other file":              {on, all(flat), bank.Enabled, flatToo, scanner.Clean, nil},
		"disabled for ever":             {on, only(bank.PDQ, all(picture)), bank.DisabledForever, picture, scanner.Clean, []string{"pdq 0"}},
		"disabled until tomorrow":       {on, only(bank.PDQ, all(picture)), 86400, picture, scanner.Clean, []string{"pdq 0"}},
		"disabled until yesterday":      {on, only(bank.PDQ, all(picture)), -86400, picture, scanner.Blocked, []string{"pdq 0 blocks"}},
		"digest disabled for ever":      {on, only(bank.SHA256, all(picture)), bank.DisabledForever, picture, scanner.Clean, []string{"sha256 0"}},
		"bank off":                      {off, all(picture), bank.Enabled, picture, scanner.Clean, []string{"md5 0", "pdq 0", "sha256 0"}},
		"bank of the smallest ratio":    {barely, only(bank.PDQ, all(picture)), bank.Enabled, picture, scanner.Blocked, []string{"pdq 0 blocks"}},
		"MD5 alone":                     {on, only(bank.MD5, all(picture)), bank.Enabled, picture, scanner.Clean, []string{"md5 0"}},
		"MD5 alone, enforced":           {strict, only(bank.MD5, all(picture)), bank.Enabled, picture, scanner.Blocked, []string{"md5 0 blocks"}},
		"video MD5 alone":               {on, video(text), bank.Enabled, text, scanner.Opaque, []string{"video_md5 0"}},
		"video MD5 alone, enforced":     {strict, video(text), bank.Enabled, text, scanner.Blocked, []string{"video_md5 0 blocks"}},
		"text":                          {on, all(picture), bank.Enabled, text, scanner.Opaque, nil},
		"text that is banked":           {on, all(text), bank.Enabled, text, scanner.Blocked, []string{"sha256 0 blocks", "md5 0"}},
		"text that is banked, bank off": {off, all(text), bank.Enabled, text, scanner.Opaque, []string{"md5 0", "sha256 0"}},
		"half a file":                   {on, all(picture), bank.Enabled, half, scanner.Unscannable, nil},
		"half a file that is banked":    {on, all(half), bank.Enabled, half, scanner.Blocked, []string{"sha256 0 blocks", "md5 0"}},
		"palette indices of a list":     {on, compatible(indexed), bank.Enabled, indexed, scanner.Blocked, []string{"pdq 0 looked compatible blocks"}},
		"lying copy of an upright one":  {on, only(bank.PDQ, all(picture)), bank.Enabled, lying, scanner.Blocked, []string{"pdq 2 looked upright blocks"}},
		"upright copy of a turned one":  {on, all(lying), bank.Enabled, picture, scanner.Blocked, []string{"pdq 2 stored upright blocks"}},
		"first view is the nearest":     {on, views(3, 20), bank.Enabled, picture, scanner.Blocked, []string{"pdq 3 blocks"}},
		"last view is the nearest":      {on, views(20, 3), bank.Enabled, picture, scanner.Blocked, []string{"pdq 3 stored upright blocks"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, defaults, pool, tt.bank)
			id := b.add(t, tt.bank.Name, tt.banked...)
			if until := tt.until; until != bank.Enabled {
				if until != bank.DisabledForever {
					until += time.Now().Unix()
				}
				if _, err := b.store.UpdateContent(t.Context(), tt.bank.Name, id, bank.ContentUpdate{DisableUntil: &until}); err != nil {
					t.Fatal(err)
				}
			}
			b.sync(t)
			v := b.scan(t, tt.item)
			if v.Outcome != tt.outcome || v.Truncated {
				t.Errorf("%s, truncated %v, want %s", v.Outcome, v.Truncated, tt.outcome)
			}
			if diff := cmp.Diff(tt.matches, texts(v.Matches)); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
			for _, m := range v.Matches {
				if m.Content != id || m.Bank.Name != "A" {
					t.Errorf("content %d of bank %s, want %d of A", m.Content, m.Bank.Name, id)
				}
				if m.Enabled != (tt.until == bank.Enabled || tt.until < 0) {
					t.Errorf("enabled: %v", m.Enabled)
				}
			}
			epoch, err := b.store.Epoch(t.Context())
			if err != nil || v.Epoch != epoch {
				t.Errorf("epoch %d, want %d, %v", v.Epoch, epoch, err)
			}
			if diff := cmp.Diff(signalsOf(t, pool, tt.item), v.Signals); diff != "" {
				t.Errorf("signals (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailureIsUnknown holds failures to an error with the zero verdict: nothing
// is known, and nothing may be taken for clean.
func TestFailureIsUnknown(t *testing.T) {
	picture := readFile(t, vectors, "formats/rgb.png")
	pool := workertest.Pool(t, patient)
	closed := workertest.Pool(t, patient)
	closed.Close()
	config := media.Config{Workers: 1, QueueWait: time.Second, TotalMemory: 1, TotalBytes: 1, MaxDecodeBytes: 1 << 30}
	none := media.NewPool([]string{"/nonexistent"}, config)
	t.Cleanup(none.Close)
	b := newBench(t, defaults, pool)
	tests := map[string]struct {
		pool *media.Pool
		live *bank.Live
		item []byte
		want error // nil: any
	}{
		"no index":                 {pool, bank.NewLive(), picture, bank.ErrNotReady},
		"no index, text":           {pool, bank.NewLive(), []byte("hello"), bank.ErrNotReady},
		"no index, nothing":        {pool, bank.NewLive(), nil, bank.ErrNotReady},
		"closed pool":              {closed, b.live, picture, nil},
		"decoder does not start":   {none, b.live, picture, nil},
		"closed pool and no index": {closed, bank.NewLive(), picture, bank.ErrNotReady},
	}
	for name, tt := range tests {
		v, err := scanner.New(defaults, tt.pool, tt.live, nil, slog.New(slog.DiscardHandler)).Scan(t.Context(), scanner.V1, tt.item)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if diff := cmp.Diff(scanner.Verdict{}, v); diff != "" {
			t.Errorf("%s: a verdict beside the error (-want +got):\n%s", name, diff)
		}
	}
	if o := (scanner.Verdict{}).Outcome; o != scanner.Unknown || o.String() != "unknown" {
		t.Errorf("the zero verdict is %s", o)
	}
}

// TestDistanceLimit banks hashes at the limit and one bit past it.
func TestDistanceLimit(t *testing.T) {
	pool := workertest.Pool(t, patient)
	picture := readFile(t, vectors, "formats/rgb.png")
	hash := signalsOf(t, pool, picture).Hashes[0].PDQ
	for _, most := range []int{0, 30, 31} {
		for past, want := range []scanner.Outcome{scanner.Blocked, scanner.Clean} {
			b := newBench(t, withLimits(most, 50), pool, bank.Bank{Name: "A", Ratio: 1})
			rng := splitmix(7)
			b.add(t, "A", listed(t, flip(&rng, hash, most+past)))
			b.sync(t)
			v := b.scan(t, picture)
			if v.Outcome != want || len(v.Matches) != 1-past {
				t.Errorf("limit %d, distance %d: %s with %d matches, want %s", most, most+past, v.Outcome, len(v.Matches), want)
			}
			if past == 0 && v.Matches[0].Distance != most {
				t.Errorf("distance %d, want %d", v.Matches[0].Distance, most)
			}
		}
	}
}

// TestQualityLimit scans a picture of quality 50 and one of 49 under the default
// limit, and the former under the next one.
func TestQualityLimit(t *testing.T) {
	pool := workertest.Pool(t, patient)
	tests := map[string]struct {
		contrast int
		quality  int
		least    int
		want     scanner.Outcome
	}{
		"at the limit":    {69, 50, 50, scanner.Blocked},
		"one below":       {68, 49, 50, scanner.Clean},
		"limit one above": {69, 50, 51, scanner.Clean},
		"no limit":        {20, 0, 0, scanner.Blocked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			picture := pngOf(t, blurred(tt.contrast))
			s := signalsOf(t, pool, picture)
			if s.Hashes[0].Quality != tt.quality {
				t.Fatalf("the picture has quality %d, want %d", s.Hashes[0].Quality, tt.quality)
			}
			b := newBench(t, withLimits(31, tt.least), pool, bank.Bank{Name: "A", Ratio: 1})
			b.add(t, "A", listed(t, s.Hashes[0].PDQ))
			b.sync(t)
			if v := b.scan(t, picture); v.Outcome != tt.want || (len(v.Matches) == 1) != (tt.want == scanner.Blocked) {
				t.Errorf("%s with %d matches, want %s", v.Outcome, len(v.Matches), tt.want)
			}
		})
	}
}

// TestManyMatches lets the only match that blocks be the farthest of all.
func TestManyMatches(t *testing.T) {
	pool := workertest.Pool(t, patient)
	picture := readFile(t, vectors, "formats/rgb.png")
	hash := signalsOf(t, pool, picture).Hashes[0].PDQ
	b := newBench(t, defaults, pool, bank.Bank{Name: "OFF"}, bank.Bank{Name: "ON", Ratio: 1})
	rng := splitmix(8)
	added := 0
	addUpTo := func(n int) {
		for ; added < n; added++ {
			b.add(t, "OFF", listed(t, flip(&rng, hash, added%31)))
		}
		b.sync(t)
	}
	addUpTo(scanner.MaxMatches - 1)
	blocking := b.add(t, "ON", listed(t, flip(&rng, hash, 31)))
	for _, n := range []int{scanner.MaxMatches - 1, scanner.MaxMatches, 150} {
		addUpTo(n)
		v := b.scan(t, picture)
		if v.Outcome != scanner.Blocked || v.Truncated != (n+1 > scanner.MaxMatches) || len(v.Matches) != scanner.MaxMatches {
			t.Fatalf("%d matches: %s, truncated %v, %d listed", n+1, v.Outcome, v.Truncated, len(v.Matches))
		}
		if m := v.Matches[0]; m.Content != blocking || !m.Enforced || m.Distance != 31 {
			t.Errorf("%d matches: the first is %+v", n+1, m)
		}
		for i, m := range v.Matches[1:] {
			if m.Enforced || i > 0 && m.Distance < v.Matches[i].Distance {
				t.Errorf("%d matches: match %d is out of order: %+v", n+1, i+1, m)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	with := func(change func(*scanner.Config)) scanner.Config {
		c := defaults
		change(&c)
		return c
	}
	tests := map[string]struct {
		config   scanner.Config
		problems []string // the ends of variables
	}{
		"defaults": {defaults, nil},
		"lowest":   {scanner.Config{Downloads: 1, DownloadsPerOrigin: 1, QueueWait: 1, CacheBytes: 1 << 20, MemoryBytes: 1 << 20}, nil},
		"highest": {with(func(c *scanner.Config) {
			c.MaxDistance, c.MinQuality, c.Downloads, c.DownloadsPerOrigin = 64, 100, 1024, 1024
		}), nil},
		"distance below":    {withLimits(-1, 50), []string{"MAX_DISTANCE"}},
		"distance above":    {withLimits(65, 50), []string{"MAX_DISTANCE"}},
		"quality below":     {withLimits(31, -1), []string{"MIN_QUALITY"}},
		"quality above":     {withLimits(31, 101), []string{"MIN_QUALITY"}},
		"no downloads":      {with(func(c *scanner.Config) { c.Downloads = 0 }), []string{"DOWNLOADS"}},
		"many downloads":    {with(func(c *scanner.Config) { c.Downloads = 1025 }), []string{"DOWNLOADS"}},
		"none of an origin": {with(func(c *scanner.Config) { c.DownloadsPerOrigin = 0 }), []string{"DOWNLOADS_PER_ORIGIN"}},
		"many of an origin": {with(func(c *scanner.Config) { c.DownloadsPerOrigin = 1025 }), []string{"DOWNLOADS_PER_ORIGIN"}},
		"queue below 0":     {with(func(c *scanner.Config) { c.Queue = -1 }), []string{"QUEUE"}},
		"no wait":           {with(func(c *scanner.Config) { c.QueueWait = 0 }), []string{"QUEUE_WAIT"}},
		"small cache":       {with(func(c *scanner.Config) { c.CacheBytes = 1<<20 - 1 }), []string{"CACHE_BYTES"}},
		"huge cache":        {with(func(c *scanner.Config) { c.CacheBytes = 1<<40 + 1 }), []string{"CACHE_BYTES"}},
		"small memory":      {with(func(c *scanner.Config) { c.MemoryBytes = 1<<20 - 1 }), []string{"MEMORY_BYTES"}},
		"huge memory":       {with(func(c *scanner.Config) { c.MemoryBytes = 1<<40 + 1 }), []string{"MEMORY_BYTES"}},
		"known before":      {with(func(c *scanner.Config) { c.KnownAfter = -1 }), []string{"KNOWN_AFTER"}},
		"nothing set":       {scanner.Config{MaxDistance: 65, MinQuality: 101}, []string{"MAX_DISTANCE", "MIN_QUALITY", "DOWNLOADS", "DOWNLOADS_PER_ORIGIN", "QUEUE_WAIT", "CACHE_BYTES", "MEMORY_BYTES"}},
	}
	for name, tt := range tests {
		err := tt.config.Validate()
		lines := 0
		if err != nil {
			lines = strings.Count(err.Error(), "\n") + 1
		}
		if lines != len(tt.problems) {
			t.Errorf("%s: %d problems, want %d: %v", name, lines, len(tt.problems), err)
		}
		for _, variable := range tt.problems {
			if err == nil || !strings.Contains(err.Error(), "MEDIAGATE_SCAN_"+variable+" ") {
				t.Errorf("%s: %s is not named: %v", name, variable, err)
			}
		}
	}
}
