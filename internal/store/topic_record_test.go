package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// goldenTopic are one record of each kind, as this build writes it.
func goldenTopic(t *testing.T) (*Topic, map[string]*kgo.Record) {
	t.Helper()
	topic, err := OpenTopic(nil, TopicOptions{
		Topic: "store", Partitions: 16, Job: "orders", MaxRecord: smallRecord,
		Now: func() time.Time { return time.Unix(1_700_000_000, 5) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, topic.Close()) })
	s := checkpoint.Scope{Source: "in", Topic: "orders\x00eu", ID: 7}
	pos := checkpoint.Position{
		Next: 1234, LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded,
		Watermark: checkpoint.Watermark{Known: true, At: 1_790_000_000_123},
	}
	topic.setLive(true, s)
	topic.with(s, func(n *tenant) { n.claims["tidemark-orders-0"] = Event{Kind: Claimed, Offset: 41} })
	m := manifestOf("orders", 42, checkpoint.Positions{s: pos})
	m.Final = true
	w, err := topic.Checkpoint(m, []checkpoint.Change{
		{Operator: "totals", Scope: s, Key: []byte{0, 1, 0xff}, Value: []byte("value")},
		{Operator: "totals", Scope: s, Key: []byte("gone")},
		{Operator: "totals", Scope: s, Key: []byte("large"), Value: bytes.Repeat([]byte("x"), smallRecord)},
	}, "tidemark-orders-0")
	require.NoError(t, err)
	claim := topic.Claim("tidemark-orders-0", claims{s: &pos})
	require.Len(t, w.Records, 5)
	return topic, map[string]*kgo.Record{
		"job": claim[0], "claim": claim[1], "release": topic.Release("tidemark-orders-0", s)[0],
		"retired": topic.Retire("tidemark-orders-0", s)[0],
		"state":   w.Records[0], "deletion": w.Records[1], "chunk 0": w.Records[2], "chunk 1": w.Records[3],
		"checkpoint": w.Records[4],
	}
}

var manyX = regexp.MustCompile("(78){10,}")

func TestTopicEncodingIsGolden(t *testing.T) {
	require.Equal(t, 2, encodingVersion, "a new version needs a golden file of its own beside the others")
	require.Equal(t, 1, topicKeyVersion, "a new version needs a golden file of its own beside the others")
	topic, records := goldenTopic(t)
	names := make([]string, 0, len(records))
	for name := range records {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		r := records[name]
		require.Equal(t, "store", r.Topic)
		value := "tombstone"
		if r.Value != nil {
			value = manyX.ReplaceAllStringFunc(fmt.Sprintf("%x", r.Value), func(run string) string { return fmt.Sprintf("(%d x)", len(run)/2) })
		}
		fmt.Fprintf(&out, "%s: partition %d, key %x, value %s\n", name, r.Partition, r.Key, value)
		p, ok, err := topic.placeOf(r)
		require.NoError(t, err)
		require.True(t, ok)
		fmt.Fprintf(&out, "  is %q\n", p.describe())
	}
	const file = "testdata/topic-encoding-v2.txt"
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(golden), out.String())

	// And all of it is read back.
	c, cp := records["claim"], records["checkpoint"]
	for kind, r := range map[EventKind]*kgo.Record{Claimed: c, Released: records["release"], Checkpointed: cp} {
		p, _, err := topic.placeOf(r)
		require.NoError(t, err)
		e, err := topic.decode(p, r)
		require.NoError(t, err)
		require.Equal(t, kind, e.Kind)
		require.Equal(t, kind == Released, e.Position == nil)
		count := topic.conf.Partitions
		again := e
		require.Equal(t, r.Value, seal(nil, r.Key, encodeEvent(again, count)))
	}
}

var goldenHomes = []int32{11, 15, 4, 9, 7, 5, 1, 11, 9, 6, 5, 3}

// Where a scope is must never change, nor depend on anything but its names and the count.
func TestHomesAreGolden(t *testing.T) {
	var homes []int32
	for id := range int32(12) {
		homes = append(homes, HomeOf("orders", scopeOf(id), 16))
	}
	require.Equal(t, goldenHomes, homes)
	require.NotEqual(t, HomeOf("orders", scopeOf(1), 1000), HomeOf("order", scopeOf(1), 1000))
	require.Zero(t, HomeOf("orders", scopeOf(1), 1))
	require.Equal(t, int32(1), HomeOf("orders", scopeOf(1), 2))
	taken := map[int32]int{}
	for id := range int32(15_000) {
		taken[HomeOf("orders", scopeOf(id), 16)]++
	}
	require.Len(t, taken, 15)
	require.NotContains(t, taken, int32(0))
	for _, n := range taken {
		require.InDelta(t, 1000, n, 150)
	}
}

func TestTopicPlacesAreParsed(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	letters := []string{"", "\x00", "\x01", "\xff", "a", "\x00\x01", "\x00\xff", "ab"}
	name := func() string { return letters[r.IntN(len(letters))] + letters[r.IntN(len(letters))] }
	for range 20_000 {
		topic := &Topic{prefix: jobPrefix(name())}
		s := checkpoint.Scope{Source: name(), Topic: name(), ID: int32(r.IntN(5) - 2)}
		operator, key, id := name(), name(), name()
		local := stateKey(operator, s, []byte(key))
		rest, known, mine := ours(topic.key(local, []byte{0, 0, 1, 2}), topic.prefix)
		require.True(t, known && mine)
		p, ok := parsePlace(rest)
		require.True(t, ok)
		require.Equal(t, local, p.local)
		require.Equal(t, uint32(258), p.chunk)
		back, ok := parseScope(p.scope)
		require.True(t, ok)
		require.Equal(t, s, back)
		found, _, ok := cutName(p.space)
		require.True(t, ok)
		require.Equal(t, operator, found)

		p, ok = parsePlace(ownerPlace(s, id))
		require.True(t, ok)
		require.Equal(t, id, string(p.id))
		p, ok = parsePlace(positionKey(s))
		require.True(t, ok)
		require.Equal(t, scopeKey(s), p.scope)
	}
}

func TestSplitAndJoin(t *testing.T) {
	for size := range 40 {
		value := bytes.Repeat([]byte("0123456789"), 4)[:size]
		chunks := split(value, 10)
		require.Len(t, chunks, max(1, (size+9)/10))
		for i, c := range chunks {
			back, err := decodeChunk(c.encode())
			require.NoError(t, err)
			require.Equal(t, c.part, back.part)
			require.True(t, c.same(back))
			chunks[i] = back
		}
		if len(chunks) == 1 {
			continue
		}
		got, err := join(chunks)
		require.NoError(t, err)
		require.Equal(t, value, got)
		_, err = join(chunks[1:])
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	}
}
