package watermark_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/watermark"
)

func TestProgressIsWrittenAndRead(t *testing.T) {
	for _, p := range []watermark.Progress{watermark.Start, {Own: watermark.End, Seen: 7}, {Own: -5, Seen: 0}} {
		b, err := p.MarshalBinary()
		require.NoError(t, err)
		var back watermark.Progress
		require.NoError(t, back.UnmarshalBinary(b))
		require.Equal(t, p, back)
	}
}

// What version 1 looks like must not change: it is on users' disks.
func TestProgressVersion1(t *testing.T) {
	const golden = "010000000000000001800000000000000045363f9a"
	b, err := watermark.Progress{Own: 1, Seen: watermark.None}.MarshalBinary()
	require.NoError(t, err)
	require.Equal(t, golden, hex.EncodeToString(b))
}

func TestDamagedProgressIsNamed(t *testing.T) {
	good, err := watermark.Progress{Own: 1, Seen: 2}.MarshalBinary()
	require.NoError(t, err)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		p := watermark.Start
		require.Error(t, p.UnmarshalBinary(bad), "byte %d", i)
		require.Equal(t, watermark.Start, p, "never half")
		require.Error(t, p.UnmarshalBinary(good[:i]), "%d bytes", i)
	}
	p := watermark.Start
	require.ErrorContains(t, p.UnmarshalBinary([]byte{2}), "version 2")
	require.ErrorContains(t, p.UnmarshalBinary(append(good, 0)), "22 bytes")
}
