package bank_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mediagate/bank"
	"mediagate/internal/secret"
)

// sameSecret lets cmp look into secrets, which it must not print.
var sameSecret = cmp.Comparer(func(a, b secret.String) bool { return a.Equal(b.Reveal()) })

func createExchange(t testing.TB, s *bank.Store, name string) bank.Exchange {
	t.Helper()
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: name, API: "api", Config: "{}", Enabled: true}); err != nil {
		t.Fatal(err)
	}
	return exchangeOf(t, s, name)
}

func exchangeOf(t testing.TB, s *bank.Store, name string) bank.Exchange {
	t.Helper()
	x, err := s.Exchange(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func epochOf(t testing.TB, s *bank.Store) int64 {
	t.Helper()
	epoch, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

// fresh is an index of what the store holds now.
func fresh(t testing.TB, s *bank.Store) *bank.Index {
	t.Helper()
	x, live := newIndexer(s)
	if err := x.Refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return load(t, live)
}

func TestExchanges(t *testing.T) { eachEngine(t, testExchanges) }

func testExchanges(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	createBank(t, s, "TAKEN")
	for name, tt := range map[string]struct {
		exchange string
		want     error
	}{
		"lower case":     {"x", bank.ErrBankName},
		"empty":          {"", bank.ErrBankName},
		"newline":        {"X\n", bank.ErrBankName},
		"256 characters": {strings.Repeat("X", 256), bank.ErrBankName},
		"a bank's name":  {"TAKEN", bank.ErrBankExists},
	} {
		if err := s.CreateExchange(ctx, bank.Exchange{Name: tt.exchange, API: "api"}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if _, err := s.Exchange(ctx, tt.exchange); !errors.Is(err, bank.ErrExchangeNotFound) {
			t.Errorf("%s: created all the same: %v", name, err)
		}
	}
	if got, err := s.Exchanges(ctx); err != nil || len(got) != 0 {
		t.Errorf("%v, %v, want no exchanges", got, err)
	}
	given := bank.Exchange{
		Name: "Z", API: "some_api", Config: `{"admin_api_url":"http://h"}`, Credential: secret.New("mine"), Enabled: true,
		// A new exchange has fetched nothing, whatever is given.
		Completed: true, Checkpoint: "9", Status: bank.FetchStatus{Finished: time.Now(), Succeeded: true},
	}
	if err := s.CreateExchange(ctx, given); err != nil {
		t.Fatal(err)
	}
	createExchange(t, s, "A")
	want := given
	want.Completed, want.Checkpoint, want.Status = false, "", bank.FetchStatus{}
	want.Bank = bank.Bank{ID: exchangeOf(t, s, "Z").Bank.ID, Name: "Z", Ratio: 1}
	if diff := cmp.Diff(want, exchangeOf(t, s, "Z"), sameSecret); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b, err := s.Bank(ctx, "Z"); err != nil || b != want.Bank {
		t.Errorf("its bank: %+v, %v", b, err)
	}
	if err := s.CreateExchange(ctx, given); !errors.Is(err, bank.ErrBankExists) {
		t.Errorf("a second Z: %v", err)
	}
	list, err := s.Exchanges(ctx)
	if err != nil || len(list) != 2 || list[0].Name != "Z" || list[1].Name != "A" {
		t.Errorf("%+v, %v, want Z and A", list, err)
	}
	for _, enabled := range []bool{false, false, true} {
		if err := s.EnableExchange(ctx, "Z", enabled); err != nil || exchangeOf(t, s, "Z").Enabled != enabled {
			t.Errorf("enabled %v: %+v, %v", enabled, exchangeOf(t, s, "Z"), err)
		}
	}
	if err := s.EnableExchange(ctx, "NONE", true); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Error(err)
	}
	for range 2 {
		if err := s.DeleteExchange(ctx, "Z"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Bank(ctx, "Z"); !errors.Is(err, bank.ErrBankNotFound) {
		t.Errorf("the bank stays: %v", err)
	}
	if err := s.DeleteExchange(ctx, "TAKEN"); err != nil {
		t.Error(err)
	}
	if _, err := s.Bank(ctx, "TAKEN"); err != nil {
		t.Errorf("a bank without an exchange is deleted as one: %v", err)
	}
}

// TestDeletingTakesAllAway deletes an exchange, or its bank, that has everything.
func TestDeletingTakesAllAway(t *testing.T) { eachEngine(t, testDeletingTakesAllAway) }

func testDeletingTakesAllAway(t *testing.T, e engine) {
	for name, remove := range map[string]func(*bank.Store) error{
		"the exchange": func(s *bank.Store) error { return s.DeleteExchange(t.Context(), "X") },
		"its bank":     func(s *bank.Store) error { return s.DeleteBank(t.Context(), "X") },
		"renamed bank": func(s *bank.Store) error {
			name := "RENAMED"
			if _, err := s.UpdateBank(t.Context(), "X", bank.Settings{Name: &name}); err != nil {
				return err
			}
			return s.DeleteExchange(t.Context(), "X")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := e.newStore(t)
			createBank(t, s, "OTHER")
			addContent(t, s, bank.NewContent{Bank: "OTHER", Signals: pictureSignals(1)})
			before := createExchange(t, s, "X")
			x, live := newIndexer(s)
			commit(t, s, "X", bank.Fetched{
				To: "1", Put: []bank.SourceContent{banked("a", 1), banked("b", 2)}, Pending: []bank.Pending{pending("c", "hash")},
			})
			if err := x.Refresh(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := remove(s); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Exchange(t.Context(), "X"); !errors.Is(err, bank.ErrExchangeNotFound) {
				t.Errorf("the exchange stays: %v", err)
			}
			if err := x.Refresh(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			for how, ix := range map[string]*bank.Index{"followed": load(t, live), "fresh": fresh(t, s)} {
				if got := texts(ix.SHA256(digest(1))); len(got) != 1 || ix.Len(bank.SHA256) != 1 {
					t.Errorf("%s: %v, %d contents, want that of the other bank", how, got, ix.Len(bank.SHA256))
				}
				if got := ix.Awaiting(); len(got) != 0 {
					t.Errorf("%s: still awaiting %v", how, got)
				}
			}
			checkCounts(t, s, "X", 0, 0)
			err := s.Commit(t.Context(), "X", bank.Fetched{From: "1", To: "2"})
			if !errors.Is(err, bank.ErrExchangeNotFound) {
				t.Errorf("commit to what is deleted: %v", err)
			}
			err = s.Resolve(t.Context(), "X", pending("c", "hash"), bank.Fetched{})
			if !errors.Is(err, bank.ErrExchangeNotFound) {
				t.Errorf("resolve in what is deleted: %v", err)
			}
			again := createExchange(t, s, "X")
			if again.Bank.ID <= before.Bank.ID || again.Checkpoint != "" || again.Completed {
				t.Errorf("made anew: %+v", again)
			}
			checkCounts(t, s, "X", 0, 0)
		})
	}
}

// TestSuccessorOfTheSameNameIsNotWrittenTo commits what was fetched for an
// exchange that was deleted and made anew meanwhile.
func TestSuccessorOfTheSameNameIsNotWrittenTo(t *testing.T) {
	eachEngine(t, testSuccessorOfTheSameNameIsNotWrittenTo)
}

func testSuccessorOfTheSameNameIsNotWrittenTo(t *testing.T, e engine) {
	s := e.newStore(t)
	old := createExchange(t, s, "X")
	if err := s.DeleteExchange(t.Context(), "X"); err != nil {
		t.Fatal(err)
	}
	now := createExchange(t, s, "X")
	waiting := pending("b", "hash")
	commit(t, s, "X", bank.Fetched{Bank: now.Bank.ID, Pending: []bank.Pending{waiting}})
	late := bank.Fetched{Bank: old.Bank.ID, To: "5", Put: []bank.SourceContent{banked("a", 1)}}
	if err := s.Commit(t.Context(), "X", late); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Errorf("commit: %v", err)
	}
	if err := s.Resolve(t.Context(), "X", waiting, late); !errors.Is(err, bank.ErrExchangeNotFound) {
		t.Errorf("resolve: %v", err)
	}
	checkCounts(t, s, "X", 0, 1)
	if got := exchangeOf(t, s, "X").Checkpoint; got != "" {
		t.Errorf("checkpoint %q", got)
	}
}

func TestExchangeWorksOnAfterItsBankIsRenamed(t *testing.T) {
	eachEngine(t, testExchangeWorksOnAfterItsBankIsRenamed)
}

func testExchangeWorksOnAfterItsBankIsRenamed(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	commit(t, s, "X", bank.Fetched{To: "1", Put: []bank.SourceContent{banked("a", 1)}})
	name := "RENAMED"
	if _, err := s.UpdateBank(t.Context(), "X", bank.Settings{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if x := exchangeOf(t, s, "X"); x.Bank.Name != name || x.Checkpoint != "1" {
		t.Errorf("%+v", x)
	}
	commit(t, s, "X", bank.Fetched{From: "1", To: "2", Put: []bank.SourceContent{banked("b", 2)}, Removed: []string{"a"}})
	if got := fresh(t, s).SHA256(digest(2)); len(got) != 1 || got[0].Bank.Name != name {
		t.Errorf("%v", got)
	}
	if got := fresh(t, s).SHA256(digest(1)); len(got) != 0 {
		t.Errorf("removed and still there: %v", got)
	}
	// The name that the bank had is free for a bank, and not for an exchange.
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "X", API: "api"}); !errors.Is(err, bank.ErrBankExists) {
		t.Errorf("a second exchange X: %v", err)
	}
	if banks, err := s.Banks(t.Context()); err != nil || len(banks) != 1 {
		t.Errorf("banks %v, %v: the refused exchange left one", banks, err)
	}
	createBank(t, s, "X")
	if err := s.DeleteExchange(t.Context(), "X"); err != nil {
		t.Fatal(err)
	}
	if banks, err := s.Banks(t.Context()); err != nil || len(banks) != 1 || banks[0].Name != "X" {
		t.Errorf("banks %v, %v, want the one that is not the exchange's", banks, err)
	}
}

func TestAwaitingIsInTheIndex(t *testing.T) { eachEngine(t, testAwaitingIsInTheIndex) }

func testAwaitingIsInTheIndex(t *testing.T, e engine) {
	s := e.newStore(t)
	x, live := newIndexer(s)
	off, on := 0.0, 0.5
	enable := func(name string, enabled bool) func() error {
		return func() error { return s.EnableExchange(t.Context(), name, enabled) }
	}
	ratio := func(name string, r *float64) func() error {
		return func() error {
			_, err := s.UpdateBank(t.Context(), name, bank.Settings{Ratio: r})
			return err
		}
	}
	create := func(name string, enabled bool) func() error {
		return func() error {
			return s.CreateExchange(t.Context(), bank.Exchange{Name: name, API: "api", Enabled: enabled})
		}
	}
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"nothing", func() error { return nil }, nil},
		{"a bank", func() error { createBank(t, s, "A"); return nil }, nil},
		{"created", create("Y", true), []string{"Y"}},
		{"another", create("X", true), []string{"X", "Y"}},
		{"created disabled", create("Z", false), []string{"X", "Y"}},
		{"disabled", enable("X", false), []string{"Y"}},
		{"enabled", enable("X", true), []string{"X", "Y"}},
		{"bank off", ratio("X", &off), []string{"Y"}},
		{"bank on", ratio("X", &on), []string{"X", "Y"}},
		{"fetched a part", func() error { return s.Commit(t.Context(), "X", bank.Fetched{To: "1"}) }, []string{"X", "Y"}},
		{"completed", func() error { return s.Commit(t.Context(), "X", bank.Fetched{From: "1", To: "1", Completed: true}) }, []string{"Y"}},
		{"more after that", func() error { return s.Commit(t.Context(), "X", bank.Fetched{From: "1", To: "2"}) }, []string{"Y"}},
		{"deleted", func() error { return s.DeleteExchange(t.Context(), "Y") }, nil},
		{"enabled for the first time", enable("Z", true), []string{"Z"}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, merge := range []bool{false, true} {
			if err := x.Refresh(t.Context(), merge); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.want, load(t, live).Awaiting()); diff != "" {
				t.Errorf("%s, merged %v (-want +got):\n%s", step.name, merge, diff)
			}
		}
		if diff := cmp.Diff(step.want, fresh(t, s).Awaiting()); diff != "" {
			t.Errorf("%s, from nothing (-want +got):\n%s", step.name, diff)
		}
	}
	if !exchangeOf(t, s, "X").Completed {
		t.Error("a later commit took back that it was completed")
	}
}

func TestCredentials(t *testing.T) { eachEngine(t, testCredentials) }

func testCredentials(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	check := func(api, want string) {
		t.Helper()
		if got, err := s.Credential(ctx, api); err != nil || got.Reveal() != want {
			t.Errorf("credential of %s: %q, %v, want %q", api, got.Reveal(), err, want)
		}
	}
	check("a", "")
	for _, value := range []string{"one", "two", "", "", "three"} {
		if err := s.SetCredential(ctx, "a", secret.New(value)); err != nil {
			t.Error(err)
		}
		check("a", value)
		check("b", "")
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) { eachEngine(t, testCredentialsAreNotPrinted) }

func testCredentialsAreNotPrinted(t *testing.T, e engine) {
	const canary = "s3cret-canary"
	s := e.newStore(t)
	if err := s.CreateExchange(t.Context(), bank.Exchange{Name: "X", API: "api", Credential: secret.New(canary)}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetCredential(t.Context(), "api", secret.New(canary)); err != nil {
		t.Fatal(err)
	}
	x := exchangeOf(t, s, "X")
	given, err := s.Credential(t.Context(), "api")
	if err != nil {
		t.Fatal(err)
	}
	if x.Credential.Reveal() != canary || given.Reveal() != canary {
		t.Fatal("the credential is lost")
	}
	raw, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "exchange", x, "given", given)
	refused := s.CreateExchange(t.Context(), x)
	out := fmt.Sprintf("%v %+v %#v %v %+v %#v %v", x, x, x, &x, given, given, refused) + string(raw) + log.String()
	if strings.Contains(out, canary) {
		t.Errorf("printed: %s", out)
	}
}

// TestExchangesSurviveAReopening closes the store after everything was set.
func TestExchangesSurviveAReopening(t *testing.T) { eachEngine(t, testExchangesSurviveAReopening) }

func testExchangesSurviveAReopening(t *testing.T, e engine) {
	location := e.location(t)
	s, err := bank.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	given := bank.Exchange{Name: "X", API: "some_api", Config: `{"k":"v"}`, Credential: secret.New("own"), Enabled: true}
	if err := s.CreateExchange(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	createExchange(t, s, "NEW")
	waiting := []bank.Pending{
		{Key: "b", Task: "hash", Since: time.UnixMilli(1_000), Due: time.UnixMilli(2_000), Attempts: 3, Problem: "no answer"},
		{Key: "c", Task: "verify", Since: time.UnixMilli(4_000), Due: time.UnixMilli(3_000)},
	}
	commit(t, s, "X", bank.Fetched{To: "at 1", Put: []bank.SourceContent{banked("a", 1)}, Pending: waiting, Completed: true})
	status := bank.FetchStatus{
		Started: time.Unix(10, 0), Finished: time.Unix(9, 0), Succeeded: true, UpToDate: true, Problem: "it was",
	}
	if err := s.SetFetchStatus(t.Context(), bank.Lease{}, "X", status); err != nil {
		t.Fatal(err)
	}
	if err := s.SetCredential(t.Context(), "some_api", secret.New("given")); err != nil {
		t.Fatal(err)
	}
	if err := s.EnableExchange(t.Context(), "NEW", false); err != nil {
		t.Fatal(err)
	}
	want := given
	want.Bank, want.Completed, want.Checkpoint, want.Status = exchangeOf(t, s, "X").Bank, true, "at 1", status
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, location)
	if diff := cmp.Diff(want, exchangeOf(t, s, "X"), sameSecret); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if x := exchangeOf(t, s, "NEW"); x.Enabled || x.Completed || x.Status != (bank.FetchStatus{}) {
		t.Errorf("%+v", x)
	}
	if got, err := s.Credential(t.Context(), "some_api"); err != nil || got.Reveal() != "given" {
		t.Errorf("credential %q, %v", got.Reveal(), err)
	}
	list, err := s.Pending(t.Context(), "X", time.Now(), 10)
	if diff := cmp.Diff([]bank.Pending{waiting[1], waiting[0]}, list); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	sources, count, oldest, err := s.CountSources(t.Context(), "X")
	if err != nil || sources != 1 || count != 2 || !oldest.Equal(time.UnixMilli(1_000)) {
		t.Errorf("%d sources, %d pending, since %v, %v", sources, count, oldest, err)
	}
	if got := fresh(t, s).SHA256(digest(1)); len(got) != 1 || got[0].Bank.Name != "X" {
		t.Errorf("%v", got)
	}
}

func TestFetchStatus(t *testing.T) { eachEngine(t, testFetchStatus) }

func testFetchStatus(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	for name, want := range map[string]bank.FetchStatus{
		"running for the first time": {Started: time.Unix(5, 0)},
		"succeeded":                  {Finished: time.Unix(6, 0), Succeeded: true, UpToDate: true},
		"failed":                     {Finished: time.Unix(7, 0), Problem: "the homeserver answered 401"},
		"running after a failure":    {Started: time.Unix(8, 0), Finished: time.Unix(7, 0), Problem: "p"},
		"never":                      {},
	} {
		if err := s.SetFetchStatus(t.Context(), bank.Lease{}, "X", want); err != nil {
			t.Error(err)
		}
		if got := exchangeOf(t, s, "X").Status; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if err := s.SetFetchStatus(t.Context(), bank.Lease{}, "NONE", bank.FetchStatus{}); err != nil {
		t.Errorf("of an exchange that is gone: %v", err)
	}
}
