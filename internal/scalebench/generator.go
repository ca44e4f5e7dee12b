package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// load is a run of requests over kept connections, one request at a time on each.
// One thread sends and reads all of them: on a machine of two cores what asks must
// cost little beside what answers.
type load struct {
	address     string
	connections int
	// request returns the i-th request as it goes over the wire, and the answer that
	// it must have.
	request func(i int) ([]byte, answer)
	// rate is how many requests a second are due, by a schedule that waits for no
	// answer. At 0 a connection asks again as soon as it has been answered.
	rate     float64
	duration time.Duration
	// most ends the run after so many requests, if it is more than 0.
	most int
}

// answer is what a request must get.
type answer struct {
	status string // three digits
	body   []byte // nil is any
}

// result is what a load came to. Latencies are counted from when a request was due,
// so that one which had to wait for an earlier one is not let off.
type result struct {
	latencies []time.Duration // sorted
	asked     int
	wrong     int    // answers that are not what they must be, or never came
	first     string // what was wrong with the first of them
	seconds   float64
}

func (r result) perSecond() float64 { return float64(r.asked-r.wrong) / r.seconds }

// quantile is a latency that this share of all stays within.
func (r result) quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(int(q*float64(len(r.latencies))), len(r.latencies)-1)]
}

// stragglers is how long answers may take after the end of a load.
const stragglers = 15 * time.Second

// maxAnswer bounds what is read of one.
const maxAnswer = 64 << 10

// conn is a connection and the request that is under way on it.
type conn struct {
	fd   int
	busy bool
	due  time.Time
	want answer
	read []byte
}

// generator is a load that is running.
type generator struct {
	load
	address      unix.SockaddrInet4
	epoll, timer int
	conns        map[int32]*conn // by descriptor
	idle         []*conn         // the one used last is the next
	next         int
	start, end   time.Time
	armed        time.Time // when the timer is to expire
	out          result
}

// run makes all requests and returns what they came to. Answers that are wrong are
// counted; the error is for a run that could not take place.
func (l load) run(ctx context.Context) (result, error) {
	g := &generator{load: l, conns: make(map[int32]*conn)}
	defer g.close()
	if err := g.open(); err != nil {
		return result{}, fmt.Errorf("generate requests: %w", err)
	}
	g.start = time.Now()
	g.end = g.start.Add(l.duration)
	if err := g.loop(ctx); err != nil {
		return result{}, fmt.Errorf("generate requests: %w", err)
	}
	slices.Sort(g.out.latencies)
	return g.out, nil
}

func (g *generator) open() error {
	address, err := netip.ParseAddrPort(g.load.address)
	if err != nil {
		return err
	}
	g.address = unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if g.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	return g.watch(g.timer)
}

func (g *generator) watch(fd int) error {
	return unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// free returns a connection that nothing is under way on, a new one if need be, or
// nil if there are as many as there may be.
func (g *generator) free() (*conn, error) {
	if last := len(g.idle) - 1; last >= 0 {
		c := g.idle[last]
		g.idle = g.idle[:last]
		return c, nil
	}
	if len(g.conns) == g.connections {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, read: make([]byte, 0, maxAnswer)}
	g.conns[int32(fd)] = c
	return c, errors.Join(unix.Connect(fd, &g.address), unix.SetNonblock(fd, true), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), g.watch(fd))
}

func (g *generator) close() {
	for _, c := range g.conns {
		_ = unix.Close(c.fd) // nothing of it is needed any more
	}
	for _, fd := range []int{g.timer, g.epoll} {
		if fd > 0 {
			_ = unix.Close(fd)
		}
	}
}

