package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/store"
	"github.com/tidemarkhq/tidemark/internal/window"
)

// stateResult is what large state costs.
type stateResult struct {
	Environment environment `json:"environment"`
	Keys        int         `json:"keys"`
	InMemory    int         `json:"max_keys_in_memory"`
	// Full is a checkpoint in which all keys have changed; Some those in which one in a
	// hundred has.
	Full stateCost   `json:"full_checkpoint"`
	Some []stateCost `json:"checkpoints_of_one_percent"`
	// Ratios are of the medians of Some to Full.
	TimeRatio  float64 `json:"time_ratio"`
	BytesRatio float64 `json:"bytes_ratio"`
	StoreMiB   float64 `json:"store_mib"`
	// Restart is from opening the store until a record is in a window.
	Restart float64 `json:"restart_seconds"`
	Goals   []goal  `json:"goals"`
}

// stateCost is what one checkpoint takes.
type stateCost struct {
	Keys int `json:"keys"`
	// Pause is how long the pipeline stands still for the cut, Persist what comes after
	// beside it, in seconds.
	Pause   float64 `json:"pause_seconds"`
	Persist float64 `json:"persist_seconds"`
	Bytes   int64   `json:"bytes"`
}

func (c stateCost) seconds() float64 { return c.Pause + c.Persist }

// keptState is windows over a directory store, put together as the engine does it.
type keptState struct {
	dir     string
	store   *store.Directory
	overlay *checkpoint.Overlay
	windows *window.Windows
	id      checkpoint.ID
}

const stateOperator = "windows"

// Get and the others implement window.Space.
func (s *keptState) Get(key []byte) ([]byte, error) {
	if v, known := s.overlay.Get(stateOperator, checkpoint.Scope{}, key); known {
		return v, nil
	}
	return s.store.Get(stateOperator, checkpoint.Scope{}, key)
}

func (s *keptState) Put(key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	s.overlay.Set(stateOperator, checkpoint.Scope{}, key, value)
	return nil
}

func (s *keptState) Delete(key []byte) error {
	s.overlay.Set(stateOperator, checkpoint.Scope{}, key, nil)
	return nil
}

func (s *keptState) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	over := s.overlay.Entries(stateOperator, checkpoint.Scope{}, prefix, from)
	return checkpoint.Merge(over, func(emit func(key, value []byte) error) error {
		return s.store.Scan(stateOperator, checkpoint.Scope{}, prefix, from, emit)
	}, func(key, value []byte) error { return fn(slices.Clone(key), slices.Clone(value)) })
}

// openState opens the store and the windows in it.
func openState(ctx context.Context, dir string, inMemory int) (*keptState, error) {
	st, err := store.Open(ctx, store.Options{Directory: dir, Job: "bench"})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := &keptState{dir: dir, store: st, overlay: checkpoint.NewOverlay(), id: 1}
	if m, err := st.Load(ctx); err == nil {
		s.id = m.ID + 1
	}
	s.windows, err = window.Open(window.Config{
		Assigner:   window.Assigner{Kind: window.Tumbling, Size: time.Hour},
		Aggregates: []window.Aggregate{{Op: window.Count}, {Op: window.Sum}}, MaxKeys: inMemory,
	}, s)
	return s, err
}

// add adds a record of a key.
func (s *keptState) add(key int) error {
	_, err := s.windows.Add(fmt.Appendf(nil, "user-%09d", key), window.Record{Time: 1, Values: []any{nil, int64(7)}})
	return err
}

// checkpoint takes a checkpoint.
func (s *keptState) checkpoint(ctx context.Context, keys int) (stateCost, error) {
	runtime.GC() // What came before is not its cost.
	cost := stateCost{Keys: keys}
	begun := time.Now()
	if err := s.windows.Freeze(); err != nil {
		return cost, fmt.Errorf("freezing: %w", err)
	}
	s.overlay.Freeze(s.id)
	cost.Pause = time.Since(begun).Seconds()
	begun = time.Now()
	m := &checkpoint.Manifest{Job: "bench", ID: s.id, Kind: checkpoint.Aligned, Taken: time.Now(), Positions: checkpoint.Positions{
		{Topic: "t"}: {Next: checkpoint.Offset(s.id), LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded},
	}}
	var err error
	if cost.Bytes, err = s.store.Persist(ctx, m, s.overlay.Frozen(s.id).Changes()); err != nil {
		return cost, fmt.Errorf("persisting: %w", err)
	}
	s.overlay.Persisted(s.id)
	cost.Persist = time.Since(begun).Seconds()
	s.id++
	return cost, nil
}

