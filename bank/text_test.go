package bank_test

import (
	"errors"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/internal/secret"
)

// TestTextsThatCannotBeKept gives each method what PostgreSQL refuses and SQLite
// would take.
func TestTextsThatCannotBeKept(t *testing.T) { eachEngine(t, testTextsThatCannotBeKept) }

func testTextsThatCannotBeKept(t *testing.T, e engine) {
	s := e.newStore(t)
	ctx := t.Context()
	createBank(t, s, "A")
	createExchange(t, s, "X")
	id := addContent(t, s, bank.NewContent{Bank: "A", Signals: pictureSignals(1), Note: "\U0001F9FF '\"\\x00"})
	commit(t, s, "X", bank.Fetched{To: "1", Pending: []bank.Pending{pending("p", "hash")}})
	epoch := epochOf(t, s)
	for name, bad := range map[string]string{"zero": "a\x00b", "not UTF-8": "a\xffb", "surrogate": "\xed\xa0\x80", "broken off": "\xf0\x9f\xa7"} {
		commitOf := func(f bank.Fetched) error { return s.Commit(ctx, "X", f) }
		for what, err := range map[string]error{
			"note":        errorOf(s.AddContent(ctx, bank.NewContent{Bank: "A", Signals: pictureSignals(1), Note: bad})),
			"metadata":    errorOf(s.AddContent(ctx, bank.NewContent{Bank: "A", Signals: pictureSignals(1), Metadata: bad})),
			"new note":    errorOf(s.UpdateContent(ctx, "A", id, bank.ContentUpdate{Note: &bad})),
			"api":         s.CreateExchange(ctx, bank.Exchange{Name: "Y", API: bad}),
			"config":      s.CreateExchange(ctx, bank.Exchange{Name: "Y", Config: bad}),
			"own token":   s.CreateExchange(ctx, bank.Exchange{Name: "Y", Credential: secret.New(bad)}),
			"token":       s.SetCredential(ctx, "api", secret.New(bad)),
			"token's api": s.SetCredential(ctx, bad, secret.New("x")),
			"checkpoint":  commitOf(bank.Fetched{From: "1", To: bad}),
			"recheck":     commitOf(bank.Fetched{From: "1", To: "1", Recheck: bad}),
			"key":         commitOf(bank.Fetched{From: "1", To: "1", Put: []bank.SourceContent{banked(bad, 1)}}),
			"removed key": commitOf(bank.Fetched{From: "1", To: "1", Removed: []string{bad}}),
			"pending key": commitOf(bank.Fetched{From: "1", To: "1", Pending: []bank.Pending{pending(bad, "hash")}}),
			"task":        commitOf(bank.Fetched{From: "1", To: "1", Pending: []bank.Pending{pending("q", bad)}}),
			"resolved":    s.Resolve(ctx, "X", pending(bad, "hash"), bank.Fetched{}),
			"outcome":     s.Resolve(ctx, "X", pending("p", "hash"), bank.Fetched{Put: []bank.SourceContent{banked(bad, 1)}}),
		} {
			if !errors.Is(err, bank.ErrText) {
				t.Errorf("%s in %s: %v, want %v", name, what, err, bank.ErrText)
			}
		}
		for what, tt := range map[string]struct{ err, want error }{
			"bank":           {errorOf(s.Bank(ctx, bad)), bank.ErrBankNotFound},
			"new bank":       {errorOf(s.CreateBank(ctx, bank.Bank{Name: bad})), bank.ErrBankName},
			"bank's name":    {errorOf(s.UpdateBank(ctx, "A", bank.Settings{Name: &bad})), bank.ErrBankName},
			"changed bank":   {errorOf(s.UpdateBank(ctx, bad, bank.Settings{})), bank.ErrBankNotFound},
			"deleted bank":   {s.DeleteBank(ctx, bad), nil},
			"content's bank": {errorOf(s.Content(ctx, bad, id)), bank.ErrBankNotFound},
			"bank of a new":  {errorOf(s.AddContent(ctx, bank.NewContent{Bank: bad, Signals: pictureSignals(1)})), bank.ErrBankNotFound},
			"exchange":       {errorOf(s.Exchange(ctx, bad)), bank.ErrExchangeNotFound},
			"new exchange":   {s.CreateExchange(ctx, bank.Exchange{Name: bad}), bank.ErrBankName},
			"turned on":      {s.EnableExchange(ctx, bad, true), bank.ErrExchangeNotFound},
			"deleted":        {s.DeleteExchange(ctx, bad), nil},
			"status of":      {s.SetFetchStatus(ctx, bank.Lease{}, bad, bank.FetchStatus{}), nil},
			"commit to":      {s.Commit(ctx, bad, bank.Fetched{}), bank.ErrExchangeNotFound},
		} {
			if !errors.Is(tt.err, tt.want) {
				t.Errorf("%s as %s: %v, want %v", name, what, tt.err, tt.want)
			}
		}
		if got, err := s.Credential(ctx, bad); err != nil || !got.Empty() {
			t.Errorf("%s: credential %v", name, err)
		}
		if got, err := s.Sources(ctx, "X", []string{bad}); err != nil || got[bad] || len(got) != 1 {
			t.Errorf("%s: sources %v, %v", name, got, err)
		}
	}
	if got := epochOf(t, s); got != epoch {
		t.Errorf("epoch %d, was %d: something was committed", got, epoch)
	}
	if c, err := s.Content(ctx, "A", id); err != nil || c.Note != "\U0001F9FF '\"\\x00" {
		t.Errorf("note %q, %v", c.Note, err)
	}
	if got := exchangeOf(t, s, "X").Checkpoint; got != "1" {
		t.Errorf("checkpoint %q", got)
	}
}

// errorOf is the error of a call that also returns something.
func errorOf[T any](_ T, err error) error { return err }

// TestProblemsAreKeptReadable: a remote that answers with rubbish must not keep the
// exchange from saying so.
func TestProblemsAreKeptReadable(t *testing.T) { eachEngine(t, testProblemsAreKeptReadable) }

func testProblemsAreKeptReadable(t *testing.T, e engine) {
	s := e.newStore(t)
	createExchange(t, s, "X")
	const bad, want = "it said \x00 and \xff\xfe", "it said \uFFFD and \uFFFD"
	if err := s.SetFetchStatus(t.Context(), bank.Lease{}, "X", bank.FetchStatus{Finished: time.Unix(1, 0), Problem: bad}); err != nil {
		t.Fatal(err)
	}
	if got := exchangeOf(t, s, "X").Status.Problem; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p := pending("a", "hash")
	p.Problem = bad
	commit(t, s, "X", bank.Fetched{Pending: []bank.Pending{p}})
	if list, err := s.Pending(t.Context(), "X", time.Now(), 1); err != nil || len(list) != 1 || list[0].Problem != want {
		t.Errorf("%+v, %v, want %q", list, err, want)
	}
}
