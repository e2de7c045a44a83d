package soak_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// Sizes that a record must exceed to be refused: by the client before it is sent,
// and by the broker. Batches of ordinary records, which compress well, stay below
// both.
const (
	clientLimit = 400 << 10
	brokerLimit = 256 << 10
)

// poison is a kind of record that cannot be delivered.
type poison struct {
	name string
	// shape makes an ordinary record one of the kind.
	shape func(*rand.Rand, *kgo.Record)
	// reason must be in the error.
	reason string
}

// nowhere is a topic that does not exist.
const nowhere = "no-such-topic"

var poisons = []poison{
	{"oversized", func(r *rand.Rand, rec *kgo.Record) { pad(r, rec, clientLimit+100<<10) }, "max_message_bytes"},
	{"unknown topic", func(_ *rand.Rand, rec *kgo.Record) {
		rec.Headers = []kgo.RecordHeader{{Key: "to", Value: []byte(nowhere)}}
	}, nowhere},
	{"broker rejected", func(r *rand.Rand, rec *kgo.Record) { pad(r, rec, brokerLimit+50<<10) }, "MESSAGE_TOO_LARGE"},
}

// pad makes a value longer by bytes that do not compress.
func pad(r *rand.Rand, rec *kgo.Record, size int) {
	for len(rec.Value) < size {
		rec.Value = append(rec.Value, byte(r.Uint32()))
	}
}

type place struct {
	partition int32
	number    int64
}

// poisoned fills the source, with one record of each kind somewhere in the middle.
func poisoned(rig *soak.Rig, r *rand.Rand, perPartition int64, kinds ...poison) []place {
	places := map[place]poison{}
	for _, k := range kinds {
		at := place{r.Int32N(int32(rig.Numbers.Partitions())), perPartition/5 + r.Int64N(perPartition*3/5)}
		for places[at].name != "" {
			at.number++
		}
		places[at] = k
		rig.Audit.Exempt(at.partition, at.number)
	}
	rig.Fill(perPartition, func(rec *kgo.Record) {
		p, n, _ := soak.ParseValue(rec.Value)
		if k := places[place{p, n}]; k.name != "" {
			k.shape(r, rec)
		}
	})
	var all []place
	for at := range places {
		all = append(all, at)
	}
	return all
}

// newPoisonRig makes a rig whose target takes smaller records than the client sends.
func newPoisonRig(t *testing.T) *soak.Rig {
	return soak.NewRig(t, kafkatest.Shared(t), soak.Load{
		SourceConfig: []string{"max.message.bytes=2097152"},
		TargetConfig: []string{fmt.Sprintf("max.message.bytes=%d", brokerLimit)},
	})
}

// mainOutput writes to the target, or where a record's header says.
func mainOutput(rig *soak.Rig, fields ...string) string {
	topic := fmt.Sprintf("'${! @to.or(%q) }'", rig.Target)
	fields = append(fields, fmt.Sprintf("max_message_bytes: %d", clientLimit))
	return rig.KafkaOutput("main", topic, fields...)
}

