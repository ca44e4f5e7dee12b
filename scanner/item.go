package scanner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/trace"

	"mediagate/homeserver"
	"mediagate/media"
)

// Request asks about a media item.
type Request struct {
	API  API
	Item media.URI
	// As is whose request it is to the homeserver, and For the address that it
	// comes from, for the homeserver's limits; the zero one if that is not known.
	As  homeserver.Credential
	For netip.Addr
}

// Item is what was decided about a media item, and the item.
type Item struct {
	Verdict
	// Content and Header are the bytes that were decided about and what the
	// homeserver says about them; nil unless they may be served. They are shared
	// with others and must not be changed.
	Content []byte
	Header  http.Header
	release func()
}

// Release gives the bytes up. It must be called once.
func (i *Item) Release() {
	if i.release != nil {
		i.release()
	}
}

// Check decides about an item for somebody whom the homeserver will let have it,
// or not, itself: what is known of the item from others is enough. It fails as
// Scan does, and with the errors of [homeserver.Client.Download].
func (s *Scanner) Check(ctx context.Context, r Request) (Verdict, error) {
	return s.observed(ctx, r.API, &r.Item, func(ctx context.Context) (Verdict, error) {
		if v, banned := s.banned(r.Item); banned {
			return v, nil
		}
		if k, ok := s.known(ctx, r.Item); ok {
			return s.judge(ctx, &r.Item, k.signals)
		}
		f, leave, err := s.fetch(ctx, r, needSignals, known{})
		if err != nil {
			return Verdict{}, err
		}
		defer leave()
		return s.judge(ctx, &r.Item, f.signals)
	})
}

// ScanItem decides about an item for somebody whom nobody else authorises: the
// homeserver has let the same credential have the item within the last minute, or
// is asked. It fails as Check does.
func (s *Scanner) ScanItem(ctx context.Context, r Request) (Verdict, error) {
	return s.observed(ctx, r.API, &r.Item, func(ctx context.Context) (Verdict, error) {
		k, ok := s.known(ctx, r.Item)
		n := needBoth
		if ok {
			if p, asked := s.cache.callers.GetIfPresent(callerOf(r)); asked && p == granted {
				return s.judge(ctx, &r.Item, k.signals)
			}
			n = needPermission
		}
		f, leave, err := s.fetch(ctx, r, n, k)
		if err != nil {
			return Verdict{}, err
		}
		defer leave()
		return s.judge(ctx, &r.Item, f.signals)
	})
}

// Download decides about an item and returns it, if it may be served: the very
// bytes that were decided about. It fails as Check does.
func (s *Scanner) Download(ctx context.Context, r Request) (*Item, error) {
	item := &Item{}
	_, err := s.observed(ctx, r.API, &r.Item, func(ctx context.Context) (Verdict, error) {
		f, leave, err := s.fetch(ctx, r, needBytes, known{})
		if err != nil {
			return Verdict{}, err
		}
		item.Verdict, err = s.judge(ctx, &r.Item, f.signals)
		if err != nil || !item.Outcome.Allowed() {
			leave()
			return item.Verdict, err
		}
		item.Content, item.Header, item.release = f.content, f.header, leave
		return item.Verdict, nil
	})
	if err != nil {
		return nil, err
	}
	return item, nil
}

func callerOf(r Request) callerKey { return callerKey{r.Item, r.As.Digest()} }

// slack is what a scan may take besides its download: waiting for its turn, for
// room and for a decoder, and decoding.
const slack = 30 * time.Second

// fetch downloads an item and finds out its signals, or joins whoever does so for
// the same caller. k is what the item is if the homeserver says that it is not
// modified.
func (s *Scanner) fetch(ctx context.Context, r Request, n need, k known) (fetched, func(), error) {
	if s.home == nil {
		return fetched{}, nil, errNoHomeserver
	}
	if err := s.Ready(); err != nil {
		return fetched{}, nil, err // nothing is worth fetching before there is anything to compare with
	}
	caller := callerOf(r)
	if p, ok := s.cache.callers.GetIfPresent(caller); ok && p == missing {
		return fetched{}, nil, homeserver.ErrNotFound
	}
	f, leave, joined, err := s.flights.do(ctx, flightKey{r.Item, caller.as, n}, func() (fetched, error) {
		// The work is not its first caller's: it outlives him.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.home.DownloadTimeout()+slack)
		defer cancel()
		return s.download(ctx, r, n, k)
	})
	if joined {
		s.joined.Inc()
		trace.SpanFromContext(ctx).AddEvent("joined")
	}
	return f, leave, err
}

