package homeserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mediagate/homeserver"
)

// heads begin answers that are media but for what follows.
const (
	mediaHead = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
	sized     = mediaHead + "Content-Length: 10\r\n\r\n"
	chunked   = mediaHead + "Transfer-Encoding: chunked\r\n\r\n"
)

// says answers with a text and closes the connection.
func says(text string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, text) }
}

// status is an error as Matrix has them. It repeats what it was asked, the token
// among it.
func status(line, code string, header ...string) func(net.Conn, *http.Request) {
	return func(c net.Conn, r *http.Request) {
		body := fmt.Sprintf(`{"errcode":%q,"error":"you sent %s with %s"}`, code, r.RequestURI, r.Header.Get("Authorization"))
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
			line, len(body), strings.Join(append(header, ""), "\r\n"), body)
	}
}

// drips writes a head, and then byte after byte until nobody reads on.
func drips(head, drop string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		_, err := io.WriteString(c, head)
		for err == nil {
			time.Sleep(10 * time.Millisecond)
			_, err = io.WriteString(c, drop)
		}
	}
}

// hangs writes a head and nothing more.
func hangs(head string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		_, _ = io.WriteString(c, head)
		_, _ = io.Copy(io.Discard, c)
	}
}

// TestFaults meets every fault with a download and with every call. None is ever a
// success, each is what it is, and none tells a token.
func TestFaults(t *testing.T) {
	const same = "as for media"
	tests := map[string]struct {
		speak func(net.Conn, *http.Request)
		media string
		call  string // empty: not tried
	}{
		"closes at once":          {says(""), "unreachable", same},
		"resets":                  {func(c net.Conn, _ *http.Request) { _ = c.(*net.TCPConn).SetLinger(0) }, "unreachable", same},
		"does not answer":         {hangs(""), "unreachable", same},
		"half a status line":      {hangs("HTTP/1.1 20"), "unreachable", same},
		"endless headers":         {drips("HTTP/1.1 200 OK\r\n", "X: y\r\n"), "unreachable", same},
		"no HTTP":                 {says("SSH-2.0-OpenSSH_9.2\r\n"), "unreachable", same},
		"huge header":             {says(mediaHead + "X: " + strings.Repeat("y", 80<<10) + "\r\nContent-Length: 0\r\n\r\n"), "unreachable", same},
		"many headers":            {says(mediaHead + strings.Repeat("X: y\r\n", 20<<10) + "Content-Length: 0\r\n\r\n"), "unreachable", same},
		"endless early hints":     {says(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 100)+"\r\n\r\n", 2000)), "unreachable", same},
		"two lengths":             {says(mediaHead + "Content-Length: 10\r\nContent-Length: 11\r\n\r\n0123456789"), "unreachable", same},
		"length below 0":          {says(mediaHead + "Content-Length: -1\r\n\r\n"), "unreachable", same},
		"unknown coding":          {says(mediaHead + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "unreachable", same},
		"cut, of a length":        {says(sized + "01234"), "broken", same},
		"cut before its body":     {says(sized), "broken", same},
		"cut in a chunk":          {says(chunked + "a\r\n01234"), "broken", same},
		"cut between chunks":      {says(chunked + "5\r\n01234\r\n"), "broken", same},
		"cut before its last end": {says(chunked + "5\r\n01234\r\n0\r\n"), "broken", same},
		"chunk of no length":      {says(chunked + "zz\r\n01234\r\n0\r\n\r\n"), "broken", same},
		"body drips":              {drips(mediaHead+"Content-Length: 1000000\r\n\r\n", "x"), "broken", ""},
		"chunks drip":             {drips(chunked, "1\r\nx\r\n"), "broken", ""},
		"body stalls":             {hangs(sized + "01234"), "broken", ""},
		"body does not come":      {hangs(sized), "broken", ""},
		"HTTP/1.0, no length":     {says("HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n0123456789"), "upstream", ""},
		"HTTP/1.1, no length":     {says(mediaHead + "Connection: close\r\n\r\n0123456789"), "upstream", ""},
		"packed":                  {says(mediaHead + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"), "upstream", ""},
		"packed after all":        {says(mediaHead + "Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"), "upstream", ""},
		"no type":                 {says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), "upstream, content type", ""},
		"two types":               {says(mediaHead + "Content-Type: text/html\r\nContent-Length: 1\r\n\r\nx"), "upstream, content type", ""},
		"200 with an error":       {status("200 OK", "M_UNKNOWN_TOKEN"), "upstream", same},
		"204":                     {status("204 No Content", ""), "upstream", ""},
		"206":                     {status("206 Partial Content", "", "Content-Range: bytes 0-1/10"), "upstream", ""},
		"301":                     {status("301 Moved", "", "Location: http://127.0.0.1:1/"), "upstream", same},
		"302":                     {status("302 Found", "", "Location: http://127.0.0.1:1/"), "upstream", same},
		"303":                     {status("303 See Other", "", "Location: http://127.0.0.1:1/"), "upstream", same},
		"304 without a question":  {says("HTTP/1.1 304 Not Modified\r\n\r\n"), "upstream", same},
		"307 to nowhere":          {status("307 Go", ""), "upstream", same},
		"400":                     {status("400 Bad", "M_UNKNOWN"), "upstream", same},
		"400 unrecognized":        {status("400 Bad", "M_UNRECOGNIZED"), "not found, upstream", ""},
		"401 missing token":       {status("401 Who", "M_MISSING_TOKEN"), "unauthorized, upstream", same},
		"401 unknown token":       {status("401 Who", "M_UNKNOWN_TOKEN"), "unauthorized, upstream", same},
		"401 of a proxy":          {says("HTTP/1.1 401 Who\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"), "upstream", same},
		"403 of a proxy":          {says("HTTP/1.1 403 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"), "upstream", same},
		"403":                     {status("403 No", "M_FORBIDDEN"), "forbidden, upstream", same},
		"404":                     {status("404 No", "M_NOT_FOUND"), "not found, upstream", same},
		"410":                     {status("410 Gone", "M_UNKNOWN"), "upstream", same},
		"413":                     {status("413 Large", "M_TOO_LARGE"), "upstream", same},
		"429":                     {status("429 Wait", "M_LIMIT_EXCEEDED", "Retry-After: 3"), "upstream", same},
		"500":                     {status("500 No", "M_UNKNOWN"), "upstream", same},
		"502":                     {says("HTTP/1.1 502 No\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"), "upstream", same},
		"504":                     {status("504 Late", "M_NOT_YET_UPLOADED"), "upstream", same},
		"error, cut":              {says("HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n{\"er"), "upstream", same},
		"error, packed":           {says("HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"), "upstream", same},
		"error drips":             {drips("HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n", "x"), "upstream", ""},
		"error stalls":            {hangs("HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n"), "upstream", ""},
		"switches protocols":      {says("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), "upstream", ""},
	}
	quick := func(c *homeserver.Config) {
		c.DownloadTimeout = time.Hour
		c.FirstByteTimeout, c.RateWindow, c.MinRate = 100*time.Millisecond, 50*time.Millisecond, 1<<20
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := spoken(t, tt.speak)
			_, err := read(t.Context(), newClient(t, url, quick))
			checkError(t, err, tt.media)
			want := tt.call
			switch want {
			case "":
				return
			case same:
				want = tt.media
			}
			for name, call := range calls {
				err := call(t.Context(), newClient(t, url, quick))
				t.Log(name)
				checkError(t, err, want)
			}
		})
	}
}

