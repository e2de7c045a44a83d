package store

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// goldenRecords are one record of each kind, as this build writes it.
func goldenRecords() map[string][]byte {
	p := checkpoint.Partition{Source: "in", Topic: "orders\x00eu", ID: 7}
	pos := checkpoint.Position{
		Next: 1234, LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded,
		Watermark: checkpoint.Watermark{Known: true, At: 1_790_000_000_123},
	}
	m := checkpoint.Manifest{
		Job: "orders", ID: 42, Kind: checkpoint.Aligned, Taken: time.Unix(1_700_000_000, 5).UTC(),
		Final: true, Positions: checkpoint.Positions{p: pos},
	}
	key := stateKey("totals", p, []byte{0, 1, 0xff})
	id := identity{
		ready: true, job: "orders", generation: 3, restoredFrom: 40, first: 42,
		share: Share{Shard: checkpoint.Shard{Index: 1, Count: 4}, Partitions: []string{"orders:1", "orders:0"}}.stored(),
	}
	return map[string][]byte{
		"base key":     baseKey,
		"base":         seal(nil, baseKey, nil),
		"link key":     linkKey(42),
		"link":         seal(nil, linkKey(42), nil),
		"manifest key": manifestKey,
		"manifest":     seal(nil, manifestKey, summarize(m).encode()),
		"position key": positionKey(p),
		"position":     seal(nil, positionKey(p), encodePosition(pos)),
		"state key":    key,
		"state":        seal(nil, key, []byte("value")),
		"STORE":        id.encode(),
		"ACKNOWLEDGED": acknowledgement{generation: 3, id: 42}.encode(),
		"CHECKPOINT":   encodeCheckpoint(m),
	}
}

func TestEncodingIsGolden(t *testing.T) {
	require.Equal(t, 2, encodingVersion, "a new version needs a golden file of its own beside the others")
	records := goldenRecords()
	names := make([]string, 0, len(records))
	for name := range records {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		fmt.Fprintf(&out, "%s: %x\n", name, records[name])
	}
	golden, err := os.ReadFile("testdata/encoding-v2.txt")
	require.NoError(t, err)
	require.Equal(t, string(golden), out.String())

	m, err := decodeCheckpoint(records["CHECKPOINT"])
	require.NoError(t, err)
	require.Equal(t, records["CHECKPOINT"], encodeCheckpoint(m))
	id, err := decodeIdentity(records["STORE"])
	require.NoError(t, err)
	require.Equal(t, records["STORE"], id.encode())
	a, err := decodeAcknowledgement(records["ACKNOWLEDGED"])
	require.NoError(t, err)
	require.Equal(t, acknowledgement{3, 42}, a)
}

// What earlier versions wrote is read, and the same as ever.
func TestEncodingV1IsRead(t *testing.T) {
	golden, err := os.ReadFile("testdata/encoding-v1.txt")
	require.NoError(t, err)
	records := map[string][]byte{}
	for line := range strings.Lines(string(golden)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		records[name], err = hex.DecodeString(text)
		require.NoError(t, err)
	}
	want, err := decodeCheckpoint(goldenRecords()["CHECKPOINT"])
	require.NoError(t, err)
	for p, pos := range want.Positions {
		pos.Watermark = checkpoint.Watermark{}
		want.Positions[p] = pos
	}
	m, err := decodeCheckpoint(records["CHECKPOINT"])
	require.NoError(t, err)
	require.Equal(t, want, m)
	pos, err := unseal(records["position key"], records["position"])
	require.NoError(t, err)
	d := decoderOf(pos)
	for _, p := range want.Positions {
		require.Equal(t, p, d.position())
	}
	require.NoError(t, d.end("position"))
	for _, name := range []string{"base", "link", "manifest", "state"} {
		_, err := unseal(records[name+" key"], records[name])
		require.NoError(t, err, name)
	}
	id, err := decodeIdentity(records["STORE"])
	require.NoError(t, err)
	require.Equal(t, "orders", id.job)
	a, err := decodeAcknowledgement(records["ACKNOWLEDGED"])
	require.NoError(t, err)
	require.Equal(t, acknowledgement{3, 42}, a)
}

func TestUnsealTellsDamageFromVersion(t *testing.T) {
	place := []byte("here")
	record := seal(nil, place, []byte("payload"))
	for i := range record {
		for bit := range 8 {
			bad := bytes.Clone(record)
			bad[i] ^= 1 << bit
			_, err := unseal(place, bad)
			require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		}
		_, err := unseal(place, record[:i])
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	}
	_, err := unseal([]byte("elsewhere"), record)
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)

	newer := append([]byte{encodingVersion + 1}, "anything"...)
	sum := checksum(place, newer)
	newer = append(newer, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	_, err = unseal(place, newer)
	require.ErrorIs(t, err, checkpoint.ErrVersion)
	require.ErrorContains(t, err, "version 3")
}

func TestNewerStoreIsRefusedByVersion(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1)
	root := d.root
	require.NoError(t, d.Close())
	b, err := root.read(identityFile)
	require.NoError(t, err)
	b = b[:len(b)-checksumSize]
	b[0] = 9
	sum := checksum([]byte(identityFile), b)
	require.NoError(t, root.replace(identityFile, append(b, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))))
	_, err = h.tryOpen()
	require.ErrorIs(t, err, checkpoint.ErrVersion)
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
}

func TestMalformedPayloadsAreErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		payload := make([]byte, r.IntN(40))
		for i := range payload {
			payload[i] = byte(r.IntN(4)) * 85
		}
		// Any answer will do, as long as there is one.
		_, _ = decodeCheckpoint(seal(nil, []byte(checkpointFile), payload))
		_, _ = decodeIdentity(seal(nil, []byte(identityFile), payload))
		_, _ = decodeAcknowledgement(seal(nil, []byte(acknowledgedFile), payload))
		_, _ = parsePositionKey(append([]byte{positionTag}, payload...))
	}
}

// TestKeysSortLikeTheirNames also shows that no two places share a key.
func TestKeysSortLikeTheirNames(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	letters := []string{"", "\x00", "\x01", "\xff", "a", "\x00\x01", "\x00\xff", "ab"}
	name := func() string { return letters[r.IntN(len(letters))] + letters[r.IntN(len(letters))] }
	place := func() ([]string, checkpoint.Partition, []byte) {
		operator, p, key := name(), checkpoint.Partition{Source: name(), Topic: name(), ID: int32(r.IntN(5) - 2)}, name()
		return []string{operator, p.Source, p.Topic, string('c' + p.ID), key}, p, stateKey(operator, p, []byte(key))
	}
	for range 20_000 {
		names1, p1, key1 := place()
		names2, p2, key2 := place()
		require.Equal(t, slices.Compare(names1, names2), bytes.Compare(key1, key2), "%q %q", names1, names2)
		require.Equal(t, p1.Compare(p2), bytes.Compare(positionKey(p1), positionKey(p2)))
		back, ok := parsePositionKey(positionKey(p1))
		require.True(t, ok)
		require.Equal(t, p1, back)
	}
}

func TestPrefixEnd(t *testing.T) {
	require.Equal(t, []byte("t"), prefixEnd([]byte("s")))
	require.Equal(t, []byte("t"), prefixEnd([]byte("s\xff\xff")))
	require.Equal(t, []byte("s\x01"), prefixEnd([]byte("s\x00\xff")))
}
