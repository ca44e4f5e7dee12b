package redis_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mediagate/internal/redis"
)

// TestRepliesAtTheLimit pass, and one past it do not.
func TestRepliesAtTheLimit(t *testing.T) {
	const size, values = 8 << 10, 10
	value := func(n int) string { return "$" + strconv.Itoa(n) + "\r\n" + strings.Repeat("x", n) + "\r\n" }
	deep := func(n int) string { return strings.Repeat("*1\r\n", n) + ":1\r\n" }
	for name, tt := range map[string]struct{ passes, fails string }{
		"line":            {"+" + strings.Repeat("a", redis.MaxLine-3) + "\r\n", "+" + strings.Repeat("a", redis.MaxLine-2) + "\r\n"},
		"value":           {value(size - len("$8000\r\n")), value(size - len("$8000\r\n") + 1)},
		"values together": {"*3\r\n" + value(1000) + value(2000) + value(3000), "*3\r\n" + value(1000) + value(2000) + value(size-3000)},
		"lines together":  {"*1\r\n+" + strings.Repeat("a", 4000) + "\r\n", "*3\r\n" + strings.Repeat("+"+strings.Repeat("a", 4000)+"\r\n", 3)},
		"array":           {"*10\r\n" + strings.Repeat(":1\r\n", 10), "*11\r\n"},
		"arrays together": {"*2\r\n*4\r\n" + strings.Repeat(":1\r\n", 4) + "*4\r\n", "*2\r\n*4\r\n" + strings.Repeat(":1\r\n", 4) + "*5\r\n"},
		"depth":           {deep(redis.MaxDepth), deep(redis.MaxDepth + 1)},
		"empty arrays":    {"*9\r\n" + strings.Repeat("*0\r\n", 9) + "*10\r\n", "*9\r\n" + strings.Repeat("*0\r\n", 8) + "*2\r\n"},
		"one by one":      {strings.Repeat(value(5000), 3), value(9000)},
		"none":            {"$-1\r\n*-1\r\n*2\r\n$-1\r\n*-1\r\n+OK\r\n", ":-1\r\n$-2\r\n"},
	} {
		if _, err := redis.Follow(size, values, []byte(tt.passes)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := redis.Follow(size, values, []byte(tt.fails)); err == nil {
			t.Errorf("%s: one past the limit passes", name)
		}
	}
}

// TestConnectionsEndWithWhatIsWrong: neither that nor anything behind it is passed on,
// and nothing of a reply that somebody has stopped to wait for.
func TestConnectionsEndWithWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		late   bool
		chunks []string
		passes int // of them
	}{
		"wrong":                    {false, []string{"+OK\r\n", "%1\r\n", "+OK\r\n"}, 1},
		"wrong behind what is not": {false, []string{"+OK\r\n%1\r\n"}, 0},
		"wrong at the end":         {false, []string{"$100", "0000\r\n", "+OK\r\n"}, 1},
		"late":                     {true, []string{"$20\r\n", "$4611686018427387904\r\n"}, 1},
		"late in an array":         {true, []string{"*2\r\n:1\r\n", ":1\r\n"}, 1},
		"late in a line":           {true, []string{":", "1\r\n"}, 1},
		"late between two":         {true, []string{"*1\r\n:1\r\n", "$1\r\nx\r\n"}, 2},
	} {
		peer, conn := net.Pipe()
		go func() {
			for _, chunk := range tt.chunks {
				if _, err := io.WriteString(peer, chunk); err != nil {
					return
				}
			}
		}()
		checked := redis.Checked(conn, 1000, 10)
		passed, buf := 0, make([]byte, 100)
		for _, chunk := range tt.chunks {
			n, err := checked.Read(buf)
			if err != nil {
				break
			}
			if passed++; string(buf[:n]) != chunk {
				t.Errorf("%s: %q", name, buf[:n])
			}
			if tt.late {
				if err := checked.SetReadDeadline(time.Unix(1, 0)); err != nil {
					t.Fatal(err)
				}
				if n, err := checked.Read(buf); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %d bytes, %v", name, n, err)
				}
				if err := checked.SetReadDeadline(time.Time{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if passed != tt.passes {
			t.Errorf("%s: %d pieces pass, want %d", name, passed, tt.passes)
		}
		_, _ = checked.Close(), peer.Close()
	}
}

// plainly reads a reply as the library does, by taking what it is told to. It returns
// what is left, or io.ErrUnexpectedEOF if something is missing.
func plainly(raw []byte, depth int, taken *struct{ bytes, values, depth int }) ([]byte, error) {
	taken.depth = max(taken.depth, depth)
	line, rest, complete := bytes.Cut(raw, []byte("\r\n"))
	if !complete {
		return nil, io.ErrUnexpectedEOF
	}
	taken.bytes += len(line) + 2
	if line[0] != '$' && line[0] != '*' {
		return rest, nil
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < -1 {
		return nil, errors.New("no length")
	}
	if n == -1 {
		return rest, nil
	}
	if line[0] == '$' {
		taken.bytes += n
		if n+2 > len(rest) {
			return nil, io.ErrUnexpectedEOF
		}
		return rest[n+2:], nil
	}
	taken.values += n
	for range n {
		if rest, err = plainly(rest, depth+1, taken); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// FuzzReplies: what passes can be read by who takes what he is told to, within the
// limits, and it does not matter in which pieces it comes.
func FuzzReplies(f *testing.F) {
	const size, values = 200, 10
	for _, answer := range hostile() {
		f.Add([]byte(answer[:min(len(answer), 300)]))
	}
	f.Add([]byte("*2\r\n$5\r\nhello\r\n*2\r\n$-1\r\n*0\r\n+OK\r\n-ERR x\r\n:1\r\n$0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		within, err := redis.Follow(size, values, raw)
		piecewise, err2 := redis.Follow(size, values, slices.Collect(slices.Chunk(raw, 1))...)
		if (err == nil) != (err2 == nil) || within != piecewise {
			t.Fatalf("%q: %v, %v at once, %v, %v in pieces", raw, within, err, piecewise, err2)
		}
		if err != nil {
			return
		}
		for rest := raw; len(rest) > 0 && err == nil; {
			var taken struct{ bytes, values, depth int }
			rest, err = plainly(rest, 0, &taken)
			if taken.bytes > size || taken.values > values || taken.depth > redis.MaxDepth {
				t.Errorf("%q: takes %+v", raw, taken)
			}
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || within != (err != nil) {
			t.Errorf("%q: begun: %v, %v", raw, within, err)
		}
	})
}
