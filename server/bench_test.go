package server_test

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/labstack/echo/v4"
	xdraw "golang.org/x/image/draw"
)

// BenchmarkHook asks about one item that is known, over kept connections, and as
// often a bare Echo handler that is sent the same: req/s of both in one run.
func BenchmarkHook(b *testing.B) {
	content := sized(b, 1154, 866)
	homeserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { serveJPEG(w, content) }))
	defer homeserver.Close()
	g := newGate(b, setup{homeserver: homeserver.URL})
	bare := echo.New()
	bare.GET("/_mediagate/check", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	echoed := httptest.NewServer(bare)
	defer echoed.Close()
	for name, url := range map[string]string{"hook": g.url, "bare_echo": echoed.URL} {
		b.Run("handler="+name+"/cached", func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			askHook(b, client, url, "known")
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					askHook(b, client, url, "known")
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}

// BenchmarkFirstScan asks about items that nobody has seen: how long a client waits
// for the first look at a picture, download from a homeserver on this machine
// included.
func BenchmarkFirstScan(b *testing.B) {
	for _, size := range []struct {
		name          string
		width, height int
	}{{"1MP", 1154, 866}, {"12MP", 4000, 3000}} {
		content := sized(b, size.width, size.height)
		homeserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The bytes differ from item to item, so that none is known by them.
			serveJPEG(w, append(bytes.Clone(content), path.Base(r.URL.Path)...))
		}))
		defer homeserver.Close()
		g := newGate(b, setup{homeserver: homeserver.URL})
		var n atomic.Int64
		b.Run("jpeg="+size.name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				askHook(b, http.DefaultClient, g.url, fmt.Sprint("item", n.Add(1)))
			}
		})
	}
}

func serveJPEG(w http.ResponseWriter, content []byte) {
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}

func askHook(b *testing.B, client *http.Client, url, id string) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url+"/_mediagate/check", nil)
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("X-Original-URI", "/_matrix/client/v1/media/download/example.org/"+id)
	req.Header.Set("X-Original-Method", "GET")
	req.Header.Set("Authorization", "Bearer token")
	res, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		b.Error(res.Status, err)
	}
}

// sized is a photo in that size, as JPEG.
func sized(b *testing.B, width, height int) []byte {
	b.Helper()
	img, err := jpeg.Decode(bytes.NewReader(vector(b, "camera/exif-rotn-1.jpg")))
	if err != nil {
		b.Fatal(err)
	}
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	xdraw.ApproxBiLinear.Scale(out, out.Rect, img, img.Bounds(), xdraw.Src, nil)
	var file bytes.Buffer
	if err := jpeg.Encode(&file, out, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	return file.Bytes()
}
