package output

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// stream stands in for a stream's coordinator and its handle for the output.
type stream struct {
	name   string
	ledger *checkpoint.Ledger
	sink   checkpoint.Sink
	ended  bool

	mu       sync.Mutex
	late     bool
	fails    []error
	fatal    error
	suspects map[checkpoint.Offset]bool
	refused  []checkpoint.Offset
	left     bool
}

func newStream(name string, covered bool) *stream {
	s := &stream{name: name, suspects: map[checkpoint.Offset]bool{}}
	s.ledger = checkpoint.NewLedger(s, covered)
	return s
}

func (s *stream) String() string { return s.name }
func (s *stream) Ended() bool    { return s.ended }

func (s *stream) JoinSource(string, checkpoint.Source, checkpoint.Config) (checkpoint.SourceHandle, error) {
	return nil, errors.New("not a stream with sources")
}

func (s *stream) JoinOperator(string, checkpoint.Operator) (checkpoint.OperatorHandle, error) {
	return nil, errors.New("not a stream with operators")
}

func (s *stream) JoinSink(_ string, sink checkpoint.Sink) (checkpoint.SinkHandle, error) {
	s.sink = sink
	return s, nil
}

func (s *stream) locked(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func (s *stream) Joined() (joined bool)  { s.locked(func() { joined = !s.late }); return }
func (s *stream) Fail(err error)         { s.locked(func() { s.fails = append(s.fails, err) }) }
func (s *stream) Fatal(err error)        { s.locked(func() { s.fatal = err }) }
func (s *stream) Failed() (failed error) { s.locked(func() { failed = s.fatal }); return }
func (s *stream) Leave()                 { s.locked(func() { s.left = true }) }

func (s *stream) Refuse(o *checkpoint.Origin, _ error) {
	s.locked(func() {
		s.suspects[o.Offset] = true
		s.refused = append(s.refused, o.Offset)
	})
}

func (s *stream) Suspect(o *checkpoint.Origin) (is bool) {
	s.locked(func() { is = s.suspects[o.Offset] })
	return
}

func (s *stream) failures() (n int) { s.locked(func() { n = len(s.fails) }); return }

// batch emits records as a source of the stream would, offsets from first on.
func (s *stream) batch(first int, records ...*kgo.Record) (service.MessageBatch, *checkpoint.Entry) {
	e := s.ledger.Enter("in", checkpoint.Partition{Topic: "in", ID: 0})
	batch := make(service.MessageBatch, len(records))
	for i, r := range records {
		o := &checkpoint.Origin{Context: context.Background(), Entry: e, Offset: checkpoint.Offset(first + i), Record: r}
		batch[i] = service.NewMessageWithContext(o, r.Value)
	}
	return batch, e
}

// numbered returns n records with the values from first on.
func numbered(first, n int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{
			Key: fmt.Appendf(nil, "k%d", (first+i)%7), Value: fmt.Appendf(nil, "v%d", first+i), Timestamp: time.UnixMilli(int64(1000 + i)),
		}
	}
	return rs
}

// foreign makes messages that no source of ours has emitted.
func foreign(values ...string) service.MessageBatch {
	batch := make(service.MessageBatch, len(values))
	for i, v := range values {
		batch[i] = service.NewMessage([]byte(v))
	}
	return batch
}

// parse reads a configuration.
func parse(t testing.TB, c kafkatest.Endpoint, yaml string) (*Config, error) {
	t.Helper()
	conf, err := Spec().ParseYAML(fmt.Sprintf("seed_brokers: [ %q ]\n%s", c.Seeds()[0], yaml), nil)
	require.NoError(t, err)
	return ParseConfig(conf, service.MockResources())
}

// open makes an output that has connected and closes it at the end.
func open(t testing.TB, c *kafkatest.Cluster, s *stream, yaml string) *Output {
	t.Helper()
	return openWith(t, c, s, service.MockResources(), yaml)
}

func openWith(t testing.TB, c *kafkatest.Cluster, s *stream, res *service.Resources, yaml string) *Output {
	t.Helper()
	conf, err := parse(t, c, yaml)
	require.NoError(t, err)
	conf.Connection.Dial = c.Dial
	var coordinator checkpoint.Coordinator
	if s != nil {
		coordinator = s
	}
	o, err := New(conf, res, coordinator)
	require.NoError(t, err)
	require.NoError(t, o.Connect(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = o.Close(ctx) // what is under way does not matter any more
	})
	return o
}

// values lists what a partition holds.
func values(rs []*kgo.Record) []string {
	vs := make([]string, len(rs))
	for i, r := range rs {
		vs[i] = string(r.Value)
	}
	return vs
}

// topicValues lists what a topic of one partition holds.
func topicValues(t testing.TB, c kafkatest.Endpoint, topic string) []string {
	t.Helper()
	return values(kafkatest.ReadCommitted(t, c, topic)[0])
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
