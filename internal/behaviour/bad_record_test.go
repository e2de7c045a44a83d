package behaviour

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// fillDocuments appends n documents to each partition, in place of some of them what is no
// JSON.
func fillDocuments(t testing.TB, e kafkatest.Endpoint, topic string, n int, bad ...int) {
	t.Helper()
	at := map[int32]int{}
	kafkatest.Fill(t, e, topic, n, func(r *kgo.Record) {
		i := at[r.Partition]
		at[r.Partition]++
		r.Value = fmt.Appendf(nil, `{"at":"%s"}`, r.Value)
		for _, b := range bad {
			if b == i {
				r.Value = []byte(`{"at":`)
				r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte{0xff, 1}}, {Key: "h", Value: nil}}
			}
		}
	})
}

// documents are what fillDocuments has written, without the bad ones.
func documents(partitions, n int, bad ...int) [][]string {
	all := make([][]string, partitions)
	for p := range all {
	next:
		for i := range n {
			for _, b := range bad {
				if b == i {
					continue next
				}
			}
			all[p] = append(all[p], fmt.Sprintf(`{"at":"%d/%d"}`, p, i))
		}
	}
	return all
}

// lines returns what was logged with a text in it.
func (l *logs) lines(with string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, with) {
			found = append(found, line)
		}
	}
	return found
}

// committedAt is what the group g has committed, -1 if nothing.
func committedAt(t testing.TB, e kafkatest.Endpoint, topic string, partition int32) int64 {
	t.Helper()
	c, ok := kafkatest.Committed(t, e, "g", topic)[partition]
	if !ok {
		return -1
	}
	return c.Offset
}

func awaitHeld(t testing.TB, e kafkatest.Endpoint, topic string, want [][]string) {
	t.Helper()
	kafkatest.Until(t, patience, func() error {
		if got := values(t, e, topic); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s holds %v, not %v", topic, got, want)
		}
		return nil
	})
}

func TestBadRecordFail(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		fillDocuments(t, e, in, 30, 17)
		kafkatest.Fill(t, e, in, 5)
		s, m := startMeasured(t, e, copyYAML(in, out, "g", "assignment: "+assignment+"\n    format: json\n    max_batch_records: 10\n"+
			"    checkpoint: { restart: { initial_backoff: 1s, max_restarts: 3, window: 1h } }"))
		s.ended()
		said := s.logs.lines("Stream stopped for good")
		require.Len(t, said, 1)
		for _, w := range []string{in, "partition", "offset 17", "not json", "on_bad_record"} {
			require.Contains(t, said[0], w)
		}
		// Nothing behind it, and not one record twice: there was a checkpoint before it.
		want := documents(2, 17)
		got := values(t, e, out)
		for p := range got {
			require.LessOrEqual(t, len(got[p]), len(want[p]))
			require.Equal(t, want[p][:len(got[p])], got[p], "partition %d", p)
		}
		require.True(t, len(got[0]) == 17 || len(got[1]) == 17)
		n, _ := m.get("tidemark_bad_records", "topic", in)
		require.GreaterOrEqual(t, n, int64(4), "once for each attempt")
	})
}

func TestBadRecordFailWithoutCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		fillDocuments(t, e, in, 10, 4)
		fatal(t, e, copyYAML(in, out, "", "format: json"), in, "offset 4", "not json")
		require.Equal(t, documents(1, 4), values(t, e, out))
	})
}

func TestBadRecordSkip(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		bad := []int{0, 3, 4, 5, 19}
		fillDocuments(t, e, in, 20, bad...)
		s, m := startMeasured(t, e, copyYAML(in, out, "g", "assignment: "+assignment+
			"\n    format: json\n    on_bad_record: skip\n    max_batch_records: 2\n    stop_at: latest"))
		s.ended()
		require.NoError(t, s.err)
		require.Equal(t, documents(2, 20, bad...), values(t, e, out))
		n, _ := m.get("tidemark_bad_records", "topic", in)
		require.Equal(t, int64(2*len(bad)), n)
		for p := range int32(2) {
			require.Equal(t, int64(20), committedAt(t, e, in, p), "the position moves past them")
		}
		said := s.logs.lines("skipped; the first")
		require.Len(t, said, 2, "once for each partition, at a limited rate")
		require.Contains(t, said[0], "offset 0")
	})
}

