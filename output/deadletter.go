package output

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
	"gopkg.in/yaml.v3"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// The headers that a dead letter has beside those of its record: where the record was read,
// and why it could not be. Kafka Connect's have the same endings.
const (
	headerErrorTopic     = "__tidemark.errors.topic"
	headerErrorPartition = "__tidemark.errors.partition"
	headerErrorOffset    = "__tidemark.errors.offset"
	headerErrorMessage   = "__tidemark.errors.message"
)

// DeadLetters writes records that an input could not read to a topic, as an output of the
// stream does: flushed with its checkpoints, and within its transactions if it writes those.
type DeadLetters struct {
	o           *Output
	coordinator *engine.Coordinator
	topic       string
}

// Letter is a record that could not be read.
type Letter struct {
	// Origin has the record, a *kgo.Record, and its place in the ledger.
	Origin *checkpoint.Origin
	Reason error
}

// NewDeadLetters makes the dead letters of an input one of the sinks of its stream.
func NewDeadLetters(conn kafka.Connection, topic string, res *service.Resources) (*DeadLetters, error) {
	fields, err := yaml.Marshal(map[string]any{
		"seed_brokers": []string{"localhost"}, fieldTopic: topic, fieldMaxMessageBytes: "100MiB",
	})
	if err != nil {
		return nil, err
	}
	parsed, err := Spec().ParseYAML(string(fields), nil)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(parsed, res)
	if err != nil {
		return nil, err
	}
	conn.Rack = ""
	c.Connection = conn
	o, err := newOutput(c, res)
	if err != nil {
		return nil, err
	}
	d := &DeadLetters{o: o, coordinator: engine.For(res), topic: topic}
	o.shaper.letters = true
	o.member.name += ".dead_letter_topic"
	o.member.sink = &transactional{
		sink:   sink{p: o.producer, delivery: c.Delivery},
		shares: d.coordinator.DeliversExactlyOnce,
	}
	return d, o.member.join(d.coordinator)
}

// Connect makes them ready to be written. It is called when the stream has started. An error
// that no repetition heals is fatal.
func (d *DeadLetters) Connect(ctx context.Context) error {
	if err := d.connect(ctx); err != nil {
		return fmt.Errorf("connecting to write dead letters: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	err := d.o.producer.topics.check(bounded, d.topic)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("dead_letter_topic %q: %w", d.topic, err)
	if bounded.Err() != nil {
		return err
	}
	return checkpoint.Fatal(err)
}

func (d *DeadLetters) connect(ctx context.Context) error {
	if t := d.coordinator.ExactlyOnce(); t != nil {
		if d.o.transaction == nil {
			d.o.transaction = t
			d.o.producer.share(t)
		}
		return t.Await(ctx)
	}
	if d.o.producer.client.Load() != nil {
		return nil
	}
	cl, err := d.o.dial(ctx)
	if err != nil {
		return err
	}
	d.o.producer.client.Store(cl)
	return nil
}

// Write hands letters over. Where a checkpoint will wait for them it does not.
func (d *DeadLetters) Write(ctx context.Context, letters []Letter) error {
	batch := make(service.MessageBatch, len(letters))
	for i, l := range letters {
		r := l.Origin.Record.(*kgo.Record)
		origin := l.Origin.Derived(context.WithValue(context.Background(), reasonKey{}, l.Reason), l.Origin.Entry)
		// The message says nothing of the headers: they stay as they are.
		origin.Headers = false
		batch[i] = service.NewMessageWithContext(origin, r.Value)
	}
	if err := d.o.WriteBatch(ctx, batch); err != nil {
		return fmt.Errorf("writing to dead_letter_topic %q: %w", d.topic, err)
	}
	return nil
}

// Close implements what an input does at its end.
func (d *DeadLetters) Close(ctx context.Context) error { return d.o.Close(ctx) }

type reasonKey struct{}

// reasonHeaders says where a dead letter was read, and why it could not be.
func reasonHeaders(o *checkpoint.Origin, from *kgo.Record) []kgo.RecordHeader {
	reason, _ := o.Value(reasonKey{}).(error)
	return []kgo.RecordHeader{
		{Key: headerErrorTopic, Value: []byte(from.Topic)},
		{Key: headerErrorPartition, Value: strconv.AppendInt(nil, int64(from.Partition), 10)},
		{Key: headerErrorOffset, Value: strconv.AppendInt(nil, from.Offset, 10)},
		{Key: headerErrorMessage, Value: fmt.Append(nil, reason)},
	}
}
