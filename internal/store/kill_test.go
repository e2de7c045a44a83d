package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// childDirectory makes the test binary a process that persists until it is killed.
const (
	childDirectory = "TIDEMARK_STORE_CHILD"
	childRetain    = "TIDEMARK_STORE_RETAIN"
)

func child(directory string, retain int) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childDirectory+"="+directory, childRetain+"="+strconv.Itoa(retain))
	c.Stderr = os.Stderr
	return c
}

func TestMain(m *testing.M) {
	if directory := os.Getenv(childDirectory); directory != "" {
		if err := persistUntilKilled(directory); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// persistUntilKilled prints the id of each checkpoint when it was acknowledged.
func persistUntilKilled(directory string) error {
	ctx := context.Background()
	n, err := strconv.Atoi(os.Getenv(childRetain))
	if err != nil {
		return err
	}
	d, err := Open(ctx, Options{Directory: directory, Job: testJob, Retain: n})
	if err != nil {
		return err
	}
	for id := d.LastID() + 1; ; id++ {
		m, changes := step(id)
		// Enough to fill tables now and then.
		changes = append(changes, checkpoint.Change{
			Operator: "bulk", Key: strconv.AppendInt(nil, int64(id%64), 10), Value: make([]byte, 64<<10),
		})
		if _, err := d.Persist(ctx, m, changes); err != nil {
			return err
		}
		fmt.Println(int64(id))
	}
}

// TestKilledProcessLosesNothingAcknowledged kills a process at random moments. It
// persists without a pause, so a checkpoint is in flight each time.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	rounds := setting(t, "TIDEMARK_KILL_ROUNDS", 25)
	r := seeded(t)
	h := newHarness(t, in(filepath.Join(t.TempDir(), "store")), retain(3))
	var acknowledged, stored checkpoint.ID
	for round := range rounds {
		acknowledged = killAfter(t, child(h.options.Directory, 1+2*(round%2)), acknowledged, 1+r.IntN(12),
			time.Duration(r.Int64N(int64(20*time.Millisecond))))
		d := h.open()
		last, err := d.Load(t.Context())
		require.NoError(t, err, "round %d", round)
		require.GreaterOrEqual(t, last.ID, acknowledged, "round %d", round)
		require.LessOrEqual(t, last.ID, acknowledged+1, "round %d: nobody was told", round)
		requireContent(t, d, contentAt(last.ID))
		stored += last.ID - acknowledged
		acknowledged = last.ID
		ids := listed(t, d)
		require.LessOrEqual(t, len(ids), 4)
		require.Equal(t, last.ID, ids[len(ids)-1])
		require.NoError(t, d.Close())

		from := ids[r.IntN(len(ids))]
		d = h.open(restoreFrom(from))
		requireContent(t, d, contentAt(from))
		require.NoError(t, d.Close())
	}
	t.Logf("%d rounds, %d checkpoints, %d of them in the store but not acknowledged", rounds, acknowledged, stored)
}

// killAfter runs a process until it has acknowledged n checkpoints and a little
// longer, kills it, and returns the last one that it acknowledged.
func killAfter(t *testing.T, c *exec.Cmd, last checkpoint.ID, n int, longer time.Duration) checkpoint.ID {
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := strconv.ParseInt(lines.Text(), 10, 64)
		require.NoError(t, err)
		require.EqualValues(t, last+1, id)
		last = checkpoint.ID(id)
		if n--; n == 0 {
			time.AfterFunc(longer, func() { _ = c.Process.Kill() })
		}
	}
	require.Error(t, c.Wait(), "it was killed")
	require.LessOrEqual(t, n, 0, "the process ended by itself")
	return last
}

// TestLockIsFreedByKill also shows that another process is told who has the store.
func TestLockIsFreedByKill(t *testing.T) {
	h := newHarness(t, in(filepath.Join(t.TempDir(), "store")))
	c := child(h.options.Directory, 3)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	_, err = h.tryOpen()
	require.ErrorIs(t, err, checkpoint.ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("by process %d on ", c.Process.Pid))
	require.NoError(t, c.Process.Kill())
	for lines.Scan() { // until it is gone
	}
	require.Error(t, c.Wait())
	d := h.open(retain(3))
	require.Positive(t, d.LastID())
	require.NoError(t, d.Close())
}
