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
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rawCommand is what this binary is called with to be the raw loop.
const rawCommand = "raw-copy"

// modes are what can be measured, in the order in which "all" does it.
var modes = []string{"throughput", "checkpoints", "exactly_once", "latency", "handover", "windows", "formats", "state", "startup"}

func modeNames() string { return strings.Join(modes, ", ") + " or all" }

// options are the flags.
type options struct {
	mode, loads, systems, compression, results string
	connect, tidemark                          string
	repetitions, keys                          int
	short                                      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == rawCommand {
		if len(args) < 5 {
			return fmt.Errorf("%s takes SOURCE TARGET COMPRESSION SEED [SEED ...]", rawCommand)
		}
		codec, err := codec(args[3])
		if err != nil {
			return err
		}
		return copyRaw(ctx, args[4:], args[1], args[2], codec)
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	return o.run(ctx)
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.mode, "mode", "throughput", "what to measure: "+modeNames())
	f.StringVar(&o.loads, "loads", "", "what to copy, RECORDSxBYTES,... (default: 2000000x100,500000x1024; 10000000x100 for checkpoints)")
	f.StringVar(&o.systems, "systems", "", "a regular expression: only the systems whose names match")
	f.StringVar(&o.compression, "compression", "none", "how every system compresses what it writes: none, lz4, snappy, zstd or gzip")
	f.StringVar(&o.results, "results", "results", "the folder for results; empty = only print them")
	f.StringVar(&o.connect, "connect", "", "a Redpanda Connect binary; built from ./connect if empty")
	f.StringVar(&o.tidemark, "tidemark", "", "a tidemark binary; built from ../cmd/tidemark if empty")
	f.IntVar(&o.repetitions, "reps", 0, "how often each system runs (default: 5; 7 pairs for checkpoints, 10 starts for startup, 3 for latency, 2 for handover)")
	f.IntVar(&o.keys, "keys", 0, "how many keys change hands in a handover (default: 1000000)")
	f.BoolVar(&o.short, "short", false, "check that the benchmark works: a broker in this process, few records, one repetition, no peers, no results")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if !slices.Contains(modes, o.mode) && o.mode != "all" {
		return o, fmt.Errorf("-mode %q: give %s", o.mode, modeNames())
	}
	if o.repetitions < 0 {
		return o, fmt.Errorf("-reps %d: give 0 for the default, or more", o.repetitions)
	}
	if o.keys < 0 {
		return o, fmt.Errorf("-keys %d: give 0 for the default, or more", o.keys)
	}
	if _, err := codec(o.compression); err != nil {
		return o, fmt.Errorf("-compression: %w", err)
	}
	if o.short {
		o.results = ""
	}
	return o, nil
}

// or returns a flag's value, or what stands for its zero.
func or[T comparable](value, full, short T, isShort bool) T {
	var zero T
	switch {
	case value != zero:
		return value
	case isShort:
		return short
	}
	return full
}

func (o options) run(ctx context.Context) (err error) {
	systems, err := o.selected()
	if err != nil {
		return err
	}
	h := &host{}
	defer h.close()
	b := &bench{dir: h.TempDir(), compression: o.compression, stall: time.Minute}
	if b.binaries, err = o.binaries(ctx, b.dir, systems); err != nil {
		return err
	}
	kafka, broker := startBroker(h, o.short) //nolint:contextcheck // a broker outlives the context, so that what it is used for can end in order
	cl, err := kgo.NewClient(kafka.ClientOptions()...)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer cl.Close()
	b.kafka, b.admin = kafka, kadm.NewClient(cl)
	env := b.describe(broker)

	steps := o.steps(ctx, b, env, systems)
	for _, mode := range modes {
		if o.mode != mode && o.mode != "all" {
			continue
		}
		markdown, result, err := steps[mode]()
		if err != nil {
			return err
		}
		if err := save(o.results, mode, markdown, result); err != nil {
			return err
		}
	}
	return nil
}

// step measures something.
type step func() (markdown string, result any, err error)