func TestNoConnectionIsUnreachable(t *testing.T) {
	for name, url := range map[string]string{
		"refused": closedPort(t), "no such name": "http://mediagate-test.invalid", "no TLS": strings.Replace(spoken(t, says("x")), "http:", "https:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := read(t.Context(), newClient(t, url, nil))
			checkError(t, err, "unreachable")
			for _, call := range calls {
				checkError(t, call(t.Context(), newClient(t, url, nil)), "unreachable")
			}
		})
	}
}

// TestGoodAnswers: what is odd and still says all that is needed is media.
func TestGoodAnswers(t *testing.T) {
	const body = "0123456789"
	tests := map[string]string{
		"of a length":            sized + body,
		"chunked":                chunked + "5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\nX: y\r\n\r\n",
		"early hints":            "HTTP/1.1 103 Early Hints\r\n\r\n" + sized + body,
		"HTTP/1.0 of a length":   "HTTP/1.0 200 OK\r\nContent-Type: image/png\r\nContent-Length: 10\r\n\r\n" + body,
		"more than its length":   sized + body + "surplus",
		"not packed":             mediaHead + "Content-Encoding: identity\r\nContent-Length: 10\r\n\r\n" + body,
		"HTML as a file":         "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=x.html\r\nContent-Length: 10\r\n\r\n" + body,
		"JSON as a file":         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Disposition: attachment\r\nContent-Length: 10\r\n\r\n" + body,
		"no known type, a file":  "HTTP/1.1 200 OK\r\nContent-Type: ;;\r\nContent-Disposition: inline\r\nContent-Length: 10\r\n\r\n" + body,
		"type with a parameter":  "HTTP/1.1 200 OK\r\nContent-Type: video/mp4; codecs=x\r\nContent-Length: 10\r\n\r\n" + body,
		"status of another word": strings.Replace(sized, "200 OK", "200", 1) + body,
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			if content, err := read(t.Context(), newClient(t, spoken(t, says(answer)), nil)); string(content) != body || err != nil {
				t.Errorf("%q, %v", content, err)
			}
		})
	}
}

