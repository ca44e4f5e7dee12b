// Package server speaks HTTP: the API of Hasher-Matcher-Actioner, that of
// matrix-content-scanner, the hook that reverse proxies ask, mediagate's own, and
// health. It turns requests into calls of the other packages and their
// errors into each API's form, and decides nothing itself.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/homeserver"
	"mediagate/media"
	"mediagate/scanner"
)

// Limits of connections and requests; those of bodies are media's and each
// API's.
const (
	maxConnections    = 1024
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 90 * time.Second
	idleTimeout       = 60 * time.Second
)

// Server answers requests. Its parts are made by the caller, who also runs the
// Indexer that keeps Live.
type Server struct {
	config   Config
	pool     *media.Pool
	store    *bank.Store
	live     *bank.Live
	scanner  *scanner.Scanner
	fetcher  *exchange.Fetcher
	home     *homeserver.Client // nil if none is configured
	metrics  prometheus.Gatherer
	log      *slog.Logger
	traced   bool
	keys     keyring
	secrets  keyring // of the hook
	reach    reachable
	draining atomic.Bool
	seconds  *prometheus.HistogramVec
	// hookAnswers is used if a homeserver is configured.
	hookAnswers *prometheus.CounterVec
	warned      atomic.Int64     // when last, in Unix nanoseconds
	owners      map[string]owner // by pattern, filled by Handler
	// labelling has room for who reads labels.
	labelling chan struct{}
}

// Parts are what a Server works with. All but Home are required.
type Parts struct {
	Pool    *media.Pool
	Store   *bank.Store
	Live    *bank.Live
	Scanner *scanner.Scanner
	Fetcher *exchange.Fetcher
	// Home is nil if no homeserver is configured. Then there is no hook and no
	// content scanner.
	Home    *homeserver.Client
	Metrics *prometheus.Registry
	Log     *slog.Logger
	// Traced tells that spans go somewhere. Making them costs a tenth of a lookup.
	Traced bool
}

// New returns a Server that has not begun to listen.
func New(config Config, p Parts) *Server {
	s := &Server{
		config: config, pool: p.Pool, store: p.Store, live: p.Live, scanner: p.Scanner,
		fetcher: p.Fetcher, home: p.Home, metrics: p.Metrics, log: p.Log, traced: p.Traced, keys: newKeyring(config.keyFiles()...), secrets: newKeyring(config.hookSecrets()), hookAnswers: newHookAnswers(),
		labelling: make(chan struct{}, labelsReads),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mediagate_http_request_seconds",
			Help:    "Requests by route, method and status, and how long they took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method", "status"}),
	}
	p.Metrics.MustRegister(s.seconds)
	if s.home != nil {
		p.Metrics.MustRegister(s.hookAnswers)
	}
	return s
}

// Handler returns what answers on the address of the APIs.
func (s *Server) Handler() http.Handler {
	r := s.route()
	if !s.traced {
		return r.echo
	}
	return otelhttp.NewHandler(r.echo, "http", otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method }))
}

// route registers everything that this process's roles have.
func (s *Server) route() *routes {
	e := echo.New()
	r := &routes{echo: e, roles: s.config.Roles, owners: make(map[string]owner)}
	s.owners = r.owners
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.routeError
	e.IPExtractor = echo.ExtractIPDirect()
	e.Pre(cleanPath)
	e.Use(s.closing, s.observe, middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: s.recovered}), s.requireKey)
	for path, handler := range map[string]echo.HandlerFunc{"/healthz": s.healthz, "/readyz": s.readyz} {
		r.add(owner{open: true}, reads, path, handler)
	}
	s.registerV1(r)
	if s.home != nil {
		r.add(owner{role: Gate, open: true}, reads, hookPath, s.check)
		s.registerMCS(r)
	}
	(&hma{
		config: s.config.HMA, roles: s.config.Roles, pool: s.pool, store: s.store, live: s.live, scanner: s.scanner,
		fetcher: s.fetcher, home: s.home, urls: newFetcher(s.config.HMA), maxAge: s.config.IndexMaxAge, log: s.log,
	}).register(r)
	return r
}

// reads are the methods of routes that change nothing.
var reads = []string{http.MethodGet, http.MethodHead}

// closing makes clients take another connection, to another server, as soon as
// readiness fails. Connections that are idle then are left alone until the delay is
// over: to close one is to lose the request that may be on its way.
func (s *Server) closing(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.draining.Load() {
			c.Response().Header().Set(echo.HeaderConnection, "close")
		}
		return next(c)
	}
}

// opsHandler returns what answers on the address for operations.
func (s *Server) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	if s.config.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// Run listens and serves until the context ends, then lets running requests
// finish within the grace. An address that cannot be listened on is an error at
// once.
func (s *Server) Run(ctx context.Context) error {
	g, run := errgroup.WithContext(ctx)
	var listeners []func() error
	for _, front := range []struct {
		name, address string
		handler       http.Handler
	}{{"api", s.config.Listen, s.Handler()}, {"operations", s.config.OpsListen, s.opsHandler()}} {
		if front.address == "" {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", front.address)
		if err != nil {
			return errors.Join(fmt.Errorf("listen: %w", err), closeAll(listeners))
		}
		listeners = append(listeners, listener.Close)
		s.log.InfoContext(ctx, "listening", "for", front.name, "address", listener.Addr().String())
		srv := s.httpServer(ctx, front.handler)
		g.Go(func() error {
			if err := srv.Serve(netutil.LimitListener(listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			<-run.Done()
			return s.drain(srv)
		})
	}
	return g.Wait()
}

func closeAll(closers []func() error) error {
	var errs []error
	for _, c := range closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func (s *Server) httpServer(ctx context.Context, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		// Requests end by themselves, not with the signal that ends the process.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
}

// drain ends a server: not ready first, then no new connections, then, after the
// grace, no old ones.
func (s *Server) drain(srv *http.Server) error {
	s.draining.Store(true)
	time.Sleep(s.config.ShutdownDelay)
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownGrace)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off", "err", err)
		return srv.Close()
	}
	return nil
}
