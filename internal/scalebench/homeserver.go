package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"time"
)

// samplePicture is a small photo. With something after its end it is another content
// and still the same picture.
const samplePicture = "pdq/testdata/images/misc/small.jpg"

// homeserver serves a picture under every name, each as a content of its own.
type homeserver struct {
	picture []byte
	server  *http.Server
	url     string
}

func startHomeserver() (*homeserver, error) {
	picture, err := os.ReadFile(samplePicture)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &homeserver{picture: picture, url: "http://" + l.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_matrix/client/v1/media/download/{server}/{id}", func(w http.ResponseWriter, r *http.Request) {
		content := h.content(path.Base(r.URL.Path))
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content) // whoever asked notices
	})
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = h.server.Serve(l) }() // until close
	return h, nil
}

// content is what an item of that name holds.
func (h *homeserver) content(id string) []byte {
	return append(append([]byte{}, h.picture...), id...)
}

func (h *homeserver) close() error {
	err := h.server.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
