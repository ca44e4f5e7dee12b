package bank_test

import (
	"errors"
	"testing"
	"time"

	"mediagate/bank"
)

func TestLeases(t *testing.T) { eachEngine(t, testLeases) }

func testLeases(t *testing.T, e engine) {
	s := e.newStore(t)
	a, err := s.Acquire(t.Context(), "x", "a", time.Minute)
	if err != nil || a != (bank.Lease{Name: "x", Holder: "a", Fence: 1}) {
		t.Fatal(a, err)
	}
	_, err = s.Acquire(t.Context(), "x", "b", time.Minute)
	t.Log(err)
	if !errors.Is(err, bank.ErrLeaseHeld) {
		t.Fatal(err)
	}
	for _, q := range []string{"SELECT expires FROM lease", "SELECT fence FROM lease"} {
		v, err := s.Query(t.Context(), q)
		t.Log(v, err, time.Now().UnixMilli())
	}
	if err := s.Renew(t.Context(), a, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	b, err := s.Acquire(t.Context(), "x", "b", time.Minute)
	if err != nil || b.Fence != 2 {
		t.Fatal(b, err)
	}
	if err := s.Renew(t.Context(), a, time.Minute); !errors.Is(err, bank.ErrLeaseLost) {
		t.Fatal(err)
	}
}
