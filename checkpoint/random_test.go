package checkpoint_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rounds is how often a random test runs in everyday work; TIDEMARK_ROUNDS is for
// long runs.
const rounds = 300

// random calls f with many sources of random numbers; a failure says how to
// replay it.
func random(t *testing.T, f func(t require.TestingT, r *rand.Rand)) {
	t.Helper()
	n := setting(t, "TIDEMARK_ROUNDS", rounds)
	seed := setting(t, "TIDEMARK_SEED", 0)
	if seed != 0 {
		n = 1
	} else {
		seed = int(time.Now().UnixNano())
	}
	for i := range n {
		f(&replay{T: t, seed: seed + i}, rand.New(rand.NewPCG(uint64(seed+i), 0)))
	}
}

// replay adds to a failure how it can be had again.
type replay struct {
	*testing.T
	seed int
}

func (r *replay) Errorf(format string, args ...any) {
	r.T.Helper()
	r.T.Logf("replay with TIDEMARK_SEED=%d go test ./checkpoint -run '^%s$'", r.seed, r.T.Name())
	r.T.Errorf(format, args...)
}

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	return n
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
