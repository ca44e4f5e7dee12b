package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
)

// lookups measures how many lookups a second are answered, and beside them a bare
// Echo handler that is sent the same requests and sends as much, in turns.
func (b *bench) lookups(ctx context.Context) error {
	location, err := b.store(ctx, "sqlite", b.hashes)
	if err != nil {
		return err
	}
	g, err := startGate(b.program, b.dir, "MEDIAGATE_DATABASE_URL="+location, "MEDIAGATE_MEDIA_WORKERS=1")
	if err != nil {
		return err
	}
	defer b.end(g)
	if _, err := g.ready(ctx); err != nil {
		return err
	}
	bare, address, err := startBare()
	if err != nil {
		return err
	}
	defer func() {
		_ = bare.Process.Kill() // it keeps nothing
		_ = bare.Wait()
	}()
	api, _ := g.addresses()
	mix := lookupMix(b.hashes, api)
	for round := range b.rounds + 1 {
		for _, side := range []struct {
			name, address string
			pid           int
		}{{"mediagate", api, g.cmd.Process.Pid}, {"bare_echo", address, bare.Process.Pid}} {
			l := load{address: side.address, connections: b.connections, duration: b.seconds, request: func(i int) ([]byte, answer) {
				r := mix[i%len(mix)]
				if side.name != "mediagate" {
					return r.raw, answer{"200", nil}
				}
				return r.raw, r.want
			}}
			before, err := processorTime(side.pid)
			if err != nil {
				return err
			}
			out, err := l.run(ctx)
			if err != nil {
				return err
			}
			after, err := processorTime(side.pid)
			if err != nil {
				return err
			}
			if out.wrong > 0 {
				return fmt.Errorf("%s: %d of %d answers are wrong: %s", side.name, out.wrong, out.asked, out.first)
			}
			if round == 0 {
				continue // to get warm
			}
			err = b.report.run(fmt.Sprintf("LookupRequests/hashes=%d/handler=%s", b.hashes, side.name), metric{out.perSecond(), "req/s"},
				metric{out.quantile(.5).Seconds(), "p50-sec"},
				metric{out.quantile(.99).Seconds(), "p99-sec"}, metric{(after - before).Seconds() / float64(out.asked), "processor-sec"})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// prepared is a request and its answer.
type prepared struct {
	raw  []byte
	want answer
}

// lookupMix are lookups by turns of hashes that are near one in the list, from 0
// bits to the 31 that still match, and of such that are not.
func lookupMix(hashes int, host string) []prepared {
	mix := make([]prepared, 4096)
	for i := range mix {
		hash, body := absent(i), "{}\n"
		if i%2 == 0 {
			n, bits := int64(1+i*7919%hashes), i/2%32
			hash = nearOf(n, bits)
			body = fmt.Sprintf("{%q:[{\"bank_content_id\":%d,\"distance\":\"%d\"}]}\n", listBank, n, bits)
		}
		mix[i] = prepared{
			fmt.Appendf(nil, "GET /m/lookup?signal_type=pdq&signal=%x HTTP/1.1\r\nHost: %s\r\nUser-Agent: scalebench\r\n\r\n", hash, host),
			answer{"200", []byte(body)},
		}
	}
	return mix
}

// bareCommand makes this program a bare Echo server.
const bareCommand = "bare-echo"

// startBare starts one, and returns its address.
func startBare() (*exec.Cmd, string, error) {
	cmd := exec.Command("/proc/self/exe", bareCommand)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start a bare handler: %w", err)
	}
	said := make([]byte, 64)
	n, err := out.Read(said)
	return cmd, strings.TrimSpace(string(said[:n])), err
}

// serveBare answers every lookup as if it had found one content.
func serveBare() error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	e := echo.New()
	body := fmt.Appendf(nil, "{%q:[{\"bank_content_id\":123456,\"distance\":\"12\"}]}\n", listBank)
	e.GET("/m/lookup", func(c echo.Context) error { return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, body) })
	return (&http.Server{Handler: e, ReadHeaderTimeout: time.Minute}).Serve(l)
}