// TestPagesAreNoMedia: proxies write them with 200 in a homeserver's place.
func TestPagesAreNoMedia(t *testing.T) {
	for _, kind := range []string{
		"text/html", "text/html; charset=utf-8", "TEXT/HTML", "text/plain", "application/json", "application/problem+json", "text/json; x",
		"application/xml", "application/xhtml+xml", "image/svg+xml", "", " ", "html", ";;", "text/html;;charset",
	} {
		client := newClient(t, spoken(t, says("HTTP/1.1 200 OK\r\nContent-Type: "+kind+"\r\nContent-Length: 1\r\n\r\nx")), nil)
		_, err := read(t.Context(), client)
		if kind == "html" { // a type that nobody knows, and a legal one
			if err != nil {
				t.Errorf("%q: %v", kind, err)
			}
			continue
		}
		if kinds(err) != "upstream" {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

// TestErrorsAreTakenInBounded answers with far more than anybody wants to read.
func TestErrorsAreTakenInBounded(t *testing.T) {
	const size = 64 << 20
	for _, line := range []string{"500 No", "404 No", "401 Who", "429 Wait", "200 OK"} {
		t.Run(line, func(t *testing.T) {
			written := make(chan error, 1+len(calls))
			url := spoken(t, func(c net.Conn, _ *http.Request) {
				_, err := fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n{\"errcode\":\"M_X\",\"x\":\"", line, size)
				block := []byte(strings.Repeat("x", 1<<20))
				for n := 0; n < size && err == nil; n += len(block) {
					_, err = c.Write(block)
				}
				written <- err
			})
			_, err := read(t.Context(), newClient(t, url, nil))
			if err == nil || !errors.Is(err, homeserver.ErrUpstream) {
				t.Errorf("download: %v", err)
			}
			if <-written == nil {
				t.Error("the download took all of the error in")
			}
			for name, call := range calls {
				if err := call(t.Context(), newClient(t, url, nil)); !errors.Is(err, homeserver.ErrUpstream) {
					t.Errorf("%s: %v", name, err)
				}
				if <-written == nil {
					t.Errorf("%s took all of the error in", name)
				}
			}
		})
	}
}

func TestStatusErrorTellsCodeAndTime(t *testing.T) {
	tests := map[string]struct {
		code, after string
		want        homeserver.StatusError
		text        string
	}{
		"seconds":           {"M_LIMIT_EXCEEDED", "3", homeserver.StatusError{Code: "M_LIMIT_EXCEEDED", RetryAfter: 3 * time.Second}, "the homeserver answered 429 M_LIMIT_EXCEEDED"},
		"none":              {"M_X", "", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"zero":              {"M_X", "0", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"below zero":        {"M_X", "-1", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"a unit":            {"M_X", "1h", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"half a unit":       {"M_X", "1m", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"a date":            {"M_X", "Wed, 21 Oct 2037 07:28:00 GMT", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"garbage":           {"M_X", "soon", homeserver.StatusError{Code: "M_X"}, "the homeserver answered 429 M_X"},
		"an hour":           {"M_X", "3600", homeserver.StatusError{Code: "M_X", RetryAfter: time.Hour}, "the homeserver answered 429 M_X"},
		"more":              {"M_X", "3601", homeserver.StatusError{Code: "M_X", RetryAfter: time.Hour}, "the homeserver answered 429 M_X"},
		"huge":              {"M_X", "9999999999999", homeserver.StatusError{Code: "M_X", RetryAfter: time.Hour}, "the homeserver answered 429 M_X"},
		"beyond 64 bits":    {"M_X", strings.Repeat("9", 30), homeserver.StatusError{Code: "M_X", RetryAfter: time.Hour}, "the homeserver answered 429 M_X"},
		"code of a product": {"ORG.EXAMPLE.MSC1_X", "", homeserver.StatusError{Code: "ORG.EXAMPLE.MSC1_X"}, "the homeserver answered 429 ORG.EXAMPLE.MSC1_X"},
		"code of a text":    {"oh no", "", homeserver.StatusError{}, "the homeserver answered 429"},
		"code of two lines": {"M_X\nINFO fine", "", homeserver.StatusError{}, "the homeserver answered 429"},
		"long code":         {strings.Repeat("M", 65), "", homeserver.StatusError{}, "the homeserver answered 429"},
	}
	for name, tt := range tests {
		url := handled(t, func(w http.ResponseWriter, _ *http.Request) {
			if tt.after != "" {
				w.Header().Set("Retry-After", tt.after)
			}
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = fmt.Fprintf(w, `{"errcode":%q,"error":"x"}`, tt.code)
		})
		tt.want.Status = http.StatusTooManyRequests
		_, err := read(t.Context(), newClient(t, url, nil))
		_, called := newClient(t, url, nil).QuarantineChanges(t.Context(), 0)
		for _, err := range []error{err, called} {
			var got *homeserver.StatusError
			if !errors.As(err, &got) || *got != tt.want || got.Error() != tt.text {
				t.Errorf("%s: %+v, want %+v", name, got, tt.want)
			}
		}
	}
}

// TestCallerGivesUp cancels before the headers, and in the middle of a body.
func TestCallerGivesUp(t *testing.T) {
	for name, head := range map[string]string{"before the headers": "", "in the body": sized + "01234"} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 10)
			url := spoken(t, func(c net.Conn, _ *http.Request) {
				_, _ = io.WriteString(c, head)
				asked <- struct{}{}
				_, _ = io.Copy(io.Discard, c)
			})
			requests := map[string]func(ctx context.Context, c *homeserver.Client) error{
				"download": func(ctx context.Context, c *homeserver.Client) error {
					_, err := read(ctx, c)
					return err
				},
			}
			for name, call := range calls {
				requests[name] = call
			}
			for _, request := range requests {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					<-asked
					cancel()
				}()
				checkError(t, request(ctx, newClient(t, url, nil)), "canceled")
				cancel()
			}
		})
	}
}

// TestTimeIsUp ends the caller's time, and that of downloads.
func TestTimeIsUp(t *testing.T) {
	for name, tt := range map[string]struct{ head, want string }{
		"before the headers": {"", "unreachable"}, "in the body": {sized + "01234", "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := spoken(t, hangs(tt.head))
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := read(ctx, newClient(t, url, nil))
			checkError(t, err, tt.want)
			for _, call := range calls {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				err := call(ctx, newClient(t, url, nil))
				cancel()
				checkError(t, err, tt.want)
			}
			_, err = read(t.Context(), newClient(t, url, func(c *homeserver.Config) { c.DownloadTimeout = 100 * time.Millisecond }))
			checkError(t, err, tt.want)
		})
	}
}

// TestSteadyBodyIsRead: one that keeps the rate up, and one that needs not.
func TestSteadyBodyIsRead(t *testing.T) {
	tests := map[string]func(c *homeserver.Config){
		"fast enough": func(c *homeserver.Config) { c.RateWindow, c.MinRate = 300*time.Millisecond, 10 },
		"no rate":     func(c *homeserver.Config) { c.RateWindow, c.MinRate = 10*time.Millisecond, 0 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := spoken(t, func(c net.Conn, _ *http.Request) {
				_, err := io.WriteString(c, mediaHead+"Content-Length: 1000\r\n\r\n")
				for range 10 {
					time.Sleep(50 * time.Millisecond)
					if err == nil {
						_, err = io.WriteString(c, strings.Repeat("x", 100))
					}
				}
			})
			if content, err := read(t.Context(), newClient(t, url, change)); len(content) != 1000 || err != nil {
				t.Errorf("%d bytes, %v", len(content), err)
			}
		})
	}
}