// state measures state of many keys.
func (b *bench) state(ctx context.Context, env environment, keys int) (stateResult, error) {
	r := stateResult{Environment: env, Keys: keys, InMemory: keys / 100}
	s, err := openState(ctx, filepath.Join(b.dir, "state"), r.InMemory)
	if err != nil {
		return r, err
	}
	for k := range keys {
		if err := s.add(k); err != nil {
			return r, err
		}
	}
	if r.Full, err = s.checkpoint(ctx, keys); err != nil {
		return r, err
	}
	progress("all %d keys: %.2f s, %d bytes", keys, r.Full.seconds(), r.Full.Bytes)
	rng := rand.New(rand.NewPCG(5, 6))
	for range 9 {
		for range keys / 100 {
			if err := s.add(rng.IntN(keys)); err != nil {
				return r, err
			}
		}
		cost, err := s.checkpoint(ctx, keys/100)
		if err != nil {
			return r, err
		}
		progress("%d keys: %.3f s, of which the pipeline stands still for %.3f s, %d bytes", cost.Keys, cost.seconds(), cost.Pause, cost.Bytes)
		r.Some = append(r.Some, cost)
	}
	if err := s.store.Close(); err != nil {
		return r, fmt.Errorf("closing the store: %w", err)
	}
	r.StoreMiB = folderMiB(s.dir)
	begun := time.Now()
	if s, err = openState(ctx, s.dir, r.InMemory); err != nil {
		return r, err
	}
	if err := s.add(keys / 2); err != nil {
		return r, err
	}
	r.Restart = time.Since(begun).Seconds()
	r.judge()
	return r, s.store.Close()
}

func (r *stateResult) judge() {
	var times, bytes []float64
	for _, c := range r.Some {
		times, bytes = append(times, c.seconds()), append(bytes, float64(c.Bytes))
	}
	r.TimeRatio = spreadOf(times).Median / r.Full.seconds()
	r.BytesRatio = spreadOf(bytes).Median / float64(r.Full.Bytes)
	r.Goals = []goal{
		atMost("time of a checkpoint of 1 % of the keys, to one of all", r.TimeRatio, 0.03),
		atMost("bytes of it, to one of all", r.BytesRatio, 0.03),
		atMost("seconds until a restart is ready", r.Restart, 5),
	}
}

func folderMiB(dir string) float64 {
	var sum int64
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			sum += info.Size()
		}
		return nil
	})
	return float64(sum) / (1 << 20)
}

func (r stateResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Large state\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "%s keys in windows (count and sum) over the directory store, of which %s stay in memory; %.0f MiB on disk.\n"+
		"The pipeline stands still while what changed is written back into the overlay; the rest happens beside it.\n\n",
		grouped(fmt.Sprint(r.Keys)), grouped(fmt.Sprint(r.InMemory)), r.StoreMiB)
	rows := [][]string{}
	for _, c := range append([]stateCost{r.Full}, r.Some...) {
		rows = append(rows, []string{
			grouped(fmt.Sprint(c.Keys)), fmt.Sprintf("%.3f", c.Pause), fmt.Sprintf("%.3f", c.Persist), grouped(fmt.Sprint(c.Bytes)),
		})
	}
	s.WriteString(table([]string{"keys changed", "standing still, s", "persisting, s", "bytes"}, rows))
	fmt.Fprintf(&s, "\nA restart takes %.2f s from opening the store until a record is in a window.\n\n", r.Restart)
	s.WriteString(goalTable(r.Goals))
	return s.String()
}
