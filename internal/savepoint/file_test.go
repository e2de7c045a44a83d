package savepoint_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// seeded returns a random source; a failure prints how to replay it.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("replay with TIDEMARK_SEED=%d go test ./internal/savepoint -run '^%s$'", seed, t.Name())
	return rand.New(rand.NewPCG(seed, 0))
}

func golden() *memory {
	in := checkpoint.Partition{Source: "in", Topic: "orders\x00eu", ID: 7}
	return &memory{
		manifest: checkpoint.Manifest{
			Job: "orders", ID: 42, Kind: checkpoint.Aligned, Taken: time.Unix(1_700_000_000, 5).UTC(), Final: true,
			Positions: checkpoint.Positions{
				in: {Next: 1234, LeaderEpoch: 3, Stop: checkpoint.Unbounded, Watermark: checkpoint.Watermark{Known: true, At: 1_790_000_000_123}},
				{Source: "in", Topic: "orders\x00eu", ID: 8}: {LeaderEpoch: checkpoint.UnknownEpoch, Stop: 99},
			},
		},
		origin: savepoint.Origin{
			Store: savepoint.FromDirectory, Place: "/data/orders",
			Share: savepoint.ShareOf(checkpoint.Shard{Index: 1, Count: 4}, []string{"orders:1", "orders:0"}),
		},
		entries: []savepoint.Entry{
			{Operator: "seen", Key: []byte{}, Value: []byte("of the process")},
			{Operator: "totals", Scope: in, Key: []byte{0, 1, 0xff}, Value: []byte("value")},
			{Operator: "totals", Scope: in, Key: []byte("b"), Value: []byte{}},
		},
	}
}

// What version 1 looks like, byte by byte, and that it is read.
func TestVersion1IsGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/v1.txt")
	require.NoError(t, err)
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	require.NoError(t, err)
	require.Equal(t, hex.Dump(want), hex.Dump(encode(t, golden())), "a new version needs a golden file of its own beside this one")
	f, err := decode(want)
	require.NoError(t, err)
	require.Equal(t, golden(), contents(t, f))
	require.Equal(t, savepoint.Summary{Positions: 2, Operators: []savepoint.Operator{
		{Name: "seen", Scopes: 1, Keys: 1, Bytes: 14, ProcessKeys: 1},
		{Name: "totals", Scopes: 1, Keys: 2, Bytes: 9},
	}, Scopes: map[checkpoint.Scope]savepoint.Amount{
		{}: {Keys: 1, Bytes: 14}, {Source: "in", Topic: "orders\x00eu", ID: 7}: {Keys: 2, Bytes: 9},
	}}, f.Summary())
}

func TestAnyContentComesBack(t *testing.T) {
	r := seeded(t)
	for range 200 {
		m := sample(r, r.IntN(40), r.IntN(300))
		if r.IntN(4) == 0 && len(m.entries) > 0 { // beyond a block
			m.entries[r.IntN(len(m.entries))].Value = bytes.Repeat([]byte("x"), 600<<10)
		}
		f, err := decode(encode(t, m))
		require.NoError(t, err)
		require.Equal(t, m, contents(t, f))
		measured, err := savepoint.Measure(context.Background(), m)
		require.NoError(t, err)
		require.Equal(t, measured, f.Summary())
	}
}

func TestCutAnywhereIsNoticed(t *testing.T) {
	whole := encode(t, sample(seeded(t), 5, 40))
	for n := range whole {
		_, err := decode(whole[:n])
		require.ErrorIs(t, err, checkpoint.ErrCorrupt, "cut to %d of %d bytes", n, len(whole))
		require.ErrorContains(t, err, "x.savepoint")
	}
	_, err := decode(append(bytes.Clone(whole), 0))
	require.ErrorIs(t, err, checkpoint.ErrCorrupt, "a byte more")
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	whole := encode(t, golden())
	for i := range whole {
		for bit := range 8 {
			altered := bytes.Clone(whole)
			altered[i] ^= 1 << bit
			_, err := decode(altered)
			require.ErrorIs(t, err, checkpoint.ErrCorrupt, "bit %d of byte %d", bit, i)
		}
	}
}

