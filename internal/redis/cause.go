package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// denials are the beginnings of answers to somebody who may not do what he asks for.
var denials = []string{"WRONGPASS", "NOAUTH", "NOPERM", "AUTH", "invalid password", "Client sent AUTH", "DENIED"}

// refusals are those of answers to writes if Redis takes none, and can be read.
var refusals = []string{"READONLY", "OOM", "MISCONF", "NOREPLICAS"}

// others are further answers that operators can do something about.
var others = []string{
	"LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "BUSY", "IDONTKNOW", "max number of clients reached", "DB index is out of range",
	"SELECT is not allowed in cluster mode", "invalid expire time", "unknown command", "WRONGTYPE",
}

// beginning returns the beginning of an answer that is one of some, or "".
func beginning(err error, some []string) string {
	for _, prefix := range some {
		if goredis.HasErrorPrefix(err, prefix) {
			return prefix
		}
	}
	return ""
}

// denied tells whether Redis does not let us do what we ask for. It will not the next
// time, either.
func denied(err error) bool { return beginning(err, denials) != "" }

// refused tells answers to writes that are no failures from those that are.
func refused(err error) error {
	if beginning(err, refusals) != "" {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// cause is what can be told of an error: why it happened, in words of our own, the
// same each time. Answers are not repeated, since they may repeat what was sent, the
// password for one: who does not know the command that has it says so.
func cause(err error) error {
	for _, known := range []error{errRejected, errHandshake, errNoMaster, context.Canceled, gobreaker.ErrOpenState, gobreaker.ErrTooManyRequests} {
		if errors.Is(err, known) {
			return known
		}
	}
	var answer goredis.Error
	if errors.As(err, &answer) {
		for _, some := range [][]string{denials, refusals, others} {
			if found := beginning(err, some); found != "" {
				return errors.New("redis answers " + found)
			}
		}
		return errors.New("redis answers with an error")
	}
	var (
		connecting unconnected
		lookup     *net.DNSError
		transport  *net.OpError
	)
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return errors.New("connect: no such host")
	case lookup != nil:
		return errors.New("connect: the host cannot be looked up")
	case errors.As(err, &connecting):
		if errors.As(err, &transport) && transport.Op != "dial" {
			return fmt.Errorf("connect: %w", transport.Err)
		}
		return fmt.Errorf("connect: %w", connecting.error)
	case isLate(err), errors.Is(err, goredis.ErrPoolTimeout):
		return errLate
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, goredis.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the connection was closed")
	case errors.As(err, &transport): // which has our port, another one each time
		return transport.Err
	}
	return errors.New("what answers is not Redis, or of another version")
}
