package homeserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/sony/gobreaker/v2"
	"maunium.net/go/mautrix"
)

// What a request can end in, for errors.Is. A [StatusError] is one of the first
// four as well.
var (
	// ErrNotFound: the homeserver has no such media, or does not say so.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: the credential is missing or not valid.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden: the credential is valid, and not enough.
	ErrForbidden = errors.New("forbidden")
	// ErrUpstream: the homeserver answered, with nothing to go on.
	ErrUpstream = errors.New("the homeserver's answer is of no use")
	// ErrUnreachable: there was no answer in time.
	ErrUnreachable = errors.New("the homeserver cannot be reached")
	// ErrTooLong: the answer is longer than what is read of it. It is an ErrUpstream.
	ErrTooLong = fmt.Errorf("%w: it is too long", ErrUpstream)
	// ErrContentOnly: the homeserver has told the content of an event, and neither its
	// sender nor its id. It is an ErrUpstream.
	ErrContentOnly = fmt.Errorf("%w: it is only the content of an event", ErrUpstream)
	// ErrBroken: the answer broke off, or came too slowly.
	ErrBroken = errors.New("the answer broke off")
	// ErrContentType: an answer with no Content-Type, or with several.
	ErrContentType = errors.New("an answer must have one Content-Type")
	// ErrNotModified: the media is what the caller's ETag names.
	ErrNotModified = errors.New("not modified")
	// ErrBeyondStream: the homeserver's stream has not come so far: it is another
	// one than before, or an older copy.
	ErrBeyondStream = errors.New("the position lies beyond the stream's end")
)

// StatusError is an answer with a status that is an error.
type StatusError struct {
	Status int
	// Code is Matrix's errcode, empty if there was none.
	Code string
	// RetryAfter is how long the homeserver wants to be left alone.
	RetryAfter time.Duration
}

// Error implements error. A remote's words are not repeated.
func (e *StatusError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the homeserver answered %d", e.Status)
	}
	return fmt.Sprintf("the homeserver answered %d %s", e.Status, e.Code)
}

// Is sorts statuses into the errors above. A homeserver that does not know a
// route at all says so with 400 or 404. A refusal without a code is not the
// homeserver's but that of a proxy before it, which knows nothing about the
// credential: it must not look as if the homeserver would refuse the caller too.
func (e *StatusError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound || e.Status == http.StatusBadRequest && e.Code == "M_UNRECOGNIZED"
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized && e.Code != ""
	case ErrForbidden:
		return e.Status == http.StatusForbidden && e.Code != ""
	case ErrUpstream:
		return true
	default:
		return false
	}
}

// errorCode is what an errcode can look like; anything else, a token say, is not
// passed on.
var errorCode = regexp.MustCompile(`^[A-Z][A-Z0-9_.]{0,63}$`)

const maxRetryAfter = time.Hour

func newStatusError(status int, code string, header http.Header) *StatusError {
	e := &StatusError{Status: status}
	if errorCode.MatchString(code) {
		e.Code = code
	}
	// A number beyond all bounds is the largest there is.
	if seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		e.RetryAfter = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	return e
}

// transportError sorts what kept a request from being answered. It drops the
// cause's text, which can hold addresses.
func transportError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errForeignOrigin):
		return errForeignOrigin
	case errors.Is(context.Cause(ctx), errTooSlow):
		return errTooSlow
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return fmt.Errorf("%w: it could not be lately", ErrUnreachable)
	case isDialError(err):
		return fmt.Errorf("%w: no connection", ErrUnreachable)
	default:
		var timeout interface{ Timeout() bool }
		if errors.As(err, &timeout) && timeout.Timeout() {
			return fmt.Errorf("%w: it took too long", ErrUnreachable)
		}
		return fmt.Errorf("%w: the connection failed", ErrUnreachable)
	}
}

// callError turns the errors of the Matrix library into ours. Those hold the
// request, token included.
func callError(ctx context.Context, err error) error {
	var failed mautrix.HTTPError
	if !errors.As(err, &failed) || failed.Response == nil || errors.Is(ctx.Err(), context.Canceled) {
		return transportError(ctx, err)
	}
	if status := failed.Response.StatusCode; status < 200 || status > 299 {
		code := ""
		if failed.RespError != nil {
			code = failed.RespError.ErrCode
		}
		return newStatusError(status, code, failed.Response.Header)
	}
	if errors.Is(err, mautrix.ErrResponseTooLong) || errors.Is(err, mautrix.ErrBodyReadReachedLimit) {
		return ErrTooLong
	}
	return fmt.Errorf("%w before its end", ErrBroken)
}

// outcome names how a request ended, from a closed set.
func outcome(err error) string {
	var status *StatusError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNotModified):
		return "not_modified"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrUnauthorized):
		return "unauthorized"
	case errors.Is(err, ErrForbidden):
		return "forbidden"
	case errors.As(err, &status) && status.Status == http.StatusTooManyRequests:
		return "limited"
	case errors.Is(err, ErrUnreachable):
		return "unreachable"
	case errors.Is(err, ErrBroken):
		return "broken"
	case errors.Is(err, context.Canceled):
		return "canceled"
	default:
		return "error"
	}
}
