package main_test

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"mediagate/internal/bombtest"
)

// decodeDeadline is that of one picture, with a second for everything else.
const decodeDeadline = 6 * time.Second

// TestServerOutlivesBombs sends hostile files to every way in that decodes,
// while somebody asks all the time whether the server is ready.
func TestServerOutlivesBombs(t *testing.T) {
	tests := map[string]struct {
		env      map[string]string
		bombs    []bombtest.Bomb
		outcomes map[string]string // where they are not unscannable
	}{
		"refused by their headers": {nil, append(bombtest.All(), bombtest.Corpus()...), corpusOutcomes},
		// Without the limits that stop them at the door, decoders die of them.
		"decoded": {map[string]string{
			"MEDIAGATE_MEDIA_MAX_SIDE": "1048576", "MEDIAGATE_MEDIA_MAX_PIXELS": "1000000000000", "MEDIAGATE_MEDIA_MAX_BASELINE_PIXELS": "1000000000000",
			"MEDIAGATE_MEDIA_MAX_PIXELS_PER_BYTE": "1000000000000", "MEDIAGATE_MEDIA_MAX_SCANS": "1000000", "MEDIAGATE_MEDIA_MAX_FRAMES": "1000000",
			"MEDIAGATE_MEDIA_MAX_FRAME_PIXELS": "1000000000000", "MEDIAGATE_MEDIA_DEADLINE": "1s",
		}, bombtest.All(), map[string]string{"GIFFrames500": "clean"}}, // one frame is decoded
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, tt.env)
			stop := s.watchReadiness(t)
			for _, bomb := range tt.bombs {
				outcome, ok := tt.outcomes[bomb.Name]
				if !ok {
					outcome = "unscannable"
				}
				t.Run(bomb.Name, func(t *testing.T) { s.checkBomb(t, bomb.Data, outcome) })
			}
			stop()
			got := decode[scanned](t, s.ask(t, request{path: "/v1/scan", body: bytes.NewReader(picture(t, realPicture))}, http.StatusOK).body)
			if got.Outcome != "clean" || len(got.Signals.Hashes) == 0 {
				t.Errorf("a real picture is %q with %d hashes", got.Outcome, len(got.Signals.Hashes))
			}
		})
	}
}

// watchReadiness asks until it is stopped, and expects every answer to be yes.
func (s *instance) watchReadiness(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	asked := 0
	watcher.Go(func() {
		for ctx.Err() == nil {
			a, err := s.send(t.Context(), request{path: "/readyz"})
			if err != nil || a.status != http.StatusOK {
				t.Errorf("/readyz: status %d, %v", a.status, err)
				return
			}
			asked++
		}
	})
	return func() {
		cancel()
		watcher.Wait()
		if asked == 0 {
			t.Error("nobody asked whether the server is ready")
		}
	}
}

// corpusOutcomes are those of the corpus that are not unscannable: some of its
// files are valid, if odd. Animations that decoders know are judged by their
// first frame.
var corpusOutcomes = map[string]string{"PNGChunks": "clean", "PNGzTXt": "clean", "PNGAnimated": "clean"}

// checkBomb expects each API to answer in its own way, in time.
func (s *instance) checkBomb(t *testing.T, content []byte, outcome string) {
	scan := decode[scanned](t, s.askInTime(t, request{path: "/v1/scan", body: bytes.NewReader(content)}, http.StatusOK).body)
	if scan.Outcome != outcome {
		t.Errorf("outcome %q, want %q (refusal %q)", scan.Outcome, outcome, scan.Signals.Refusal)
	}
	// The valid ones are flat pictures: they have a hash, but an empty one, which
	// cannot be looked up.
	statuses := map[string]int{"/h/hash": http.StatusBadRequest, "/m/lookup": http.StatusBadRequest}
	if outcome == "clean" {
		statuses["/h/hash"] = http.StatusOK
	}
	for path, status := range statuses {
		body := s.askInTime(t, upload(t, path, "photo", "bomb", content, nil), status).body
		told := decode[map[string]any](t, body)
		if message, _ := told["message"].(string); status != http.StatusOK && message == "" {
			t.Errorf("%s: %s has no message", path, body)
		}
	}
}

func (s *instance) askInTime(t *testing.T, r request, status int) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), decodeDeadline)
	defer cancel()
	a, err := s.send(ctx, r)
	if err != nil {
		t.Fatalf("%s: %v", r.path, err)
	}
	if a.status != status {
		t.Fatalf("%s: status %d, want %d: %s", r.path, a.status, status, a.body)
	}
	return a
}