func TestBadRecordFlag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		fillDocuments(t, e, in, 10, 2, 9)
		head, _, _ := strings.Cut(copyYAML(in, out, "g", "format: json\n    on_bad_record: flag"), "output:\n")
		item := func(topic string) string {
			return "kafka_checkpointed: { seed_brokers: $SEEDS, topic: " + topic + ` }`
		}
		start(t, e, head+`
output:
  switch:
    cases:
      - check: errored()
        output:
          processors: [ { mapping: 'meta why = error()' } ]
          kafka_checkpointed: { seed_brokers: $SEEDS, topic: `+dead+`, metadata: { include_patterns: [ why ] } }
      - output: { `+item(out)+` }
`)
		awaitHeld(t, e, out, documents(1, 10, 2, 9))
		awaitHeld(t, e, dead, [][]string{{`{"at":`, `{"at":`}})
		why := kafkatest.ReadCommitted(t, e, dead)[0][1].Headers
		require.Equal(t, "why", why[0].Key)
		require.Contains(t, string(why[0].Value), "offset 9")
	})
}

// letters checks what a dead letter topic holds of records that fillDocuments has written.
func letters(t testing.TB, e kafkatest.Endpoint, dead, in string, offsets ...int) {
	t.Helper()
	got := kafkatest.ReadCommitted(t, e, dead)[0]
	require.Len(t, got, len(offsets))
	for i, r := range got {
		require.Equal(t, `{"at":`, string(r.Value))
		require.NotNil(t, r.Key)
		require.Equal(t, []kgo.RecordHeader{{Key: "h", Value: []byte{0xff, 1}}, {Key: "h", Value: nil}}, r.Headers[:2], "as it was")
		reason := map[string]string{}
		for _, h := range r.Headers[2:] {
			reason[h.Key] = string(h.Value)
		}
		require.Equal(t, in, reason["__tidemark.errors.topic"])
		require.Equal(t, "0", reason["__tidemark.errors.partition"])
		require.Equal(t, fmt.Sprint(offsets[i]), reason["__tidemark.errors.offset"])
		require.Contains(t, reason["__tidemark.errors.message"], "not json")
	}
}

func TestBadRecordDeadLetter(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		fillDocuments(t, e, in, 20, 0, 1, 7, 19)
		yaml := copyYAML(in, out, "g", "assignment: "+assignment+"\n    format: json\n    on_bad_record: dead_letter\n    dead_letter_topic: "+dead+"\n    max_batch_records: 2")
		s := start(t, e, yaml)
		awaitHeld(t, e, out, documents(1, 20, 0, 1, 7, 19))
		require.NoError(t, s.stop())
		letters(t, e, dead, in, 0, 1, 7, 19)
		require.Equal(t, int64(20), committedAt(t, e, in, 0))
	})
}

// A checkpoint waits for dead letters: while the brokers do not take them nothing is committed.
func TestBadRecordDeadLettersAreFlushedByTheCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		fillDocuments(t, e, in, 4, 0, 1, 2, 3)
		hold := e.Hold(t, kmsg.Produce)
		start(t, e, copyYAML(in, out, "g", "format: json\n    on_bad_record: dead_letter\n    dead_letter_topic: "+dead))
		hold.Await(t, 1, patience)
		require.Equal(t, int64(-1), committedAt(t, e, in, 0))
		hold.Release()
		kafkatest.Eventually(t, patience, "the checkpoint completes", func() bool { return committedAt(t, e, in, 0) == 4 })
		letters(t, e, dead, in, 0, 1, 2, 3)
		// So are those behind it.
		fillDocuments(t, e, in, 2, 0)
		kafkatest.Eventually(t, patience, "the next one does", func() bool { return committedAt(t, e, in, 0) == 6 })
		letters(t, e, dead, in, 0, 1, 2, 3, 4)
	})
}

