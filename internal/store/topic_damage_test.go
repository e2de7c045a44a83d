package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// resealed is a value with another version and a matching checksum.
func resealed(r *kgo.Record, version byte) *kgo.Record {
	b := bytes.Clone(r.Value[:len(r.Value)-checksumSize])
	b[0] = version
	sum := checksum(r.Key, b)
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: append(b, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))}
}

// written are one record of each kind: the job's, a claim, state, a checkpoint.
func (r *topicRig) written(s checkpoint.Scope) []*kgo.Record {
	r.Helper()
	topic := r.open(testJob)
	_, err := topic.Restore(patient(r), []checkpoint.Scope{s})
	require.NoError(r, err)
	w, err := topic.Checkpoint(manifestOf(testJob, 1, checkpoint.Positions{s: at(1)}),
		[]checkpoint.Change{{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte("v")}}, "p")
	require.NoError(r, err)
	return append(topic.Claim("p", claims{s: nil}), w.Records...)
}

func TestTopicNamesDamage(t *testing.T) {
	s := scopeOf(1)
	c := kafkatest.Fake(t)
	count := len(newTopicRig(t, c, 2).written(s))
	require.Equal(t, 4, count)
	damages := map[string]struct {
		do   func(*kgo.Record) *kgo.Record
		want error
	}{
		"altered": {func(r *kgo.Record) *kgo.Record { r.Value[len(r.Value)/2] ^= 4; return r }, checkpoint.ErrCorrupt},
		"cut":     {func(r *kgo.Record) *kgo.Record { r.Value = r.Value[:3]; return r }, checkpoint.ErrCorrupt},
		"empty":   {func(r *kgo.Record) *kgo.Record { r.Value = []byte{}; return r }, checkpoint.ErrCorrupt},
		"moved":   {func(r *kgo.Record) *kgo.Record { r.Value = seal(nil, []byte("elsewhere"), r.Value[1:]); return r }, checkpoint.ErrCorrupt},
		"newer":   {func(r *kgo.Record) *kgo.Record { return resealed(r, 9) }, checkpoint.ErrVersion},
		"newer key": {func(r *kgo.Record) *kgo.Record {
			r.Key[0] = 9
			return r
		}, checkpoint.ErrVersion},
		"key": {func(r *kgo.Record) *kgo.Record {
			r.Key = append(r.Key[:len(jobPrefix(testJob))+1], "x?"...)
			return r
		}, checkpoint.ErrCorrupt},
		"malformed": {func(r *kgo.Record) *kgo.Record { r.Value = seal(nil, r.Key, []byte{0xff}); return r }, checkpoint.ErrCorrupt},
	}
	for name, d := range damages {
		for i := range count {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				r := newTopicRig(t, c, 2)
				records := r.written(s)
				records[i] = d.do(records[i])
				r.producer("p").commit(records...)
				_, err := r.open(testJob).Restore(patient(t), []checkpoint.Scope{s})
				require.ErrorIs(t, err, d.want)
				require.ErrorIs(t, err, checkpoint.ErrFatal)
				require.ErrorContains(t, err, fmt.Sprintf("topic %q partition %d offset %d", r.topic, records[i].Partition, records[i].Offset))

				// It is nothing to other jobs.
				_, err = r.open("order").Restore(patient(t), []checkpoint.Scope{s})
				require.NoError(t, err)
			})
		}
	}
}

// What some other program writes is not ours.
func TestTopicSkipsForeignRecords(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	p := r.producer("p")
	records := r.written(scopeOf(1))
	for i, key := range []string{"", "x", string(records[0].Key[:4]), "\x01orders", "\x01order\x00\x01s"} {
		records = append(records, &kgo.Record{Topic: r.topic, Partition: int32(i % 2), Key: []byte(key), Value: []byte("?")})
	}
	p.commit(records...)
	topic := r.open(testJob)
	_, err := topic.Restore(patient(t), []checkpoint.Scope{scopeOf(1)})
	require.NoError(t, err)
}