var errNoHomeserver = errors.New("no homeserver is configured")

func (s *Scanner) download(ctx context.Context, r Request, n need, k known) (fetched, error) {
	local := s.home.IsLocal(r.Item)
	origin := r.Item.Server
	if local {
		origin = ""
	}
	free, err := s.slots.acquire(ctx, origin)
	if err != nil {
		return fetched{}, err
	}
	defer free()
	if n == needSignals {
		if k, ok := s.cache.items.GetIfPresent(r.Item); ok { // somebody else has been quicker
			return fetched{signals: k.signals}, nil
		}
	}
	d, err := s.home.Download(ctx, r.Item, r.As, homeserver.Options{ETag: k.etag, For: r.For})
	switch {
	case errors.Is(err, homeserver.ErrNotModified):
		s.cache.callers.Set(callerOf(r), granted)
		return fetched{signals: k.signals}, nil
	case errors.Is(err, homeserver.ErrNotFound):
		s.cache.callers.Set(callerOf(r), missing)
		return fetched{}, err
	case errors.Is(err, homeserver.ErrUnauthorized), errors.Is(err, homeserver.ErrForbidden):
		s.cache.callers.Invalidate(callerOf(r)) // what it was good for, it is not any more
		return fetched{}, err
	case err != nil:
		return fetched{}, err
	}
	digester := media.NewDigester()
	content, release, err := s.pool.Read(ctx, io.TeeReader(d.Body, digester), d.Length)
	_ = d.Body.Close() // it was read, or is not wanted
	if err != nil {
		return fetched{}, err
	}
	keeping := false
	defer func() {
		if !keeping { // also after a panic
			release()
		}
	}()
	if d.Length >= 0 && int64(len(content)) != d.Length {
		return fetched{}, fmt.Errorf("%w before its end", homeserver.ErrBroken)
	}
	signals, err := s.signals(ctx, digester.Signals(content), content, media.Screening)
	if err != nil {
		return fetched{}, err
	}
	k = s.cache.keep(r.Item, signals, d.ETag, s.itemTTL(r.Item))
	s.shared.tell(finding{item: &r.Item, signals: signals, etag: k.etag, ttl: k.ttl})
	s.cache.callers.Set(callerOf(r), granted)
	if n != needBytes {
		return fetched{signals: signals}, nil
	}
	keeping = true
	return fetched{signals: signals, content: content, header: d.Header, release: release}, nil
}

// itemTTL is how long what an item is holds.
func (s *Scanner) itemTTL(item media.URI) time.Duration {
	if s.home.IsLocal(item) {
		return localTTL
	}
	return remoteTTL
}

// known finds what an item was, from the cache or from another process.
func (s *Scanner) known(ctx context.Context, item media.URI) (known, bool) {
	k, here := s.cache.items.GetIfPresent(item)
	shared := false
	if !here && s.home != nil {
		if k, shared = s.shared.item(ctx, item, s.itemTTL(item)); shared {
			k, _ = s.cache.items.SetIfAbsent(item, k) // what was downloaded meanwhile is newer
		}
	}
	s.cache.counted("item", here, shared)
	return k, here || shared
}

// signals completes the digests of a content, from the cache or another process if it
// was seen before and hashed well enough.
func (s *Scanner) signals(ctx context.Context, digests media.Signals, content []byte, how media.Hashing) (*media.Signals, error) {
	found, here := s.cache.content(digests.SHA256, how)
	shared := false
	if !here && digests.Kind == media.Photo { // of others the digests are all there is
		if found, shared = s.shared.content(ctx, digests, how); shared {
			s.cache.contents.Set(found.SHA256, found)
		}
	}
	if s.cache.counted("content", here, shared); here || shared {
		return found, nil
	}
	complete, err := s.pool.Decode(ctx, digests, content, how)
	if err != nil {
		return nil, err
	}
	s.cache.contents.Set(complete.SHA256, &complete)
	if complete.Kind == media.Photo {
		s.shared.tell(finding{signals: &complete, ttl: contentTTL(&complete)})
	}
	return &complete, nil
}
