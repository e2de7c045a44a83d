package checkpoint

import (
	"fmt"
	"hash/maphash"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// explorer visits every state that a scenario can reach, nearest first.
type explorer struct {
	conf  *scenario
	seeds [2]maphash.Seed
	seen  map[[2]uint64]uint32
	// from and by tell how each state was found first.
	from []uint32
	by   []move
	// good marks the states in which all is done; edges are the steps that are no
	// faults, from state to state.
	good  []bool
	edges [][2]uint32
	steps int
	buf   []byte
}

// finding is what is wrong with a scenario, and how to get there.
type finding struct {
	what   string
	script []string
}

func (f *finding) String() string {
	s := f.what + ", after:\n"
	for i, line := range f.script {
		s += fmt.Sprintf("%3d %s\n", i+1, line)
	}
	return s
}

// maxStates is more than any scenario has; beyond it something grows for ever.
const maxStates = 30_000_000

// explore returns what was found wrong first, nil if nothing is.
func explore(conf *scenario) (*explorer, *finding) {
	e := &explorer{conf: conf, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, seen: map[[2]uint64]uint32{}}
	first := newWorld(conf)
	e.add(&first, 0, move{})
	frontier, next := []world{first}, []world(nil)
	var moves []move
	for base := uint32(0); len(frontier) > 0; {
		next = next[:0]
		for i := range frontier {
			at := base + uint32(i)
			moves = frontier[i].moves(moves[:0])
			for _, m := range moves {
				w := frontier[i]
				if !w.apply(m) {
					continue
				}
				e.steps++
				to, isNew := e.add(&w, at, m)
				if w.broken != "" {
					return e, &finding{w.broken, e.script(to)}
				}
				if m.cost == numFaults {
					e.edges = append(e.edges, [2]uint32{at, to})
				}
				if isNew {
					next = append(next, w)
				}
			}
		}
		if len(e.from) > maxStates {
			return e, &finding{"the states do not end", e.script(uint32(len(e.from) - 1))}
		}
		base += uint32(len(frontier))
		frontier, next = next, frontier
	}
	if at, ok := e.stuck(); ok {
		return e, &finding{"nobody can finish", e.script(at)}
	}
	return e, nil
}

func (e *explorer) add(w *world, from uint32, by move) (uint32, bool) {
	e.buf = w.encode(e.buf[:0])
	key := [2]uint64{maphash.Bytes(e.seeds[0], e.buf), maphash.Bytes(e.seeds[1], e.buf)}
	if at, ok := e.seen[key]; ok && w.broken == "" {
		return at, false
	}
	at := uint32(len(e.from))
	e.seen[key] = at
	e.from, e.by, e.good = append(e.from, from), append(e.by, by), append(e.good, w.finished())
	return at, true
}

// stuck returns the nearest state from which no sequence of steps without faults
// leads to the end. If there is none, then whoever takes such steps at random, as
// processes do that wait with jitter, comes to the end sooner or later.
func (e *explorer) stuck() (uint32, bool) {
	// The edges into each state, by counting sort.
	start := make([]uint32, len(e.from)+1)
	for _, edge := range e.edges {
		start[edge[1]+1]++
	}
	for i := 1; i < len(start); i++ {
		start[i] += start[i-1]
	}
	into, fill := make([]uint32, len(e.edges)), slices.Clone(start)
	for _, edge := range e.edges {
		into[fill[edge[1]]] = edge[0]
		fill[edge[1]]++
	}
	good := slices.Clone(e.good)
	var queue []uint32
	for at, g := range good {
		if g {
			queue = append(queue, uint32(at))
		}
	}
	for len(queue) > 0 {
		to := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, from := range into[start[to]:start[to+1]] {
			if !good[from] {
				good[from] = true
				queue = append(queue, from)
			}
		}
	}
	at := slices.Index(good, false)
	return uint32(max(at, 0)), at >= 0
}

// script tells how a state was reached.
func (e *explorer) script(at uint32) []string {
	var moves []move
	for ; at != 0; at = e.from[at] {
		moves = append(moves, e.by[at])
	}
	var script []string
	w := newWorld(e.conf)
	w.say = &script
	for _, m := range slices.Backward(moves) {
		w.apply(m)
	}
	return script
}

// TestWorldsOfOneEncodingHaveOneFuture holds the encoding to what the explorer takes
// for granted: what it leaves out makes no difference.
func TestWorldsOfOneEncodingHaveOneFuture(t *testing.T) {
	for _, conf := range []scenario{
		{fencing: FenceStatic, procs: 2, records: 2, sameID: true, faults: faults(crashes, losses, others, strays)},
		{fencing: FenceGeneration, procs: 2, records: 1, faults: faults(crashes, kicks)},
		{fencing: FenceStoreless, procs: 2, records: 2, faults: faults(delays, kicks, losses)},
		{fencing: FenceGroupClaims, procs: 2, records: 1, faults: faults(kicks, losses, revokes)},
	} {
		t.Run(conf.String(), func(t *testing.T) {
			t.Parallel()
			seen := map[string][]string{}
			for queue := []world{newWorld(&conf)}; len(queue) > 0 && len(seen) < 4000; queue = queue[1:] {
				for _, w := range queue[0].next() {
					key, future := string(w.encode(nil)), []string{}
					for _, v := range w.next() {
						future = append(future, string(v.encode(nil)))
					}
					slices.Sort(future)
					if known, ok := seen[key]; ok {
						require.Equal(t, known, future)
						continue
					}
					seen[key] = future
					queue = append(queue, w)
				}
			}
		})
	}
}

// next returns all worlds that are one step away.
func (w *world) next() []world {
	var all []world
	for _, m := range w.moves(nil) {
		if v := *w; v.apply(m) {
			all = append(all, v)
		}
	}
	return all
}