// steps are what the modes do.
func (o options) steps(ctx context.Context, b *bench, env environment, systems []system) map[string]step {
	return map[string]step{
		"throughput": func() (string, any, error) {
			loads, err := parseLoads(or(o.loads, "2000000x100,500000x1024", "20000x100", o.short))
			if err != nil {
				return "", nil, err
			}
			r, err := b.throughput(ctx, env, systems, loads, or(o.repetitions, 5, 1, o.short))
			return r.markdown(), r, err
		},
		"checkpoints": func() (string, any, error) {
			loads, err := parseLoads(or(o.loads, "10000000x100", "20000x100", o.short))
			if err != nil {
				return "", nil, err
			}
			r, err := b.checkpoints(ctx, env, loads[0], or(o.repetitions, 7, 1, o.short))
			return r.markdown(), r, err
		},
		"exactly_once": func() (string, any, error) {
			loads, err := parseLoads(or(o.loads, "6000000x100", "20000x100", o.short))
			if err != nil {
				return "", nil, err
			}
			r, err := b.exactlyOnce(ctx, env, loads[0], or(o.repetitions, 5, 1, o.short))
			return r.markdown(), r, err
		},
		"latency": func() (string, any, error) {
			p := latencyPlan{
				perSecond: 1000, repetitions: or(o.repetitions, 3, 1, o.short),
				warm: or(0, 3*time.Second, 300*time.Millisecond, o.short), measured: or(0, 10*time.Second, 1500*time.Millisecond, o.short),
			}
			r, err := b.latency(ctx, env, p)
			return r.markdown(), r, err
		},
		"handover": func() (string, any, error) {
			r, err := b.handover(ctx, env, or(o.keys, 1_000_000, 5000, o.short), or(o.repetitions, 2, 1, o.short),
				or(0, 10*time.Second, 6*time.Second, o.short))
			return r.markdown(), r, err
		},
		"windows": func() (string, any, error) {
			r, err := b.windows(ctx, env, or(0, 2_000_000, 50_000, o.short), or(o.repetitions, 5, 1, o.short))
			return r.markdown(), r, err
		},
		"formats": func() (string, any, error) {
			r, err := b.formats(ctx, env, or(0, 1_500_000, 20_000, o.short), or(o.repetitions, 5, 1, o.short))
			return r.markdown(), r, err
		},
		"state": func() (string, any, error) {
			r, err := b.state(ctx, env, or(0, 10_000_000, 100_000, o.short))
			return r.markdown(), r, err
		},
		"startup": func() (string, any, error) {
			r, err := b.startup(ctx, env, startupSystems(), or(o.repetitions, 10, 1, o.short))
			return r.markdown(), r, err
		},
	}
}

// selected returns the systems of the main comparison that the flags ask for.
func (o options) selected() ([]system, error) {
	pattern, err := regexp.Compile(o.systems)
	if err != nil {
		return nil, fmt.Errorf("-systems: %w", err)
	}
	chosen := slices.DeleteFunc(throughputSystems(), func(s system) bool {
		return !pattern.MatchString(s.name) || o.short && o.systems == "" && s.program == connect
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-systems %q: no system has such a name", o.systems)
	}
	return chosen, nil
}

// binaries builds what the measurements run and the flags do not name.
func (o options) binaries(ctx context.Context, dir string, systems []system) (map[program]string, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this binary: %w", err)
	}
	found := map[program]string{rawLoop: own}
	peers := slices.ContainsFunc(systems, func(s system) bool { return s.program == connect })
	if peers && (o.mode == "throughput" || o.mode == "all") {
		if found[connect], err = build(ctx, o.connect, dir, "connect", "."); err != nil {
			return nil, err
		}
	}
	found[tidemark], err = build(ctx, o.tidemark, dir, "..", "./cmd/tidemark")
	return found, err
}

// build builds a package of the module in a folder, unless there is a binary of
// it.
func build(ctx context.Context, binary, dir, module, pkg string) (string, error) {
	if binary != "" {
		return filepath.Abs(binary)
	}
	out := filepath.Join(dir, "bin", filepath.Base(module)+"-"+filepath.Base(pkg))
	progress("building %s in %s (slow the first time)", pkg, module)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = module
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s in %s: %w\n%s", pkg, module, err, strings.TrimSpace(string(text)))
	}
	return out, nil
}

// codec returns the client's codec of a name.
func codec(name string) (kgo.CompressionCodec, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "snappy": kgo.SnappyCompression(),
		"zstd": kgo.ZstdCompression(), "gzip": kgo.GzipCompression(),
	}
	c, ok := codecs[name]
	if !ok {
		return c, errors.New("compression " + name + " is unknown: give none, lz4, snappy, zstd or gzip")
	}
	return c, nil
}
