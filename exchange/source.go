package exchange

import (
	"context"
	"fmt"
	"time"
)

// source is where an exchange fetches from, while this process has its lease.
type source interface {
	// fetch brings the bank to what the source has, and tells whether there was
	// anything new. Nobody calls it twice at a time.
	fetch(ctx context.Context) (changed bool, err error)
	// beside does what goes on beside that, until the context ends.
	beside(ctx context.Context)
	// attemptDue works once on each item that is due at a time.
	attemptDue(ctx context.Context, at time.Time) error
	// end is called when nothing else of it runs, or will.
	end()
}

// newSource returns that of the runner's exchange.
func newSource(r *runner) source {
	create := map[string]func(*runner) (source, error){
		SynapseQuarantined: newQuarantine, MatrixPolicyList: newPolicyList,
	}[r.exchange.API]
	if create == nil {
		return noSource{fmt.Errorf("this program knows no exchange API %q", r.exchange.API)}
	}
	s, err := create(r)
	if err != nil {
		return noSource{err}
	}
	return s
}

// noSource is one that cannot be fetched from.
type noSource struct{ problem error }

func (n noSource) fetch(context.Context) (bool, error)         { return false, n.problem }
func (noSource) end()                                          {}
func (noSource) beside(context.Context)                        {}
func (n noSource) attemptDue(context.Context, time.Time) error { return n.problem }
