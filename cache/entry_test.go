package cache

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/watermark"
)

// What version 1 looks like must not change: it is on users' disks.
func TestEntryVersion1(t *testing.T) {
	for golden, e := range map[string]entry{
		"018000000000000007904e76":   {expires: 7, ttl: 10 * time.Second, value: []byte("v")},
		"01ffffffffffffffff00":       {expires: watermark.End, value: []byte{}},
		"01000000000000000088c76776": {expires: watermark.None, ttl: 1_696_648 * time.Millisecond, value: []byte("v")},
	} {
		want, err := hex.DecodeString(golden)
		require.NoError(t, err)
		require.Equal(t, want, e.encode())
		back, err := decode(want)
		require.NoError(t, err)
		require.Equal(t, e, back)
	}
}

func TestDamagedEntryIsNamed(t *testing.T) {
	whole := entry{expires: 7, ttl: time.Hour}.encode()
	for n := range len(whole) {
		_, err := decode(whole[:n])
		require.ErrorIs(t, err, errCutOff, "%d bytes", n)
	}
	whole[0] = 2
	_, err := decode(whole)
	require.ErrorContains(t, err, "version 2")
	_, _, err = timerOf([]byte("t1234567"))
	require.ErrorIs(t, err, errCutOff)
}

// Timers are found in the order of their times, those before 1970 too.
func TestTimersSort(t *testing.T) {
	last := ""
	for _, at := range []watermark.Time{watermark.None, -5, 0, 3, 1 << 40, watermark.End - 1} {
		name := timerName(at, "key")
		require.Greater(t, string(name), last)
		last = string(name)
		back, key, err := timerOf(name)
		require.NoError(t, err)
		require.Equal(t, at, back)
		require.Equal(t, "key", key)
	}
}

func TestConfigFaults(t *testing.T) {
	for yaml, want := range map[string]string{
		"{}": "", "default_ttl: 1h": "", "default_ttl: 0s": "default_ttl is 0s", "default_ttl: -1s": "default_ttl is -1s",
		"default_ttl: 5us": "default_ttl is 5µs", "default_ttl: soon": "soon",
	} {
		parsed, err := spec().ParseYAML(yaml, nil)
		require.NoError(t, err)
		_, err = parse(parsed)
		if want == "" {
			require.NoError(t, err, yaml)
			continue
		}
		require.ErrorContains(t, err, want, yaml)
	}
}
