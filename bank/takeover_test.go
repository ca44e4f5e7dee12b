package bank_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"mediagate/bank"
)

// takeOver is what a process does when it starts.
func takeOver(t *testing.T, s *bank.Store) (leave func()) {
	t.Helper()
	end, err := s.TakeOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// TestLeasesOfTheDeadAreTakenOver, and no others.
func TestLeasesOfTheDeadAreTakenOver(t *testing.T) { eachEngine(t, testLeasesOfTheDeadAreTakenOver) }

func testLeasesOfTheDeadAreTakenOver(t *testing.T, e engine) {
	location := e.location(t)
	first, second, third := openStore(t, location), openStore(t, location), openStore(t, location)
	die := takeOver(t, first)
	defer die()
	if _, err := first.Acquire(t.Context(), "x", "first", long); err != nil {
		t.Fatal(err)
	}
	held := func(s *bank.Store, when string) {
		t.Helper()
		if _, err := s.Acquire(t.Context(), "x", "other", long); !errors.Is(err, bank.ErrLeaseHeld) {
			t.Errorf("%s: %v", when, err)
		}
	}
	leave := takeOver(t, second)
	defer leave()
	held(second, "while its holder lives")
	die()
	held(second, "nobody has looked since")
	defer takeOver(t, third)()
	held(third, "while somebody lives who might be the holder")
	leave()
	again := openStore(t, location)
	defer takeOver(t, again)()
	held(again, "the third one lives")
}

// TestLastOneTakesOver when all others have died.
func TestLastOneTakesOver(t *testing.T) {
	location := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	dead, next := openStore(t, location), openStore(t, location)
	die := takeOver(t, dead)
	l, err := dead.Acquire(t.Context(), "x", "dead", long)
	if err != nil {
		t.Fatal(err)
	}
	die()
	defer takeOver(t, next)()
	got, err := next.Acquire(t.Context(), "x", "next", long)
	if err != nil || got.Fence <= l.Fence {
		t.Errorf("%+v after %+v, %v", got, l, err)
	}
	if err := dead.Renew(t.Context(), l, long); !errors.Is(err, bank.ErrLeaseLost) {
		t.Errorf("renewed by the dead: %v", err)
	}
}

// TestNobodyAliveIsTakenForDead, however many start at once.
func TestNobodyAliveIsTakenForDead(t *testing.T) {
	location := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	const processes = 6
	for round := range 20 {
		stores := make([]*bank.Store, processes)
		for i := range stores {
			stores[i] = openStore(t, location)
		}
		var all sync.WaitGroup
		for i, s := range stores {
			all.Go(func() {
				leave, err := s.TakeOver(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				name := fmt.Sprint(round, "/", i)
				l, err := s.Acquire(t.Context(), name, name, long)
				if err != nil {
					t.Error(err)
				}
				defer func() {
					if err := leave(); err != nil {
						t.Error(err)
					}
				}()
				for range 3 {
					if err := s.Renew(t.Context(), l, long); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				}
			})
		}
		all.Wait()
	}
}