// What comes while a transaction ends belongs to the next one.
func TestBadRecordDeadLettersWaitForTheNextTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		fillDocuments(t, e, in, 4, 1)
		p := kafkatest.NewProxy(t, e)
		hold := p.HoldRequests(kmsg.TxnOffsetCommit) // its records are written, and it is not committed
		head, _, _ := strings.Cut(copyYAML(in, "", "g", "format: json\n    on_bad_record: dead_letter\n    dead_letter_topic: "+dead), "output:\n")
		env, m := measured(t, e)
		s := startIn(t, env, p, head+"output:\n  "+exactItem(out, "  ")+"metrics: { gathered: {} }\n")
		hold.Await(t, 1, patience)
		fillDocuments(t, e, in, 2, 0)
		kafkatest.Eventually(t, patience, "it has been read", func() bool {
			n, _ := m.get("tidemark_bad_records")
			return n == 2
		})
		time.Sleep(500 * time.Millisecond) // virtual: there was time to write it
		require.Len(t, kafkatest.ReadUncommitted(t, e, dead)[0], 1, "only that of the transaction that ends")
		hold.Release()
		kafkatest.Eventually(t, patience, "it is in the next one", func() bool { return len(kafkatest.ReadCommitted(t, e, dead)[0]) == 2 })
		require.NoError(t, s.stop())
		letters(t, e, dead, in, 1, 4)
	})
}

// With exactly-once delivery dead letters are in the transaction: those of an attempt that was
// abandoned are never visible.
func TestBadRecordDeadLettersAreInTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		fillDocuments(t, e, in, 20, 3, 4, 19)
		e.FailNth(kmsg.TxnOffsetCommit, 1, kerr.InvalidTxnState)
		head, _, _ := strings.Cut(copyYAML(in, "", "g", "session_timeout: 10s\n    format: json\n    on_bad_record: dead_letter\n    dead_letter_topic: "+dead), "output:\n")
		s := start(t, e, head+"output:\n  "+exactItem(out, "  "))
		awaitHeld(t, e, out, documents(1, 20, 3, 4, 19))
		require.NoError(t, s.stop())
		letters(t, e, dead, in, 3, 4, 19)
		require.Greater(t, len(kafkatest.ReadUncommitted(t, e, dead)[0]), 3, "there was an attempt that was abandoned")
	})
}

func TestBadRecordDeadLetterTopicMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		fillDocuments(t, e, in, 4, 0)
		fatal(t, e, copyYAML(in, out, "g", "format: json\n    on_bad_record: dead_letter\n    dead_letter_topic: missing"), "dead_letter_topic", "missing")
		require.Equal(t, int64(-1), committedAt(t, e, in, 0))
	})
}

func TestER03_ContradictoryFormatsAreRefused(t *testing.T) {
	e := kafkatest.Fake(t)
	for fields, words := range map[string][]string{
		"format: yaml":                                  {"format", "yaml", "json"},
		"key_format: yaml":                              {"key_format", "yaml"},
		"format: json\n    key_format: json":            {"key_fields", "key_format"},
		"format: raw\n    key_fields: [ a ]":            {"key_fields", "raw"},
		"format: json\n    key_fields: [ a ]":           {"key_format", "raw"},
		"format: json\n    key_prefix: k_":              {"key_prefix", "key_fields"},
		"on_bad_record: dead_letter":                    {"dead_letter_topic"},
		"dead_letter_topic: dead":                       {"on_bad_record", "dead"},
		"on_bad_record: ignore":                         {"ignore"},
		"format: json\n    include_metadata: true":      {"include_metadata", "json_key_value"},
		"format: json\n    format_options: { a: true }": {"format_options", "json"},
		"format: json\n    key_format: json\n    key_fields: [ a ]\n    key_prefix: k_\n    value_includes_key: false": {"key_fields", "a", "k_"},
		"format: json\n    key_format: json\n    key_fields: [ k_a ]\n    key_prefix: k_":                              {"value_includes_key", "k_"},
		"on_bad_record: dead_letter\n    dead_letter_topic: in":                                                        {"dead_letter_topic", "in"},
	} {
		s, err := build(t, e, copyYAML("in", "out", "g", fields), &logs{})
		if err == nil { // The linter has no list of what this build has registered.
			err = s.Run(t.Context())
		}
		require.Error(t, err, fields)
		for _, w := range words {
			require.ErrorContains(t, err, w, fields)
		}
	}
}