func TestTopicNoticesTornValues(t *testing.T) {
	s := scopeOf(1)
	c := kafkatest.Fake(t)
	for lost := range 3 {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			r := newTopicRig(t, c, 2)
			topic, p := r.open(testJob, smallRecords), r.producer("p")
			_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
			require.NoError(t, err)
			large := func(b byte) []checkpoint.Change {
				return []checkpoint.Change{{Operator: testOperator, Scope: s, Key: []byte("large"), Value: bytes.Repeat([]byte{b}, 2*smallRecord)}}
			}
			p.persist(topic, manifestOf(testJob, 1, nil), large('a')...)
			w, err := topic.Checkpoint(manifestOf(testJob, 2, nil), large('b'), "p")
			require.NoError(t, err)
			require.Len(t, w.Records, 4)
			p.commit(append(w.Records[:lost:lost], w.Records[lost+1:]...)...)
			_, err = r.open(testJob).Restore(patient(t), []checkpoint.Scope{s})
			require.ErrorIs(t, err, checkpoint.ErrCorrupt)
			require.ErrorIs(t, err, checkpoint.ErrFatal)
			require.ErrorContains(t, err, `"large"`)
		})
	}
}

// A topic whose number of partitions was changed is refused, also where the partition that is
// read now was never written to.
func TestTopicRefusesAnotherNumberOfPartitions(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	before := r.open(testJob)
	r.producer("p").commit(before.Claim("p", claims{scopeOf(1): nil})...)
	kafkatest.AddPartitions(t, r.e, r.topic, 9)
	n, err := EnsureTopic(patient(t), kafkatest.Client(t, r.e), r.topic, TopicSpec{})
	require.NoError(t, err)
	require.Equal(t, 9, n)
	r.partitions = n
	for id := range int32(9) {
		_, err := r.open(testJob).ReadClaims(patient(t), []checkpoint.Scope{scopeOf(id)})
		require.ErrorIs(t, err, ErrPartitionsChanged)
		require.ErrorIs(t, err, checkpoint.ErrFatal)
		require.ErrorContains(t, err, "for 3 partitions")
	}
	_, err = r.open("bills").ReadClaims(patient(t), []checkpoint.Scope{scopeOf(1)})
	require.NoError(t, err, "a job that came later")

	// One that was copied to another topic without the first partition is noticed by its claims.
	to := compacted(t, r.e, 5)
	for _, rec := range kafkatest.ReadCommitted(t, r.e, r.topic)[before.PartitionOf(scopeOf(1))] {
		kafkatest.Produce(t, r.e, &kgo.Record{
			Topic: to.topic, Partition: to.open(testJob).PartitionOf(scopeOf(1)), Key: rec.Key, Value: rec.Value,
		})
	}
	_, err = to.open(testJob).ReadClaims(patient(t), []checkpoint.Scope{scopeOf(1)})
	require.ErrorIs(t, err, ErrPartitionsChanged)
}

// A topic that lost what was committed must not look like one of a new job.
func TestTopicNoticesThatItWasCutBack(t *testing.T) {
	c := kafkatest.Fake(t)
	r := newTopicRig(t, c, 2)
	s := scopeOf(1)
	topic := r.open(testJob)
	r.producer("p").commit(topic.Claim("p", claims{s: nil})...)
	require.NotEmpty(t, r.claimsOf(topic, s).Events)
	kafkatest.DeleteTopic(t, c, r.topic)
	kafkatest.CreateTopic(t, c, r.topic, 2, "cleanup.policy=compact")
	_, err := topic.ReadClaims(patient(t), []checkpoint.Scope{s})
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	require.ErrorContains(t, err, "made anew")
}

// A log whose beginning goes away while it is read is read from its start the next time.
func TestTopicStartsOverWhenItsPlaceIsGone(t *testing.T) {
	c := kafkatest.Fake(t)
	r := newTopicRig(t, c, 2)
	s := scopeOf(1)
	topic, p := r.open(testJob), r.producer("p")
	restore := func() error {
		_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
		return err
	}
	require.NoError(t, restore())
	p.persist(topic, manifestOf(testJob, 1, nil), checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte("v")})
	c.Fail(kmsg.Fetch, 1, kerr.OffsetOutOfRange)
	err := restore()
	require.ErrorIs(t, err, kerr.OffsetOutOfRange)
	require.NotErrorIs(t, err, checkpoint.ErrFatal)
	require.NoError(t, restore())
	v, err := topic.Get(testOperator, s, []byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
}

func TestTopicPayloadsThatAreMalformedAreErrors(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		b := make([]byte, rnd.IntN(40))
		for i := range b {
			b[i] = byte(rnd.IntN(4)) * 85
		}
		// Any answer will do, as long as there is one.
		_, _, _ = decodeEvent(b)
		_, _ = decodeChunk(b)
		for _, tag := range []byte{jobTag, ownerTag, positionTag, stateTag, 0} {
			if p, ok := parsePlace(append([]byte{tag}, b...)); ok {
				_ = p.describe()
			}
		}
	}
}
