// Scalebench measures what a deployment is sized by: how fast a replica starts, how
// much memory it needs, what a swap of the index costs those who ask meanwhile, what
// it costs to lose Redis, and how many lookups a second there are. It runs the real
// program, built as it is shipped, with real databases and a homeserver of its own:
//
//	go run ./internal/scalebench | tee scale.out
//	go run ./internal/benchtable < scale.out
//
// It prints as go test -bench does, a line a run, on standard output, and what it is
// doing on standard error. Answers that are wrong end it with an error; a target
// that is not met does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("FAIL", err) // which is no table
		fmt.Fprintln(os.Stderr, "scalebench:", err)
		os.Exit(1)
	}
}

// bench is a run of this program.
type bench struct {
	report      report
	program     string // mediagate's path
	dir         string
	hashes      int
	large       int
	rounds      int
	connections int
	seconds     time.Duration
	kept        string // a folder, or empty
	database    *peer  // once it is needed
}

// part is something that can be measured by itself.
type part struct {
	name string
	run  func(b *bench, ctx context.Context) error
}

var parts = []part{
	{"lookup", (*bench).lookups},
	{"coldstart", (*bench).coldStart},
	{"coldstart_redis", (*bench).coldStartFromRedis},
	{"swaps", (*bench).swaps},
	{"redis", (*bench).away},
	{"memory", (*bench).memory},
}

func run(args []string) (err error) {
	if len(args) == 1 && args[0] == bareCommand {
		return serveBare()
	}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	b := &bench{report: report{os.Stdout}}
	flags := flag.NewFlagSet("scalebench", flag.ExitOnError)
	only := flags.String("only", strings.Join(names, ","), "the parts to measure")
	flags.StringVar(&b.program, "program", "", "the mediagate to measure; empty builds one")
	flags.IntVar(&b.hashes, "hashes", 1_000_000, "how many hashes the list has")
	flags.IntVar(&b.large, "large", 10_000_000, "how many hashes the large list has, whose memory is measured, too")
	flags.IntVar(&b.rounds, "rounds", 5, "how often each part is measured")
	flags.IntVar(&b.connections, "connections", 32, "how many connections ask for lookups")
	flags.StringVar(&b.kept, "data", "", "a `folder` of seeded stores, which are left there for the next time; empty makes them anew")
	flags.DurationVar(&b.seconds, "time", 5*time.Second, "how long a round of requests is")
	_ = flags.Parse(args) // ends the program itself
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no part %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	if b.hashes < 1 || b.rounds < 1 || b.connections < 1 || flags.NArg() > 0 {
		return errors.New("-hashes, -rounds and -connections must be 1 or more, and there are no arguments")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if b.dir, err = os.MkdirTemp("", "scalebench"); err != nil {
		return err
	}
	defer func() {
		if b.database != nil {
			b.database.end()
		}
		err = errors.Join(err, os.RemoveAll(b.dir))
	}()
	if b.program == "" {
		b.program = filepath.Join(b.dir, "mediagate")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, "mediagate")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build mediagate: %w: %s", err, said)
		}
	}
	if err := b.report.head(); err != nil {
		return err
	}
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		b.say("measuring %s", p.name)
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// say tells whoever waits what is going on.
func (*bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// end stops a server whose part has been measured.
func (b *bench) end(g *gate) {
	if err := g.stop(); err != nil {
		b.say("%v", err)
	}
}

// folder is where stores are made.
func (b *bench) folder() string {
	if b.kept != "" {
		return b.kept
	}
	return b.dir
}