// Whole blocks that are left out, doubled or swapped have right checksums of their own.
func TestMovedBlocksAreNoticed(t *testing.T) {
	r := seeded(t)
	m := sample(r, 3, 0)
	for i := range 6 {
		m.entries = append(m.entries, savepoint.Entry{Operator: "o", Key: []byte{byte(i)}, Value: bytes.Repeat([]byte{byte(i)}, 256<<10)})
	}
	whole := encode(t, m)
	const preamble = 16
	var blocks [][]byte
	for at := preamble; at < len(whole); {
		size := 5 + int(binary.LittleEndian.Uint32(whole[at+1:])) + 4
		blocks = append(blocks, whole[at:at+size])
		at += size
	}
	require.Len(t, blocks, 9)
	join := func(blocks [][]byte) []byte { return append(bytes.Clone(whole[:preamble]), bytes.Join(blocks, nil)...) }
	_, err := decode(join(blocks))
	require.NoError(t, err)
	for i := range blocks {
		without := append(append([][]byte{}, blocks[:i]...), blocks[i+1:]...)
		_, err := decode(join(without))
		require.ErrorIs(t, err, checkpoint.ErrCorrupt, "without block %d", i)
		doubled := append(append([][]byte{}, blocks[:i+1]...), blocks[i:]...)
		_, err = decode(join(doubled))
		require.ErrorIs(t, err, checkpoint.ErrCorrupt, "block %d twice", i)
		for j := range i {
			swapped := append([][]byte{}, blocks...)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			_, err := decode(join(swapped))
			require.ErrorIs(t, err, checkpoint.ErrCorrupt, "blocks %d and %d swapped", j, i)
		}
	}
}

func TestOtherVersionIsNamed(t *testing.T) {
	whole := encode(t, golden())
	binary.LittleEndian.PutUint32(whole[8:], 2)
	binary.LittleEndian.PutUint32(whole[12:], crc32.Checksum(whole[:12], crc32.MakeTable(crc32.Castagnoli)))
	_, err := decode(whole)
	require.ErrorIs(t, err, checkpoint.ErrVersion)
	require.ErrorContains(t, err, "it has version 2, this build knows version 1")
}

func TestStateOutOfOrderIsRefused(t *testing.T) {
	m := golden()
	m.entries[1], m.entries[2] = m.entries[2], m.entries[1]
	_, err := savepoint.Encode(context.Background(), &bytes.Buffer{}, m)
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
}

// The name appears with the whole file or not at all.
func TestWriteIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.savepoint")
	failing := &broken{memory: golden(), err: errors.New("the disk is gone")}
	_, err := savepoint.Write(context.Background(), path, failing)
	require.ErrorIs(t, err, failing.err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	sum, err := savepoint.Write(context.Background(), path, golden())
	require.NoError(t, err)
	require.EqualValues(t, 3, sum.Keys())
	require.EqualValues(t, 23, sum.Bytes())
	f, err := savepoint.Open(context.Background(), path)
	require.NoError(t, err)
	require.Equal(t, golden(), contents(t, f))
	require.NoError(t, f.Close())

	_, err = savepoint.Write(context.Background(), path, golden())
	require.ErrorIs(t, err, os.ErrExist, "a savepoint is not overwritten")
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	ctx := context.Background()
	_, err := savepoint.Open(ctx, filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = savepoint.Open(ctx, t.TempDir())
	require.ErrorContains(t, err, "it is no file")
	path := filepath.Join(t.TempDir(), "a.yaml")
	require.NoError(t, os.WriteFile(path, []byte("input: { generate: {} }\n"), 0o600))
	_, err = savepoint.Open(ctx, path)
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, "it does not begin as a savepoint does")
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	path = filepath.Join(t.TempDir(), "a.savepoint")
	require.NoError(t, os.WriteFile(path, encode(t, golden()), 0o600))
	_, err = savepoint.Open(ctx, path)
	require.ErrorIs(t, err, context.Canceled)
}

// broken fails after the first value.
type broken struct {
	*memory
	err error
}

func (b *broken) Each(_ context.Context, fn func(savepoint.Entry) error) error {
	if err := fn(b.entries[0]); err != nil {
		return err
	}
	return b.err
}