// undecompressible appends a batch of n records that says it is compressed, and is not.
func undecompressible(t testing.TB, e kafkatest.Endpoint, topic string, n int32) {
	t.Helper()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: 1, LastOffsetDelta: n - 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: n, Records: []byte("no gzip"),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	kafkatest.ProduceBatch(t, e, topic, 0, raw)
}

// A batch that cannot be decompressed is named, and the records around it are not affected.
func TestBadRecordDamagedBatch(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		produce(t, e, in, "a", "b")
		undecompressible(t, e, in, 3)
		produce(t, e, in, "c")
		undecompressible(t, e, in, 1)
		with := func(policy string) string {
			return copyYAML(in, out, "g", "assignment: "+assignment+"\n    on_bad_record: "+policy+
				"\n    checkpoint: { restart: { initial_backoff: 1s, max_restarts: 2, window: 1h } }")
		}
		s := start(t, e, with("fail"))
		s.ended()
		said := s.logs.lines("Stream stopped for good")
		require.Len(t, said, 1)
		for _, w := range []string{in, "partition 0", "offsets 2 to 4", "decompress"} {
			require.Contains(t, said[0], w)
		}
		require.Equal(t, [][]string{{"a", "b"}}, values(t, e, out))
		require.Equal(t, int64(2), committedAt(t, e, in, 0))

		s, m := startMeasured(t, e, with("dead_letter\n    dead_letter_topic: "+dead))
		awaitHeld(t, e, out, [][]string{{"a", "b", "c"}})
		kafkatest.Eventually(t, patience, "the position is behind them", func() bool { return committedAt(t, e, in, 0) == 7 })
		produce(t, e, in, "d")
		awaitHeld(t, e, out, [][]string{{"a", "b", "c", "d"}})
		require.NoError(t, s.stop())
		n, _ := m.get("tidemark_bad_records", "topic", in)
		require.Equal(t, int64(2), n)
		got := kafkatest.ReadCommitted(t, e, dead)[0]
		require.Len(t, got, 2)
		require.Contains(t, string(got[0].Value), "no gzip")
		require.Contains(t, string(got[0].Headers[3].Value), "offsets 2 to 4")
		require.Contains(t, string(got[1].Headers[3].Value), "offsets 6 to 6")
	})
}

// A bit of a segment flips on the disk of a real broker, which hands the batch out as it is.
func TestBadRecordWrongChecksumOnDisk(t *testing.T) {
	e := kafkatest.Real(t, kafkatest.Newest)
	in, out := topics(t, e, 1)
	dead := kafkatest.Topic(t, e, 1)
	for _, v := range []string{"before", "damaged", "after"} {
		produce(t, e, in, v)
	}
	e.Stop()
	segment := e.Segment(in, 0)
	raw, err := os.ReadFile(segment)
	require.NoError(t, err)
	at := bytes.Index(raw, []byte("damaged"))
	require.Positive(t, at)
	raw[at] ^= 1
	require.NoError(t, os.WriteFile(segment, raw, 0o600))
	e.Start()

	s, m := startMeasured(t, e, copyYAML(in, out, "g", "on_bad_record: dead_letter\n    dead_letter_topic: "+dead))
	awaitHeld(t, e, out, [][]string{{"before", "after"}})
	kafkatest.Eventually(t, patience, "the position is behind it", func() bool { return committedAt(t, e, in, 0) == 3 })
	require.NoError(t, s.stop())
	got := kafkatest.ReadCommitted(t, e, dead)[0]
	require.Len(t, got, 1)
	require.Contains(t, string(got[0].Value), "eamaged", "the batch as it is")
	require.Contains(t, string(got[0].Headers[3].Value), "offsets 1 to 1 is damaged: encoded crc")
	n, _ := m.get("tidemark_bad_records", "topic", in)
	require.Equal(t, int64(1), n)
}