// What cannot be delivered goes to the dead letters, nothing else does; there is
// one rewind at most, and none where every batch is waited for.
func TestUndeliverableRecordsGoToTheDeadLetters(t *testing.T) {
	for _, flush := range []string{"auto", "on_ack"} {
		t.Run(flush, func(t *testing.T) {
			p, v := soak.Begin(t, "undeliverable/"+flush, 1)
			const interval = 200 * time.Millisecond
			rig := newPoisonRig(t)
			dead := rig.Target + "-dead"
			kafkatest.CreateTopic(t, rig.Broker, dead, 1)
			want := poisoned(rig, p.Random, 25_000, poisons...)
			rig.Follow()
			c := rig.Start(soak.Copy{
				Interval: interval, Metrics: true,
				Output: "fallback:\n" + soak.Item(mainOutput(rig, "flush: "+flush)) + soak.Item(rig.KafkaOutput("dead", dead)),
			})
			rig.AwaitDelivery(time.Minute)
			rewinds, err := c.Metric("tidemark_restarts")
			require.NoError(t, err)
			restarts := rig.Drain(time.Minute)
			v.Noted(restarts)
			v.Rounds, v.Counted = 1, 1
			v.Extra = map[string]any{"rewinds": rewinds, "restarts": restarts}
			checkDeadLetters(t, rig, dead, want, flush == "on_ack")
			most := 1
			if flush == "on_ack" {
				most = 0
			}
			if int(rewinds) > most || len(restarts) > most*rig.Numbers.Partitions() {
				rig.Audit.Violate(soak.TooManyRepeats, "%v rewinds and %d restarts of partitions, want at most %d", rewinds, len(restarts), most)
			}
			for _, r := range restarts {
				if r.Span > interval+slack {
					rig.Audit.Violate(soak.TooManyRepeats, "partition %d: from %d to %d again, delivered over %v", r.Partition, r.From, r.After, r.Span)
				}
			}
			v.Conclude(t, rig.Audit)
		})
	}
}

// checkDeadLetters finds exactly the records wanted, repeats aside unless once is
// set.
func checkDeadLetters(t *testing.T, rig *soak.Rig, topic string, want []place, once bool) {
	t.Helper()
	var got []place
	for _, r := range kafkatest.ReadUncommitted(t, rig.Broker, topic)[0] {
		p, n, err := soak.ParseValue(r.Value)
		require.NoError(t, err)
		if at := (place{p, n}); once || !slices.Contains(got, at) {
			got = append(got, at)
		}
	}
	if !assert.ElementsMatch(t, want, got, "dead letters") {
		rig.Audit.Violate(soak.Altered, "the dead letters are %v, want %v", got, want)
	}
}

// Where nothing routes a record that cannot be delivered, the process ends with
// code 1 and names the record and the reason.
func TestUndeliverableRecordIsFatal(t *testing.T) {
	for _, kind := range poisons {
		t.Run(strings.ReplaceAll(kind.name, " ", "_"), func(t *testing.T) {
			p, v := soak.Begin(t, "fatal/"+kind.name, 1)
			rig := newPoisonRig(t)
			at := poisoned(rig, p.Random, 1000, kind)[0]
			rig.Follow()
			c := rig.Start(soak.Copy{Interval: 200 * time.Millisecond, Output: mainOutput(rig)})
			code, err := c.Wait(time.Minute)
			require.NoError(t, err)
			// What follows the record in its batch was delivered again in place: repeats
			// here do not begin at a commit.
			rig.CatchUp()
			v.Rounds, v.Counted = 1, 1
			_, committed := rig.Audit.Commits()
			if committed[at.partition] > at.number {
				rig.Audit.Violate(soak.EarlyCommit, "%d is committed, record %d was not delivered", committed[at.partition], at.number)
			}
			if code != 1 || !namesRecord(c.Log(), rig.Source, at, kind.reason) {
				rig.Audit.Violate(soak.Unhealthy, "exit code %d, and no fatal error that names topic %s, partition %d, offset %d and %q:\n%s",
					code, rig.Source, at.partition, at.number, kind.reason, c.Log())
			}
			v.Conclude(t, rig.Audit)
		})
	}
}

// namesRecord tells whether one line of the log names the record and the reason.
func namesRecord(log, topic string, at place, reason string) bool {
	for _, line := range bytes.Split([]byte(log), []byte("\n")) {
		text := strings.ReplaceAll(string(line), `\"`, `"`)
		if strings.Contains(text, "level=error") && strings.Contains(text, topic) &&
			strings.Contains(text, fmt.Sprintf("partition %d", at.partition)) &&
			strings.Contains(text, fmt.Sprintf("offset %d", at.number)) && strings.Contains(text, reason) {
			return true
		}
	}
	return false
}
