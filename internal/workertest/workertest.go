// Package workertest gives tests real decoder processes.
//
// The worker is built, without the race detector, and not the test binary run
// again: the detector reserves more memory than a worker is allowed to have.
package workertest

import (
	"errors"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caarlos0/env/v11"
	"github.com/prometheus/client_golang/prometheus"

	"mediagate/media"
)

// dir holds the worker while the tests of a package run; only Main writes it.
var dir string

// Main is the TestMain of a package whose tests use workers: it runs the tests,
// a testing.M or what wraps one, and removes the worker.
func Main(m interface{ Run() int }) {
	var err error
	if dir, err = os.MkdirTemp("", "mediagate-worker"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

var build = sync.OnceValues(func() (string, error) {
	if dir == "" {
		return "", errors.New("the package's TestMain must call workertest.Main")
	}
	path := filepath.Join(dir, "worker")
	cmd := exec.Command("go", "build", "-o", path, "mediagate/internal/workertest/worker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

// Command returns the command line of a decoder process.
func Command(t testing.TB) []string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build worker: %v", err)
	}
	return []string{path}
}

// Pool starts a pool with the default limits that ends with the test. change
// may be nil.
func Pool(t testing.TB, change func(*media.Config)) *media.Pool {
	t.Helper()
	var c media.Config
	if err := env.ParseWithOptions(&c, env.Options{Environment: map[string]string{}}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	p := media.NewPool(Command(t), c)
	t.Cleanup(p.Close)
	return p
}

// Hashed reads what a pool counts: the views it hashed on each path. Paths that
// were not taken are left out.
func Hashed(t testing.TB, p *media.Pool) map[string]int {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(p)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, family := range families {
		if family.GetName() != "mediagate_hashes_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if n := int(m.GetCounter().GetValue()); n > 0 {
				counts[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return counts
}