func (g *generator) loop(ctx context.Context) error {
	events := make([]unix.EpollEvent, g.connections+1)
	for ctx.Err() == nil {
		now := time.Now()
		if err := g.send(now); err != nil {
			return err
		}
		g.out.seconds = now.Sub(g.start).Seconds()
		waiting := len(g.conns) - len(g.idle)
		if !now.Before(g.end) && waiting == 0 {
			return nil
		}
		if now.After(g.end.Add(stragglers)) {
			g.fail(waiting, "no answer")
			return nil
		}
		if err := g.arm(now); err != nil {
			return err
		}
		n, err := unix.EpollWait(g.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if c := g.conns[e.Fd]; c != nil {
				g.receive(c)
				continue
			}
			var expired [8]byte
			_, _ = unix.Read(g.timer, expired[:]) // whatever it says, it is time to look
			g.armed = time.Time{}
		}
	}
	return ctx.Err()
}

// due is when a request is to be sent.
func (g *generator) due(i int) time.Time {
	return g.start.Add(time.Duration(float64(i) / g.rate * float64(time.Second)))
}

// send sends what is due while there are connections.
func (g *generator) send(now time.Time) error {
	for {
		due := now
		if g.rate > 0 {
			due = g.due(g.next)
		}
		if g.most > 0 && g.next == g.most && now.Before(g.end) {
			g.end = now
		}
		if due.After(now) || !due.Before(g.end) {
			return nil
		}
		c, err := g.free()
		if c == nil || err != nil {
			return err
		}
		var request []byte
		request, c.want = g.request(g.next)
		c.busy, c.due, c.read = true, due, c.read[:0]
		g.next++
		g.out.asked++
		if n, err := unix.Write(c.fd, request); err != nil || n != len(request) {
			g.lose(c, fmt.Sprintf("%d bytes of a request sent: %v", n, err))
		}
	}
}

// arm lets the timer end the wait when something is to be done without an answer.
func (g *generator) arm(now time.Time) error {
	at := g.end
	if !now.Before(g.end) {
		at = g.end.Add(stragglers)
	} else if g.rate > 0 && (len(g.idle) > 0 || len(g.conns) < g.connections) && g.due(g.next).Before(at) {
		at = g.due(g.next)
	}
	if at.Equal(g.armed) {
		return nil
	}
	g.armed = at
	wait := max(at.Sub(now), time.Microsecond)
	return unix.TimerfdSettime(g.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}, nil)
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// receive reads what has come, and settles the request if that is all of its answer.
func (g *generator) receive(c *conn) {
	n, err := unix.Read(c.fd, c.read[len(c.read):cap(c.read)])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err != nil || n == 0 || !c.busy {
		g.lose(c, fmt.Sprintf("the connection ended after %d bytes: %v", len(c.read), err))
		return
	}
	c.read = c.read[:len(c.read)+n]
	end := bytes.Index(c.read, headEnd)
	if end < 0 {
		return
	}
	head, body := c.read[:end+2], c.read[end+4:]
	_, after, found := bytes.Cut(head, contentLength)
	digits, _, _ := bytes.Cut(after, []byte("\r\n"))
	length, err := strconv.Atoi(string(digits))
	if !found || err != nil || end+4+length > cap(c.read) {
		g.lose(c, "an answer without a length, or too long")
		return
	}
	if len(body) < length {
		return
	}
	if status := string(head[9:12]); status != c.want.status || c.want.body != nil && !bytes.Equal(body, c.want.body) {
		g.fail(1, fmt.Sprintf("status %s, %d bytes: %.200s", status, length, body))
	}
	g.out.latencies = append(g.out.latencies, time.Since(c.due))
	c.busy = false
	g.idle = append(g.idle, c)
}

// lose gives a connection up, and the request on it. Servers end connections that
// have nothing to do.
func (g *generator) lose(c *conn, why string) {
	if c.busy {
		g.fail(1, why)
	}
	g.idle = slices.DeleteFunc(g.idle, func(other *conn) bool { return other == c })
	delete(g.conns, int32(c.fd))
	_ = unix.Close(c.fd) // which also ends watching it
}

func (g *generator) fail(n int, why string) {
	if n > 0 && g.out.wrong == 0 {
		g.out.first = why
	}
	g.out.wrong += n
}
