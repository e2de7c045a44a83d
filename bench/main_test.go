package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets this binary be the raw loop, which the benchmark starts as a child
// of its own executable.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == rawCommand {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestShortRun runs every mode from end to end, with the binary of this tree and
// without the peers, whose build takes minutes.
func TestShortRun(t *testing.T) {
	dir := t.TempDir()
	binary, err := build(t.Context(), "", dir, "..", "./cmd/tidemark")
	require.NoError(t, err)
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			o, err := parseOptions([]string{"-short", "-mode", mode, "-tidemark", binary})
			require.NoError(t, err)
			require.Empty(t, o.results, "a short run must not replace results")
			o.results = dir
			require.NoError(t, o.run(t.Context()))
			for _, ending := range []string{".md", ".json"} {
				text, err := os.ReadFile(filepath.Join(dir, mode+ending))
				require.NoError(t, err)
				require.Contains(t, string(text), "kfake")
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	for flag, want := range map[string]string{
		"-mode=fast":        "give throughput, checkpoints, exactly_once, latency, handover, windows, formats, state, startup or all",
		"-reps=-1":          "-reps -1",
		"-keys=-1":          "-keys -1",
		"-compression=best": "none, lz4, snappy",
		"more":              `unexpected argument "more"`,
	} {
		_, err := parseOptions([]string{flag})
		require.ErrorContains(t, err, want)
	}
	o, err := parseOptions([]string{"-systems=nobody"})
	require.NoError(t, err)
	require.ErrorContains(t, o.run(t.Context()), `-systems "nobody"`)
}

func TestARunThatStandsStillIsAnError(t *testing.T) {
	_, err := spawn([]string{filepath.Join(t.TempDir(), "no-such-program")})
	require.Error(t, err)
	c, err := spawn([]string{os.Args[0], rawCommand})
	require.NoError(t, err)
	<-c.done
	require.ErrorContains(t, c.ended(), rawCommand+" takes", "its last words tell why")
	require.Error(t, c.stop())
}
